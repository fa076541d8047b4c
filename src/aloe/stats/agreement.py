"""Agreement of raters: Cohen's kappa, Krippendorff's alpha, rank and linear correlation."""

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


def krippendorff_alpha(ratings: Floats, of_categories: bool = False) -> float | None:
    """Agreement of any number of raters beyond chance: 1 for perfect, 0 for what chance gives, below 0 for less.

    Args:
        ratings: shape (n_items, n_raters); NaN where a rater gave none. Items with fewer than two count nothing.
        of_categories: numbers name categories, of which any two differ alike; otherwise by squared distance.

    Returns:
        None without an item that two rated, or where every rating is the same.
    """
    parts = alpha_parts(ratings, of_categories)
    return alpha_of(parts.sum(axis=0)) if len(parts) else None


def alpha_parts(ratings: Floats, of_categories: bool = False) -> Floats:
    """What each item adds to alpha: shape (n_items, 2 + 2 x dimensions), summed over the items of a sample.

    Bootstraps add up rows instead of reading ratings again.
    """
    values = np.asarray(ratings, dtype=float)
    known = np.isfinite(values)
    if of_categories:  # half the squared distance of unit vectors is 1 for any two categories
        names = np.unique(values[known])
        points = (values[:, :, None] == names[None, None, :]) / math.sqrt(2.0)
    else:
        centre = values[known].mean() if known.any() else 0.0  # sums of squares keep their digits so
        points = np.where(known, values - centre, 0.0)[:, :, None]
    points = np.where(known[:, :, None], points, 0.0)
    n = known.sum(axis=1)
    paired = n >= 2
    first, second = points.sum(axis=1), (points**2).sum(axis=1)
    within = 2 * (n * second.sum(axis=1) - (first**2).sum(axis=1)) / np.maximum(n - 1, 1)
    return np.asarray(np.where(paired[:, None], np.column_stack([n, within, first, second]), 0.0), dtype=float)


def alpha_of(total: Floats) -> float | None:
    """Alpha from the sum of ``alpha_parts`` over items."""
    n, within = float(total[0]), float(total[1])
    dimensions = (len(total) - 2) // 2
    first, second = total[2 : 2 + dimensions], total[2 + dimensions :]
    if n < 2:
        return None
    between = 2 * (n * float(second.sum()) - float((first**2).sum())) / (n - 1)
    return 1.0 - within / between if between > 1e-12 * max(1.0, n) else None


def quadratic_kappa(first: ArrayLike, second: ArrayLike) -> float | None:
    """Cohen's kappa with quadratic weights, for numbers of any kind; pairs with a NaN are left out.

    None for no pairs, or where both raters always gave one same number.
    """
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    known = np.isfinite(a) & np.isfinite(b)
    a, b = a[known], b[known]
    if not a.size:
        return None
    expected = float(np.var(a) + np.var(b) + (a.mean() - b.mean()) ** 2)
    return 1.0 - float(np.mean((a - b) ** 2)) / expected if expected > 1e-12 else None


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
