"""Finds the conversations among rows without ``tree_id``, by the tokens that they share.

Sorted by their tokens, rows that share most are neighbours. Neighbours are joined where they share half of
the shorter prompt or more, not counting what most rows of the set begin with (a template's header, one system prompt);
a conversation found in this way always fits into a pack. How rows are joined changes the number of tokens, not the
loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from aloe.training.data import TokenRows

BLOCK = 256  # tokens of each row that are looked at together: sorting takes a KB a row beside the rows themselves


def join_loose(conversations: Sequence[TokenRows], budget: int, items: int) -> list[TokenRows]:
    """The conversations, the loose ones among them joined by shared prefixes, in the order of their first members.

    Args:
        budget: tokens that a joined conversation may have. items: pairs (rows in SFT) that it may have.
    """
    loose = [i for i, c in enumerate(conversations) if c.is_loose]
    found = [[i] for i, c in enumerate(conversations) if not c.is_loose]
    found += _groups([conversations[i] for i in loose], loose, budget, items)
    return [_merged([conversations[i] for i in group]) for group in sorted(found)]


def _merged(parts: Sequence[TokenRows]) -> TokenRows:
    if len(parts) == 1:
        return parts[0]
    whole = TokenRows(parts[0].key)
    for part in parts:
        n = len(whole.rows)
        whole.pairs += [(n + one, n + two) for one, two in part.pairs]
        whole.add(zip(part.rows, part.starts, strict=True))
    return whole


def _groups(parts: Sequence[TokenRows], numbers: Sequence[int], budget: int, items: int) -> list[list[int]]:
    """Members of each found conversation, as their ``numbers``."""
    order = _by_tokens([part.rows[0] for part in parts])
    shared = [0] + [_common(parts[a].rows[0], parts[b].rows[0]) for a, b in pairwise(order)]
    usual = _usual(shared) if len(parts) > items else [0] * len(parts)
    groups: list[list[int]] = []
    size = count = 0
    for place, at in enumerate(order):
        part = parts[at]
        own = len(part.rows[0]) + sum(len(row) - _common(part.rows[0], row) for row in part.rows[1:])
        n = len(part.pairs) or len(part.rows)
        is_kin = False
        if groups:
            prompt = min(part.starts[0], parts[order[place - 1]].starts[0])
            base = min(usual[place], usual[place - 1])
            is_kin = 2 * (shared[place] - base) >= prompt - base
        if is_kin and size + own - shared[place] <= budget and count + n <= items:
            groups[-1].append(numbers[at])
            size, count = size + own - shared[place], count + n
        else:
            groups.append([numbers[at]])
            size, count = own, n
    return [sorted(group) for group in groups]


def _by_tokens(rows: Sequence[Sequence[int]]) -> list[int]:
    """Numbers of the rows by their tokens, equal ones as they come; a block at a time, so that memory is bounded."""
    order: list[int] = []
    stack = [(list(range(len(rows))), 0)]
    while stack:
        numbers, at = stack.pop()
        if len(numbers) < 2 or at < 0:
            order += numbers
            continue
        keys = {i: np.asarray(rows[i][at : at + BLOCK], dtype=">u4").tobytes() for i in numbers}
        numbers.sort(key=keys.__getitem__)
        runs: list[tuple[list[int], int]] = []
        for i in numbers:
            if runs and keys[runs[-1][0][0]] == keys[i]:
                runs[-1][0].append(i)
            else:
                runs.append(([i], at + BLOCK if len(keys[i]) == 4 * BLOCK else -1))
        stack.extend(reversed(runs))
    return order


def _common(one: Sequence[int], two: Sequence[int]) -> int:
    """How many leading tokens two rows share, a block at a time."""
    n = min(len(one), len(two))
    for at in range(0, n, BLOCK):
        a, b = np.asarray(one[at : min(n, at + BLOCK)]), np.asarray(two[at : min(n, at + BLOCK)])
        differ = np.flatnonzero(a != b)
        if len(differ):
            return at + int(differ[0])
    return n


def _usual(shared: Sequence[int]) -> list[int]:
    """For each row in order, how much of its beginning more than half of all rows begin with.

    Such a beginning is the middle row's; what a row shares with that one is the least of what neighbours in between
    share.
    """
    n = len(shared)
    middle = n // 2
    with_middle: NDArray[np.int64] = np.zeros(n, np.int64)
    above = np.asarray(shared, np.int64)
    with_middle[middle] = np.iinfo(np.int64).max
    with_middle[middle + 1 :] = np.minimum.accumulate(above[middle + 1 :])
    with_middle[:middle] = np.minimum.accumulate(above[middle:0:-1])[::-1]
    # the (n // 2 + 1)-th largest: so many rows, more than half of them, share at least that much with the middle
    usual = int(np.sort(with_middle)[::-1][n // 2])
    return [int(x) for x in np.minimum(with_middle, usual)]
