"""Where work runs: an Executor maps a function over shards of a stage, in order.

Here it runs in this process, which holds thousands of conversations in flight; one shard is then enough. Another
executor (Ray actors, say) gets several shards of trees, each with a journal of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from aloe.protocols import Executor

T = TypeVar("T")
R = TypeVar("R")


class LocalExecutor:
    """Runs each item when its result is asked for, in this process."""

    n_shards = 1

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterable[R]:
        return map(function, items)


def create_executor(name: str) -> Executor:
    """The executor that ``execution.executor`` names; ``local`` is the one there is."""
    return {"local": LocalExecutor}[name]()


def make_shards(items: list[T], n: int) -> list[list[T]]:
    """``n`` shards that differ by at most one item; together they are ``items``."""
    return [items[i::n] for i in range(min(n, max(len(items), 1)))]
