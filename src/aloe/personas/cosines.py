"""Cosine similarities that are equal on every CPU, for the decisions that depend on them.

A product in float32 differs in its last bits from one CPU to the next, and a tie decided by such a bit gives different
personas for the same seed. Vectors are therefore put on a grid of whole multiples of 2^-26: their products are whole
numbers below 2^53, which float64 adds up without rounding, in any order and on any CPU.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
GRID = 2.0**26
_ROWS = 1024  # rows of a product that are held in float64 at once


def on_grid(vectors: NDArray[np.float32]) -> Floats:
    """Unit vectors (or at most sqrt(2) long), any shape, as whole numbers of grid steps."""
    steps: Floats = np.rint(np.asarray(vectors, dtype=np.float64) * GRID)
    return steps


def products(some: Floats, others: Floats) -> Floats:
    """Exact inner products of rows on the grid, shape (n_some, n_others), as cosines of unit vectors."""
    return np.asarray((some @ others.T) / GRID**2, dtype=np.float64)


def cosines(some: NDArray[np.float32], one: NDArray[np.float32]) -> Floats:
    """Cosines of rows (n, dim) and a vector (dim,) with their lengths divided out, at most 1; 0 for an empty vector."""
    rows, own = on_grid(some), on_grid(one)
    lengths = np.sqrt((rows * rows).sum(axis=1)) * np.sqrt(own @ own)
    found = np.divide(rows @ own, lengths, out=np.zeros(len(rows)), where=lengths > 0)
    return np.asarray(np.minimum(found, 1.0), dtype=np.float64)


def nearest_others(vectors: NDArray[np.float32]) -> tuple[Floats, NDArray[np.intp]]:
    """Each row's highest cosine to another row, and which (the first of equals); (-1, 0) where there is no other."""
    grid = on_grid(vectors)
    best, where = np.full(len(grid), -1.0), np.zeros(len(grid), dtype=np.intp)
    for start in range(0, len(grid) if len(grid) > 1 else 0, _ROWS):
        part = products(grid[start : start + _ROWS], grid)
        rows = np.arange(len(part))
        part[rows, rows + start] = -2.0
        where[start : start + len(part)] = part.argmax(axis=1)
        best[start : start + len(part)] = part[rows, where[start : start + len(part)]]
    return best, where


def similarity_kernel(vectors: NDArray[np.float32], steps: int = 2**20) -> NDArray[np.int64]:
    """exp(3 cosine) of all pairs of rows in whole numbers of 1/``steps``, shape (n, n).

    The exponential is a polynomial of sums and products, because libraries' own differ in the last bit.
    """
    grid = on_grid(vectors)
    exponent = 3.0 * products(grid, grid)
    value = np.ones_like(exponent)
    for n in range(18, 0, -1):  # 1 + x (1 + x/2 (1 + x/3 ...)), exact to 1e-7 for cosines
        value = 1.0 + value * exponent / n
    return np.rint(value * steps).astype(np.int64)
