"""Follows JSON Lines files that are still being written: new rows, and any row again by its position.

A stage appends to ``NAME.partial.jsonl`` and at its end renames a sorted ``NAME.jsonl`` into place; a stage that is
done again truncates and refills. All of that is noticed: rows are either continued or started over, never mixed. The
file stays open, so that places stay valid even after its name has come to mean another file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import orjson

CHUNK = 1 << 20
SEAL = 64  # bytes before the end of what was read: if they change, the file was written anew


@dataclass(frozen=True, slots=True)
class RowPlace:
    """Where a row stands: bytes from the start of the file, and how many."""

    start: int
    length: int


class GrowingFile:
    """One file of a run, or of its growing neighbour where that is newer (or alone)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.partial = path.with_suffix(".partial.jsonl")
        self.is_growing = False
        self.size = 0
        self.end = 0  # up to here rows have been read
        self._file: BinaryIO | None = None
        self._seal = b""

    @property
    def share_read(self) -> float:
        """How much of what is there has been read, 0 to 1."""
        return self.end / self.size if self.size else 1.0

    def look(self) -> bool:
        """Find the file to read and its size; True where rows read before no longer count."""
        found = _newest(self.path, self.partial)
        if found is None:
            restarted = self._file is not None
            self.close()
            return restarted
        path, status = found
        self.is_growing = path == self.partial
        restarted = False
        if self._file is None or not os.path.samestat(os.fstat(self._file.fileno()), status) or not self._is_sealed():
            restarted = self._file is not None
            self.close()
            try:
                self._file = open(path, "rb")  # noqa: SIM115 - held until the name means another file
            except OSError:
                return restarted
            self.is_growing = path == self.partial
        self.size = os.fstat(self._file.fileno()).st_size
        return restarted

    def read_new(self) -> Iterator[tuple[RowPlace, bytes]]:
        """Whole lines that were not read yet; a line without its end is left for later."""
        while self._file is not None and self.end < self.size:
            block = os.pread(self._file.fileno(), min(CHUNK, self.size - self.end), self.end)
            while b"\n" not in block and self.end + len(block) < self.size:
                more = os.pread(self._file.fileno(), CHUNK, self.end + len(block))
                if not more:
                    break
                block += more
            if b"\n" not in block:
                if self.is_growing or parse_row(block) is None:
                    return
                block += b"\n"  # a finished file whose last line lacks its end
            whole = block[: block.rfind(b"\n") + 1]
            for line in BytesIO(whole):
                length = min(len(line), self.size - self.end)
                place = RowPlace(self.end, length)
                self.end += length
                self._seal = (self._seal + line[:length])[-SEAL:]
                yield place, line

    def row(self, place: RowPlace) -> dict[str, Any] | None:
        """The row at ``place``, None where it is not an object (any more)."""
        if self._file is None:
            return None
        return parse_row(os.pread(self._file.fileno(), place.length, place.start))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file, self.size, self.end, self._seal, self.is_growing = None, 0, 0, b"", False

    def _is_sealed(self) -> bool:
        """Whether the bytes before ``end`` are still the ones that were read."""
        if self._file is None:
            return False
        seal = os.pread(self._file.fileno(), len(self._seal), self.end - len(self._seal))
        return seal == self._seal


def parse_row(line: bytes) -> dict[str, Any] | None:
    """A line as an object, None for anything else."""
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return row if isinstance(row, dict) else None


def _newest(*paths: Path) -> tuple[Path, os.stat_result] | None:
    found = []
    for path in paths:
        try:
            found.append((path, path.stat()))
        except OSError:
            continue
    return max(found, key=lambda entry: entry[1].st_mtime_ns, default=None)
