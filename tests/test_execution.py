"""Executors: shards are a partition, results come in the order of the items."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aloe.execution import create_executor, make_shards


@given(st.lists(st.integers()), st.integers(1, 9))
def test_shards_are_an_even_partition(items: list[int], n: int) -> None:
    shards = make_shards(items, n)
    assert sorted(x for shard in shards for x in shard) == sorted(items)
    assert max(map(len, shards)) - min(map(len, shards)) <= 1
    assert len(shards) <= n


def test_the_local_executor_keeps_the_order() -> None:
    assert list(create_executor("local").map(lambda x: x * x, [3, 1, 2])) == [9, 1, 4]
