"""Searches every file of a run, databases and Parquet included, for traces of a deleted person."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

import orjson

_WEIGHTS = (".safetensors", ".pt", ".bin")  # what a checkpoint learned can't be read out of it


def find_leftovers(folder: Path, others: Iterable[Path], needles: tuple[bytes, ...]) -> list[str]:
    """``file: what was found there`` for every file under ``folder`` (and of ``others``) that still holds a needle."""
    if not needles:
        return []
    longest_first = sorted((re.escape(n) for n in needles), key=lambda n: -len(n))
    pattern = re.compile(b"|".join(longest_first))
    left = []
    inside = [folder] if folder.is_file() else sorted(p for p in folder.rglob("*") if p.is_file())
    for path in [*inside, *others]:
        if path.suffix in _WEIGHTS:
            continue
        found = next((m for block in _blocks(path) if (m := pattern.search(block))), None)
        if found is not None:
            left.append(f"{path}: {found.group()[:60].decode('utf-8', 'replace')!r}")
    return left


def _blocks(path: Path) -> Iterator[bytes]:
    """A file's bytes, and what they mean where they are packed."""
    yield path.read_bytes()
    if path.suffix == ".sqlite":
        database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            for table in ("texts", "plans"):
                for (body,) in database.execute(f"SELECT body FROM {table}"):
                    yield str(body).encode("utf-8", "replace")
            for table in ("calls", "attempts"):
                for (place,) in database.execute(f"SELECT path FROM {table}"):
                    yield str(place).encode()
        finally:
            database.close()
    elif path.suffix == ".parquet":
        import pyarrow.parquet as pq

        for row in pq.read_table(path).to_pylist():
            yield orjson.dumps(row, default=str)
