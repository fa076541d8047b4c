"""Rows of tokens as one trie: each shared prefix once, ordered so that every branch is one slice.

The rows of a conversation (its histories with a reply each) repeat what came before. Their trie holds each token
once. Nodes are numbered in pre-order and the child under which the longest path lies comes first, so that

- a *chain* (a path that is left only by shorter side branches) is a contiguous slice,
- the ancestors of a chain are a few slices, one per chain on the way to the root,
- node ``q`` may attend to node ``k`` exactly if ``k <= q < end[k]``, where ``end[k]`` is one past the last node
  under ``k``. The same rule is a mask for any attention, and stays right when tries are laid end to end.

Built over tokenised rows, packed training is equal to training on rows by construction: a node has the same
token, the same position and the same visible past as in each row that runs through it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Chain:
    """Nodes ``start`` to ``stop`` (one slice) and the slices of their ancestors, from the root on."""

    start: int
    stop: int
    spans: tuple[tuple[int, int], ...]

    def shift(self, by: int) -> Chain:
        """The same chain ``by`` nodes further on."""
        return Chain(self.start + by, self.stop + by, tuple((a + by, b + by) for a, b in self.spans))


@dataclass(frozen=True, slots=True)
class Trie:
    """See the module. All arrays have shape (nodes,), except ``places``: per row the node of each token."""

    ids: Ints
    depths: Ints
    parents: Ints
    end: Ints
    chains: tuple[Chain, ...]
    places: tuple[Ints, ...]

    def __len__(self) -> int:
        return len(self.ids)


def build_trie(rows: Sequence[Sequence[int]]) -> Trie:
    """The trie of ``rows`` (token ids, none empty). Time is linear in their tokens.

    Raises:
        ValueError: no row, or an empty one.
    """
    if not rows or not all(len(row) for row in rows):
        raise ValueError("a trie needs rows, none of them empty")
    arrays = [np.asarray(row, dtype=np.int64) for row in rows]
    keys = [array.astype(">u4").tobytes() for array in arrays]
    order = sorted(range(len(rows)), key=keys.__getitem__)
    segments, row_segments = _segments([arrays[i] for i in order])
    nodes = _number(segments)
    n = sum(stop - start for start, stop in ((s.first, s.last) for s in segments))
    ids, depths = np.empty(n, np.int64), np.empty(n, np.int64)
    parents, end = np.empty(n, np.int64), np.empty(n, np.int64)
    for segment in segments:
        at = slice(segment.node, segment.node + segment.last - segment.first)
        ids[at] = arrays[order[segment.row]][segment.first : segment.last]
        depths[at] = np.arange(segment.first, segment.last)
        parents[at] = np.arange(segment.node - 1, at.stop - 1)
        if segment.parent >= 0:
            above = segments[segment.parent]
            parents[segment.node] = above.node + above.last - above.first - 1
        else:
            parents[segment.node] = -1
        end[at] = segment.end
    places: list[Ints] = [np.empty(0, np.int64)] * len(rows)
    for number, path in zip(order, row_segments, strict=True):
        parts = [np.arange(segments[s].node, segments[s].node + segments[s].last - segments[s].first) for s in path]
        places[number] = np.concatenate(parts)
    return Trie(ids, depths, parents, end, nodes, tuple(places))


@dataclass(slots=True)
class _Segment:
    """Tokens ``first`` to ``last`` of sorted row ``row``, with no fork inside."""

    row: int
    first: int
    last: int
    parent: int
    node: int = -1
    end: int = -1


def _common(one: Ints, two: Ints) -> int:
    n = min(len(one), len(two))
    differ = np.flatnonzero(one[:n] != two[:n])
    return int(differ[0]) if len(differ) else n


def _segments(rows: Sequence[Ints]) -> tuple[list[_Segment], list[list[int]]]:
    """Fork-free segments of sorted rows, parents before children, and for each row its segments from the root."""
    segments = [_Segment(0, 0, len(rows[0]), -1)]
    path = [0]
    paths = [[0]]
    for number in range(1, len(rows)):
        shared = _common(rows[number - 1], rows[number])
        while path and segments[path[-1]].first >= shared:
            path.pop()
        if path and segments[path[-1]].last > shared:
            _split(segments, paths, path[-1], shared)
        if shared < len(rows[number]):
            segments.append(_Segment(number, shared, len(rows[number]), path[-1] if path else -1))
            path.append(len(segments) - 1)
        paths.append(list(path))
    return segments, paths


def _split(segments: list[_Segment], paths: list[list[int]], at: int, depth: int) -> None:
    """Cut segment ``at`` at ``depth``: the lower part becomes a segment of its own in every row that has it."""
    upper = segments[at]
    lower = _Segment(upper.row, depth, upper.last, at)
    upper.last = depth
    segments.append(lower)
    new = len(segments) - 1
    for segment in segments[:new]:
        if segment.parent == at:
            segment.parent = new
    for path in paths:
        if at in path:
            path.insert(path.index(at) + 1, new)


def _number(segments: list[_Segment]) -> tuple[Chain, ...]:
    """Number the nodes, the heavy child first, and return the chains."""
    children: dict[int, list[int]] = {}
    for number, segment in enumerate(segments):
        children.setdefault(segment.parent, []).append(number)
    deepest = [segment.last for segment in segments]
    # children lie deeper than their parents, so by falling depth each parent comes after all of its children
    for number in sorted(range(len(segments)), key=lambda s: -segments[s].first):
        parent = segments[number].parent
        if parent >= 0:
            deepest[parent] = max(deepest[parent], deepest[number])
    for group in children.values():
        group.sort(key=lambda s: (-deepest[s], s))
    chains: list[list[int]] = []  # start, stop, the segment above (-1: none)
    chain_of: dict[int, int] = {}
    count = 0
    stack = [(root, False) for root in reversed(children.get(-1, []))]
    while stack:
        number, leaving = stack.pop()
        segment = segments[number]
        if leaving:
            segment.end = count
            continue
        segment.node = count
        count += segment.last - segment.first
        heavy = segment.parent >= 0 and children[segment.parent][0] == number
        if heavy:
            chain_of[number] = chain_of[segment.parent]
            chains[chain_of[number]][1] = count
        else:
            chain_of[number] = len(chains)
            chains.append([segment.node, count, segment.parent])
        stack.append((number, True))
        stack.extend((child, False) for child in reversed(children.get(number, [])))
    found: list[Chain] = []
    for start, stop, above in chains:
        spans: tuple[tuple[int, int], ...] = ()
        if above >= 0:
            over = found[chain_of[above]]
            fork = segments[above].node + segments[above].last - segments[above].first
            spans = (*over.spans, (over.start, fork))
        found.append(Chain(start, stop, spans))
    return tuple(found)
