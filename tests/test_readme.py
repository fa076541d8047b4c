"""The README's table says what the code gives, as far as it needs no training: the rows of the control policies."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from aloe.cli.tables import load_results, results_table
from aloe.config import load_config
from aloe.stages.pipeline import run_pipeline
from aloe.store.rundir import RunDir

README = Path(__file__).resolve().parent.parent / "README.md"
SKIP = ["trees", "export", "base", "sft", "rollout", "dpo", "report"]


def cells(line: str) -> list[str]:
    """A row's cells, whatever the width of its columns; an interval is one cell."""
    return re.sub(r"\[\s*([^,\]]+),\s*([^\]]+)\]", r"[\1,\2]", line).split()


@pytest.mark.slow
def test_the_readmes_rows_of_the_controls_are_what_the_code_gives(tmp_path: Path) -> None:
    shown = re.search(r"<!-- figures -->(.*?)<!-- /figures -->", README.read_text("utf-8"), re.DOTALL)
    assert shown is not None
    rows = {line.split()[0]: cells(line) for line in shown.group(1).splitlines() if line.strip()}
    run = RunDir(tmp_path / "run")
    run_pipeline(load_config("demo", {"seed": 0, "skip": SKIP}), run, "demo")
    console = Console(file=io.StringIO(), width=200, highlight=False, force_terminal=False)
    console.print(results_table(load_results(run)))
    printed = [cells(line) for line in console.file.getvalue().splitlines() if line.strip()]  # type: ignore[attr-defined]
    made = {line[0]: line for line in printed}
    for name in ("model", "generic", "oracle", "knows-all", "swapped"):
        assert rows[name] == made[name], f"the README's row of {name} is not what the code gives: make run, make readme"
