"""``aloe chat`` through its own stdin and stdout: talk, beliefs, scores, take back, faults."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from helpers import Done, aloe

if TYPE_CHECKING:
    from conftest import Endpoint


def chat(*arguments: str | Path, said: str = "") -> Done:
    return aloe("chat", *arguments, said=said, env={"OPENAI_API_KEY": "not-needed"})


def test_a_checkpoint_talks_with_the_simulator_and_beliefs_grow(run: Path) -> None:
    done = chat("--model", "dpo", "--run", run, "--persona", "any", "--turns", "3")
    assert done.returncode == 0, done.stderr
    said = [line[6:] for line in done.stdout.splitlines() if line.startswith("user> ")]
    assert len(said) == 3 and done.stdout.count("dpo> ") == 3 and done.stdout.count(", judge ") == 3
    believed = [line for line in done.stdout.splitlines() if line.startswith(("  stated ", "  implied "))]
    assert len(believed) >= 3
    for line in believed:
        evidence = line.partition("(“")[2].removesuffix("”)")
        assert evidence and any(evidence in message for message in said), line
    assert chat("--model", "dpo", "--run", run, "--persona", "any", "--turns", "3").stdout == done.stdout


def test_somebody_types_takes_back_and_asks_for_the_beliefs(run: Path) -> None:
    done = chat("--model", "world:generic", said="I keep a goat. What should I cook?\n/back\nhello\n/beliefs\n/quit\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("generic> ") == 2
    assert "taken back: I keep a goat. What should I cook?" in done.stdout


def test_hostile_input_is_shown_as_it_is(run: Path, endpoint: Endpoint) -> None:
    endpoint.text = "[red]not markup[/red] </script>"
    done = chat("--model", "good", "--run", run, endpoint.option("good"), said="[bold]hi[/bold]\n")
    assert done.returncode == 0, done.stderr
    assert "[red]not markup[/red] </script>" in done.stdout


def test_a_failing_endpoint_is_said_and_asked_again(run: Path, endpoint: Endpoint) -> None:
    endpoint.status, endpoint.fault = 404, "nobody home"
    done = chat("--model", "good", "--run", run, endpoint.option("good"), said="hello\n/again\n")
    assert done.returncode == 4
    assert done.stdout.count("nobody home") == 2 and "/again asks once more" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--model", "nothing"], 2, "nothing"),
        (["--model", "world:generic", "--persona", "zz"], 3, "no personas have an id that starts with 'zz'"),
        (["--model", "world:oracle"], 2, "reads the persona"),
        ([], 2, "--model"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_said_in_one_line(arguments: list[str], code: int, words: str) -> None:
    done = chat(*arguments, said="hi\n")
    assert (done.returncode, words in done.stderr + done.stdout) == (code, True), done.stderr
    assert "Traceback" not in done.stderr
