"""Greedy, exact novelty filtering: is a description new? (paper section 3.1).

A candidate enters if its highest cosine similarity to every member is at most the threshold. Each text is
embedded once; a candidate costs one matrix-vector product, a bulk costs blocked matrix products. What float32
cannot tell apart (the nearest of several, a cosine at the threshold) is decided by exact cosines, so that the
blocked and the one-by-one filter agree, and one machine with another. Beside it stands a check on words, because
embeddings barely see "34" against "35".
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aloe.errors import DataError
from aloe.personas.cosines import cosines, on_grid, products

Vectors = NDArray[np.float32]
NEAR = 2e-5  # how far a float32 cosine of unit vectors may be off, generously
_WORD = re.compile(r"\w+")
_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Nearest:
    """The member most similar to a candidate: its index (-1 in an empty set), the cosine, whether it is too close."""

    index: int
    similarity: float
    too_close: bool


class VectorSet:
    """Unit vectors of the members, in one growing matrix.

    Args:
        dim: length of the vectors.
        threshold: highest cosine that still counts as new, (0, 1].
    """

    def __init__(self, dim: int, threshold: float) -> None:
        self.threshold = threshold
        self._matrix = np.empty((256, dim), dtype=np.float32)
        self._n = 0

    def __len__(self) -> int:
        return self._n

    @property
    def vectors(self) -> Vectors:
        """The members, shape (n, dim)."""
        return self._matrix[: self._n]

    def nearest(self, vector: Vectors) -> Nearest:
        """The nearest member of a unit vector of shape (dim,)."""
        if not self._n:
            return Nearest(-1, -1.0, False)
        similarities = self.vectors @ vector
        best, index = _exact(vector, self.vectors, np.flatnonzero(similarities >= similarities.max() - NEAR))
        return Nearest(index, best, best > self.threshold)

    def add(self, vector: Vectors) -> None:
        if self._n == len(self._matrix):
            grown = np.empty((2 * self._n, self._matrix.shape[1]), dtype=np.float32)
            grown[: self._n] = self._matrix
            self._matrix = grown
        self._matrix[self._n] = vector
        self._n += 1


def _exact(vector: Vectors, members: Vectors, rows: NDArray[np.intp]) -> tuple[float, int]:
    """Highest exact cosine among ``rows``, and the first row that has it."""
    found = cosines(members[rows], vector)
    best = int(found.argmax())
    return float(found[best]), int(rows[best])


@dataclass(frozen=True, slots=True)
class BulkResult:
    """What a bulk filter decided, all of shape (n,).

    Attributes:
        kept: whether the vector entered; decided exactly.
        nearest: index (into the input) of the most similar vector that had entered before, -1 if none had; of
            several within float32 rounding any one.
        similarity: its cosine to float32 rounding, -1 if none.
    """

    kept: NDArray[np.bool_]
    nearest: NDArray[np.int64]
    similarity: Vectors
    n_rechecked: int


def filter_bulk(vectors: Vectors, threshold: float, block: int = 512, tile: int = 2048) -> BulkResult:
    """Greedy filter in the order of the rows, the same decisions as one by one, in blocked matrix products.

    Args:
        vectors: unit vectors, shape (n, dim).
        threshold: highest cosine that still counts as new.
        block: candidates compared at once.
        tile: members per product; block x tile float32 should fit the cache.

    Raises:
        DataError: not a matrix.
    """
    if vectors.ndim != 2:
        raise DataError(f"vectors have shape {vectors.shape}, expected (n, dim)", "stack the vectors")
    n, dim = vectors.shape
    members = np.empty((n, dim), dtype=np.float32)
    origin = np.empty(n, dtype=np.int64)
    kept = np.zeros(n, dtype=bool)
    nearest = np.full(n, -1, dtype=np.int64)
    similarity = np.full(n, -1.0, dtype=np.float32)
    buffer = np.empty((block, tile), dtype=np.float32)
    n_members = n_rechecked = 0
    for start in range(0, n, block):
        batch = np.ascontiguousarray(vectors[start : start + block], dtype=np.float32)
        best, where, n_near = _against_members(batch, members[:n_members], threshold, buffer)
        alive = best <= threshold
        nearest[start : start + len(batch)] = np.where(where >= 0, origin[where], -1) if n_members else -1
        similarity[start : start + len(batch)] = best
        n_near += _within_block(batch, threshold, alive, start, nearest, similarity)
        chosen = np.flatnonzero(alive)
        kept[start + chosen] = True
        members[n_members : n_members + len(chosen)] = batch[chosen]
        origin[n_members : n_members + len(chosen)] = start + chosen
        n_members += len(chosen)
        n_rechecked += n_near
    return BulkResult(kept, nearest, similarity, n_rechecked)


def _against_members(
    batch: Vectors, members: Vectors, threshold: float, buffer: Vectors
) -> tuple[NDArray[np.float64], NDArray[np.int64], int]:
    """Highest cosine of each candidate to the members and where; those near the threshold redone in float64."""
    rows = np.arange(len(batch))
    best = np.full(len(batch), -1.0, dtype=np.float32)
    where = np.full(len(batch), -1, dtype=np.int64)
    tile = buffer.shape[1]
    for start in range(0, len(members), tile):
        part = members[start : start + tile]
        product = np.matmul(batch, part.T, out=buffer[: len(batch), : len(part)])
        index = product.argmax(axis=1)
        value = product[rows, index]
        better = value > best
        best[better] = value[better]
        where[better] = index[better] + start
    exact = best.astype(np.float64)
    near = np.flatnonzero(np.abs(exact - threshold) <= NEAR) if len(members) else rows[:0]
    for row in near:
        close = np.flatnonzero(members @ batch[row] >= threshold - NEAR)
        if len(close):
            exact[row], where[row] = _exact(batch[row], members, close)
    return exact, where, len(near)


def _within_block(
    batch: Vectors,
    threshold: float,
    alive: NDArray[np.bool_],
    start: int,
    nearest: NDArray[np.int64],
    similarity: Vectors,
) -> int:
    """Decide among the candidates of one block, in order: only pairs above the threshold need a look."""
    product = np.tril(batch @ batch.T, -1)
    n_near = 0
    for row in np.flatnonzero((product > threshold - NEAR).any(axis=1)):
        if not alive[row]:
            continue
        close = np.flatnonzero((product[row, :row] > threshold - NEAR) & alive[:row])
        if not len(close):
            continue
        if product[row, close].max() > threshold + NEAR:
            alive[row] = False
        else:
            n_near += 1
            alive[row] = _exact(batch[row], batch, close)[0] <= threshold
    # The nearest earlier entrant may also be a fellow of the block.
    fellows = np.where(alive[None, :], product, -1.0)
    fellows[np.triu_indices(len(batch))] = -1.0
    index = fellows.argmax(axis=1)
    value = fellows[np.arange(len(batch)), index]
    span = slice(start, start + len(batch))
    better = value > similarity[span]
    similarity[span] = np.where(better, value, similarity[span])
    nearest[span] = np.where(better, index + start, nearest[span])
    return n_near


class WordIndex:
    """Near-duplicates by words: same words up to numbers and order, or nearly.

    Two texts clash if the Jaccard overlap of their word sets (digits masked, case folded) is at least ``limit``.
    Bit sets sort out almost everything with one vectorised pass; the rest is compared exactly.
    """

    _BITS = 1024

    def __init__(self, limit: float = 0.85) -> None:
        self.limit = limit
        self._sets: list[frozenset[str]] = []
        self._rows = np.zeros((256, self._BITS // 64), dtype=np.uint64)

    @staticmethod
    def words(text: str) -> frozenset[str]:
        return frozenset(_DIGITS.sub("0", w) for w in _WORD.findall(text.casefold()))

    def _bits(self, words: frozenset[str]) -> NDArray[np.uint64]:
        bits = np.zeros(self._BITS // 64, dtype=np.uint64)
        for word in words:
            place = zlib.crc32(word.encode("utf-8", "replace")) % self._BITS
            bits[place >> 6] |= np.uint64(1 << (place & 63))
        return bits

    def find(self, text: str) -> tuple[int, float]:
        """(index of the most overlapping member, overlap in [0, 1]) if it reaches the limit, else (-1, 0.0)."""
        words = self.words(text)
        if not self._sets or not words:
            return -1, 0.0
        rows = self._rows[: len(self._sets)]
        own = self._bits(words)
        shared = np.bitwise_count(rows & own).sum(axis=1, dtype=np.int64)
        either = np.bitwise_count(rows | own).sum(axis=1, dtype=np.int64)
        best, where = 0.0, -1
        for index in np.flatnonzero(shared >= (self.limit - 0.15) * either):  # collisions shift the ratio a little
            other = self._sets[index]
            overlap = len(words & other) / len(words | other)
            if overlap > best:
                best, where = overlap, int(index)
        return (where, best) if best >= self.limit else (-1, 0.0)

    def add(self, text: str) -> None:
        words = self.words(text)
        if len(self._sets) == len(self._rows):
            self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
        self._rows[len(self._sets)] = self._bits(words)
        self._sets.append(words)


def pairwise_above(vectors: Vectors, threshold: float) -> list[tuple[int, int, float]]:
    """All pairs (i < j) with cosine above the threshold, highest first. For checks of small pools."""
    grid = on_grid(vectors)
    product = np.triu(products(grid, grid), 1)
    found = [(int(i), int(j), float(product[i, j])) for i, j in np.argwhere(product > threshold)]
    return sorted(found, key=lambda p: (-p[2], p[0], p[1]))


def member_texts(texts: Sequence[str]) -> WordIndex:
    """A word index that already holds ``texts``."""
    index = WordIndex()
    for text in texts:
        index.add(text)
    return index
