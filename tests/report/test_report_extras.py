"""Gain, identification, parts and scopes on every scale: what a full benchmark of a real small run puts on the page."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from made_run import made_personas, write_bench
from reading import Page

from aloe.__main__ import main
from aloe.report.build import build_report, write_figures
from aloe.report.data import read_run
from aloe.report.extras import extra_groups
from aloe.store.records import write_json

OPTIONS = {
    "personas.n_profiles": "16", "personas.n_personalities": "6", "personas.n_personas": "8", "personas.n_bench": "5",
    "personas.n_bench_profiles": "5", "personas.n_bench_personalities": "2", "trees.n_trees": "4",
    "trees.n_turns": "3", "bench.n_turns": "4", "bench.full": "true",
}  # fmt: skip
ENDS = {"1-5": [1.0, 5.0], "1-100": [1.0, 100.0], "binary": [0.0, 1.0]}


def world_run(out: Path, scale: str) -> Path:
    """A run of the simulated world, benchmarked in full; its path."""
    words = [w for name, value in OPTIONS.items() for w in (f"--{name}", value)]
    skip = ("--skip", "base,sft,rollout,dpo", "--bench.scale", scale)
    assert main(["run", "demo", "--out", str(out), "--quiet", *skip, *words]) == 0
    return out


@pytest.fixture(scope="module", params=list(ENDS))
def full(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Page]:
    scale = str(request.param)
    run = world_run(tmp_path_factory.mktemp("full") / "run", scale)
    return scale, run, Page(run / "report" / "index.html")


def results(run: Path) -> dict[str, dict[str, Any]]:
    return {path.parent.name: orjson.loads(path.read_bytes()) for path in sorted(run.glob("bench/*/result.json"))}


def curves(page: Page, figure: str) -> dict[str, list[float | None]]:
    return {s["name"]: s["y"] for s in page.data["figures"][figure]["series"]}


def test_further_judgements_are_drawn_as_the_results_have_them(full: tuple[str, Path, Page]) -> None:
    _, run, page = full
    found = results(run)
    assert len(found) == 4 and all(r["gain"] is not None and r["other_scope"] for r in found.values())
    figures = page.data["figures"]
    assert {row[0]: row[1:] for row in figures["gain"]["rows"]} == {
        name: [r["gain"], *(r["gain_ci"] or (None, None))] for name, r in found.items()
    }
    assert curves(page, "gain-turns") == {name: r["gain_by_turn"] for name, r in found.items()}
    for reader in ("judge", "replies", "conversation"):
        assert curves(page, f"identify-{reader}") == {n: r["identification"][reader] for n, r in found.items()}
    for part in ("style", "content", "natural"):
        assert curves(page, f"part-{part}") == {n: r["parts"][part] for n, r in found.items()}
    other = {name: r["other_scope"] for name, r in found.items()}
    assert curves(page, "scope") == {name: [p["al"] for p in o["points"]] for name, o in other.items()}
    assert {row[0]: row[1] for row in figures["mind-reading"]["rows"]} == {
        name: o["mind_reading"] for name, o in other.items()
    }
    for words in ("Personal gain", "Identified by the judge", "judged by the whole persona", "Mind-reading"):
        assert words in page.text


def test_axes_words_and_meters_follow_the_scale(full: tuple[str, Path, Page]) -> None:
    scale, run, page = full
    assert page.data["scales"] == {f"bench-{name}": ENDS[scale] for name in results(run)}
    said = {
        "1-5": ("from 1 to 5", "mean score from 1 to 5"),
        "1-100": ("from 1 to 100", "mean score from 1 to 100"),
        "binary": ("1 if this user would be pleased, 0 if not", "share of replies that please the user (0 to 1)"),
    }
    for words in said[scale]:
        assert words in page.text
    for words in {w for other, pair in said.items() if other != scale for w in pair} - {"from 1 to 5", "from 1 to 100"}:
        assert words not in page.text
    assert ("from 1 to 5" in page.text) == (scale == "1-5")
    scored = [s for item in page.data["source-bench-oracle"] for s in item["s"]]
    assert all(ENDS[scale][0] <= s[1] <= ENDS[scale][1] for s in scored)
    assert all({"style", "for another persona", "by the whole persona"} <= set(s[2]) for s in scored)


def test_the_scope_table_has_both_scopes(full: tuple[str, Path, Page]) -> None:
    _, run, page = full
    rows = page.text.partition("AVG, whole persona")[2].partition("Mind-reading")[0]
    for name, result in results(run).items():
        assert result["scope"] == "revealed" and name in rows
        for value in (result["avg"], result["other_scope"]["avg"]):
            assert any(f"{value:.{digits}f}" in rows for digits in (2, 3, 4))


def test_figures_of_a_full_benchmark_are_files_too(full: tuple[str, Path, Page], tmp_path: Path) -> None:
    names = {p.stem for p in write_figures(full[1], tmp_path)}
    assert {"gain", "gain-turns", "identify-replies", "part-content", "scope", "mind-reading"} <= names


def test_a_plain_benchmark_has_none_of_it(whole_run: Path) -> None:
    run = read_run(whole_run)
    assert extra_groups(run.bench, {}) == []
    page = Page(whole_run / "report" / "index.html")
    assert not {"gain", "scope", "mind-reading", "part-style"} & set(page.data["figures"])
    assert "Personal gain" not in page.text and "AVG, whole persona" not in page.text


def test_several_scales_on_one_page_are_said_to_be_incomparable(tmp_path: Path) -> None:
    for name in ("sft", "dpo"):
        write_bench(tmp_path, name, made_personas(4, "bench"), np.random.default_rng(0), n_turns=3)
    path = tmp_path / "bench" / "dpo" / "result.json"
    write_json(path, {**orjson.loads(path.read_bytes()), "scale": "1-100"})
    page = Page(build_report(tmp_path))
    assert "The models had different scales (1-100, 1-5)" in page.text
    assert "mean score (several scales)" in page.text and "from 1 to 5" not in page.text


ODD = (
    {"gain": "x", "gain_ci": [1], "gain_by_turn": 3, "identification": [], "parts": None, "other_scope": 3},
    {"gain": 0.5, "gain_ci": None, "gain_by_turn": [None, "x"], "identification": {"</script>": [0.5, None]}},
    {"parts": {"style": 3, "<b>": [1.0, "x"]}, "scale": "7-9"},
    {"other_scope": {"scope": 3, "points": [{"k": 1, "al": None}, {"k": "x"}, 3], "mind_reading": 0.1}},
    {"other_scope": {"scope": "persona", "points": None, "mind_reading_ci": "x"}},
)


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: "-".join(odd)[:40])
def test_odd_values_make_a_page_all_the_same(whole_run: Path, tmp_path: Path, odd: dict[str, Any]) -> None:
    run = Path(shutil.copytree(whole_run, tmp_path / "spring"))
    path = run / "bench" / "dpo" / "result.json"
    write_json(path, {**orjson.loads(path.read_bytes()), **odd})
    page = Page(build_report(run))
    assert "dpo" in page.text and "None" not in page.text and len(page.scripts) == 1
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
