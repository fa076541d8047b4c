"""Deletes calls from a journal for good, by their place in the run or by their text.

Also their failed attempts, and every text that no remaining call refers to. Deleted pages are overwritten and the
file is rewritten, so that nothing can be read back from it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import orjson

from aloe.errors import DataError
from aloe.models.journal.journal import unpack
from aloe.models.journal.lock import Lock
from aloe.models.journal.tables import check_schema
from aloe.prompts.sections import escape

MIN_SAID = 20  # characters of an answer by which later calls of a talk are known


@dataclass(frozen=True, slots=True)
class ForgottenCalls:
    """How many rows of each table went."""

    n_calls: int = 0
    n_attempts: int = 0
    n_texts: int = 0


def forget_calls(path: Path, ids: Collection[str], passages: Collection[str]) -> ForgottenCalls:
    """Remove the calls whose path holds one of ``ids`` as a part, or that sent or received one of ``passages``.

    Args:
        ids: parts of a call's path (persona, tree and node ids, user hashes).
        passages: texts looked for inside messages and answers.

    Raises:
        DataError: in use by another process, not a journal, or of a newer schema.
    """
    if not path.is_file():
        return ForgottenCalls()
    lock = Lock(path.with_name(path.name + ".lock"))
    try:
        database = sqlite3.connect(str(path), isolation_level=None)
        try:
            check_schema(database, str(path))
            return _forget(database, frozenset(ids), spellings(passages))
        finally:
            database.close()
    except sqlite3.DatabaseError as error:
        raise DataError(
            f"{path} can't be rewritten: {error}", "check disk space and permissions, then run the command again"
        ) from error
    finally:
        lock.release()


def spellings(passages: Collection[str]) -> tuple[str, ...]:
    """Each passage as it may stand in a message: as it is, inside a section, inside JSON."""
    found: dict[str, None] = {}
    for passage in filter(None, passages):
        for text in (passage, escape(passage)):
            found[text] = None
            found[orjson.dumps(text).decode()[1:-1]] = None
    return tuple(found)


def _forget(database: sqlite3.Connection, ids: frozenset[str], passages: tuple[str, ...]) -> ForgottenCalls:
    def is_ours(path: str) -> bool:
        return not ids.isdisjoint(path.split("/"))

    def holds(body: str) -> bool:
        return any(p in body for p in passages)

    telling = {i for i, body in database.execute("SELECT id, body FROM texts") if holds(body)}
    telling |= _talked_of(database, telling)
    gone: list[tuple[int]] = []
    keys: set[bytes] = set()
    kept: set[int] = set()
    for row, key, path, request, reply in database.execute("SELECT id, key, path, request, reply FROM calls"):
        parts = {reply}
        for _, texts in unpack(request):
            parts.update(texts)
        if is_ours(path) or not telling.isdisjoint(parts):
            gone.append((row,))
            keys.add(key)
        else:
            kept |= parts
    attempts = [
        (row,)
        for row, key, path, error in database.execute("SELECT id, key, path, error FROM attempts")
        if key in keys or is_ours(path) or holds(error or "")
    ]
    loose = [(i,) for (i,) in database.execute("SELECT id FROM texts") if i not in kept] if gone else []
    if gone or attempts:
        database.execute("PRAGMA secure_delete=ON")
        database.execute("BEGIN")
        database.executemany("DELETE FROM calls WHERE id = ?", gone)
        database.executemany("DELETE FROM attempts WHERE id = ?", attempts)
        database.executemany("DELETE FROM texts WHERE id = ?", loose)
        database.execute("COMMIT")
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.execute("VACUUM")  # also after a run that was stopped between the deletion and here
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return ForgottenCalls(len(gone), len(attempts), len(loose))


def _talked_of(database: sqlite3.Connection, telling: set[int]) -> set[int]:
    """What was said in the studio's talks that a telling text began: their calls' paths name no persona.

    The simulated user's call holds the persona; its answer is in the next calls' requests, whose answers are in the
    next, and so on. Short answers are anybody's and lead nowhere.
    """
    talks = []
    query = "SELECT request, reply, LENGTH(body) FROM calls JOIN texts ON texts.id = reply WHERE path LIKE 'studio/%'"
    for request, reply, length in database.execute(query):
        talks.append(({i for _, texts in unpack(request) for i in texts}, reply, length))
    found: set[int] = set()
    while True:
        known = telling | found
        new = {reply for sent, reply, n in talks if n >= MIN_SAID and reply not in known and not known.isdisjoint(sent)}
        if not new:
            return found
        found |= new
