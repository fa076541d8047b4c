"""Rows that do not say which conversation they are of are packed by the tokens that they share, and lose nothing."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from comparing import assert_same_step, packed_output, row_logps, stock_dpo, tree_dpo, weights
from hypothesis import given, settings
from hypothesis import strategies as st
from tree_models import conversations, make_model

from aloe.training.data import TokenRows
from aloe.training.trees.packs import make_packs
from aloe.training.trees.prefixes import BLOCK, join_loose

BUDGET = 10**6


def loosened(found: list[TokenRows], seed: int | None = None) -> list[TokenRows]:
    """Each pair (each reply where there are none) on its own, in some order."""
    parts = []
    for c in found:
        for one, two in c.pairs:
            part = TokenRows(f"{c.key}-{one}", [c.rows[one], c.rows[two]], [c.starts[one], c.starts[two]], [(0, 1)])
            parts.append(part)
        if not c.pairs:
            parts += [TokenRows(c.key, [row], [start]) for row, start in zip(c.rows, c.starts, strict=True)]
    for part in parts:
        part.is_loose = True
    if seed is not None:
        Random(seed).shuffle(parts)
    return parts


def tokens(found: list[TokenRows], budget: int = BUDGET, items: int = BUDGET) -> int:
    return make_packs(found, seed=0, budget=budget, items=items, trees=True)[1].tokens_packed


@pytest.mark.parametrize("seed", range(4))
def test_shuffled_pairs_cost_what_their_conversations_cost(seed: int) -> None:
    found = conversations(seed, n=6, n_turns=6)
    assert tokens(loosened(found, seed)) == tokens(found) < tokens(loosened(found, seed), budget=1) / 2
    joined = join_loose(loosened(found, seed), BUDGET, 48)
    assert len(joined) == len(found)
    for c in found:
        c.pairs = []
    assert tokens(loosened(found, seed)) == tokens(found)  # replies of SFT


def test_long_rows_that_differ_late_are_found_too() -> None:
    """Two conversations that differ after a long beginning, in turns; a pack has room for one of them."""
    trunks = [[7] * (BLOCK + 5) + [n] * BLOCK for n in (8, 9)]
    rows = [[*trunks[i % 2], i, 1] for i in range(6)]
    parts = [TokenRows(str(i), [row], [len(row) - 1], is_loose=True) for i, row in enumerate(rows)]
    size = len(trunks[0]) + 6
    assert tokens(parts, budget=size) == 2 * size


def test_what_most_prompts_begin_with_makes_no_conversation() -> None:
    """A long system prompt before short questions: joined, all neighbours in the alphabet would be one batch."""
    rng = Random(0)
    system = [rng.randrange(5, 320) for _ in range(60)]
    found = []
    for number in range(40):
        opening = [*system, 5 + number, 6]
        rows = [[*opening, 9, 2], [*opening, 9, 2, 50 + number, 6, 9, 2]]
        found.append(TokenRows(str(number), rows, [len(opening), len(rows[1]) - 2]))
    joined = join_loose(loosened(found, 1), BUDGET, 16)
    assert sorted(len(c.rows) for c in joined) == [2] * 40
    assert len(join_loose(loosened(found[:8], 1), BUDGET, 16)) == 1  # all are in one batch anyway


@given(st.integers(0, 50), st.integers(1, 300), st.integers(1, 12))
def test_a_joined_conversation_stays_within_a_pack(seed: int, budget: int, items: int) -> None:
    parts = loosened(conversations(seed, n=3), seed)
    packs, statistics = make_packs(parts, seed=seed, budget=budget, items=items, trees=True)
    whole = [c for p in packs for c in p.conversations]

    def pairs_of(some: list[TokenRows]) -> Counter[Any]:
        return Counter(
            (tuple(c.rows[one]), c.starts[one], tuple(c.rows[two]), c.starts[two]) for c in some for one, two in c.pairs
        )

    assert pairs_of(whole) == pairs_of(parts) and statistics.n_items == len(parts)
    for pack in packs:
        assert len(pack.conversations) == 1 == len(pack.conversations[0].pairs) or (
            pack.n_tokens <= budget and pack.n_items <= items
        )


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 1000), st.integers(20, 400), st.integers(2, 20))
def test_replies_have_the_log_probabilities_of_their_rows(seed: int, budget: int, items: int) -> None:
    parts = loosened(conversations(seed, n=3), seed)
    packs, _ = make_packs(parts, seed=seed, budget=budget, items=items, trees=True)
    plain = make_model("llama")
    with torch.no_grad():
        for pack in packs:
            found = pack.conversations
            order = [(c, one) for c in found for one, _ in c.pairs] + [(c, two) for c in found for _, two in c.pairs]
            got = packed_output(make_model("llama"), found, "segments").log_probs
            for line, (c, number) in zip(got, order, strict=True):
                wanted = row_logps(plain, c, number)
                assert torch.allclose(line[: len(wanted)], wanted, atol=2e-5)


def test_steps_equal_stock_trl(tmp_path: Path) -> None:
    found = conversations(2)
    options: dict[str, Any] = {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.7], "beta": 0.3, "max_steps": 2}
    stock = stock_dpo("llama", found, tmp_path / "stock", **options)
    ours = tree_dpo("llama", loosened(found, 5), tmp_path / "ours", "segments", budget=60, **options)
    assert 1 < len(ours.packs) < sum(len(c.pairs) for c in found)
    start = weights(stock)
    stock.train()
    ours.train()
    assert_same_step(start, weights(stock), weights(ours), 1e-4)
