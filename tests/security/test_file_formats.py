"""Files of a run and of the command line that are no such files: every command says so in one line, and ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from aloe.__main__ import main
from aloe.config import Config, dump_toml

BAD = {
    "digits": b"9" * 6000, "digits in a table": b"seed = " + b"9" * 6000, "not UTF-8": b"\xff\xfe\x00bad",
    "lists": b"[" * 20_000, "objects": b'{"a":' * 20_000, "a list": b"[]\n", "half a character": b'{"a": "\\ud800"}\n',
}  # fmt: skip
SPECIAL = ("a pipe", "/dev/zero", "a folder")
RUN_FILES = ("config.toml", "manifest.json", "trees/trees.jsonl", "bench/m/result.json", "journal.sqlite")
LOOKS = (
    ("validate", "RUN"), ("compare", "RUN"), ("journal", "stats", "RUN"), ("report", "RUN", "-q"),
)  # fmt: skip
READS = (
    ("metrics", "FILE"), ("import", "FILE", "--out", "imported"), ("pool", "validate", "FILE"),
    ("bench", "--conversations", "FILE", "--out", "scored"), ("judge", "calibrate", "FILE"), ("config", "FILE"),
    ("journal", "stats", "FILE"),
)  # fmt: skip


@pytest.fixture(autouse=True)
def watchdog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What waits for a pipe is ended; far more time than any of these commands takes."""
    monkeypatch.chdir(tmp_path)
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it waits for ever"))
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def put(file: Path, kind: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    if kind == "a pipe":
        os.mkfifo(file)
    elif kind == "/dev/zero":
        file.symlink_to("/dev/zero")
    elif kind == "a folder":
        file.mkdir()
    else:
        file.write_bytes(BAD[kind])


def ends_in_words(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code = main(argv)
    said = capsys.readouterr().err.strip().splitlines()
    assert code in range(8), argv
    assert code < 2 or len(said) == 1, (argv, said)


@pytest.mark.parametrize("kind", [*BAD, *SPECIAL])
def test_a_run_with_files_that_are_none(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, name in enumerate(RUN_FILES):
        run = tmp_path / f"run-{number}"
        put(run / name, kind)
        if name != "config.toml":
            (run / "config.toml").write_text(dump_toml(Config()), "utf-8")
        for command in LOOKS:
            ends_in_words([str(run) if word == "RUN" else word for word in command], capsys)


@pytest.mark.parametrize("kind", [*BAD, *SPECIAL])
def test_files_of_the_command_line_that_are_none(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for suffix in (".jsonl", ".json"):
        put(tmp_path / f"file{suffix}", kind)
        for command in READS:
            ends_in_words([str(tmp_path / f"file{suffix}") if word == "FILE" else word for word in command], capsys)
