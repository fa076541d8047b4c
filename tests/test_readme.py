"""The README's table says what the code gives, as far as it needs no training: the rows of the control policies."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from aloe.cli.tables import load_results, print_results
from aloe.config import load_config
from aloe.stages.pipeline import run_pipeline
from aloe.store.rundir import RunDir

README = Path(__file__).resolve().parent.parent / "README.md"
SKIP = ["trees", "export", "base", "sft", "rollout", "dpo", "report"]
INTERVAL = re.compile(r"\[[^\]]*\]|\b95%")


def read_table(text: str) -> dict[str, dict[str, str]]:
    """Cells of a printed table by row and column; intervals are left out, since their columns have one name."""
    lines = [INTERVAL.sub("", line).split() for line in text.splitlines()]
    head = next(line for line in lines if line[:1] == ["model"])
    return {line[0]: dict(zip(head[1:], line[1:], strict=True)) for line in lines if len(line) == len(head)}


@pytest.mark.slow
def test_the_readmes_rows_of_the_controls_are_what_the_code_gives(tmp_path: Path) -> None:
    found = re.search(r"<!-- figures -->(.*?)<!-- /figures -->", README.read_text("utf-8"), re.DOTALL)
    assert found is not None
    run = RunDir(tmp_path / "run")
    run_pipeline(load_config("demo", {"seed": 0, "skip": SKIP}), run, "demo")
    console = Console(file=io.StringIO(), width=200, highlight=False, force_terminal=False)
    print_results(console, [(run.stage_dir("bench") / r.model, r) for r in load_results(run)])
    made = read_table(console.file.getvalue())  # type: ignore[attr-defined]
    told = read_table(found.group(1))
    for name in ("generic", "oracle", "knows-all", "swapped"):
        columns = told[name].keys() & made[name].keys()
        assert columns >= {"AVG", "AL(1)", "AL(K)", "IR", "recall", "false"}
        differing = {c: (told[name][c], made[name][c]) for c in columns if told[name][c] != made[name][c]}
        assert not differing, f"README's {name} (told, made): {differing}; `make run` and `make readme` print it anew"
