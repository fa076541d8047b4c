"""Paired comparison from stored scores."""

import json

import pytest

from aloe.bench.compare import compare, compare_pair, find_models, format_comparison, read_scored, side_by_side
from aloe.bench.metrics import measure
from aloe.errors import DataError
from aloe.stats import Clusters
from aloe.store.records import write_jsonl
from aloe.types import BenchScore


def store(folder, scores):
    """``scores``: persona -> values by turn (None = unscored)."""
    rows = [
        BenchScore(
            tree_id=f"tree-{persona}",
            persona_id=persona,
            profile_id=f"profile-{persona}",
            personality_id=f"personality-{persona}",
            turn=turn,
            score=value,
            outcome="unparsed" if value is None else "scored",
        )
        for persona, values in scores.items()
        for turn, value in enumerate(values, 1)
    ]
    write_jsonl(folder / "scores.jsonl", rows)
    return folder


@pytest.fixture
def two(tmp_path):
    noise = [0.0, 0.1, -0.1, 0.2, -0.2]
    base = {f"x{i}": [2 + n, 2.0, 2 - n] for i, n in enumerate(noise)}
    good = {f"x{i}": [3 + n, 3.4, 4 - n] for i, n in enumerate(noise)}
    good["only-here"] = [1.0, 1.0, 1.0]
    return store(tmp_path / "run" / "bench" / "base", base), store(tmp_path / "run" / "bench" / "good", good)


def test_differences_over_shared_personas(two):
    found = compare_pair(read_scored(two[1]), read_scored(two[0]))
    assert found.n_personas == 5
    assert found.avg.value == pytest.approx(4.4 / 3)
    assert found.ir.value == pytest.approx(0.5)


def test_a_turn_unscored_in_one_model_counts_in_neither(tmp_path):
    """Ending early with the worst persona must not make a model's later turns look better than the other's."""
    same = {"easy": [4.0, 4.0], "middle": [3.0, 3.0], "hard": [1.0, 1.0]}
    whole = store(tmp_path / "whole", same)
    short = store(tmp_path / "short", {**same, "hard": [1.0, None]})
    found = compare_pair(read_scored(short), read_scored(whole))
    assert found.avg.value == found.ir.value == 0.0
    assert found.n_personas == 3


def test_the_table_of_models_holds_the_same_replies_for_all(tmp_path):
    """One that has no scores where it would be bad must not lead the table; the pairs have always been fair."""
    same = {f"x{i}": [3.0 + i / 10, 3.0 + i / 10] for i in range(11)} | {"hard": [1.0, 1.0]}
    whole = store(tmp_path / "whole", same)
    short = store(tmp_path / "short", {**same, "hard": [None, None], "x0": [3.0, None]})
    alone = measure(read_scored(short).scores, Clusters.independent(12)).figures.avg
    assert alone > measure(read_scored(whole).scores, Clusters.independent(12)).figures.avg + 0.15
    found = compare([whole, short])
    assert found.models[0][1].figures == found.models[1][1].figures
    assert any("left out of all: figures are over 21 of 24 replies" in note for note in found.notes)


def test_a_model_with_hardly_any_scores_does_not_take_them_from_the_others(tmp_path):
    same = {f"x{i}": [3.0, 4.0] for i in range(12)}
    whole = store(tmp_path / "whole", same)
    other = store(tmp_path / "other", same)
    broken = store(tmp_path / "broken", {name: [1.0 if name == "x0" else None, None] for name in same})
    found = side_by_side([read_scored(f) for f in (whole, other, broken)])
    assert found.measured["whole"].points[1].n_scored == 12
    assert found.notes == ()


def test_samples_are_compared_conversation_by_conversation(tmp_path):
    """The second conversation of a persona is unscored in one model: its first one is compared with the first one."""

    def stored(name, second):
        rows = [
            BenchScore(tree_id=f"{i}-{sample}", persona_id=f"x{i}", profile_id=f"x{i}", personality_id="t", turn=1,
                       sample=sample, score=score, outcome="unparsed" if score is None else "scored")
            for i in range(4)
            for sample, score in enumerate((3.0, second))
        ]  # fmt: skip
        write_jsonl(tmp_path / name / "scores.jsonl", rows)
        return read_scored(tmp_path / name)

    assert compare_pair(stored("a", None), stored("b", 1.0)).avg.value == 0.0


def test_guarded_ir_is_the_rise_over_the_generic_control(tmp_path):
    generic = store(tmp_path / "generic", {f"x{i}": [2.0, 2.0, 2.0] for i in range(4)})
    riser = store(tmp_path / "riser", {f"x{i}": [2.0, 2.5 + i / 10, 3.0] for i in range(4)})
    saboteur = store(tmp_path / "saboteur", {f"x{i}": [1.0, 1.0, 2.9] for i in range(4)})
    found = compare([generic, riser, saboteur])
    assert found.guarded["riser"].value == pytest.approx((2 * 0.65 + 3 * 1) / 8)
    assert found.guarded["generic"].value == 0.0
    assert found.guarded["saboteur"].value < 0 < found.guarded["riser"].low
    measured = dict(found.models)
    assert measured["saboteur"].figures.ir > measured["riser"].figures.ir
    assert "guarded IR" in format_comparison(found)
    assert compare([riser, saboteur]).guarded == {"riser": None, "saboteur": None}


def test_turns_that_a_log_never_had_are_not_unscored(tmp_path):
    logged = store(tmp_path / "logged", {"a": [1.0], "b": [2.0, 2.0], "c": [3.0, None]})
    other = store(tmp_path / "other", {"a": [1.0, 1.0], "b": [2.0, 1.0], "c": [3.0, 1.0]})
    assert "note: logged: 1 of 5 replies unscored" in format_comparison(compare([logged, other]))


def test_table_of_a_run(two):
    found = compare([two[0].parent.parent])
    assert [name for name, _ in found.models] == ["good", "base"]
    (pair,) = found.differences
    assert (pair.first, pair.second) == ("good", "base")
    printed = format_comparison(found)
    assert "good - base" in printed
    assert "*" in printed
    assert "nan" not in printed.lower()


def test_benchmarked_controls_differ_in_pairs(bench, personas, tmp_path):
    bench(personas, ["world:oracle", "world:swapped", "world:generic"], tmp_path / "bench")
    found = compare([tmp_path])
    assert [name for name, _ in found.models] == ["oracle", "generic", "swapped"]
    assert all(d.difference.avg.low > 0 for d in found.differences)


def test_paths_may_be_runs_model_folders_or_files(two):
    run = two[0].parent.parent
    assert find_models([run]) == [two[0], two[1]]
    assert find_models([run / "bench"]) == [two[0], two[1]]
    assert find_models([two[1], two[0] / "scores.jsonl", run]) == [two[1], two[0]]


def test_models_of_one_name_are_told_apart_by_their_run(tmp_path):
    one = store(tmp_path / "first" / "bench" / "dpo", {"a": [1, 2], "b": [2, 2]})
    two = store(tmp_path / "second" / "bench" / "dpo", {"a": [3, 4], "b": [4, 4]})
    assert [name for name, _ in compare([one, two]).models] == ["second/dpo", "first/dpo"]


def test_what_makes_a_comparison_unfair_is_said(two, tmp_path):
    other = store(tmp_path / "other", {"x0": [1, None], "z": [1, 1]})
    printed = format_comparison(compare([*two, other]))
    assert "different numbers of turns: 2, 3" in printed
    assert "other: 1 of 4 replies unscored" in printed
    alone = store(tmp_path / "alone", {"q": [1, 2, 3]})
    found = compare([two[0], alone])
    assert found.differences[0].difference.avg is None
    assert "no personas in common" in format_comparison(found)
    assert "none" in format_comparison(found)


def test_other_judges_are_noted(bench, personas, tmp_path):
    bench(personas[:3], ["world:oracle"], tmp_path / "a")
    bench(personas[:3], ["world:oracle"], tmp_path / "b", bench__scope="persona")
    assert any("different judging scopes" in note for note in compare([tmp_path / "a", tmp_path / "b"]).notes)


def test_other_scales_are_noted(bench, personas, tmp_path):
    bench(personas[:3], ["world:oracle"], tmp_path / "a")
    bench(personas[:3], ["world:oracle"], tmp_path / "b", bench__scale="binary")
    assert any("different scales: 1-5, binary" in note for note in compare([tmp_path / "a", tmp_path / "b"]).notes)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "contains no scores"),
        ('{"tree_id": 1}\n', "line 1"),
        ("not json\n", "line 1: not valid JSON"),
    ],
)
def test_damaged_scores(tmp_path, text, said):
    (tmp_path / "scores.jsonl").write_text(text)
    with pytest.raises(DataError, match=said):
        read_scored(tmp_path)


def test_a_reply_scored_twice_is_refused(tmp_path):
    folder = store(tmp_path / "m", {"a": [1.0]})
    path = folder / "scores.jsonl"
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(DataError, match="two rows"):
        read_scored(folder)


def test_nothing_to_compare(tmp_path, two):
    with pytest.raises(DataError, match="no benchmark scores"):
        compare([tmp_path / "nowhere"])
    with pytest.raises(DataError, match="only one"):
        compare([two[0]])


def test_a_broken_result_is_said(two):
    (two[0] / "result.json").write_text(json.dumps({"model": "x"}))
    with pytest.raises(DataError, match="not a benchmark result"):
        read_scored(two[0])
