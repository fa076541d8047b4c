"""Statistics that the benchmark stands on: lines, intervals over clustered personas, agreement. Numpy only.

A benchmark's personas are often a cross product (the paper: 20 profiles x 5 personalities), so two personas that
share a profile or a personality are not independent. ``Clusters`` holds the partitions of the personas, and
``mean_interval`` gives the interval of a mean whose error is a sum of one random effect per partition.

Invariants: nothing here draws unless a generator is passed in; an interval that can't be had is ``None``, never NaN.
Imports no other aloe module.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_COLLINEAR = 1e-6  # smallest eigenvalue of the scaled moment matrix at which components still count as separable
_POOL_ABOVE = 0.25  # p value above which a shared effect counts as absent (the level usual for sometimes-pooling)


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


# ------------------------------------------------------------------ Student's t


def _beta_fraction(a: float, b: float, x: float) -> float:
    """Continued fraction of the incomplete beta function (modified Lentz)."""
    tiny = 1e-300
    c, d = 1.0, 1.0 - (a + b) * x / (a + 1.0)
    d = 1.0 / (d if abs(d) > tiny else tiny)
    value = d
    for m in range(1, 400):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 + numerator * d
            d = 1.0 / (d if abs(d) > tiny else tiny)
            c = 1.0 + numerator / c
            c = c if abs(c) > tiny else tiny
            value *= d * c
        if abs(d * c - 1.0) < 1e-14:
            break
    return value


def _incomplete_beta(a: float, b: float, x: float) -> float:
    if x <= 0.0 or x >= 1.0:
        return min(max(x, 0.0), 1.0)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    front = math.exp(log_front)
    if x < (a + 1.0) / (a + b + 2.0):
        return front * _beta_fraction(a, b, x) / a
    return 1.0 - front * _beta_fraction(b, a, 1.0 - x) / b


def t_tail(t: float, df: float) -> float:
    """Two-sided tail P(|T| >= |t|) of Student's t with ``df`` > 0 (need not be whole) degrees of freedom."""
    if math.isinf(t):
        return 0.0
    return _incomplete_beta(df / 2.0, 0.5, df / (df + t * t))


@lru_cache(maxsize=4096)
def t_quantile(level: float, df: float) -> float:
    """The t with P(|T| <= t) = ``level``, for 0 < level < 1."""
    low, high = 0.0, 1.0
    while t_tail(high, df) > 1.0 - level:
        low, high = high, 2.0 * high
    for _ in range(200):
        middle = 0.5 * (low + high)
        if not low < middle < high:
            break
        low, high = (middle, high) if t_tail(middle, df) > 1.0 - level else (low, middle)
    return 0.5 * (low + high)


# ------------------------------------------------------------------ clusters


def _codes(labels: Sequence[Hashable]) -> Ints:
    seen: dict[Hashable, int] = {}
    return np.array([seen.setdefault(label, len(seen)) for label in labels], dtype=np.int64)


def _partition(codes: Ints) -> tuple[int, ...]:
    """The same partition gives the same tuple, however its clusters were numbered."""
    return tuple(_codes(codes.tolist()).tolist())


class Clusters:
    """How n units (personas) share groups: one partition per label list, their intersection, the units themselves.

    The model behind it: value_i = mean + one independent effect per group that i is in + its own error. Partitions
    that repeat a finer one, or that the data can't tell from finer ones (all units in one group), are left out; with
    units that share nothing only the units remain and everything is the textbook independent case.

    Args:
        labels: each a sequence of n hashable group names (profile ids, personality ids, ...). At least one.
    """

    def __init__(self, *labels: Sequence[Hashable]) -> None:
        if not labels or len({len(names) for names in labels}) != 1:
            raise ValueError("give at least one list of labels, all of the same length")
        self.labels = tuple(tuple(names) for names in labels)
        self.n = len(labels[0])
        units = np.arange(self.n, dtype=np.int64)
        cells = _codes(list(zip(*self.labels, strict=True)))
        coarse = [_codes(names) for names in self.labels]
        # finest first; the units always stay
        candidates = [units, cells, *sorted(coarse, key=lambda c: -int(c.max(initial=-1)))]
        distinct = list({_partition(codes): codes for codes in reversed(candidates)}.values())[::-1]
        distinct = [units] + [c for c in distinct if _partition(c) != _partition(units)]
        self.partitions = self._separable(distinct)
        self._cells = cells
        self._moments: Floats = self._second_moments(self.partitions)
        counts = [np.bincount(codes).astype(float) for codes in self.partitions]
        self._target: Floats = np.array([float(c @ c) / max(self.n, 1) ** 2 for c in counts])
        self._fourth: Floats | None = None

    @classmethod
    def independent(cls, n: int) -> Clusters:
        """n units that share nothing."""
        return cls(range(n))

    def take(self, keep: NDArray[np.bool_]) -> Clusters:
        """The clusters of the units where ``keep`` (shape (n,)) is true."""
        if bool(np.all(keep)):
            return self
        index = np.flatnonzero(keep)
        return Clusters(*[[names[i] for i in index] for names in self.labels])

    @property
    def shared(self) -> tuple[Ints, ...]:
        """Codes of the label lists (not of their intersection) that group units and vary between them."""
        own = [_partition(_codes(names)) for names in self.labels]
        return tuple(codes for codes in self.partitions[1:] if _partition(codes) in own)

    def group_sums(self, values: Floats) -> Floats:
        """Per partition: sum over groups of the squared sum of ``values`` (shape (n,)) in the group."""
        return np.array([float(np.sum(np.bincount(codes, values) ** 2)) for codes in self.partitions])

    def _separable(self, candidates: list[Ints]) -> list[Ints]:
        kept: list[Ints] = []
        for codes in candidates:
            trial = [*kept, codes]
            moments = self._second_moments(trial)
            size = np.sqrt(np.maximum(np.diag(moments), 0.0))
            if np.any(size <= 1e-9):
                continue
            smallest = np.linalg.eigvalsh(moments / np.outer(size, size))[0]
            if smallest > _COLLINEAR:
                kept = trial
        return kept or candidates[:1]

    def _centred(self, a: Ints, b: Ints) -> Floats:
        """Z_a' M Z_b with indicators Z and M = I - 11'/n, shape (groups of a, groups of b)."""
        table = np.zeros((int(a.max()) + 1, int(b.max()) + 1))
        np.add.at(table, (a, b), 1.0)
        return table - np.outer(table.sum(1), table.sum(0)) / self.n

    def _chain(self, indices: Sequence[int], tables: dict[tuple[int, int], Floats]) -> float:
        """Trace of M A_1 M A_2 ... with A_c = Z_c Z_c'. The units' A is the identity and drops out (index 0)."""
        rest = [c for c in indices if c != 0]
        if not rest:
            return float(self.n - 1)
        product = tables[rest[0], rest[1 % len(rest)]]
        for left, right in itertools.pairwise([*rest[1:], rest[0]] if len(rest) > 1 else []):
            product = product @ tables[left, right]
        return float(np.trace(product))

    def _tables(self, partitions: list[Ints]) -> dict[tuple[int, int], Floats]:
        some = range(1, len(partitions))
        return {(a, b): self._centred(partitions[a], partitions[b]) for a in some for b in some}

    def _second_moments(self, partitions: list[Ints]) -> Floats:
        """E[group sums of residuals] = moments @ variances; shape (c, c), symmetric."""
        tables, size = self._tables(partitions), len(partitions)
        if self.n == 0:
            return np.zeros((size, size))
        return np.array([[self._chain((a, b), tables) for b in range(size)] for a in range(size)])

    def fourth_moments(self) -> Floats:
        """Traces that give the covariance of the group sums under normal effects, shape (c, c, c, c); cached."""
        if self._fourth is None:
            tables, size = self._tables(self.partitions), len(self.partitions)
            self._fourth = np.empty((size,) * 4)
            for index in itertools.product(range(size), repeat=4):
                self._fourth[index] = self._chain(index, tables)
        return self._fourth

    def variance_of_mean(self, values: ArrayLike) -> tuple[float, float]:
        """Estimated variance of the mean of ``values`` (shape (n,)) and its Satterthwaite degrees of freedom.

        The variances of the effects solve the moment equations of the group sums (Henderson's method 1). Of the
        partitions whose effect is not seen at the level ``_POOL_ABOVE`` the least evident is pooled with the rest
        and the equations are solved again; a variance that is still negative is set to 0 in the same way. For a
        balanced crossed design this is the analysis of variance, (MS_a + MS_b - MS_rest) / n, with sometimes-pooling
        of Bozivich, Bancroft and Hartley (Ann. Math. Statist. 27, 1956). To pool never, or only where F < 1, makes
        intervals too wide where nothing is shared; to pool at the usual 5% misses effects that matter.
        """
        y = np.asarray(values, dtype=float)
        sums = self.group_sums(y - y.mean())
        keep = list(range(len(self.partitions)))
        while len(keep) > 1:
            theta = np.linalg.solve(self._moments[np.ix_(keep, keep)], sums[keep])
            chance = {c: self._chance(sums, c, [k for k in keep if k != c]) for c in keep if c != 0}
            weakest = max(chance, key=lambda c: chance[c])
            if chance[weakest] > _POOL_ABOVE:
                keep.remove(weakest)
            elif theta.min() < 0.0:
                keep.pop(int(np.argmin(theta * self._target[keep])))
            else:
                break
        variance, spread, _ = self._combine(sums, self._target[keep], keep)
        if variance <= 0.0 or spread <= 0.0 or keep == [0]:
            return max(variance, 0.0), float(self.n - 1)
        return variance, min(max(2.0 * variance**2 / spread, 1.0), float(self.n - 1))

    def _combine(self, sums: Floats, target: Floats, keep: list[int]) -> tuple[float, float, Floats]:
        """Estimate of ``target`` @ variances from the kept partitions, its variance under normal effects (with the
        variances put in as estimated, at least 0), and those variances."""
        inverse = np.linalg.inv(self._moments[np.ix_(keep, keep)])
        theta = np.maximum(inverse @ sums[keep], 0.0)
        weights = inverse.T @ target
        chains = self.fourth_moments()[np.ix_(keep, keep, keep, keep)] if keep != [0] else np.full((1,) * 4, self.n - 1)
        spread = 2.0 * float(np.einsum("l,m,i,j,limj->", weights, weights, theta, theta, chains))
        return float(weights @ sums[keep]), spread, theta

    def _chance(self, sums: Floats, tested: int, rest: list[int]) -> float:
        """P value of "partition ``tested`` has no effect", the partitions ``rest`` given.

        Its group sum as a share of what the pooled rest expects of it is a beta variable; in balanced designs this is
        the F test of the analysis of variance, elsewhere Satterthwaite's approximation of it.
        """
        expected, spread, theta = self._combine(sums, self._moments[rest, tested], rest)
        own = 2.0 * float(
            np.einsum("i,j,ij->", theta, theta, self.fourth_moments()[tested][np.ix_(rest, [tested], rest)][:, 0])
        )
        if expected <= 0.0 or spread <= 0.0 or own <= 0.0:
            return 1.0 if float(sums[tested]) <= max(expected, 0.0) else 0.0
        df, df_pooled = 2.0 * expected**2 / own, 2.0 * expected**2 / spread
        share = float(sums[tested]) / expected * df / df_pooled
        return 1.0 - _incomplete_beta(df / 2.0, max(df_pooled - df, 1.0) / 2.0, share)

    def draw_weights(self, rng: np.random.Generator, n_draws: int) -> Floats:
        """Bootstrap counts, shape (n_draws, n): groups of each shared partition are drawn with replacement on their
        own and a unit's count is the product of its groups'; units themselves where nothing is shared."""
        weights = np.ones((n_draws, self.n))
        for codes in self.shared or (self.partitions[0],):
            size = int(codes.max()) + 1
            counts = rng.multinomial(size, np.full(size, 1.0 / size), size=n_draws)
            weights *= counts[:, codes]
        return weights


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its interval. ``df``: Satterthwaite degrees of freedom of ``se``."""

    value: float
    low: float
    high: float
    se: float
    df: float

    @property
    def p_value(self) -> float:
        """Two-sided probability of a value at least this far from 0 if the truth were 0."""
        if self.se == 0.0:
            return 1.0 if self.value == 0.0 else 0.0
        return t_tail(self.value / self.se, self.df)

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0.0 or self.high < 0.0


def mean_interval(values: ArrayLike, clusters: Clusters | None = None, level: float = 0.95) -> Estimate | None:
    """Mean of ``values`` (shape (n,); NaN left out) with its t interval under ``clusters`` (None: independent).

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
    variance, df = groups.variance_of_mean(y)
    se, mean = math.sqrt(variance), float(y.mean())
    if is_flat(y):
        se = 0.0
    half = t_quantile(level, df) * se
    return Estimate(mean, mean - half, mean + half, se, df)


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


# ------------------------------------------------------------------ agreement


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
