"""Intervals: of a mean under shared groups, of a share in [0, 1], of a figure with bootstrap draws."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from aloe.stats.clusters import Clusters
from aloe.stats.lines import is_flat
from aloe.stats.students import Floats, beta_quantile, t_quantile, t_tails

NORMAL = 1.959964  # two-sided 95% quantile of the normal distribution


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its interval."""

    value: float
    low: float
    high: float

    @property
    def se(self) -> float:
        """Standard error of the normal distribution whose 95% interval is as wide."""
        return (self.high - self.low) / (2.0 * NORMAL)

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0.0 or self.high < 0.0


def _mixture_quantile(spreads: Floats, chances: Floats, df: float, level: float) -> float:
    """The h with P(|error| <= h) = ``level`` where the error is a t times one of ``spreads``, by ``chances``."""
    low, high = (t_quantile(level, df) * float(end) for end in (spreads.min(), spreads.max()))
    while high - low > 1e-8 * high:
        middle = 0.5 * (low + high)
        tail = float(chances @ t_tails(middle / spreads, df))
        low, high = (middle, high) if tail > 1.0 - level else (low, middle)
    return 0.5 * (low + high)


def mean_interval(
    values: ArrayLike, clusters: Clusters | None = None, level: float = 0.95, df: float | None = None
) -> Estimate | None:
    """Mean of ``values`` (shape (n,); NaN left out) with its interval under ``clusters`` (None: independent).

    Args:
        df: degrees of freedom where values are known with unequal precision; default, and at most, n - 1.

    Returns:
        None with fewer than two values.
    """
    y = np.asarray(values, dtype=float)
    known = np.isfinite(y)
    n = int(known.sum())
    if n < 2:
        return None
    groups = Clusters.independent(n) if clusters is None else clusters.take(known)
    y = y[known]
    mean = float(y.mean())
    if is_flat(y):
        return Estimate(mean, mean, mean)
    cells = groups.cell_values(y)
    freedom = float(cells.size - 1) if df is None else max(1.0, min(df, float(cells.size - 1)))
    if groups.effects is None:
        half = t_quantile(level, freedom) * float(np.std(cells, ddof=1)) / math.sqrt(cells.size)
    else:
        spreads, chances = groups.effects.spreads(cells)
        half = _mixture_quantile(spreads, chances, freedom, level)
    return Estimate(mean, mean - half, mean + half)


def share_interval(values: ArrayLike, clusters: Clusters | None = None, level: float = 0.95) -> Estimate | None:
    """Mean of ``values`` in [0, 1] (NaN left out) with an interval inside [0, 1] that is never a point.

    Zeros and ones have Clopper and Pearson's interval; where they share groups, with as many draws as would give the
    mean the standard error that it has (Korn and Graubard, Survey Methodology 24, 1998). Other values have the
    interval of a mean, but no end is nearer than if the share of units that n draws can fail to show were at 0 or 1.

    Returns:
        None without a value.
    """
    y = np.asarray(values, dtype=float)
    known = np.isfinite(y)
    y, n = y[known], int(known.sum())
    if n == 0:
        return None
    if np.any((y < 0.0) | (y > 1.0)):
        raise ValueError("shares lie in [0, 1]")
    groups = None if clusters is None else clusters.take(known)
    found, mean = mean_interval(y, groups, level), float(y.mean())
    if np.all((y == 0.0) | (y == 1.0)):
        draws = float(n)
        if groups is not None and found is not None and found.se > 0.0:
            draws = min(draws, mean * (1.0 - mean) / found.se**2)
        return proportion_interval(mean * draws, draws, level)
    half = 0.0 if found is None else found.high - mean
    unseen = 1.0 - (0.5 * (1.0 - level)) ** (1.0 / n)
    return Estimate(mean, max(0.0, mean - max(half, mean * unseen)), min(1.0, mean + max(half, (1.0 - mean) * unseen)))


def ratio_interval(
    parts: ArrayLike, wholes: ArrayLike, clusters: Clusters | None = None, level: float = 0.95
) -> Estimate | None:
    """Share sum(parts) / sum(wholes) of counts per unit (shape (n,), 0 <= part <= whole), as ``share_interval``.

    A unit without a whole says nothing; where all units have one share there are as many draws as units.

    Returns:
        None where there is nothing to count.
    """
    a, b = np.asarray(parts, dtype=float), np.asarray(wholes, dtype=float)
    counted = b > 0.0
    n, total = int(counted.sum()), float(b.sum())
    if n == 0:
        return None
    share = float(a.sum()) / total
    found = mean_interval((share + (a - share * b) * n / total)[counted], clusters and clusters.take(counted), level)
    draws = float(n)
    if found is not None and found.se > 0.0:
        draws = min(total, share * (1.0 - share) / found.se**2)
    return proportion_interval(share * draws, draws, level)


def ratio_difference(
    first: tuple[ArrayLike, ArrayLike], second: tuple[ArrayLike, ArrayLike], clusters: Clusters | None = None
) -> Estimate | None:
    """Difference of two shares sum(parts) / sum(wholes) over the same units, with its interval.

    By the units' influence on the difference (delta method), so that what the two share per unit cancels.

    Args:
        first, second: (parts, wholes), each of shape (n,). A unit without a whole adds nothing to its share.

    Returns:
        None with fewer than two units, or where one side has nothing to count.
    """
    shares, influences = [], []
    for parts, wholes in (first, second):
        a, b = np.asarray(parts, dtype=float), np.asarray(wholes, dtype=float)
        if not b.sum() > 0.0:
            return None
        shares.append(float(a.sum() / b.sum()))
        influences.append((a - shares[-1] * b) / b.mean())
    return mean_interval(shares[0] - shares[1] + influences[0] - influences[1], clusters)


def proportion_interval(successes: float, n: float, level: float = 0.95) -> Estimate:
    """Clopper and Pearson's interval of ``successes`` out of ``n`` > 0 draws; both may be fractions."""
    tail = 0.5 * (1.0 - level)
    missed = n - successes
    low = beta_quantile(tail, successes, missed + 1.0) if successes > 1e-12 * n else 0.0
    high = beta_quantile(1.0 - tail, successes + 1.0, missed) if missed > 1e-12 * n else 1.0
    return Estimate(successes / n, low, high)


def bootstrap_interval(value: float, draws: ArrayLike, level: float = 0.95) -> tuple[float, float] | None:
    """``value`` +- normal quantile x the spread of finite bootstrap draws; None if fewer than half are finite.

    For figures whose draws are biased (N-IR, N-R2: a draw holds the noise twice) it covers far better than the
    draws' own quantiles; see docs/metrics.md.
    """
    drawn = np.asarray(draws, dtype=float)
    finite = drawn[np.isfinite(drawn)]
    if finite.size < 2 or finite.size * 2 < drawn.size:
        return None
    half = t_quantile(level, 1e7) * float(np.std(finite, ddof=1))
    return value - half, value + half
