"""What is printed below the table of results: why replies are unscored, what is not comparable, what else was asked."""

import pytest
from rich.console import Console

from aloe.__main__ import main
from aloe.bench.compare import result_notes
from aloe.cli.tables import print_results


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
    row = next(line for line in lines if line.startswith("knows-all")).rsplit(maxsplit=3)
    assert head[-3:] == ["style", "markers", "unscored"]
    style, markers = float(row[1]), float(row[2])
    assert 0 < markers < style == 1 and markers == round(result.truth["style_recall"], 2)


def test_failed_conversations_say_why(bench, personas, tmp_path):
    dead = {"uri": "openai:x", "base_url": "http://127.0.0.1:9/v1", "max_attempts": 1}
    (result,) = bench(personas[:2], ["world:oracle"], tmp_path, roles__judge=dead).values()
    (note,) = result_notes([(tmp_path / "oracle", result)])
    assert "2 of 2 conversations ended early; the first: judge at turn 1, " in note


DEAD = "[{uri = 'openai:x', base_url = 'http://127.0.0.1:9/v1', max_attempts = 1}]"


@pytest.mark.parametrize("is_logged", [False, True])
def test_a_benchmark_without_any_score_is_no_success(is_logged, tmp_path, capsys):
    log = tmp_path / "log.jsonl"
    log.write_text('{"messages": [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}]}\n')
    small = ["--turns", "1", "--bench.n_personas", "2", "--model", "world:generic"]
    what = ["--conversations", str(log)] if is_logged else small
    assert main(["bench", *what, f"--bench.judge={DEAD}", "--out", str(tmp_path / "run")]) == 4
    said = capsys.readouterr().err.splitlines()
    assert "no reply could be scored; the first: judge at turn 1, " in said[-1]
    assert (tmp_path / "run/bench" / ("log" if is_logged else "generic") / "result.json").is_file()
    assert main(["bench", *what, "--out", str(tmp_path / "other")]) == 0


def test_a_judge_that_is_not_there_is_one_line(capsys):
    assert main(["judge", "check", "--n", "6", f"--bench.judge={DEAD}"]) == 4
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
