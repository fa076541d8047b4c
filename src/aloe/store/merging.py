"""Streaming merge of sorted JSON Lines files: as many lines in memory as there are files."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from operator import itemgetter
from pathlib import Path
from typing import IO, Any

import orjson

from aloe.errors import DataError
from aloe.store.records import atomic_write

_MOST_OPEN = 256  # files at once; more of them are merged in rounds


def merge_lines(parts: Sequence[Path], key: str) -> Iterator[tuple[Any, bytes]]:
    """(key, line) of all files in order of ``row[key]``, by which each file is sorted; equal keys stay as they stood.

    Raises:
        DataError: a file is missing, holds something else, or is not sorted.
    """
    with ExitStack() as stack:
        streams = [_keyed(stack.enter_context(_open(path)), path, key) for path in parts]
        yield from heapq.merge(*streams, key=itemgetter(0))


def merge_sorted(parts: Sequence[Path], target: Path, key: str) -> int:
    """Merge the files into ``target``, written whole; returns the number of lines."""
    if len(parts) > _MOST_OPEN:
        rounds = [parts[i : i + _MOST_OPEN] for i in range(0, len(parts), _MOST_OPEN)]
        between = [target.with_name(f".{target.name}-{i}.tmp") for i in range(len(rounds))]
        try:
            for some, path in zip(rounds, between, strict=True):
                merge_sorted(some, path, key)
            return merge_sorted(between, target, key)
        finally:
            for path in between:
                path.unlink(missing_ok=True)
    n = 0
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(target) as file:
        for _, line in merge_lines(parts, key):
            file.write(line)
            n += 1
    return n


def _open(path: Path) -> IO[bytes]:
    try:
        return open(path, "rb")
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror or error}", "run that shard again") from error


def _keyed(file: IO[bytes], path: Path, key: str) -> Iterator[tuple[Any, bytes]]:
    before = None
    for number, line in enumerate(file, 1):
        try:
            value = orjson.loads(line)[key]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            raise DataError(f"{path}, line {number}: not a row with {key}", "run that shard again") from None
        if before is not None and value < before:
            raise DataError(f"{path}, line {number}: not in order of {key}", "run that shard again")
        before = value
        yield value, line
