"""Intervals for personas that share groups: effects of the groups are averaged over, not tested.

A value is mean + one effect per shared group (its profile, its personality) + its own rest. What an interval needs is
the size of those effects, and five personalities say little about it. A test that decides whether there is an effect
makes intervals narrow where the data happen to hide it. Here the standard deviation of each effect, relative to the
rest, keeps its whole posterior distribution: restricted likelihood times a prior that rises from 0 (an effect that the
data don't show is not taken for none) up to about a third of the rest and, above, falls off for fewer than six
groups and rises for more (Gelman, Bayesian Analysis 1, 2006, on priors for few groups). The slopes are such that the
narrowest third of a design's intervals covers at least 0.92. The sizes are on a fixed grid, so nothing is drawn and
nothing can diverge.

Invariants: the posterior depends on partitions and values only, not on names, order or scale.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from aloe.stats.students import Floats, Ints

_KNEE = 0.3  # ratio of an effect's to the rest's standard deviation around which the prior's rise from 0 ends
_FLAT_AT = 6.0  # groups for which it is flat above
_TAIL, _STEEPEST = 0.3, 0.8  # exponent of the tail per group that is missing from those, or more; of its steepest rise
_LARGEST = 100.0  # ratio at which the grid ends
_LEAST_REST = 1e-3  # share of all squared deviations that is left to the rest even where effects explain everything
_MAX_GRID = (128, 48)  # sizes of the effect with more, with fewer groups


def as_codes(labels: Sequence[Hashable]) -> Ints:
    """Labels as numbers from 0 in order of appearance, so that equal partitions have equal codes."""
    seen: dict[Hashable, int] = {}
    return np.array([seen.setdefault(label, len(seen)) for label in labels], dtype=np.int64)


class Clusters:
    """How n units (personas) share groups.

    Partitions that can't be told from the units themselves (every unit alone), from another one, or that hold all
    units in one group are left out; with units that share nothing everything is the textbook independent case.
    Units that share both groups (two personas of one profile and personality) count as one with their mean.

    Args:
        labels: one or two sequences of n hashable group names (profile ids, personality ids).
    """

    def __init__(self, *labels: Sequence[Hashable]) -> None:
        if not 1 <= len(labels) <= 2 or len({len(names) for names in labels}) != 1:
            raise ValueError("give one or two lists of labels, of the same length")
        self.labels = tuple(tuple(names) for names in labels)
        self.n = len(labels[0])
        partitions = [as_codes(names) for names in self.labels]
        cells = as_codes(list(zip(*self.labels, strict=True)))
        if any(np.array_equal(cells, codes) for codes in partitions):
            cells = np.arange(self.n, dtype=np.int64)
        self.cells: Ints = cells
        distinct = {codes.tobytes(): codes for codes in partitions}.values()
        own = np.arange(self.n, dtype=np.int64)
        kept = [c for c in distinct if c.size and c.max() > 0 and not np.array_equal(c, own)]
        #: Codes of the partitions that group units and vary between them, most groups first.
        self.shared: tuple[Ints, ...] = tuple(sorted(kept, key=lambda c: -int(c.max())))

    @classmethod
    def independent(cls, n: int) -> Clusters:
        """n units that share nothing."""
        return cls(range(n))

    @property
    def n_groups(self) -> tuple[int, ...]:
        """Number of groups of each shared partition."""
        return tuple(int(codes.max()) + 1 for codes in self.shared)

    def take(self, keep: NDArray[np.bool_]) -> Clusters:
        """The clusters of the units where ``keep`` (shape (n,)) is true."""
        if bool(np.all(keep)):
            return self
        index = np.flatnonzero(keep)
        return Clusters(*[[names[i] for i in index] for names in self.labels])

    def cell_values(self, values: Floats) -> Floats:
        """One value per cell whose mean is the mean of ``values`` (shape (n,)): the cell's own, moved by its weight."""
        n_cells = int(self.cells.max()) + 1
        if n_cells == self.n:
            return values
        mean = values.mean()
        return np.asarray(mean + np.bincount(self.cells, values - mean) * n_cells / self.n)

    @cached_property
    def effects(self) -> Effects | None:
        """The posterior of the effects' sizes; None where nothing is shared."""
        if not self.shared:
            return None
        first = np.unique(self.cells, return_index=True)[1]
        return _effects(*(codes[first].tobytes() for codes in self.shared))

    def draw_weights(self, rng: np.random.Generator, n_draws: int) -> Floats:
        """Bootstrap counts, shape (n_draws, n): groups of each shared partition are drawn with replacement on their
        own and a unit's count is the product of its groups'; units themselves where nothing is shared."""
        weights = np.ones((n_draws, self.n))
        for codes in self.shared or (np.arange(self.n),):
            size = int(codes.max()) + 1
            counts = rng.multinomial(size, np.full(size, 1.0 / size), size=n_draws)
            weights *= counts[:, codes]
        return weights


@dataclass(frozen=True, slots=True)
class SizeGrid:
    """Squared ratios of an effect's to the rest's standard deviation, ascending from 0, with log prior weights."""

    ratios: Floats
    log_weights: Floats

    @classmethod
    def of(cls, codes: Ints, most: int) -> SizeGrid:
        """The grid for one partition: as fine as its number of groups can tell sizes apart."""
        counts = np.bincount(codes).astype(float)
        groups = float(codes.size) ** 2 / float(counts @ counts)  # as many equal groups would say as much
        low = 0.1 / math.sqrt(max(codes.size / counts.size, 1.0))
        step = min(0.35, 1.0 / math.sqrt(2.0 * groups))
        n_points = min(most, math.ceil(math.log(_LARGEST / low) / step) + 1)
        tau = np.concatenate([[0.0], np.geomspace(low, _LARGEST, n_points)])
        width = np.gradient(tau)
        width[0] = 0.5 * tau[1]
        tail = max(-_STEEPEST, _TAIL * (_FLAT_AT - groups))
        middle = np.concatenate([[0.25 * tau[1]], tau[1:]])  # of the stretch that each point stands for
        rise = np.log(middle / (middle + _KNEE))
        return cls(tau**2, np.log(width) + rise - 0.5 * tail * np.log(_KNEE**2 + tau**2))


class Effects:
    """Posterior of the sizes of one or two shared effects, and of the spread of the mean that each size implies.

    With ratios l of the effects' variances to the rest's, the covariance is V = I + sum l Z Z' (Z: who is in which
    group). The first partition's part of V is inverted group by group, the second's through the eigenvectors of what
    the first leaves of it, so that a point of the grid costs as many steps as there are groups.

    Args:
        partitions: one or two arrays of n group codes, the one with more groups first.
    """

    def __init__(self, partitions: Sequence[Ints]) -> None:
        self.n = partitions[0].size
        self._codes = partitions
        many = len(partitions) > 1 and int(partitions[1].max()) >= 100  # then the eigenvectors would take too long
        first = SizeGrid.of(partitions[0], _MAX_GRID[0] // 2 if many else _MAX_GRID[0])
        size = np.bincount(partitions[0]).astype(float)
        second = SizeGrid.of(partitions[1], _MAX_GRID[1]) if len(partitions) > 1 else SizeGrid(*np.zeros((2, 1)))
        other = partitions[1] if len(partitions) > 1 else np.zeros(self.n, dtype=np.int64)
        table = np.zeros((size.size, int(other.max()) + 1))
        np.add.at(table, (partitions[0], other), 1.0)
        other_size = table.sum(axis=0)
        # W = I - Z shrink Z' is the inverse of I + l Z Z' for the first partition, whose groups don't overlap
        self._shrink: Floats = first.ratios[:, None] / (1.0 + first.ratios[:, None] * size)  # (a, groups)
        # Z'WZ of the second partition; in its eigenvectors adding the second effect is a division
        left = (table.T[None] * self._shrink[:, None, :]) @ table
        eigenvalues, self._vectors = np.linalg.eigh(np.diag(other_size) - left)
        scale = second.ratios[None, :, None]
        self._weights: Floats = scale / (1.0 + scale * np.maximum(eigenvalues, 0.0)[:, None, :])  # (a, b, groups)
        self._size, self._table = size, table
        ones = self._project(np.ones(self.n))
        self._ones = ones
        information = ones[0][:, None] - np.einsum("abj,aj->ab", self._weights, ones[1] ** 2)
        self._information: Floats = np.maximum(information, 1e-12)
        log_det = np.log1p(first.ratios[:, None] * size).sum(axis=1)[:, None]
        log_det = log_det + np.log1p(scale * np.maximum(eigenvalues, 0.0)[:, None, :]).sum(axis=2)
        prior = first.log_weights[:, None] + second.log_weights[None, :]
        self._log_prior: Floats = prior - 0.5 * log_det - 0.5 * np.log(self._information)
        shared = first.ratios[:, None] * (size @ size) + second.ratios[None, :] * (other_size @ other_size)
        self._inflation: Floats = (self.n + shared) / self.n**2  # variance of the mean in units of the rest's

    def _project(self, values: Floats) -> tuple[Floats, Floats]:
        """values' W values, and Z'W values in eigenvectors, with W the inverse of the first effect's part of V."""
        sums = np.bincount(self._codes[0], values)
        own = float(values @ values) - self._shrink @ sums**2
        other = np.bincount(self._codes[-1], values) if len(self._codes) > 1 else np.zeros(1)
        rotated = np.einsum("aji,aj->ai", self._vectors, other - (self._shrink * sums) @ self._table)
        return own, rotated

    def spreads(self, values: Floats) -> tuple[Floats, Floats]:
        """Standard errors of the mean of ``values`` (shape (n,), not all equal), one per size that matters, and their
        posterior probabilities. Given a size the mean's error is this times a Student's t with n - 1 degrees."""
        centred = values - values.mean()
        length = math.sqrt(float(centred @ centred))
        centred = centred / length
        own, rotated = self._project(centred)
        sums = np.bincount(self._codes[0], centred)
        # sum of squares that is left by generalised least squares: y'V-y - (1'V-y)^2 / 1'V-1, V- the inverse of V
        cross = -(self._shrink @ (self._size * sums))[:, None]
        cross = cross - np.einsum("abj,aj->ab", self._weights, rotated * self._ones[1])
        rest = own[:, None] - np.einsum("abj,aj->ab", self._weights, rotated**2) - cross**2 / self._information
        rest = np.maximum(rest, 0.0) + _LEAST_REST
        log_posterior = self._log_prior - 0.5 * (self.n - 1) * np.log(rest)
        chance = np.exp(log_posterior - log_posterior.max())
        seen = chance > 1e-7
        spread = length * np.sqrt(rest[seen] / (self.n - 1) * self._inflation[seen])
        return spread, chance[seen] / chance[seen].sum()


@lru_cache(maxsize=8)
def _effects(*partitions: bytes) -> Effects:
    """The models of a table share their personas: what depends on those alone is made once."""
    return Effects([np.frombuffer(codes, dtype=np.int64) for codes in partitions])
