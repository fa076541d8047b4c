"""Checks a journal for damaged calls, and copies those that are whole.

A call's request is checked by its key, a digest of everything that was sent; its answer by the digest that is stored
beside it (calls of earlier versions have none and are taken as they are).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from aloe.errors import DataError
from aloe.models.journal.inspect import find_journal
from aloe.models.journal.journal import check_of, unpack
from aloe.models.journal.lock import Lock, wal_is_safe
from aloe.models.journal.tables import connect, prepare

_TABLES = {"texts": 2, "plans": 2, "calls": 17, "attempts": 12, "checks": 2}
_CHUNK, _MOST_MISSED = 200, 20  # rows read together; unreadable chunks in a row after which no more are looked for


@dataclass(slots=True)
class Condition:
    """What is left of a journal.

    Attributes:
        damaged: ids of calls that are not as they were written. n_checked: calls whose answer has a digest.
        problems: what SQLite says of the file.
    """

    n_calls: int = 0
    n_checked: int = 0
    damaged: list[int] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        return not self.damaged and not self.problems


def check_journal(where: Path) -> Condition:
    """Look at every call of a run's journal.

    Raises:
        DataError: there is no journal.
    """
    path = find_journal(where)
    database = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    try:
        return _look(database)
    finally:
        database.close()


def repair_journal(where: Path) -> tuple[Condition, Path]:
    """Put a copy without what is damaged in the journal's place.

    Returns:
        What was found, and where the damaged file is kept.

    Raises:
        DataError: there is no journal, a run is using it, or it can't be written.
    """
    path = find_journal(where)
    lock = Lock(path.with_name(path.name + ".lock"))
    try:
        fresh, kept = path.with_name(path.name + ".repaired"), path.with_name(path.name + ".damaged")
        fresh.unlink(missing_ok=True)
        old, new = sqlite3.connect(path), connect(str(fresh))
        try:
            condition = _look(old)
            prepare(new, str(fresh), wal=False)
            _copy(old, new, set(condition.damaged))
        finally:
            old.close()
            new.close()
        os.replace(path, kept)
        for rest in ("-wal", "-shm"):
            path.with_name(path.name + rest).unlink(missing_ok=True)
        os.replace(fresh, path)
        if wal_is_safe(path.parent):
            connect(str(path)).close()
        return condition, kept
    except (sqlite3.Error, OSError) as error:
        raise DataError(f"{path} can't be repaired: {error}", "free some space, or move the file elsewhere") from error
    finally:
        lock.release()


def _look(database: sqlite3.Connection) -> Condition:
    condition = Condition()
    try:
        said = [str(row[0]) for row in database.execute("PRAGMA integrity_check(20)")]
        condition.problems = [line for line in said if line != "ok"]
    except sqlite3.Error as error:
        condition.problems = [str(error)]
    texts = {row[0]: row[1] for row in _rows(database, "texts")}
    plans = {row[0]: row[1] for row in _rows(database, "plans")}
    checks = {row[0]: row[1] for row in _rows(database, "checks")}
    for row in _rows(database, "calls"):
        condition.n_calls += 1
        digest = checks.get(row[0])
        condition.n_checked += digest is not None
        if not _is_whole(row, texts, plans, digest):
            condition.damaged.append(row[0])
    return condition


def _is_whole(row: tuple[Any, ...], texts: dict[int, str], plans: dict[int, str], digest: bytes | None) -> bool:
    from aloe.models.caller import request_key
    from aloe.protocols import PromptMessage

    _, key, plan, path, sample, seed, request, reply, *told = row
    try:
        if digest is not None and digest != check_of(key, (texts[reply], *told[:6])):
            return False
        body = orjson.loads(plans[plan])
        fixed = {name: body[name] for name in ("model", "revision", "role", "sampling")}
        messages = [PromptMessage(role, tuple(texts[i] for i in ids)) for role, ids in unpack(request)]
        former = key == request_key(fixed, path, sample or 0, seed, messages)
        return reply in texts and (former or body["role"] == "embedder")
    except (KeyError, IndexError, TypeError, ValueError):
        return False


def _rows(database: sqlite3.Connection, table: str) -> Iterator[tuple[Any, ...]]:
    """The rows of a table that can be read, by their ids."""
    try:
        yield from database.execute(f"SELECT * FROM {table}").fetchall()
        return
    except sqlite3.Error:
        pass  # somewhere a page is damaged: one row after the other
    start, n_missed = 1, 0
    while n_missed < _MOST_MISSED:
        try:
            query = f"SELECT rowid, * FROM {table} WHERE rowid >= ? ORDER BY rowid LIMIT ?"
            found = database.execute(query, (start, _CHUNK)).fetchall()
            if not found:
                return
            start, n_missed = found[-1][0] + 1, 0
            yield from (row[1:] for row in found)
        except sqlite3.Error:
            single = [_one(database, table, number) for number in range(start, start + _CHUNK)]
            start, n_missed = start + _CHUNK, 0 if any(single) else n_missed + 1
            yield from (row for row in single if row is not None)


def _one(database: sqlite3.Connection, table: str, number: int) -> tuple[Any, ...] | None:
    try:
        row: tuple[Any, ...] | None = database.execute(f"SELECT * FROM {table} WHERE rowid = ?", (number,)).fetchone()
        return row
    except sqlite3.Error:
        return None


def _copy(old: sqlite3.Connection, new: sqlite3.Connection, damaged: set[int]) -> None:
    """Everything readable but the damaged calls, in one commit."""
    new.execute("BEGIN")
    for table, width in _TABLES.items():
        marks = ",".join("?" * width)
        for row in _rows(old, table):
            if table in ("calls", "checks") and row[0] in damaged:
                continue
            new.execute(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", row)
    with suppress(sqlite3.Error):  # a journal of an earlier version has none; a damaged one is learnt anew
        new.executemany("INSERT OR IGNORE INTO learnt VALUES (?,?,?)", old.execute("SELECT * FROM learnt").fetchall())
    new.execute("COMMIT")
