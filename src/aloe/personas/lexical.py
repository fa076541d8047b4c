"""The lexical embedder: hashed words, word pairs and character n-grams with signs; needs nothing but numpy.

Because of the signs two unrelated texts have an expected cosine near 0.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from aloe.errors import ConfigError

Vectors = NDArray[np.float32]

_WORD = re.compile(r"\w+")
# Words that every English description has; counted in full they would make all texts look alike.
_COMMON_TEXT = """
    a about after all also always an and are as at be been before but by can for from get gets had has
    have he her hers him his how i in into is it its likes live lives loves more most my never not of
    often old on one or other others out own she so some than that the their theirs them then they
    things this to too up very was were what when which while who will with work works would year years
    you your
"""
_COMMON = frozenset(_COMMON_TEXT.split())


class LexicalEmbedder:
    """Signed feature hashing of words, word pairs and character 4-grams; about 0.1 ms a text.

    Args:
        dim: length of the vectors, a power of two.
    """

    name = "lexical"

    def __init__(self, dim: int = 1024) -> None:
        if dim < 16 or dim & (dim - 1):
            raise ConfigError(f"the lexical embedder's dimension is {dim}", "use a power of two from 16 up")
        self.dim = dim

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, float32, shape (n_texts, dim); a text without any letter or digit is all zeros."""
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            row += self._embed_one(text.lower())
        return vectors

    def _embed_one(self, text: str) -> NDArray[np.float64]:
        words = _WORD.findall(text)
        if not words:
            return np.zeros(self.dim)
        crc = zlib.crc32
        codes = [crc(w.encode()) for w in words]
        weights = [0.2 if w in _COMMON else 1.0 for w in words]
        pair_codes = [(a * 31 + b) & 0xFFFFFFFF for a, b in pairwise(codes)]
        pair_weights = [0.5 * a * b for a, b in pairwise(weights)]
        points = np.frombuffer(" ".join(words).encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
        grams = _gram_codes(points)
        # Character n-grams carry about as much weight as the words, whatever the script.
        gram_weight = 0.6 * np.sqrt(sum(w * w for w in weights) / max(1, len(grams)))
        hashed = np.concatenate([np.array(codes + pair_codes, dtype=np.uint64), grams])
        weight = np.concatenate([np.array(weights + pair_weights), np.full(len(grams), gram_weight)])
        mixed = spread(hashed)
        signed = np.where(mixed >> np.uint64(63), weight, -weight)
        places = (mixed & np.uint64(self.dim - 1)).astype(np.int64)
        vector = np.bincount(places, signed, self.dim).astype(np.float64)
        norm = length_of(vector)
        return vector / norm if norm > 0 else vector


def length_of(vector: NDArray[np.float64]) -> float:
    """Euclidean length, the same to the last bit on every machine."""
    return math.sqrt(math.fsum((vector * vector).tolist()))


def _gram_codes(points: NDArray[np.uint64], n: int = 4) -> NDArray[np.uint64]:
    if len(points) < n:
        return np.zeros(0, dtype=np.uint64)
    codes = np.full(len(points) - n + 1, 0x9E3779B9, dtype=np.uint64)
    for i in range(n):
        codes = codes * np.uint64(1_000_003) + points[i : len(points) - n + 1 + i]
    return codes


def spread(codes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread codes evenly over 64 bits (a multiply-xorshift finaliser)."""
    codes = (codes ^ (codes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    codes = (codes ^ (codes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return codes ^ (codes >> np.uint64(31))
