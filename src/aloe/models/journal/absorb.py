"""Takes the rows of other journals into one: what shards have paid for is the run's.

One source is one transaction, and rows that are there already are passed over: a merge that was killed is done again.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from aloe.errors import DataError
from aloe.models.journal.journal import Journal, hash_bytes
from aloe.models.journal.lock import Lock
from aloe.models.journal.tables import check_schema, connect

_CALLS = (
    "SELECT key, plan, path, sample, seed, request, reply, finish, prompt_tokens, completion_tokens,"
    " cached_tokens, cost, logprobs, at, ms, tries, digest FROM calls LEFT JOIN checks ON checks.call = calls.id"
)
_ATTEMPTS = "SELECT key, number, at, ms, status, plan, path, error, billed, tokens, cost FROM attempts"
_KNOWN = 5  # columns of an attempt that tell it from others


def absorb(target: Path, sources: Sequence[Path]) -> int:
    """Take all rows of ``sources`` that are not there yet into the journal at ``target``; returns how many calls.

    Raises:
        DataError: a journal is in use, damaged, or cannot be written.
    """
    sources = [path for path in sources if path.is_file()]
    if not sources:
        return 0
    journal = Journal.open(target)
    try:
        absorber = _Absorber(journal)
        return sum(map(absorber.take, sources))
    finally:
        journal.close()


class _Absorber:
    """The journal that takes the rows, and what it holds already."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._keys = set(journal.keys)
        with journal.transaction() as database:
            self._texts = {hash_bytes(b): i for b, i in database.execute("SELECT CAST(body AS BLOB), id FROM texts")}
            self._n_texts = int(database.execute("SELECT COALESCE(MAX(id), 0) FROM texts").fetchone()[0])
            self._n_calls = int(database.execute("SELECT COALESCE(MAX(id), 0) FROM calls").fetchone()[0])
            self._attempts = set(database.execute("SELECT key, number, at, ms, status FROM attempts"))

    def take(self, path: Path) -> int:
        """Take the rows of one source; returns how many calls were new."""
        lock = Lock(path.with_name(path.name + ".lock"))
        try:
            with closing(connect(str(path))) as source:
                source.text_factory = bytes  # a damaged text stays as it is, and is found where it is read
                check_schema(source, str(path))
                plans = source.execute("SELECT id, body FROM plans").fetchall()
                names = {number: self._journal.plan_id_of(body.decode()) for number, body in plans}
                with self._journal.transaction() as database:
                    _copy_learnt(source, database)
                    self._copy_attempts(source, database, names)
                    return self._copy_calls(source, database, names, self._copy_texts(source, database))
        except (sqlite3.Error, KeyError, IndexError, UnicodeDecodeError) as error:
            raise DataError(
                f"{path} can't be taken into {self._journal.where}: {error}",
                "free some space if the disk is full; else: aloe journal check on that file",
            ) from error
        finally:
            lock.release()

    def _copy_attempts(self, source: sqlite3.Connection, database: sqlite3.Connection, names: dict[int, int]) -> None:
        insert = f"INSERT INTO attempts VALUES (NULL,{','.join('?' * 11)})"
        for row in source.execute(_ATTEMPTS):
            key, number, at, ms, status, plan, path, error, *spent = row
            if row[:_KNOWN] not in self._attempts:
                self._attempts.add(row[:_KNOWN])
                told = (path.decode(), number, at, ms, status, (error or b"").decode("utf-8", "replace"))
                database.execute(insert, (key, names[plan], *told, *spent))

    def _copy_texts(self, source: sqlite3.Connection, database: sqlite3.Connection) -> dict[int, int]:
        """The number here of each text there."""
        found: dict[int, int] = {}
        for number, body in source.execute("SELECT id, body FROM texts"):
            digest = hash_bytes(body)
            known = self._texts.get(digest)
            if known is None:
                known = self._texts[digest] = self._n_texts = self._n_texts + 1
                database.execute("INSERT INTO texts VALUES (?, CAST(? AS TEXT))", (known, body))
            found[number] = known
        return found

    def _copy_calls(
        self, source: sqlite3.Connection, database: sqlite3.Connection, names: dict[int, int], texts: dict[int, int]
    ) -> int:
        insert, n_before = f"INSERT INTO calls VALUES ({','.join('?' * 17)})", self._n_calls
        for key, plan, path, sample, seed, request, reply, finish, *rest in source.execute(_CALLS):
            if key in self._keys:
                continue
            self._keys.add(key)
            self._n_calls += 1
            words = array("I")
            words.frombytes(request)
            words = array("I", [texts[word >> 3] << 3 | word & 7 for word in words])
            *used, logprobs, at, ms, tries, digest = rest
            place = (path.decode(), sample, seed, words.tobytes(), texts[reply])
            told = None if finish is None else finish.decode()
            database.execute(insert, (self._n_calls, key, names[plan], *place, told, *used, logprobs, at, ms, tries))
            if digest is not None:
                database.execute("INSERT OR REPLACE INTO checks VALUES (?,?)", (self._n_calls, digest))
        return self._n_calls - n_before


def _copy_learnt(source: sqlite3.Connection, database: sqlite3.Connection) -> None:
    for endpoint, field, at in source.execute("SELECT endpoint, field, at FROM learnt"):
        database.execute("INSERT OR IGNORE INTO learnt VALUES (?, ?, ?)", (endpoint.decode(), field.decode(), at))
