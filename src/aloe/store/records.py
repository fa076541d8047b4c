"""Files of records: JSON Lines, atomic writes, Parquet.

A file that others read is written whole and renamed into place, so that one which ends in the middle of a line is
damaged and refused; a file that grows is only ever appended to, and a torn last line (a killed writer) is cut off.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from aloe.errors import DataError

M = TypeVar("M", bound=BaseModel)


def is_temporary(path: Path) -> bool:
    """Whether a file is what :func:`atomic_write` writes before it renames it."""
    return path.name.startswith(".") and path.name.endswith(".tmp")


def sweep(folder: Path) -> None:
    """Remove what killed writers have left anywhere in ``folder``, which nobody else writes to."""
    for path in folder.rglob(".*.tmp"):
        with suppress(OSError):
            path.unlink()


def is_private(path: Path) -> bool:
    """Whether a file is there that its owner alone may read."""
    return path.is_file() and not path.stat().st_mode & 0o077


@contextmanager
def atomic_write(path: Path, private: bool = False) -> Iterator[IO[bytes]]:
    """Write to a neighbour file, then rename: readers see the old file or the whole new one.

    A file that was there keeps its rights: its owner has decided who may read it.

    Args:
        private: a new file is for its owner alone.

    Raises:
        DataError: the disk is full or the place cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        rights = path.stat().st_mode & 0o777 if path.is_file() else 0o600 if private else None
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666 if rights is None else 0o600)
        with open(handle, "wb") as file:
            if rights is not None:
                os.fchmod(handle, rights)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):  # where the place itself is the trouble there is nothing to remove
            temporary.unlink(missing_ok=True)
        raise DataError(
            f"{path} cannot be written: {error.strerror or error}", "free some space or choose another path"
        ) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def to_line(record: BaseModel | dict[str, Any]) -> bytes:
    """One JSON line, newline included."""
    if isinstance(record, BaseModel):
        return record.__pydantic_serializer__.to_json(record) + b"\n"
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)


def write_jsonl(path: Path, records: Iterable[BaseModel | dict[str, Any]], private: bool = False) -> int:
    """Write all records atomically (see :func:`atomic_write`); returns how many."""
    n = 0
    with atomic_write(path, private) as file:
        for record in records:
            file.write(to_line(record))
            n += 1
    return n


def write_json(path: Path, value: Any) -> None:
    with atomic_write(path) as file:
        file.write(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def round_all(value: Any, decimals: int) -> Any:
    """All numbers of nested lists and tables rounded, halves up.

    Sums come out a last bit different from one CPU's linear algebra to the next. A number that lies just between two
    roundings would pass that on, and means of decimal scores do lie there: what is as good as a half counts as one.
    """
    if isinstance(value, float) and math.isfinite(value):
        scale = 10.0**decimals
        return math.floor(value * scale + 0.5001) / scale
    if isinstance(value, dict):
        return {key: round_all(inner, decimals) for key, inner in value.items()}
    return [round_all(inner, decimals) for inner in value] if isinstance(value, list | tuple) else value


def read_rows(path: Path) -> Iterator[tuple[int, Any]]:
    """(line number, parsed value) of each non-empty line.

    Raises:
        DataError: the file is missing, or a line is not JSON (the last one too: files are written whole).
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist", "run the stage that writes it, or give another path")
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                yield number, orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise DataError(
                    f"{path}, line {number}: not valid JSON ({error})",
                    "restore the line, or redo the stage with --from",
                ) from None


def read_jsonl(path: Path, model: type[M]) -> Iterator[M]:
    """Records of one type.

    Raises:
        DataError: missing file, bad JSON, or a row that is not such a record (with line number and field).
    """
    for number, row in read_rows(path):
        try:
            yield model.model_validate(row)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise DataError(
                f"{path}, line {number}: not a valid {model.__name__}: {field}: {first['msg'].lower()}",
                "restore the line, or redo the stage with --from",
            ) from None


def repair_tail(path: Path) -> int:
    """Cut a torn last line off a growing JSONL file; returns the number of bytes cut."""
    if not path.is_file():
        return 0
    size = path.stat().st_size
    with open(path, "rb+") as file:
        keep = size
        while keep > 0:
            step = min(65536, keep)
            file.seek(keep - step)
            found = file.read(step).rfind(b"\n")
            if found >= 0:
                keep = keep - step + found + 1
                break
            keep -= step
        if keep < size:
            file.truncate(keep)
    return size - keep


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """A write that fails names its file and what to do."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{path} cannot be written: {error.strerror or error}", "free some space or choose another path"
        ) from error


class SortedJsonlWriter:
    """Rows in groups that arrive in any order and end up in order of their group's key.

    A growing ``<name>.partial.jsonl`` serves the curious and keeps memory flat; ``close`` writes the final file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.partial = path.with_suffix(".partial.jsonl")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self.partial, "wb")  # noqa: SIM115 - closed in close()
        self._places: dict[str, tuple[int, int]] = {}
        self._end = 0

    def add(self, key: str, records: Sequence[BaseModel | dict[str, Any]]) -> None:
        """Write a group.

        Raises:
            DataError: the disk is full.
        """
        block = b"".join(map(to_line, records))
        with _named(self.partial):
            self._file.write(block)
        self._places[key] = (self._end, len(block))
        self._end += len(block)

    def close(self) -> None:
        """Write the final file.

        Raises:
            DataError: the disk is full.
        """
        with _named(self.partial):
            self._file.close()
        with open(self.partial, "rb") as source, atomic_write(self.path) as target:
            for key in sorted(self._places):
                start, length = self._places[key]
                source.seek(start)
                target.write(source.read(length))
        self.partial.unlink()

    def abandon(self) -> None:
        """Keep the growing file as it is; nothing final is written."""
        with suppress(OSError):
            self._file.close()


def write_parquet(path: Path, rows: Sequence[dict[str, Any]], schema: Any = None) -> None:
    """Rows as one Parquet file (pyarrow), atomically."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist(list(rows), schema=schema)
    with atomic_write(path) as file:
        pq.write_table(table, file, compression="zstd")


def read_parquet(path: Path) -> list[dict[str, Any]]:
    """All rows of a Parquet file as dicts.

    Raises:
        DataError: missing or damaged file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise DataError(f"{path} does not exist", "run 'aloe export' on the run first")
    try:
        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} is not a readable Parquet file: {error}", "export it again") from error
    return rows
