"""Rows, packs and splits of training data; closest contrast picks the nearest worse reply."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tree_models import conversations

from aloe.dialogue.contrast import closest_contrast, token_difference
from aloe.errors import DataError
from aloe.training.data import (
    Lengths,
    chat_conversations,
    check_tokenizer,
    dpo_conversations,
    read_rows,
    sft_conversations,
)
from aloe.training.split import split_rows
from aloe.training.tiny.tokenizer import build_tokenizer
from aloe.training.trees.packs import make_packs, pad_packs
from aloe.training.trees.trie import build_trie


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return build_tokenizer(["one two three four five six good bad"])


def chat(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]


def free(limit: int | None = None, policy: str = "cut") -> Lengths:
    return Lengths(limit, policy)


def test_replies_of_a_conversation_become_rows(tokenizer: Any) -> None:
    rows = [
        {"tree_id": "t", "messages": chat("one", "good")},
        {"tree_id": "t", "messages": chat("one", "good", "two", "good three")},
        {"tree_id": "t", "messages": chat("one", "good", "two", "bad", "three", "good")},
        {"tree_id": "u", "messages": chat("one", "good")},
    ]
    found = sft_conversations(rows, tokenizer, free())
    replies = [[tokenizer.decode(r[s:]) for r, s in zip(c.rows, c.starts, strict=True)] for c in found]
    assert replies == [["good<|end|>", "good three<|end|>", "good<|end|>"], ["good<|end|>"]]
    lengths = free()
    trunks = sft_conversations(rows, tokenizer, lengths, history="preferred")
    assert [len(c.rows) for c in trunks] == [2, 1]  # the middle one is on another path
    assert lengths.n_targets_lost == 1
    assert [len(build_trie(c.rows)) for c in found] < [c.n_expanded for c in found]


def test_pairs_share_their_prompt(tokenizer: Any) -> None:
    row = {"prompt": chat("one"), "chosen": chat("", "good two")[1:], "rejected": chat("", "good three")[1:]}
    (c,) = dpo_conversations([row], tokenizer, free())
    (one, two), start = c.rows, c.starts[0]
    assert c.pairs == [(0, 1)] and c.starts == [start, start] and one[:start] == two[:start]
    assert tokenizer.decode(one[:start]).endswith("<|assistant|>")
    assert tokenizer.decode(one[start:]) == "good two<|end|>" and tokenizer.decode(two[start:]) == "good three<|end|>"


def test_general_chats_train_every_reply(tokenizer: Any) -> None:
    (c,) = chat_conversations([{"messages": chat("one", "good", "two", "bad")}], tokenizer, free())
    assert [tokenizer.decode(r[s:]) for r, s in zip(c.rows, c.starts, strict=True)] == ["good<|end|>", "bad<|end|>"]


def test_long_histories_are_cut_or_dropped_and_counted(tokenizer: Any) -> None:
    long = {"messages": chat(*["one two three", "good"] * 9)}
    short = {"messages": chat("one", "good")}
    limit = 40
    lengths = free(limit)
    found = sft_conversations([long, short], tokenizer, lengths)
    assert len(found) == 2 and len(found[0].rows[0]) <= limit and lengths.n_cut == 1 and not lengths.n_dropped
    assert tokenizer.decode(found[0].rows[0][found[0].starts[0] :]) == "good<|end|>"
    assert tokenizer.decode(found[0].rows[0]).count("one two three") >= 2  # the latest turns stay
    lengths = free(limit, "drop")
    assert len(sft_conversations([long, short], tokenizer, lengths)) == 1
    assert lengths.n_dropped == 1 and "1 were dropped" in lengths.say()
    lengths = free(4)
    assert sft_conversations([short], tokenizer, lengths) == [] and lengths.n_dropped == 1


REWRITING = (
    "{% for m in messages %}<|{{ m.role }}|>"
    "{{ m.content if m.role == 'user' or loop.last else 'said before' }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def test_a_template_that_rewrites_earlier_turns_costs_sharing_only(tokenizer: Any) -> None:
    """Rows are what the template makes of each history, whatever it does to earlier replies."""
    import copy

    rewriting = copy.deepcopy(tokenizer)
    rewriting.chat_template = REWRITING
    prompt = chat("one", "good two three", "four")
    row = {"tree_id": "t", "prompt": prompt, "chosen": chat("", "good")[1:], "rejected": chat("", "bad")[1:]}
    first = {"tree_id": "t", "prompt": prompt[:1], "chosen": prompt[1:2], "rejected": chat("", "bad")[1:]}
    (c,) = dpo_conversations([first, row], rewriting, free())
    plain = rewriting.apply_chat_template([*prompt, *row["chosen"]], return_dict=True)["input_ids"]
    assert c.rows[2] == plain and "said before" in rewriting.decode(plain)
    trie = build_trie(c.rows)
    for ids, place in zip(c.rows, trie.places, strict=True):
        assert trie.ids[place].tolist() == ids
    (stable,) = dpo_conversations([first, row], tokenizer, free())
    assert len(trie) / c.n_expanded > len(build_trie(stable.rows)) / stable.n_expanded


@pytest.mark.parametrize("limit", [None, 40])
def test_one_history_keeps_its_targets_whatever_the_template_does(tokenizer: Any, limit: int | None) -> None:
    """Rewritten or cut, ten replies of one path are ten targets; a reply beside the path is lost and counted."""
    import copy

    rewriting = copy.deepcopy(tokenizer)
    rewriting.chat_template = REWRITING
    path = chat(*["one two three", "good"] * 10)
    rows = [{"tree_id": "t", "messages": path[: 2 * n]} for n in range(1, 11)]
    rows.append({"tree_id": "t", "messages": [*path[:5], chat("", "bad")[1]]})
    for some in (tokenizer, rewriting):
        lengths = free(limit)
        (c,) = sft_conversations(rows, some, lengths, history="preferred")
        assert [some.decode(r[s:]) for r, s in zip(c.rows, c.starts, strict=True)] == ["good<|end|>"] * 10
        assert lengths.n_targets_lost == 1 and bool(lengths.n_cut) == bool(limit)


def test_what_cannot_be_trained_on_is_said_in_one_line(tokenizer: Any) -> None:
    with pytest.raises(DataError, match="does not end with a reply"):
        sft_conversations([{"messages": chat("one")}], tokenizer, free())
    with pytest.raises(DataError, match="a reply of the dataset is empty"):
        sft_conversations([{"messages": chat("one", "  ")}], tokenizer, free())
    with pytest.raises(DataError, match="2,000,001 characters"):
        sft_conversations([{"messages": chat("one" + "x" * 1_999_998, "good")}], tokenizer, free())
    same = {"pair_id": "p7", "prompt": chat("one"), "chosen": chat("", "good")[1:], "rejected": chat("", "good")[1:]}
    with pytest.raises(DataError, match="p7: chosen and rejected reply are the same"):
        dpo_conversations([same], tokenizer, free())
    import copy

    bare = copy.deepcopy(tokenizer)
    bare.chat_template = None
    with pytest.raises(DataError, match="'some/model' has no chat template"):
        check_tokenizer(bare, "some/model")
    bare.chat_template, bare.eos_token, bare.pad_token = "x", None, None
    with pytest.raises(DataError, match="neither an end nor a padding token"):
        check_tokenizer(bare, "some/model")


def test_evaluation_shares_no_profile_with_training() -> None:
    rows = [{"persona_id": f"p{n}", "tree_id": str(n)} for n in range(40)]
    profiles = {f"p{n}": f"profile {n // 4}" for n in range(40)}
    split = split_rows(rows, 0.2, 3, profiles)
    sides = [{profiles[row["persona_id"]] for row in side} for side in (split.train, split.held)]
    assert len(sides[1]) == 2 and not sides[0] & sides[1] and len(split.train) + len(split.held) == 40
    assert split.key == "profile" and (split.n_groups, split.n_held) == (10, 2)
    named = split_rows([{**row, "profile_id": profiles[row["persona_id"]]} for row in rows], 0.2, 3)
    assert [row["tree_id"] for row in named.held] == [row["tree_id"] for row in split.held]
    whole = split_rows(rows, 0.0, 3)
    assert whole.train == rows and not whole.held and not whole.as_dict()


@pytest.mark.parametrize("key", ["persona_id", "tree_id", "opening"])
def test_without_profiles_evaluation_goes_by_the_coarsest_key(key: str) -> None:
    """Three turns of each conversation, two conversations of each persona; what is left out is unknown to the split."""
    rows = []
    for n in range(20):
        for turn in range(3):
            prompt = chat(f"opening {n}", *["reply", "more"] * turn)
            rows.append({"persona_id": f"p{n // 2}", "tree_id": str(n), "prompt": prompt, "number": n})
    hidden = {"persona_id": (), "tree_id": ("persona_id",), "opening": ("persona_id", "tree_id")}[key]
    split = split_rows([{k: v for k, v in row.items() if k not in hidden} for row in rows], 0.2, 1)
    size = 2 if key == "persona_id" else 1
    sides = [{row["number"] // size for row in side} for side in (split.train, split.held)]
    assert not sides[0] & sides[1] and split.key == key and split.as_dict()["eval_split"] == key
    assert f"by {key}" in split.say() and "names no profiles" in split.say()


def test_a_key_that_some_rows_lack_still_keeps_people_apart() -> None:
    rows = [{"tree_id": str(n // 2), **({"persona_id": f"p{n // 4}"} if n % 2 else {})} for n in range(40)]
    split = split_rows(rows, 0.3, 0)
    people = [{int(row["tree_id"]) // 2 for row in side} for side in (split.train, split.held)]
    assert not people[0] & people[1] and split.key == "tree_id"
    with pytest.raises(DataError, match="all 3 rows belong together"):
        split_rows([{"persona_id": "p", "tree_id": str(n)} for n in range(3)], 0.5, 0)


@given(st.integers(0, 5), st.integers(1, 400), st.integers(1, 30))
def test_packs_hold_every_conversation_once(seed: int, budget: int, items: int) -> None:
    found = conversations(seed, n=7)
    packs, statistics = make_packs(found, seed=seed, budget=budget, items=items, trees=True)
    assert sorted(c.key for p in packs for c in p.conversations) == sorted(c.key for c in found)
    for pack in packs:
        fits = pack.n_tokens <= budget and pack.n_items <= items
        assert fits or len(pack.conversations) == 1
        assert pack.n_tokens == sum(len(build_trie(c.rows)) for c in pack.conversations)
    assert sum(p.n_tokens for p in packs) == statistics.tokens_packed
    padded = pad_packs(list(packs), 4)
    assert len(padded) % 4 == 0 and sum(p.weight for p in padded) == len(packs)


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
