"""Personas that change in the benchmark: who updates is told from who does not, by construction."""

import json

import pytest

from aloe.bench.compare import compare_pair, read_scored

CONTROLS = ["oracle", "frozen", "generic", "knows-all"]


@pytest.fixture(scope="module", params=(0, 1))
def drifting(request, bench, crossed_personas, tmp_path_factory):
    """Results and scores with four changes in ten turns, and the folder."""
    folder = tmp_path_factory.mktemp("drift")
    results = bench(crossed_personas(6, 4, seed=500 + request.param), [f"world:{n}" for n in CONTROLS], folder,
                    bench__n_turns=10, bench__drift=4, seed=request.param)  # fmt: skip
    return {n: (results[f"world:{n}"], read_scored(folder / n)) for n in CONTROLS}, folder


def test_who_updates_is_above_who_never_does_and_both_above_nobody_in_particular(drifting):
    found, _ = drifting
    for better, worse in (("oracle", "frozen"), ("frozen", "generic")):
        assert compare_pair(found[better][1], found[worse][1]).avg.low > 0


def test_stale_use_is_0_and_1_by_construction(drifting):
    found, _ = drifting
    assert found["oracle"][0].truth["stale_use"] == 0.0
    assert found["frozen"][0].truth["stale_use"] == 1.0
    assert found["generic"][0].truth["stale_use"] is None  # uses nothing
    assert found["oracle"][0].truth["changes_used"] > 0.5
    assert found["frozen"][0].truth["changes_used"] == 0.0
    low, high = found["oracle"][0].truth_ci["turns_to_update"]
    assert 1 <= low < high


def test_who_updates_contradicts_nobody_and_who_never_does_contradicts_the_user(drifting):
    truth = {name: result.truth for name, (result, _) in drifting[0].items()}
    for name in ("oracle", "generic"):
        assert truth[name]["contradiction_rate"] == 0.0, name
    assert truth["frozen"]["contradicts_user"] > 0.05 and truth["frozen"]["contradicts_itself"] == 0.0
    low, high = drifting[0]["frozen"][0].truth_ci["contradiction_rate"]
    assert 0 < low < truth["frozen"]["contradiction_rate"] < high


def test_who_is_told_the_whole_persona_meets_it_as_it_is_at_each_turn(drifting):
    truth = drifting[0]["knows-all"][0].truth
    assert truth["stale_use"] == 0.0 and truth["untrue_rate"] == 0.0
    assert truth["style_accuracy"] > 0.99


def test_users_with_a_timeline_contradict_nothing_and_conversations_hold_the_timeline(drifting):
    found, folder = drifting
    assert all(result.truth["user_contradictions"] == 0 for result, _ in found.values())
    rows = [json.loads(line) for line in (folder / "oracle" / "conversations.jsonl").read_text().splitlines()]
    assert all(row["timeline"] for row in rows)


def test_without_changes_the_two_oracles_are_one(bench, personas, tmp_path):
    results = bench(personas[:4], ["world:oracle", "world:frozen"], tmp_path)
    first, second = (results[f"world:{n}"] for n in ("oracle", "frozen"))
    assert first.points == second.points
    assert not {"stale_use", "contradiction_rate"} & {*first.truth, *first.truth_ci}
    texts = [(tmp_path / n / "scores.jsonl").read_text() for n in ("oracle", "frozen")]
    assert texts[0] == texts[1]
    assert "timeline" not in (tmp_path / "oracle" / "conversations.jsonl").read_text()
