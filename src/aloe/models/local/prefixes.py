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

    A sequence is found by its first ``n_key`` tokens (a prompt), and used as far as what follows agrees too. An earlier
    turn of a conversation is the beginning of the later one's keys and values: it is kept as a view of these, and goes
    when they go.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._held = 0
        self._items: OrderedDict[bytes, tuple[int, Any, Any]] = OrderedDict()
        self._lengths: dict[int, int] = {}  # how many keys of each length, so that lookups try only those
        self._owner: dict[bytes, bytes] = {}  # of those that are views: whose keys and values they show
        self._views: dict[bytes, set[bytes]] = {}  # the inverse

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
                self._items.move_to_end(self._owner.get(key, key))
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
            self._remove(key)
        self._items[key] = (n_key, array, state)
        self._lengths[n_key] = self._lengths.get(n_key, 0) + 1
        self._held += len(array)
        for earlier in self._turns_before(array, n_key):
            self._share(earlier, key, state)
        while self._held > self._budget and next(iter(self._items)) != key:
            self._drop(next(iter(self._items)))

    def _turns_before(self, array: Any, n_key: int) -> list[bytes]:
        """Keys of the turns before ``array``'s; what ends with its key is the beginning of many conversations."""
        found = []
        for n in [n for n in self._lengths if n < n_key]:
            key = self._key(array, n)
            kept = self._items[key][1] if key in self._items else ()
            if n < len(kept) <= n_key and np.array_equal(kept, array[: len(kept)]):
                found.append(key)
        return found

    def _share(self, key: bytes, owner: bytes, state: Any) -> None:
        """Let ``key`` show the beginning of its owner's keys and values, and its own go."""
        n_key, ids, _ = self._items[key]
        self._items[key] = (n_key, ids, state[..., : len(ids), :])
        before = self._owner.get(key)
        if before is None:
            self._held -= len(ids)
        else:
            self._views[before].discard(key)
        self._owner[key] = owner
        self._views.setdefault(owner, set()).add(key)

    def _remove(self, key: bytes) -> None:
        """Take an entry out; what shows its keys and values stays, for a new owner of the same key."""
        n_key, ids, _ = self._items.pop(key)
        owner = self._owner.pop(key, None)
        if owner is None:
            self._held -= len(ids)
        else:
            self._views[owner].discard(key)
        self._lengths[n_key] -= 1
        if not self._lengths[n_key]:
            del self._lengths[n_key]

    def _drop(self, key: bytes) -> None:
        """Forget an entry, and those that show its keys and values."""
        self._remove(key)
        for view in self._views.pop(key, set()).copy():
            self._drop(view)

    def clear(self) -> None:
        """Keep nothing."""
        self._items.clear()
        self._lengths.clear()
        self._owner.clear()
        self._views.clear()
        self._held = 0


def shared_beginnings(prompts: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """What neighbours in sorted order both begin with, the shortest first, each once."""
    ordered = sorted(prompts)
    found = {a[: _n_equal(a, b)] for a, b in itertools.pairwise(ordered)}
    return sorted(found, key=lambda ids: (len(ids), ids))


def _n_equal(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
