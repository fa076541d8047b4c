"""Takes the rows of other journals into one: what shards have paid for is the run's.

One source is one transaction, and calls that are there already are passed over: a merge that was killed is done again.
Texts are kept apart by source, which needs no memory: only what conversations have in common is then stored once for
each source.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from aloe.errors import DataError
from aloe.models.journal.journal import Journal
from aloe.models.journal.lock import Lock
from aloe.models.journal.tables import check_schema, connect

_CALLS = (
    "SELECT key, plan, path, sample, seed, request, reply, finish, prompt_tokens, completion_tokens,"
    " cached_tokens, cost, logprobs, at, ms, tries, digest FROM calls LEFT JOIN checks ON checks.call = calls.id"
)
_ATTEMPTS = "SELECT key, number, at, ms, status, plan, path, error, billed, tokens, cost FROM attempts"
MOST_TEXTS = 2**29 - 1  # a request names its texts by numbers of 29 bits
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
        with journal.transaction() as database:
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
                    if all(key in self._journal.keys for (key,) in source.execute("SELECT key FROM calls")):
                        return 0
                    shift = self._n_texts
                    self._copy_texts(source, database)
                    return self._copy_calls(source, database, names, shift)
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

    def _copy_texts(self, source: sqlite3.Connection, database: sqlite3.Connection) -> None:
        """Texts keep their order; each has its number there and ``_n_texts`` here."""
        shift = self._n_texts
        self._n_texts += int(source.execute("SELECT COALESCE(MAX(id), 0) FROM texts").fetchone()[0])
        if self._n_texts > MOST_TEXTS:
            raise DataError(
                f"{self._journal.where} can't hold more than {MOST_TEXTS:,} texts", "split the run into several"
            )
        rows = ((number + shift, body) for number, body in source.execute("SELECT id, body FROM texts"))
        database.executemany("INSERT INTO texts VALUES (?, CAST(? AS TEXT))", rows)

    def _copy_calls(
        self, source: sqlite3.Connection, database: sqlite3.Connection, names: dict[int, int], shift: int
    ) -> int:
        insert = f"INSERT INTO calls VALUES ({','.join('?' * 17)})"
        known, n_before = self._journal.keys, self._n_calls
        for key, plan, path, sample, seed, request, reply, finish, *rest in source.execute(_CALLS):
            if key in known:
                continue
            self._n_calls += 1
            known[key] = self._n_calls
            words = (np.frombuffer(request, "<u4") + np.uint32(shift << 3)).tobytes()
            *used, digest = rest
            told = None if finish is None else finish.decode()
            place = (path.decode(), sample, seed, words, reply + shift, told)
            database.execute(insert, (self._n_calls, key, names[plan], *place, *used))
            if digest is not None:
                database.execute("INSERT OR REPLACE INTO checks VALUES (?,?)", (self._n_calls, digest))
        return self._n_calls - n_before


def _copy_learnt(source: sqlite3.Connection, database: sqlite3.Connection) -> None:
    for endpoint, field, at in source.execute("SELECT endpoint, field, at FROM learnt"):
        database.execute("INSERT OR IGNORE INTO learnt VALUES (?, ?, ?)", (endpoint.decode(), field.decode(), at))
