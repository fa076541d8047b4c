"""Folding SFT rows keeps every target once; closest contrast picks the nearest worse reply."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aloe.errors import DataError
from aloe.preference_select import closest_contrast, token_difference
from aloe.training.data import IGNORED, fold_examples, pair_ids, read_rows, sft_sequences
from aloe.training.tokenizer import build_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return build_tokenizer(["one two three four five six good bad"])


def chat(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]


def test_rows_of_a_conversation_fold_into_one_sequence(tokenizer: Any) -> None:
    rows = [
        {"tree_id": "t", "messages": chat("one", "good")},
        {"tree_id": "t", "messages": chat("one", "good", "two", "good three")},
        {"tree_id": "t", "messages": chat("one", "good", "two", "bad", "three", "good")},
        {"tree_id": "u", "messages": chat("one", "good")},
    ]
    sequences = sft_sequences(rows, tokenizer)
    targets = [tokenizer.decode([t for t in s.labels if t != IGNORED]).split() for s in sequences]
    assert targets == [["good<|end|>", "good<|end|>"], ["good", "three<|end|>"], ["good<|end|>"]]
    trunks = sft_sequences(rows, tokenizer, trunk_only=True)
    assert [len(s.ids) for s in trunks] == [len(sequences[0].ids), len(sequences[2].ids)]


@given(st.lists(st.lists(st.integers(0, 2), min_size=2, max_size=7), min_size=1, max_size=8))
def test_folding_keeps_each_distinct_target_once(rows: list[list[int]]) -> None:
    examples = [(ids, len(ids) - 1) for ids in rows]
    folded = fold_examples(examples)
    wanted = {tuple(ids) for ids in rows}
    kept = [tuple(s.ids[: i + 1]) for s in folded for i, on in enumerate(s.target) if on]
    assert sorted(kept) == sorted(wanted)


def test_pairs_share_their_prompt(tokenizer: Any) -> None:
    row = {"prompt": chat("one"), "chosen": chat("", "good two")[1:], "rejected": chat("", "good three")[1:]}
    pair = pair_ids(row, tokenizer)
    decoded = {key: tokenizer.decode(pair[key]) for key in ("prompt_ids", "chosen_ids", "rejected_ids")}
    assert decoded["prompt_ids"].endswith("<|assistant|>")
    assert decoded["chosen_ids"] == "good two<|end|>" and decoded["rejected_ids"] == "good three<|end|>"


def test_a_conversation_must_end_with_a_reply(tokenizer: Any) -> None:
    with pytest.raises(DataError, match="does not end with a reply"):
        sft_sequences([{"messages": chat("one")}], tokenizer)


def test_read_rows_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_rows(tmp_path / "none.parquet", ["messages"])
    file = tmp_path / "rows.jsonl"
    file.write_bytes(orjson.dumps({"text": "x"}) + b"\n")
    with pytest.raises(DataError, match="no column 'messages'"):
        read_rows(file, ["messages"])
    file.write_bytes(b"")
    with pytest.raises(DataError, match="is empty"):
        read_rows(file, ["messages"])


def test_closest_contrast_known_answers() -> None:
    replies = [("a b c d", 4.0), ("a b c x", 3.0), ("p q", 1.0), ("a b c y", 3.9)]
    assert closest_contrast(replies, 0.15) == (0, 1)
    assert closest_contrast(replies, 2.0) == (0, 2)
    assert closest_contrast(replies, 5.0) is None
    assert closest_contrast([("same", 2.0), ("same", 1.0)], 0.1) is None
    assert closest_contrast([], 0.1) is None
    assert token_difference("a a b", "a b c") == 2


@given(st.lists(st.tuples(st.text("ab ", max_size=6), st.floats(1, 5)), max_size=6), st.floats(0, 2))
def test_closest_contrast_is_a_real_preference(replies: list[tuple[str, float]], gap: float) -> None:
    found = closest_contrast(replies, gap)
    if found is not None:
        (best, high), (other, low) = replies[found[0]], replies[found[1]]
        assert high == max(score for _, score in replies)
        assert high > low and high - low >= gap - 1e-6 and best != other
