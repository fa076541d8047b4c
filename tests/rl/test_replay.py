"""What RL saw is kept as rows: all replies with their rewards, and data sets that the other trainings read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rl_runs import rows, train

from aloe.rl.records import Records
from aloe.training.data import Lengths, dpo_conversations, find_rows, sft_conversations
from aloe.training.fit import open_tokenizer


@pytest.fixture(scope="module")
def seen(start: Path, people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("seen")
    train(start, people, out, replay=True, n_turns=2, eval_personas=0, rewards="brevity,repetition=0.5", shuffle=True)
    return out


def replay(out: Path, name: str) -> list[dict[str, Any]]:
    return rows(out / "replay", name)


def test_every_reply_is_there_with_its_rewards(seen: Path) -> None:
    found, metrics = replay(seen, "rollouts"), rows(seen)
    for step in (1, 2):
        mine = [row for row in found if row["step"] == step]
        assert len(mine) == metrics[step - 1]["n_replies"]
        mean = sum(row["reward"] for row in mine) / len(mine)
        assert mean == pytest.approx(metrics[step - 1]["reward"], abs=1e-5)
    for row in found:
        assert row["prompt"][-1]["role"] == "user" and [m["role"] for m in row["completion"]] == ["assistant"]
        assert row["metrics"]["brevity"] == -len(row["completion"][0]["content"].split()) / 100
        assert row["reward"] == pytest.approx(row["metrics"]["brevity"] + 0.5 * row["metrics"]["repetition"])
        assert row["info"]["credit"] == row["reward"]  # also where training shuffled it


def test_the_best_is_preferred_to_the_worst_of_its_siblings(seen: Path) -> None:
    by_message: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for row in replay(seen, "rollouts"):
        by_message.setdefault((row["step"], json.dumps(row["prompt"])), []).append(row)
    pairs, examples = replay(seen, "dpo"), replay(seen, "sft")
    differ = [rows for rows in by_message.values() if len({row["reward"] for row in rows}) > 1]
    assert len(pairs) == len(examples) == len(differ) > 0
    for pair, example in zip(pairs, examples, strict=True):
        siblings = by_message[pair["step"], json.dumps(pair["prompt"])]
        reward = {row["completion"][0]["content"]: row["reward"] for row in siblings}
        best, worst = (reward[pair[kind][0]["content"]] for kind in ("chosen", "rejected"))
        assert best == max(reward.values()) and worst == min(reward.values())
        assert pair["margin"] == pytest.approx(best - worst)
        assert example["messages"] == [*pair["prompt"], *pair["chosen"]]


def test_the_other_trainings_read_it(seen: Path, start: Path) -> None:
    tokenizer, lengths = open_tokenizer(start), Lengths(None, "cut")
    columns = {"sft": ["messages"], "dpo": ["prompt", "chosen", "rejected"]}
    read = {kind: find_rows(seen / "replay", kind, names) for kind, names in columns.items()}
    assert {kind: len(found) for kind, found in read.items()} == {k: len(replay(seen, k)) for k in ("sft", "dpo")}
    sft = sft_conversations(read["sft"], tokenizer, lengths)
    dpo = dpo_conversations(read["dpo"], tokenizer, lengths)
    assert sum(len(c.rows) for c in sft) == len(read["sft"])
    assert sum(len(c.pairs) for c in dpo) == len(read["dpo"])


def test_a_resumed_training_drops_what_it_does_again(tmp_path: Path) -> None:
    records = Records(tmp_path, 0, ["replay/dpo"])
    for step in (1, 2, 2, 3):
        records.add("replay/dpo", {"step": step})
    Records(tmp_path, 2, ["replay/dpo"])
    assert [row["step"] for row in replay(tmp_path, "dpo")] == [1, 2, 2]


def test_it_is_off_unless_asked_for(start: Path, people: Path, tmp_path: Path) -> None:
    train(start, people, tmp_path, n_turns=1, iterations=1, eval_personas=0)
    assert not (tmp_path / "replay").exists()
