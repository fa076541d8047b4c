"""relabel, export --format and import on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers import aloe


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "run"
    sizes = ["--personas.n_profiles=30", "--personas.n_personas=16", "--personas.n_bench_profiles=6"]
    sizes += ["--personas.n_bench=6", "--trees.n_turns=4", "--trees.policy=both:2"]
    done = aloe("export", "demo", "--out", out, *sizes)
    assert done.returncode == 0, done.stderr
    return out


def test_relabel_prints_agreement_and_export_uses_the_labeler(run: Path) -> None:
    trees = (run / "trees" / "trees.jsonl").read_bytes()
    assert aloe("relabel", run, "--judge", "world:judge?bias=first", "--orders", "1").returncode == 0
    done = aloe("relabel", run, "--labeler", "lookahead")
    assert done.returncode == 0, done.stderr
    assert "labels by lookahead:world:judge" in done.stdout and "kappa" in done.stdout
    assert (run / "trees" / "trees.jsonl").read_bytes() == trees
    labeler = "lookahead:world:judge"
    done = aloe("export", run, "--from", "export", "--export.labeler", labeler)
    assert done.returncode == 0 and "pairs" in done.stdout, done.stderr
    from aloe.store.records import read_parquet

    assert {row["labeler"] for row in read_parquet(run / "datasets" / "dpo.parquet")} == {labeler}
    assert aloe("export", run, "--from", "export", "--export.labeler", "none").returncode == 0
    assert aloe("validate", run).stdout.startswith("0 breaches")


@pytest.mark.parametrize("form", ["trl", "sharegpt", "openai", "hub"])
def test_every_format_is_written_where_one_says(run: Path, tmp_path: Path, form: str) -> None:
    done = aloe("export", run, "--format", form, "--to", tmp_path / form, "--validation", "0.2", "--evidenced")
    assert done.returncode == 0, done.stderr
    assert "validation:" in done.stdout and "length_accuracy" in done.stdout and "left out" in done.stdout
    assert any((tmp_path / form).rglob("*"))


def test_published_out_in_and_out_again(run: Path, tmp_path: Path) -> None:
    assert aloe("export", run, "--format", "published", "--to", tmp_path / "one.json").returncode == 0
    done = aloe("import", tmp_path / "one.json", "--out", tmp_path / "in")
    assert done.returncode == 0 and f"{len(json.loads((tmp_path / 'one.json').read_text()))} trees" in done.stdout
    assert aloe("export", tmp_path / "in", "--format", "published", "--to", tmp_path / "two.json").returncode == 0
    assert (tmp_path / "two.json").read_bytes() == (tmp_path / "one.json").read_bytes()
    assert aloe("export", tmp_path / "in", "--format", "trl").returncode == 0
    done = aloe("relabel", tmp_path / "in", "--judge", "world:judge")
    assert done.returncode == 0 and "agreement of published and world:judge" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--format", "tlr"], 2, "invalid choice"),
        (["--format", "trl", "--labeler", "world:jugde"], 3, "did you mean 'world:judge'"),
        (["--format", "trl", "--validation", "1.5"], 2, "is not a valid share"),
        (["--format", "hub", "--min-margin", "9"], 3, "no pair"),
    ],
)
def test_bad_input_is_one_line(run: Path, arguments: list[str], code: int, says: str) -> None:
    done = aloe("export", run, *arguments)
    assert done.returncode == code and says in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_importing_over_something_is_refused(run: Path, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[]")
    done = aloe("import", tmp_path / "x.json", "--out", run)
    assert done.returncode == 2 and "not empty" in done.stderr
