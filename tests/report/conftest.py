"""A made-up run, written and reported once; tests that change files take a copy."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from made_run import write_run

from aloe.report.build import build_report


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = write_run(tmp_path_factory.mktemp("report") / "spring")
    build_report(run)
    return run


@pytest.fixture
def run(whole_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole_run, tmp_path / "spring"))
