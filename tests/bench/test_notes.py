"""What is printed below the table of results: why replies are unscored, what is not comparable, what else was asked."""

import json

import pytest
from rich.console import Console

from aloe.__main__ import main
from aloe.bench.compare import compare, result_notes
from aloe.cli.tables import print_results
from aloe.errors import EndpointError
from aloe.models.registry import register_scheme
from aloe.protocols import Completion
from aloe.store.rundir import read_result


class Scripted:
    """A model that answers by a function of the request."""

    def __init__(self, name, answer):
        self.name, self.revision, self.answer = name, "1", answer

    async def complete(self, request):
        return Completion(self.answer(request))

    async def aclose(self):
        return None


def printed(results):
    console = Console(width=120, highlight=False)
    with console.capture() as caught:
        print_results(console, results)
    return caught.get()


def test_an_unreadable_judge_is_quoted(bench, personas, tmp_path):
    (result,) = bench(personas[:2], ["world:oracle"], tmp_path, roles__judge="world:generic").values()
    (note,) = result_notes([(tmp_path / "oracle", result)])
    assert note.startswith("oracle: some of the judge's answers cannot be read, the first: '")
    assert len(note) > 80


def test_the_table_says_which_marks_suit_and_how_many_of_those_wanted_are_there(bench, personas, tmp_path):
    (result,) = bench(personas[:6], ["world:knows-all"], tmp_path).values()
    lines = printed([(tmp_path / "knows-all", result)]).splitlines()
    (head,) = [line.split() for line in lines if line.startswith("model")]
    row = next(line for line in lines if line.startswith("knows-all")).rsplit(maxsplit=2)
    assert head[-2:] == ["style", "markers"]
    style, markers = float(row[1]), float(row[2])
    assert 0 < markers < style == 1 and markers == round(result.truth["style_recall"], 2)


def test_the_table_leads_with_levels_and_gain(bench, personas, tmp_path):
    found = bench(personas, ["world:oracle", "world:generic"], tmp_path, bench__gain=True)
    results = [(tmp_path / uri[6:], result) for uri, result in found.items()]
    lines = printed(results).splitlines()
    assert lines[1].split()[:10] == ["model", "AVG", "95%", "late", "gain", "AL(1)", "AL(K)", "guarded", "IR", "N-IR"]
    assert next(line for line in lines if line.startswith("generic")).split()[8] == "0.000"
    alone = printed(results[:1]).splitlines()[1].split()  # no floor beside it, nothing unscored
    assert not {"guarded", "unscored", "empty"} & set(alone)
    assert len(max(lines, key=len).rstrip()) <= 120


def test_what_is_missing_is_said(bench, personas, tmp_path):
    def judge(request):
        return '{"score": 4}' if len(request.messages[-1].content) % 5 else "I would rather not say."

    register_scheme("moody", lambda config: Scripted(config.uri, judge))
    register_scheme("mute", lambda config: Scripted(config.uri, lambda r: "" if len(r.messages) > 4 else "Tell me."))
    found = bench(personas, ["mute:x", "world:generic"], tmp_path, roles__judge="moody:x")
    lines = printed([(tmp_path / result.model, result) for result in found.values()]).splitlines()
    assert {"unscored", "empty"} <= set(lines[1].split())
    text = "\n".join(lines)
    assert "x: 36 of 72 replies are empty and score 1, the lowest" in text
    assert "replies unscored; were they as bad as can be, AVG would be" in text
    assert "note: what is unscored for one model is left out of all: figures are over " in text


def test_older_results_are_read_and_said_to_be_older(bench, personas, tmp_path):
    bench(personas, ["world:oracle", "world:generic"], tmp_path)
    path = tmp_path / "oracle" / "result.json"
    stored = json.loads(path.read_text())
    for name in ("rules", "n_empty", "late_mean", "late_mean_ci", "truth_ci", "identification_ci"):
        stored.pop(name)
    stored |= {"late": 3.3, "late_ci": [3.2, 3.4], "avg_ci": [0.0, 9.0], "recall_by_lag": [0.9]}
    for point in stored["points"]:
        point.pop("in_figures")
    path.write_text(json.dumps(stored))
    older = read_result(path)
    text = printed([(tmp_path / "oracle", older)])
    assert "note: measured when empty replies were left unscored (--from bench measures anew): oracle" in text
    assert "[0.00, 9.00]" not in text  # intervals are those of today
    assert older.late == 3.3
    assert "3.30" not in text.splitlines()[2]
    assert not {"late", "recall_by_lag"} & set(older.model_dump())
    assert [n for n in compare([tmp_path]).notes if n.startswith("measured when") and n.endswith(": oracle")]


@pytest.fixture
def dead():
    """The URI of a model whose every call fails."""

    def answer(request):
        raise EndpointError("the line is dead", "mend the line")

    register_scheme("dead", lambda config: Scripted(config.uri, answer))
    return "dead:x"


def test_failed_conversations_say_why(bench, personas, dead, tmp_path):
    (result,) = bench(personas[:2], ["world:oracle"], tmp_path, roles__judge=dead).values()
    (note,) = result_notes([(tmp_path / "oracle", result)])
    assert "2 of 2 conversations ended early; the first: judge at turn 1, " in note


@pytest.mark.parametrize("is_logged", [False, True])
def test_a_benchmark_without_any_score_is_no_success(is_logged, dead, tmp_path, capsys):
    log = tmp_path / "log.jsonl"
    log.write_text('{"messages": [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}]}\n')
    small = ["--turns", "1", "--bench.n_personas", "2", "--model", "world:generic"]
    what = ["--conversations", str(log)] if is_logged else small
    assert main(["bench", *what, "--judge", dead, "--out", str(tmp_path / "run")]) == 4
    said = capsys.readouterr().err.splitlines()
    assert "no reply could be scored; the first: judge at turn 1, " in said[-1]
    assert (tmp_path / "run/bench" / ("log" if is_logged else "generic") / "result.json").is_file()
    assert main(["bench", *what, "--out", str(tmp_path / "other")]) == 0


def test_a_judge_that_is_not_there_is_one_line(dead, capsys):
    assert main(["judge", "check", "--n", "6", "--judge", dead]) == 4
    assert capsys.readouterr().err.count("\n") == 1


def test_results_on_different_scales_are_said_not_to_be_comparable(bench, personas, tmp_path):
    first = bench(personas[:2], ["world:oracle"], tmp_path)["world:oracle"]
    second = bench(personas[:2], ["world:generic"], tmp_path, bench__scale="binary")["world:generic"]
    both = [(tmp_path / "oracle", first), (tmp_path / "generic", second)]
    assert "note: different scales: 1-5, binary" in printed(both)
    assert "note" not in printed(both[:1])
    assert "gain" not in printed(both[:1])


def test_what_else_was_asked_for_is_printed(bench, personas, tmp_path):
    (result,) = bench(personas, ["world:knows-all"], tmp_path, bench__full=True).values()
    shown = printed([(tmp_path / "knows-all", result)])
    assert f"{result.gain:.2f}" in shown
    assert f"{result.other_scope.mind_reading:.2f}" in shown
    assert "identified" in shown
