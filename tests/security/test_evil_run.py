"""A hostile run directory against every command: nothing is sent, run or obeyed, and each command ends in words.

The commands come from the table of commands and their parsers, so that a new one is covered as soon as it stands there.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from aloe.__main__ import main
from aloe.cli.commands import ROWS, load
from aloe.cli.main import command_parser
from aloe.config import load_config
from aloe.config.exposure import exposures
from security.evil import ESCAPES, SECRET, Catcher, catching, make_evil

SIZES = (
    "--personas.n_profiles=6", "--personas.n_personalities=6", "--personas.n_personas=4",
    "--personas.n_bench_profiles=2", "--personas.n_bench_personalities=2", "--personas.n_bench=4",
    "--bench.n_turns=2", "--bench.n_personas=4", "--bench.models=world:generic", "--trees.n_turns=2",
)  # fmt: skip
SERVERS = ("serve", "world")  # they take no run, and stay; tests/security/test_servers.py asks them
WORDS = {"name": "user", "call": "trees/", "user": "somebody", "shell": "bash", "files": "", "folder": "prompts"}
LONG = ("--turns", "1")  # where a command would wait for somebody to type


@pytest.fixture(scope="module")
def catcher() -> Iterator[Catcher]:
    with catching() as found:
        yield found


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory, catcher: Catcher) -> Path:
    run = tmp_path_factory.mktemp("made") / "evil"
    assert main(["run", "demo", "--out", str(run), "-q", "--skip", "base,sft,rollout,dpo", *SIZES]) == 0
    return make_evil(run, catcher.host)


@pytest.fixture
def run(evil: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the hostile run in the current folder, on an account that has confirmed nothing."""
    monkeypatch.setenv("EVIL_SECRET", SECRET)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    monkeypatch.chdir(tmp_path)
    copy = Path(shutil.copytree(evil, tmp_path / "evil"))
    config = copy / "config.toml"
    config.write_text(config.read_text("utf-8").replace(str(evil), str(copy)), "utf-8")
    return copy


def usages() -> list[tuple[str, ...]]:
    """Every command, with its verbs: ("pool", "stats"), ("plan",)."""
    found: list[tuple[str, ...]] = []
    for row in ROWS:
        if row.name in SERVERS:
            continue
        verbs = command_parser(load(row))._verbs
        found += [(row.name, verb) for verb in verbs.choices] if verbs is not None else [(row.name,)]
    return found


def arguments(usage: tuple[str, ...], run: Path) -> list[str]:
    """Arguments that lead a command to the run, made from what its parser takes."""
    parser = command_parser(load(next(row for row in ROWS if row.name == usage[0])))
    if len(usage) > 1:
        parser = parser._verbs.choices[usage[1]]
    given: list[str] = []
    for action in parser._actions:
        if not action.option_strings and action.dest not in ("help", argparse.SUPPRESS):
            word = WORDS.get(action.dest, str(run))
            given.append(str(run / "prompts") if word == "prompts" else word or str(run / "bench"))
        elif action.dest in ("run", "recipe") and action.option_strings:
            given += [action.option_strings[0], str(run)]
        elif action.required and action.option_strings:
            given += [action.option_strings[0], "generic" if action.dest == "model" else str(run.parent / "made.jsonl")]
    return given


@pytest.mark.parametrize("usage", usages(), ids=" ".join)
def test_a_hostile_run_does_nothing_through_any_command(
    usage: tuple[str, ...], run: Path, catcher: Catcher, capfd: pytest.CaptureFixture[str]
) -> None:
    catcher.seen.clear()
    given = arguments(usage, run)
    if usage == ("chat",):
        given += LONG
    code = main([*usage, *given])
    said = capfd.readouterr()
    assert code in range(8), said
    assert catcher.seen == [] and not (run / "owned").exists()
    assert "\x1b" not in said.out + said.err and "\x9b" not in said.out + said.err and "\u202e" not in said.out
    assert SECRET not in said.out + said.err and "Traceback" not in said.err
    for file in run.parent.rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes(), file
    if code > 1:  # 1: something was found, and said
        assert len(said.err.strip().splitlines()) == 1, said.err


ASKS = [("run",), ("studio",), ("chat", "--model", "generic", "--turns", "1"), ("judge", "check"), ("relabel",),
        ("bench",), ("personas",), ("trees",)]  # fmt: skip


@pytest.mark.parametrize("usage", ASKS, ids=lambda usage: usage[0])
def test_what_sends_is_refused_with_the_flag_that_allows_it(
    usage: tuple[str, ...], run: Path, catcher: Catcher, capfd: pytest.CaptureFixture[str]
) -> None:
    place = ["--run", str(run)] if usage[0] == "chat" else [str(run)]
    assert main([*usage, *place]) == 2
    said = capfd.readouterr().err
    assert f"send $EVIL_SECRET to {catcher.host} (Authorization)" in said and "(X-Home)" in said
    assert f"send conversations to {catcher.host}" in said and "use the prompt files of" in said
    assert "--trust-run" in said and len(said.splitlines()) == 1


def test_a_plan_asks_for_the_prompts_only_and_prompts_run_nothing_even_where_trusted(
    run: Path, catcher: Catcher, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", str(run)]) == 2
    said = capfd.readouterr().err
    assert "prompt files" in said and "$EVIL_SECRET" not in said
    assert main(["plan", str(run), "--trust-run"]) == 2  # the sandbox is the second wall
    assert "is not allowed" in capfd.readouterr().err and not (run / "owned").exists()
    assert catcher.seen == []


def test_once_confirmed_is_not_asked_again_until_something_changes(
    run: Path, catcher: Catcher, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(run / "prompts")
    config = run / "config.toml"
    lines = [line for line in config.read_text("utf-8").splitlines() if not line.startswith("prompts_dir")]
    config.write_text("\n".join(lines), "utf-8")
    chat = ["chat", "--run", str(run), "--model", "generic (of the trees)", "--turns", "1"]
    assert main(chat) == 2
    catcher.seen.clear()
    assert main([*chat, "--trust-run"]) in (0, 4)
    assert any(SECRET in seen for seen in catcher.seen)  # now it is the user's own wish
    said = capfd.readouterr()
    assert f"what you write goes to openai:evil at {catcher.host}" in said.out and "\x1b" not in said.out
    assert main(chat) in (0, 4)
    capfd.readouterr()
    config.write_text(config.read_text("utf-8").replace('"X-Home"', '"X-Other"'), "utf-8")
    assert main(chat) == 2
    said = capfd.readouterr()
    assert "(X-Other)" in said.err and "(Authorization)" not in said.err


def test_a_run_of_ones_own_recipe_is_not_asked_for(
    tmp_path: Path, catcher: Catcher, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("OWN_KEY", "a-key-of-the-user")
    recipe = tmp_path / "mine.toml"
    model = f'{{uri = "openai:x", base_url = "http://{catcher.host}/v1", api_key_env = "OWN_KEY", max_attempts = 1}}'
    recipe.write_text(f'extends = "demo"\n[roles]\nwriter = [{model}]\n[personas]\nn_profiles = 20\n', "utf-8")
    out = tmp_path / "mine"
    main(["personas", str(recipe), "--out", str(out)])  # the answers are no personas; asked is what counts
    assert out.is_dir() and "--trust-run" not in capfd.readouterr().err
    main(["personas", str(out)])
    assert "--trust-run" not in capfd.readouterr().err
    state = tmp_path / "state" / "aloe" / "trusted.json"
    assert state.stat().st_mode & 0o777 == 0o600
    assert {e.key for e in exposures(load_config(recipe))} == set(json.loads(state.read_bytes()))


def test_what_the_command_line_takes_out_of_a_runs_config_is_not_asked_for(
    run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    own = [f"--roles.{role}=world:{role}" for role in ("user", "inducer", "tailored", "generic", "judge")]
    own += ["--roles.writer=world:persona-writer", "--prompts_dir=none"]
    code = main(["chat", "--run", str(run), "--model", "world:generic", "--turns", "1", *own])
    said = capfd.readouterr()
    assert "$EVIL_SECRET" not in said.err and "plug-in 'evil'" in said.err and code == 2


def test_escapes_of_a_run_reach_neither_terminal_nor_page_unseen(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert ESCAPES in "".join(json.loads(line)["profile"] for line in (run / "personas" / "personas.jsonl").open())
    assert main(["journal", "stats", str(run)]) == 0
    assert main(["journal", "show", str(run), "bench/"]) in (0, 3)
    key = json.loads((run / "trees" / "trees.jsonl").read_text("utf-8").splitlines()[0])["nodes"][0]["generation"]
    assert main(["journal", "show", str(run), key["call_key"]]) == 0
    said = capfd.readouterr()
    assert "\\x1b]0;owned" in said.out and "\x1b" not in said.out
