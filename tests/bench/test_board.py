"""Settings by digest, boards of comparable results, and the audit that finds edited files."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from aloe.__main__ import main
from aloe.bench.board import make_boards
from aloe.bench.compare import compare
from aloe.bench.runner import run_benchmark
from aloe.bench.setting import BOARD, differences
from aloe.bench.users.people import world_personas
from aloe.config import ModelConfig, load_config
from aloe.errors import DataError
from aloe.models.caller import Caller
from aloe.store.records import write_jsonl
from aloe.types import BenchmarkResult

PEOPLE = world_personas(12, 1, "board")


def bench(run: Path, model: str, user: str = "world:user", **roles: object) -> BenchmarkResult:
    """A benchmarked model in a run directory that knows its personas."""
    config = load_config(None, {"roles": {"user": user, **roles}, "bench": {"n_turns": 4, "n_bootstrap": 100}})
    write_jsonl(run / "personas" / "personas.jsonl", PEOPLE)

    async def work() -> BenchmarkResult:
        caller = Caller.open(config, None, seed=0)
        try:
            out = run / "bench" / model
            return await run_benchmark(caller, PEOPLE, ModelConfig(uri=f"world:{model}"), config=config, out_dir=out)
        finally:
            await caller.aclose()

    return asyncio.run(work())


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    for model in ("oracle", "generic", "swapped", "attentive"):
        bench(folder / "plain", model)
    bench(folder / "terse", "oracle", "world:user?dialect=terse")
    return {name: folder / name for name in ("plain", "terse")}


def copy_of(run: Path, out: Path) -> Path:
    import shutil

    return Path(shutil.copytree(run, out / run.name))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")


def test_a_setting_changes_with_user_judge_panel_and_prompts_and_nothing_else(tmp_path: Path):
    plain = bench(tmp_path / "a", "generic").setting
    assert plain == bench(tmp_path / "b", "oracle").setting
    terse = bench(tmp_path / "c", "generic", "world:user?dialect=terse").setting
    judged = bench(tmp_path / "d", "generic", judge="world:judge?weighing=tact").setting
    assert terse["dialect"] == "terse" and differences([plain, terse]) == ["users", "dialects of the user"]
    assert differences([plain, judged]) == ["judges"]
    assert len({s[BOARD] for s in (plain, terse, judged)}) == 3
    assert differences([plain, {}]) == []


def test_comparisons_across_settings_are_marked_or_refused(runs: dict[str, Path]):
    said = " ".join(compare([runs["plain"], runs["terse"]]).notes)
    assert "different users" in said and "dialects of the user" in said and "not comparable" in said
    assert not any("not comparable" in note for note in compare([runs["plain"]], strict=True).notes)
    with pytest.raises(DataError, match="not comparable"):
        compare([runs["plain"], runs["terse"]], strict=True)
    assert main(["compare", str(runs["plain"]), str(runs["terse"]), "--strict"]) != 0


def test_boards_hold_comparable_results_with_ties(runs: dict[str, Path], tmp_path: Path):
    boards = make_boards(list(runs.values()))
    assert [len(board.entries) for board in boards] == [4, 1]
    by_name = {entry.name.rpartition("/")[2]: entry for entry in boards[0].entries}
    assert by_name["oracle"].rank <= 2 and by_name["generic"].rank > by_name["oracle"].rank
    assert by_name["swapped"].rank == 4
    both = by_name["oracle"], by_name["attentive"]
    assert {entry.rank for entry in both} == {1}, (
        "a model that notices all cannot be told from the oracle in four turns"
    )
    assert not any(entry.faults for board in boards for entry in board.entries)
    page = tmp_path / "board.html"
    assert main(["board", *map(str, runs.values()), "--out", str(page)]) == 0
    text = page.read_text("utf-8")
    assert text.count("<h2>") == 2 and "http" not in text.replace("http://www.w3.org", "")


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("result.json", '"avg": ', '"avg": 1', "its scores give"),
        ("conversations.jsonl", "Which ", "Whose ", "messages that were changed"),
        ("scores.jsonl", '"score":2', '"score":4', "the judge gives"),
        ("scores.jsonl", '"node_id":"', '"node_id":"f', "in no conversation"),
    ],
)
def test_edited_files_are_found(runs: dict[str, Path], tmp_path: Path, file: str, old: str, new: str, said: str):
    run = copy_of(runs["plain"], tmp_path)
    path = run / "bench" / "generic" / file
    if file == "result.json":
        result = json.loads(path.read_text("utf-8"))
        path.write_text(json.dumps(result | {"avg": result["avg"] + 0.2}), "utf-8")
    else:
        edit(path, old, new)
    faults = {e.name: " ".join(e.faults) for board in make_boards([run]) for e in board.entries}
    assert said in faults["generic"] and not faults["oracle"]
    assert main(["board", str(run), "--out", str(tmp_path / "x.html")]) == 1
