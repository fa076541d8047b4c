"""Logistic regression with a ridge penalty, and the area under the ROC curve."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from aloe.stats.agreement import rank
from aloe.stats.students import Floats

_STEPS, _TOLERANCE = 50, 1e-8


def fit_logistic(features: Floats, labels: ArrayLike, ridge: float = 1.0) -> Floats:
    """Coefficients, the intercept last, by Newton's method.

    Args:
        features: shape (n, d), standardised by the caller.
        labels: 0 or 1, shape (n,).
        ridge: weight of half the squared coefficients (not of the intercept), above 0, so that a fit always exists.
    """
    if ridge <= 0:
        raise ValueError(f"ridge must be above 0, got {ridge}")
    x = np.hstack([features, np.ones((len(features), 1))])
    y = np.asarray(labels, dtype=float)
    penalty = np.full(x.shape[1], float(ridge))
    penalty[-1] = 1e-6
    weights = np.zeros(x.shape[1])
    for _ in range(_STEPS):
        p = predict_logistic(weights, features)
        gradient = x.T @ (p - y) + penalty * weights
        curvature = (x * np.maximum(p * (1 - p), 1e-9)[:, None]).T @ x + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        weights = weights - step / max(1.0, float(np.abs(step).max()))  # at most 1 a step: far ones overshoot
        if float(np.abs(step).max()) < _TOLERANCE:
            break
    return weights


def predict_logistic(weights: Floats, features: Floats) -> Floats:
    """Probabilities of label 1, shape (n,)."""
    linear = features @ weights[:-1] + weights[-1]
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(linear, -40.0, 40.0))), dtype=float)


def auc(scores: ArrayLike, labels: ArrayLike) -> float | None:
    """Probability that a case with label 1 scores above one with label 0, ties half. None without both kinds."""
    y = np.asarray(labels, dtype=float)
    n_ones, n_zeros = float(y.sum()), float(len(y) - y.sum())
    if not n_ones or not n_zeros:
        return None
    return float((rank(scores)[y == 1].sum() - n_ones * (n_ones + 1) / 2) / (n_ones * n_zeros))
