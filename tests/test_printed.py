"""What README, docs and recipes print runs as printed, on fewer people, against an endpoint that plays every model."""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from aloe.stages.table import STAGES
from helpers import aloe
from printed import PAGES, RECIPES, ROOT, any_model, filled, printed_commands, shorter, write_checkpoint, write_files

# Experiments and faults are logs: what they name was run once, on another state of the code.
PLACES = [page for page in PAGES if page.name not in ("experiments.md", "faults.md", "changelog.md")]
PLACES += sorted(RECIPES.glob("*.toml"))
STAGE_NAMES = [stage.name for stage in STAGES]
SAID = "I work as a baker. What should I cook tonight?\n"

#: Not run here: what it says is held by the tests that are named, or by a plan.
ELSEWHERE = {
    r"aloe (?:studio|(?:\w+ )?serve)\b": "servers: tests/studio, tests/models/test_server.py, tests/security",
    r"aloe (?:probe smollm2|prompts test --model hf:smollm2)\b": "needs weights: tests/models/test_packaged.py",
    r"aloe (?:rl|transfer|run demo .*--rl)\b": "trains: tests/rl, tests/training/test_transfer.py",
    r"aloe (?:sft RECIPE|run runs/mine$)": "several processes, a whole training: tests/training/test_processes.py",
    r"aloe (?:personas|trees|run) mine\.toml --out \S*runs/big": "shards: tests/scale/test_shards.py",
    r"aloe users tune mine\b": "needs folders of prompts: tests/bench/test_users.py",
    r"aloe study (?:new|read)\b": "needs a benchmark of several models, and answers: tests/bench/test_study.py",
    r"aloe judge agreement\b": "needs a benchmark by several judges: tests/bench/test_panels.py",
    r"aloe report .*--format pdf": "needs the extra plots: tests/report/test_plots.py",
    r"aloe pool from-chats\b": "needs the extra pii: tests/personas/test_from_chats.py",
    r"aloe pool forget\b": "follows from-chats: tests/personas/test_forget.py",
    r"aloe run smollm2\b": "an hour of training: its recipe is read below, tests/training/test_recipes.py",
    r"export ": "the test's own endpoint is set",
}
TRAINS = re.compile(r"aloe (?:sft|dpo)\b|hf:|--model dpo\b")
READ = re.compile(r"aloe run (?!mine|vllm|runs/|.*--skip|.*--help|.*--dry)")  # trains, or needs large models


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with any_model() as address:
        yield address


@pytest.fixture(scope="module")
def runs(endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs that pages name, made by the README's own commands."""
    place = tmp_path_factory.mktemp("printed")
    write_files(place, endpoint)
    with pytest.MonkeyPatch.context() as patched:
        enter(patched, place, endpoint)
        for recipe in ("demo", "mine.toml --out runs/mine"):
            command = f"aloe run {recipe} --skip base,sft,rollout,dpo"
            assert command in printed_commands(ROOT / "README.md")
            words = command.split()
            done = aloe(*words[1:], *shorter(words, STAGE_NAMES), "--bench.models", '["world:oracle"]')
            assert done.returncode == 0, done.stderr
        done = aloe("export", "runs/demo", "--format", "hub", "--to", "exported")
        assert done.returncode == 0, done.stderr
    return place


def enter(patched: pytest.MonkeyPatch, place: Path, endpoint: str) -> None:
    patched.chdir(place)
    patched.setenv("OPENAI_BASE_URL", endpoint)
    patched.setenv("OPENAI_API_KEY", "any")


@pytest.fixture
def place(runs: Path, endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(runs, tmp_path, dirs_exist_ok=True)
    enter(monkeypatch, tmp_path, endpoint)
    return tmp_path


def run_printed(command: str, place: Path, endpoint: str) -> str:
    """Run one command of a page; what went wrong, or ''."""
    if not command.startswith("aloe plan"):  # a list price holds at OpenAI's own address only
        command = re.sub(r" --budget\.usd \d+", "", command)
    words = filled(command, endpoint, call_key(place) if "CALL" in command else "")
    words = ["vllm.toml" if word == "vllm" else word for word in words]  # the recipe at the endpoint's own address
    more = shorter(words, STAGE_NAMES)
    if READ.match(command):  # recipe and options are read as for the run, and nothing else is done
        at = words.index("--out") if "--out" in words else len(words)
        words, more = ["aloe", "config", *words[2:at], *words[at + 2 :]], []
    elif (
        words[1] in ("run", "personas", "trees", "bench")
        and "--out" not in words
        and not words[2].startswith(("runs/", "-"))
    ):
        more = [*more, "--out", f"runs/{len(list((place / 'runs').iterdir()))}"]  # each from the start
    if words[1:3] == ["export", "paper"]:
        more = [*more, "--personas.embedder=lexical"]  # the recipe's own is on the Hub
    if "calibrate sheet.csv" in command:
        rate(place / "sheet.csv")
    done = aloe(*words[1:], *more, said=SAID)
    return "" if done.returncode == 0 else f"{command}: exit {done.returncode}: {done.stderr.strip()[-400:]}"


def call_key(place: Path) -> str:
    """A call of runs/demo, as its files name it."""
    text = "".join(p.read_text("utf-8") for p in sorted((place / "runs/demo/trees").glob("*.jsonl")))
    found = re.search(r'"call_key":\s*"([^"]+)"', text)
    assert found is not None
    return found.group(1)


def rate(sheet: Path) -> None:
    """Fill in a rating sheet, as people would."""
    with sheet.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows):
        row["score"] = str(1 + number % 5)
    with sheet.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def commands_of(page: Path) -> list[str]:
    return [c for c in printed_commands(page) if not any(re.match(sign, c) for sign in ELSEWHERE)]


@pytest.mark.parametrize("page", [p for p in PLACES if commands_of(p)], ids=lambda page: page.name)
def test_what_a_page_prints_runs(page: Path, place: Path, endpoint: str) -> None:
    if page.name == "users.md":  # there people.jsonl holds people's conversations
        shutil.copy(place / "chats.jsonl", place / "people.jsonl")
    wrong = []
    for command in commands_of(page):
        stand_ins = iter(
            ("world:oracle", "world:swapped", "world:knows-all")
        )  # for local weights, which are loaded below
        light = re.sub(r"hf:\S+", lambda _: next(stand_ins), command)  # noqa: B023 - used at once
        if not TRAINS.search(light):
            wrong.append(run_printed(light, place, endpoint))
    assert not list(filter(None, wrong))


def test_the_cells_of_the_notebook_tutorial_run(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "docs" / "tutorial-library.md").read_text("utf-8")
    cells = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(cells) == 4
    for cell in cells:
        exec(compile(cell, "cell", "exec"), {"__name__": "__main__"})
    assert "preference pairs" in capsys.readouterr().out


@pytest.mark.slow
def test_what_trains_and_loads_weights_runs(place: Path, endpoint: str) -> None:
    """On the page of training, with a tiny model in a folder of the printed model's name."""
    pytest.importorskip("trl")
    write_checkpoint(place / "Qwen" / "Qwen3-0.6B")
    commands = [c for c in commands_of(ROOT / "docs" / "training.md") if TRAINS.search(c) and "--help" not in c]
    assert [c.split()[1] for c in commands] == ["sft", "dpo", "bench"]
    assert not list(filter(None, (run_printed(command, place, endpoint) for command in commands)))


def test_every_recipe_and_page_prints_something_that_runs() -> None:
    """A pattern that no longer finds the commands would leave nothing to run."""
    assert sum(len(commands_of(page)) for page in PLACES) > 70
    printed = [command for page in PLACES for command in printed_commands(page)]
    assert not [sign for sign in ELSEWHERE if not any(re.match(sign, command) for command in printed)]
