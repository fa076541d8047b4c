"""Stage ``report``: reads the journal and passes its figures to the page, which reads only files."""

from __future__ import annotations

import sqlite3
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aloe.errors import AloeError
from aloe.stages.context import Context
from aloe.store.rundir import RunDir

if TYPE_CHECKING:
    from aloe.report.calls import JournalData


def run_report(context: Context) -> dict[str, Any]:
    """The page one sends to a colleague."""
    path = write_report(context.run.path)
    return {"path": str(path.relative_to(context.run.path)), "bytes": path.stat().st_size}


def write_report(run_dir: Path) -> Path:
    """``report/index.html`` of a run directory, with the calls of its journal; returns its path.

    Raises:
        DataError: the directory does not exist, or the page cannot be written.
    """
    from aloe.report.build import build_report

    return build_report(run_dir, read_journal(run_dir))


def read_journal(run_dir: Path) -> JournalData:
    """The run's journal as far as it can be read."""
    from aloe.models.journal.inspect import Reader
    from aloe.report.calls import JournalData

    if not RunDir(run_dir).journal_path.is_file():
        return JournalData()
    try:
        with Reader(run_dir) as reader:
            stats = reader.stats()
            return JournalData([asdict(use) for use in stats.uses], stats.failures, reader.latencies())
    except (AloeError, sqlite3.Error, ValueError, KeyError) as error:
        said = error.message if isinstance(error, AloeError) else str(error)
        said = said.replace(str(run_dir), run_dir.resolve().name)[:200]  # the page may be sent to others
        return JournalData(problem=f"journal.sqlite cannot be read ({said})")
