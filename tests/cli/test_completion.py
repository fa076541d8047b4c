"""Completion as the shells ask for it: argcomplete's protocol in a process of its own, and each shell's own script."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aloe.__main__ import main

ANSWERS = """
import json, os, sys
from aloe.cli.completion import complete
found = {}
for line in json.loads(sys.argv[1]):
    os.environ.update(COMP_LINE=line, COMP_POINT=str(len(line)))
    complete(leave=lambda code: None)
    found[line] = open(os.environ["_ARGCOMPLETE_STDOUT_FILENAME"]).read().split("\\013")
print(json.dumps(found))
"""
ASKED = {
    "aloe comp": {"compare", "completion"},
    "aloe journal ": {"stats", "cost", "show", "prune", "export", "check", "repair"},
    "aloe run sma": {"small", "small-gemma", "small-llama", "small-olmo2", "small-qwen3", "smaller.toml"},
    "aloe run demo --from ": {
        "personas",
        "trees",
        "export",
        "base",
        "sft",
        "rollout",
        "dpo",
        "rl",
        "bench",
        "report",
    },
    "aloe run demo --fr": {"--from"},
    "aloe bench demo --gain --jud": {"--judge"},
    "aloe trees demo --trees.n_t": {"--trees.n_trees", "--trees.n_turns", "--trees.n_tailored"},
    "aloe trees --trees.n_turns 4 demo --trees.la": {"--trees.label"},
    "aloe trees demo --trees.label ": {"compare", "score"},
    "aloe trees demo --trees.label=sc": {"--trees.label=score"},
    "aloe trees demo --trees.end_on_goodbye ": {"true", "false"},
    "aloe bench --model wor": {"world:"},
    "aloe bench --model world:or": {"world:oracle"},
    "aloe bench --model world:assistant+se": {"world:assistant+selfcritic"},
    "aloe bench --model hf:ru": {"hf:runs/"},
    "aloe pool from-chats --user": {"--user-field"},
    "aloe export runs/a --format ": {"trl", "sharegpt", "openai", "hub", "published"},
    "aloe prompts show wri": {"writer"},
    "aloe sft --data ": {"runs/", "notes.txt", "smaller.toml"},
    "aloe judge check sma --sc": {"--scope", "--scale"},
    "aloe validate runs/": {"runs/a/"},
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "runs" / "a").mkdir(parents=True)
    for name in ("smaller.toml", "notes.txt", ".hidden"):
        (tmp_path / name).write_text("")
    command = tmp_path / "bin" / "aloe"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m aloe "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")
    work = tmp_path / "work"
    work.mkdir()
    for name in ("runs", "smaller.toml", "notes.txt", ".hidden"):
        (tmp_path / name).rename(work / name)
    monkeypatch.chdir(work)
    return work


def test_what_is_offered(here: Path) -> None:
    env = {**os.environ, "_ARGCOMPLETE": "1", "_ARGCOMPLETE_SHELL": "fish", "_ARGCOMPLETE_SUPPRESS_SPACE": "1"}
    env["_ARGCOMPLETE_STDOUT_FILENAME"] = str(here.parent / "answer")
    command = [sys.executable, "-c", ANSWERS, json.dumps(list(ASKED))]
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=120, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert {line: set(offered) for line, offered in found.items()} == ASKED


def test_bash_completes(here: Path) -> None:
    script = """source <(aloe completion bash)
    COMP_LINE='aloe trees demo --trees.label sc'; COMP_POINT=${#COMP_LINE}; COMP_TYPE=9
    _python_argcomplete aloe; echo "$COMPREPLY"; complete -p aloe"""
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[0].strip() == "score"
    assert "-F _python_argcomplete aloe" in done.stdout


def test_fish_completes(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "fish"]) == 0
    script = capsys.readouterr().out
    assert "complete --command aloe" in script
    if shutil.which("fish") is None:
        pytest.skip("fish is not installed; only its script's text was looked at")
    ask = f"{script}\ncomplete -C 'aloe trees demo --trees.label '"
    done = subprocess.run(["fish", "--no-config", "-c", ask], capture_output=True, text=True, timeout=60)
    assert [line.partition("\t")[0] for line in done.stdout.splitlines()] == ["compare", "score"]


def test_zsh_completes(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "zsh"]) == 0
    assert capsys.readouterr().out.startswith("#compdef aloe\n")
    if shutil.which("zsh") is None:
        pytest.skip("zsh is not installed; only its script's text was looked at")
    import pty

    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(TERM="dumb", PS1="ready> ")
        os.execvp("zsh", ["zsh", "-f", "-i"])
    try:
        assert "ready>" in read_until(terminal, "ready>")
        os.write(terminal, b"autoload -U compinit; compinit -u -D; source <(aloe completion zsh); echo set-up-done\n")
        read_until(terminal, "\nset-up-done")
        os.write(terminal, b"aloe trees demo --trees.label sc\t")
        assert "sc" in read_until(terminal, "score")
    finally:
        os.close(terminal)
        os.waitpid(child, 0)


def read_until(terminal: int, wanted: str, seconds: float = 30) -> str:
    """What a terminal shows until ``wanted`` is there.

    Raises:
        AssertionError: it did not come in time.
    """
    shown, end = "", time.monotonic() + seconds
    while wanted not in shown:
        ready, _, _ = select.select([terminal], [], [], max(0.0, end - time.monotonic()))
        assert ready, f"no {wanted!r} in {shown!r}"
        shown += os.read(terminal, 65536).decode(errors="replace")
    return shown
