"""Runs of a second in shards: what several tests of them need."""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import helpers
from cli.test_incomplete import FILES, configure
from models.faulty import FaultyServer

TREES = tuple(name for name in FILES if name.startswith("trees/"))


def aloe(command: str, *arguments: object) -> helpers.Done:
    """A command on a run of our own making."""
    trust = () if command == "journal" else ("--trust-run",)
    return helpers.aloe(command, *map(str, arguments), *trust)


def begin(server: FaultyServer, out: Path, **sections: Any) -> None:
    """A run that holds its personas and nothing else."""
    from aloe.stages.pipeline import run_pipeline
    from aloe.store.rundir import RunDir

    run_pipeline(configure(server, **sections), RunDir(out), "mine", only="personas", say=None)


def at(run: Path, base_url: str) -> Path:
    """The run with its roles behind another server."""
    path = run / "config.toml"
    text = path.read_text("utf-8")
    path.write_text(re.sub(r"http://127\.0\.0\.1:\d+/v1", base_url, text), "utf-8")
    return run


def copy(run: Path, to: Path) -> Path:
    shutil.copytree(run, to)
    return to


def read(run: Path, names: tuple[str, ...] = TREES) -> dict[str, bytes]:
    return {name: (run / name).read_bytes() for name in names}


def in_shards(stage: str, run: Path, of: int, order: Callable[[range], Any] = iter) -> None:
    """All shards one after another, by the command line; the last one joins them."""
    for number in order(range(1, of + 1)):
        done = aloe(stage, run, "--shard", f"{number}/{of}", "-q")
        assert done.returncode == 0, done.stderr


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "aloe", *map(str, arguments), "--trust-run"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(what: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not what() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    assert what(), process.communicate(timeout=20)


def committed(run: Path) -> int:
    """Calls in all journals of the run."""
    total = 0
    for path in run.rglob("journal.sqlite"):
        with closing(sqlite3.connect(path)) as database:
            total += database.execute("SELECT COUNT(*) FROM calls").fetchone()[0]
    return total
