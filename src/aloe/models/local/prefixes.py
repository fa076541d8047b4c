"""The prefix cache: keys and values of earlier turns, found again by their first tokens."""

from __future__ import annotations

import hashlib
import itertools
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np


class PrefixStore:
    """Least recently used keys and values of token sequences, within a budget of tokens.

    A sequence is found by its first ``n_key`` tokens (a prompt), and used as far as what follows agrees too.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._held = 0
        self._items: OrderedDict[bytes, tuple[int, Any, Any]] = OrderedDict()
        self._lengths: dict[int, int] = {}  # how many keys of each length, so that lookups try only those

    @staticmethod
    def _key(ids: Any, n: int) -> bytes:
        return hashlib.blake2b(ids[:n].tobytes(), digest_size=16).digest()

    def longest(self, ids: Sequence[int]) -> tuple[int, Any]:
        """``(n, state)``: what is kept of the beginning of ``ids``, the last token left out; ``(0, None)`` if nothing.

        ``state``: (..., n, head size), a view.
        """
        array = np.asarray(ids, dtype=np.int32)
        for n in sorted(self._lengths, reverse=True):
            if n >= len(array):
                continue
            key = self._key(array, n)
            if key in self._items:
                self._items.move_to_end(key)
                n_key, kept, state = self._items[key]
                m = min(len(kept), len(array) - 1)
                differs = np.flatnonzero(kept[n_key:m] != array[n_key:m])
                end = n_key + int(differs[0]) if differs.size else m
                return end, state[..., :end, :]
        return 0, None

    def put(self, ids: Sequence[int], state: Any, n_key: int | None = None) -> None:
        """Keep ``state``, the keys and values of ``ids``; ``n_key`` None: all of them are the key."""
        array = np.asarray(ids, dtype=np.int32)
        n_key = len(array) if n_key is None else n_key
        key = self._key(array, n_key)
        if key in self._items:
            self._drop(key)
        self._items[key] = (n_key, array, state)
        self._lengths[n_key] = self._lengths.get(n_key, 0) + 1
        self._held += len(array)
        while self._held > self._budget and len(self._items) > 1:
            self._drop(next(iter(self._items)))

    def _drop(self, key: bytes) -> None:
        n_key, ids, _ = self._items.pop(key)
        self._held -= len(ids)
        self._lengths[n_key] -= 1
        if not self._lengths[n_key]:
            del self._lengths[n_key]

    def clear(self) -> None:
        """Keep nothing."""
        self._items.clear()
        self._lengths.clear()
        self._held = 0


def shared_beginnings(prompts: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """What neighbours in sorted order both begin with, the shortest first, each once."""
    ordered = sorted(prompts)
    found = {a[: _n_equal(a, b)] for a, b in itertools.pairwise(ordered)}
    return sorted(found, key=lambda ids: (len(ids), ids))


def _n_equal(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
