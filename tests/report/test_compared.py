"""The page that compares runs: the same model on the same personas, what was done differently, bad input."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import orjson
from reading import Page

from aloe.report.compared import put_together
from aloe.report.data import read_run
from aloe.store.records import write_json, write_jsonl
from helpers import aloe


def better(run: Path, by: float) -> None:
    """Raise every score of dpo, and say in the config that something was done for it."""
    folder = run / "bench" / "dpo"
    rows = [orjson.loads(line) for line in (folder / "scores.jsonl").read_bytes().splitlines()]
    for row in rows:
        row["score"] = None if row["score"] is None else row["score"] + by
    write_jsonl(folder / "scores.jsonl", rows)
    result = orjson.loads((folder / "result.json").read_bytes())
    write_json(folder / "result.json", {**result, "avg": result["avg"] + by})
    text = (run / "config.toml").read_text("utf-8")
    changed, n = re.subn(r"^beta = .*$", 'beta = 0.25\nnote = "<b>warmer</b>"', text, count=1, flags=re.MULTILINE)
    assert n == 1
    (run / "config.toml").write_text(changed, "utf-8")


def test_the_same_model_of_two_runs_is_compared_on_the_same_personas(whole_run: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(whole_run, tmp_path / "autumn"))
    better(other, 0.5)
    done = aloe("report", whole_run, other, "--out", tmp_path / "both")
    assert done.returncode == 0 and done.stdout == f"comparison: {tmp_path / 'both' / 'index.html'}\n"
    page = Page(tmp_path / "both" / "index.html")
    said = "dpo-autumn against dpo-spring, on the same 20 personas: +0.50 [0.50, 0.50] points of AVG."
    assert said in page.text
    rows = {row[0]: row[1] for row in page.data["figures"]["paired-avg"]["rows"]}
    assert abs(rows["dpo-autumn"] - 0.5) < 1e-9 and rows["sft-autumn"] == rows["generic-autumn"] == 0
    assert "dpo.beta" in page.text and "0.25" in page.text and "<b>warmer</b>" in page.text  # a text, no markup
    assert "sft.learning_rate" not in page.text and "b" not in page.tags
    same = aloe("report", whole_run, whole_run, "--out", tmp_path / "same")
    page = Page(tmp_path / "same" / "index.html")
    assert (
        same.returncode == 0 and "The interval holds zero" in page.text and "Their configs are the same." in page.text
    )


def test_options_of_a_role_are_told_however_long_its_table_is(whole_run: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(whole_run, tmp_path / "autumn"))
    text = (other / "config.toml").read_text("utf-8")
    changed, n = re.subn(r'^(judge = .*"batch_size" = )32', r"\g<1>31", text, count=1, flags=re.MULTILINE)
    assert n == 1
    (other / "config.toml").write_text(changed, "utf-8")
    together = put_together([read_run(whole_run), read_run(other)])
    assert together.options == [("roles.judge.batch_size", ["32", "31"])]


def test_what_cant_be_compared_is_one_line(whole_run: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for arguments, says in (
        ((whole_run, tmp_path / "empty"), "contains no benchmark results"),
        ((tmp_path / "nowhere", whole_run), "nowhere is not a directory"),
        ((whole_run, tmp_path / "nowhere"), "does not exist"),
        ((whole_run, whole_run, "--dry"), "several runs"),
        ((whole_run, whole_run, "--seed", "3"), "several runs"),
    ):
        done = aloe("report", *arguments, "--out", tmp_path / "page")
        assert done.returncode in (2, 3) and says in done.stderr and len(done.stderr.splitlines()) == 1, arguments
    assert not (tmp_path / "page").exists()
