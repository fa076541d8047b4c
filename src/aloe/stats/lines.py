"""Least-squares lines through curves with gaps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True, slots=True)
class FittedLine:
    """Least-squares line. ``r2`` is None where the values are all equal (nothing to explain)."""

    slope: float
    intercept: float
    r2: float | None


def is_flat(values: ArrayLike) -> bool:
    """Whether finite values are all equal up to float noise (1e-9 of their size); True for none or one."""
    y = np.asarray(values, dtype=float)
    y = y[np.isfinite(y)]
    return y.size < 2 or bool(np.ptp(y) <= 1e-9 * np.max(np.abs(y)))


def fit_line(values: ArrayLike, x: ArrayLike | None = None) -> FittedLine | None:
    """Least-squares line through ``values`` at ``x`` (default 1..n). NaN values are left out, their x too.

    Returns:
        None with fewer than two different x.
    """
    y = np.asarray(values, dtype=float)
    position = np.arange(1, y.size + 1, dtype=float) if x is None else np.asarray(x, dtype=float)
    if position.shape != y.shape or y.ndim != 1:
        raise ValueError(f"values and x must be lists of one length, got shapes {y.shape} and {position.shape}")
    known = np.isfinite(y) & np.isfinite(position)
    y, position = y[known], position[known]
    if position.size < 2 or np.ptp(position) == 0:
        return None
    dx = position - position.mean()
    dy = y - y.mean()
    slope = float(dx @ dy / (dx @ dx))
    intercept = float(y.mean() - slope * position.mean())
    if is_flat(y):
        return FittedLine(0.0, float(y.mean()), None)
    rest = dy - slope * dx
    return FittedLine(slope, intercept, float(1.0 - (rest @ rest) / (dy @ dy)))
