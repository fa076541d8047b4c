"""Recall by kind of fact adds up to the ground truth's, and tells kinds that are used from kinds that are not."""

from __future__ import annotations

import pytest

from aloe.bench.kinds import count_kinds, recall_of, untrue_of
from aloe.store.records import read_jsonl
from aloe.types import ConversationTree
from aloe.world.lexicon.options import narrow
from aloe.world.truth import read_persona

KINDS = [slot.name for slot in narrow().slots]


@pytest.fixture(scope="module")
def controls(bench, personas, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kinds")
    results = bench(personas, ["world:oracle", "world:swapped"], folder)
    by_id = {p.persona_id: p for p in personas}
    counts = {}
    for name in ("oracle", "swapped"):
        trees = list(read_jsonl(folder / name / "conversations.jsonl", ConversationTree))
        counts[name] = count_kinds(trees, by_id)
    return results, counts


def test_all_kinds_together_are_the_ground_truth(controls):
    results, counts = controls
    for name in ("oracle", "swapped"):
        recall, due = recall_of(counts[name], KINDS)
        assert due > 60 and recall.low <= recall.value <= recall.high
        assert recall.value == pytest.approx(results[f"world:{name}"].truth["fact_use"], abs=1e-9)
    assert recall_of(counts["oracle"], KINDS)[0].value > 0.8 > recall_of(counts["swapped"], KINDS)[0].value
    assert untrue_of(counts["oracle"], KINDS)[0].value == 0 < untrue_of(counts["swapped"], KINDS)[0].value


def test_kinds_are_counted_apart(controls, personas):
    _, counts = controls
    due = {kind: recall_of(counts["oracle"], [kind])[1] for kind in KINDS}
    have = {i.name for p in personas for i in read_persona(p.profile, p.personality).facts}
    assert sum(due.values()) == recall_of(counts["oracle"], KINDS)[1]
    assert {kind for kind, n in due.items() if n} <= have and len([n for n in due.values() if n]) > 3
    assert recall_of(counts["oracle"], []) == (None, 0)


def test_conversations_of_unknown_personas_are_left_out():
    assert count_kinds([], {}) == {}
