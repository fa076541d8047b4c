"""Agreement of raters: Cohen's kappa, rank and linear correlation."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from aloe.stats.lines import is_flat
from aloe.stats.students import Floats


def cohen_kappa(first: Sequence[Hashable], second: Sequence[Hashable], weights: str = "none") -> float | None:
    """Agreement of two raters beyond chance, at most 1.

    Args:
        weights: ``none`` (any disagreement counts the same), ``linear`` or ``quadratic`` (by distance of numbers).

    Returns:
        None for no items, or where both raters always gave one same answer (chance agreement is then perfect).
    """
    if len(first) != len(second):
        raise ValueError(f"raters must rate the same items, got {len(first)} and {len(second)} ratings")
    if weights not in ("none", "linear", "quadratic"):
        raise ValueError(f"weights must be none, linear or quadratic, got {weights!r}")
    if not first:
        return None
    if weights == "none":
        names: list[Hashable] = list(dict.fromkeys([*first, *second]))
        cost = 1.0 - np.eye(len(names))
    else:
        names = sorted({*first, *second})  # type: ignore[type-var]
        points = np.array(names, dtype=float)
        gap = np.abs(points[:, None] - points[None, :])
        cost = gap if weights == "linear" else gap**2
    place = {name: i for i, name in enumerate(names)}
    table = np.zeros_like(cost)
    np.add.at(table, ([place[a] for a in first], [place[b] for b in second]), 1.0 / len(first))
    expected = float(np.sum(cost * np.outer(table.sum(1), table.sum(0))))
    return 1.0 - float(np.sum(cost * table)) / expected if expected > 0.0 else None


def rank(values: ArrayLike) -> Floats:
    """Ranks 1..n; ties share their mean rank."""
    y = np.asarray(values, dtype=float)
    _, inverse, counts = np.unique(y, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2.0)[inverse], dtype=float)


def pearson(first: ArrayLike, second: ArrayLike) -> float | None:
    """Linear correlation; pairs with a NaN are left out. None with fewer than two pairs or a constant side."""
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    known = np.isfinite(a) & np.isfinite(b)
    a, b = a[known], b[known]
    if is_flat(a) or is_flat(b):
        return None
    da, db = a - a.mean(), b - b.mean()
    return float(np.clip(da @ db / math.sqrt((da @ da) * (db @ db)), -1.0, 1.0))


def spearman(first: ArrayLike, second: ArrayLike) -> float | None:
    """Rank correlation with mean ranks for ties; NaN pairs are left out. None where undefined."""
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    known = np.isfinite(a) & np.isfinite(b)
    return pearson(rank(a[known]), rank(b[known])) if known.any() else None
