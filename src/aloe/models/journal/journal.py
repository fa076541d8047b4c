"""The journal: every completed call is one row, committed before anything that depends on it starts.

SQLite, one writer, group commit on the event loop. Texts are stored once and a request is a list of their ids:
storing whole requests would be quadratic in the turns. In memory there are only digests: of texts (to store each
once) and of calls (to find them). Invariants: a row is never changed; a key has at most one row; whatever a
caller was told is on disk. ``docs/journal.md`` describes the tables.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Any, Self, cast

import orjson

from aloe.errors import AloeError, DataError
from aloe.models.journal.lock import Lock, make_private, wal_is_safe
from aloe.models.journal.tables import connect, prepare
from aloe.protocols import Completion, PromptMessage
from aloe.types import Usage

log = logging.getLogger(__name__)

ROLES = ("system", "user", "assistant", "developer", "tool")
_CONTINUES = 7  # low three bits of a request's word: same message as the word before
_CODES = {role: code for code, role in enumerate(ROLES)}
_MOST = 2**63 - 1  # that SQLite keeps; whoever counts more has gone wrong
_RECENT = 65536  # texts kept for lookup without hashing

_INSERT_CALL = f"INSERT INTO calls VALUES ({','.join('?' * 17)})"
_INSERT_ATTEMPT = f"INSERT INTO attempts VALUES (NULL,{','.join('?' * 11)})"
_READ = (
    "SELECT digest, key, body, finish, prompt_tokens, completion_tokens, cached_tokens, cost, logprobs"
    " FROM calls JOIN texts ON texts.id = reply LEFT JOIN checks ON checks.call = calls.id WHERE calls.id = ?"
)


@dataclass(frozen=True, slots=True)
class Stored:
    """A completed call as the journal gives it back."""

    completion: Completion
    cost: float | None


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """An attempt that brought no answer. Tokens and cost are the worst case where it may have been billed.

    ``kind`` is one of ``prompts.faults.KINDS`` where an answer came that holds no text.
    """

    number: int
    ms: int
    status: int
    error: str
    billed: bool
    tokens: int | None
    cost: float | None
    kind: str = ""


def hash_text(text: str) -> bytes:
    """16 bytes that stand for a text.

    Raises:
        DataError: the text holds half characters, which no file takes.
    """
    try:
        return hash_bytes(text.encode())
    except UnicodeEncodeError:
        raise DataError("a text holds half characters (lone surrogates)", "correct what wrote it") from None


def hash_bytes(body: bytes) -> bytes:
    """As :func:`hash_text`, of a text as it is stored."""
    return blake2b(body, digest_size=16).digest()


def check_of(key: bytes, told: Sequence[Any]) -> bytes:
    """8 bytes over a call's key and its answer as it is stored: text, finish, tokens, cost, log-probabilities."""
    return blake2b(repr((key, *told)).encode(), digest_size=8).digest()


class Journal:
    """Open with :meth:`open`; ``keys`` maps the key of each completed call to its row."""

    def __init__(self, database: sqlite3.Connection, lock: Lock | None, where: str) -> None:
        self._database = database
        self._lock = lock
        self.where = where
        self.keys: dict[bytes, int] = dict(database.execute("SELECT key, id FROM calls"))
        self._plans: dict[str, int] = {body: i for i, body in database.execute("SELECT id, body FROM plans")}
        self._n_calls = self._last_id("calls")
        self._n_texts = self._last_id("texts")
        self._hashes: dict[bytes, int] | None = None  # filled at the first write: a replay needs none
        self._recent: dict[str, int] = {}
        self._new_texts: list[tuple[int, str]] = []
        self._new_calls: list[tuple[Any, ...]] = []
        self._new_attempts: list[tuple[Any, ...]] = []
        self._new_checks: list[tuple[int, bytes]] = []
        self._tick: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @classmethod
    def open(cls, path: Path | None) -> Self:
        """Open or create the journal at ``path`` for writing; None keeps it in memory.

        Raises:
            DataError: in use by another process, not a journal, or of a newer schema.
        """
        if path is None:
            database = connect(":memory:")
            prepare(database, "the journal in memory", wal=False)
            return cls(database, None, "in memory")
        make_private(path)
        lock = Lock(path.with_name(path.name + ".lock"))
        try:
            wal = wal_is_safe(path.parent)
            if not wal:
                log.warning(
                    "%s is on a network file system: the journal works without a write-ahead log, which is slower", path
                )
            database = connect(str(path))
            prepare(database, str(path), wal=wal)
            return cls(database, lock, str(path))
        except sqlite3.DatabaseError as error:
            lock.release()
            raise DataError(
                f"{path} can't be used as a journal: {error}", "aloe journal repair RUN, or move the file elsewhere"
            ) from error
        except AloeError:
            lock.release()
            raise

    def _last_id(self, table: str) -> int:
        return int(self._database.execute(f"SELECT COALESCE(MAX(id), 0) FROM {table}").fetchone()[0])

    def plan_id(self, plan: dict[str, Any]) -> int:
        """Row of what calls have in common (model, revision, role, prompt, sampling), stored once."""
        return self.plan_id_of(orjson.dumps(plan, option=orjson.OPT_SORT_KEYS).decode())

    def plan_id_of(self, body: str) -> int:
        """As :meth:`plan_id`, of a plan as it is stored."""
        found = self._plans.get(body)
        if found is None:
            found = self._plans[body] = len(self._plans) + 1
            self._database.execute("INSERT INTO plans VALUES (?, ?)", (found, body))
            self._database.commit()
        return found

    def learnt(self, endpoint: str) -> set[str]:
        """Fields of a request that an endpoint was found not to take."""
        return {
            field for (field,) in self._database.execute("SELECT field FROM learnt WHERE endpoint = ?", (endpoint,))
        }

    def learn(self, endpoint: str, field: str) -> None:
        """Keep that an endpoint does not take a field, so that later runs ask as this one did."""
        self._database.execute("INSERT OR IGNORE INTO learnt VALUES (?, ?, ?)", (endpoint, field, int(time.time())))

    def read(self, row: int) -> Stored | None:
        """The completed call in ``row`` (a value of ``keys``).

        None where the row is damaged: it is taken out, so that the call is made anew.
        """
        try:
            digest, key, *told = self._database.execute(_READ, (row,)).fetchone()
            if digest is not None and digest != check_of(key, told):
                raise ValueError
            body, finish, prompt, completion, cached, cost, logprobs = told
            usage = Usage.model_construct(
                prompt_tokens=prompt or 0, completion_tokens=completion or 0, cached_tokens=cached or 0
            )
            found = orjson.loads(logprobs) if logprobs is not None else None
        except (sqlite3.OperationalError, TypeError, ValueError):  # not UTF-8, no such row, other bits
            self._drop(row)
            return None
        return Stored(Completion(body, finish or "stop", usage, found), cost)

    def _drop(self, row: int) -> None:
        log.warning("call %d of the journal %s is damaged and made anew (see aloe journal check)", row, self.where)
        self.keys = {key: i for key, i in self.keys.items() if i != row}
        self._database.execute("DELETE FROM calls WHERE id = ?", (row,))

    def append(
        self,
        key: bytes,
        plan: int,
        place: tuple[str, int, int | None],
        messages: Sequence[PromptMessage],
        completion: Completion,
        spent: tuple[float | None, int, int],
    ) -> asyncio.Future[None]:
        """Queue a completed call; the future is done once it is on disk.

        Args:
            key: 16 bytes, not in ``keys``.
            place: path in the run, sample index, sampling seed.
            spent: cost in USD, milliseconds, attempts.
        """
        self.queue(key, plan, place, messages, completion, spent)
        return self._schedule()

    def queue(
        self,
        key: bytes,
        plan: int,
        place: tuple[str, int, int | None],
        messages: Sequence[PromptMessage],
        completion: Completion,
        spent: tuple[float | None, int, int],
    ) -> None:
        """As :meth:`append`, for the next commit, whoever asks for it."""
        path, sample, seed = place
        cost, ms, tries = spent
        cost = None if cost is None else float(cost)  # as it is read back
        usage = completion.usage
        logprobs = orjson.dumps(completion.logprobs) if completion.logprobs is not None else None
        finish = None if completion.finish_reason == "stop" else completion.finish_reason
        request, reply = self._pack(messages), self._text_id(completion.text)  # what can't be kept raises here
        counts = [min(max(n, 0), _MOST) for n in (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens)]
        self._n_calls += 1
        used = (counts[0], counts[1], counts[2] or None, cost, logprobs)
        self._new_calls.append(
            (
                self._n_calls, key, plan, path, sample or None, seed, request, reply, finish, *used,
                int(time.time()), ms or None, tries if tries > 1 else None,
            )
        )  # fmt: skip
        self._new_checks.append((self._n_calls, check_of(key, (completion.text, finish, *used))))

    def note_attempt(self, key: bytes, plan: int, path: str, failed: FailedAttempt) -> None:
        """Record an attempt without an answer; no caller waits for this."""
        self.queue_attempt(key, plan, path, failed)
        self._schedule()

    def queue_attempt(self, key: bytes, plan: int, path: str, failed: FailedAttempt) -> None:
        """As :meth:`note_attempt`, for the next commit, whoever asks for it."""
        self._new_attempts.append(
            (
                key, plan, path, failed.number, int(time.time()), failed.ms, failed.status, failed.error,
                int(failed.billed), failed.tokens, failed.cost,
            )
        )  # fmt: skip

    def _schedule(self) -> asyncio.Future[None]:
        if self._tick is None:
            loop = self._loop = asyncio.get_running_loop()
            self._tick = loop.create_future()
            loop.call_soon(self._commit_tick, self._tick)
        return self._tick

    def _commit_tick(self, tick: asyncio.Future[None]) -> None:
        if self._tick is not tick:  # flushed meanwhile
            return
        try:
            self.flush()
        except Exception as error:  # whatever it is: nobody may be left waiting for this commit
            self._tick = None
            failure = DataError(
                f"the journal {self.where} can't be written: {error}", "check disk space and permissions"
            )
            tick.set_exception(failure)
            tick.exception()  # an attempt alone has nobody who waits for it
            log.error("%s", failure)

    def flush(self) -> None:
        """Commit what is queued."""
        tick, self._tick = self._tick, None
        if self._new_texts or self._new_calls or self._new_attempts:
            self._write()
            for row in self._new_calls:
                self.keys[row[1]] = row[0]
            self._new_texts, self._new_calls, self._new_attempts, self._new_checks = [], [], [], []
        if tick is not None and not tick.done():
            tick.set_result(None)

    def _write(self) -> None:
        database = self._database
        database.execute("BEGIN")
        try:
            if self._new_texts:
                database.executemany("INSERT INTO texts VALUES (?,?)", self._new_texts)
            if self._new_calls:
                database.executemany(_INSERT_CALL, self._new_calls)
                database.executemany("INSERT OR REPLACE INTO checks VALUES (?,?)", self._new_checks)
            if self._new_attempts:
                database.executemany(_INSERT_ATTEMPT, self._new_attempts)
            database.commit()
        except sqlite3.Error:
            if database.in_transaction:
                database.rollback()  # what is queued stays queued, for the next commit
            raise

    def _pack(self, messages: Sequence[PromptMessage]) -> bytes:
        """Messages as 32-bit words: id of a part * 8 + role code, 7 where the message goes on."""
        own = [message.parts or ("",) for message in messages]
        parts = list(chain.from_iterable(own))
        codes = [_CODES[message.role] for message in messages]
        if len(parts) > len(own):
            codes = [c for code, p in zip(codes, own, strict=True) for c in (code, *(_CONTINUES,) * (len(p) - 1))]
        ids = list(map(self._recent.get, parts))  # all but the last few were there at the turn before
        while None in ids:
            at = ids.index(None)
            ids[at] = self._text_id(parts[at])
        known = cast("list[int]", ids)
        return array("I", [found << 3 | code for found, code in zip(known, codes, strict=True)]).tobytes()

    def _text_id(self, text: str) -> int:
        found = self._recent.get(text)
        if found is not None:
            return found
        hashes = self._hashes
        if hashes is None:
            rows = self._database.execute("SELECT CAST(body AS BLOB), id FROM texts")  # damaged ones too
            hashes = self._hashes = {hash_bytes(body): i for body, i in rows}
        digest = hash_text(text)
        found = hashes.get(digest)
        if found is None:
            found = self._n_texts = self._n_texts + 1
            hashes[digest] = found
            self._new_texts.append((found, text))
        if len(self._recent) >= _RECENT:
            self._recent.clear()
        self._recent[text] = found
        return found

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """The database, for rows that are all written or none of them; ``keys`` knows nothing of them."""
        self.flush()
        self._database.execute("BEGIN")
        try:
            yield self._database
            self._database.commit()
        finally:
            if self._database.in_transaction:
                self._database.rollback()

    def spent(self) -> tuple[int, float]:
        """Tokens and USD of all attempts so far, possibly billed ones included."""
        tokens, cost = self._database.execute(
            "SELECT COALESCE(SUM(tokens), 0), COALESCE(SUM(cost), 0) FROM every_attempt WHERE billed"
        ).fetchone()
        return int(tokens), float(cost)

    def spent_by_part(self, of: int) -> tuple[int, float]:
        """What counts as spent for one of ``of`` parts of a run: here, all of it."""
        return self.spent()

    def close(self) -> None:
        """Commit what is queued and give the journal free."""
        self.flush()
        self._database.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def unpack(blob: bytes) -> list[tuple[str, list[int]]]:
    """The inverse of a request's packing: (role, ids of the parts) per message."""
    words = array("I")
    words.frombytes(blob)
    messages: list[tuple[str, list[int]]] = []
    for word in words:
        if word & 7 == _CONTINUES:
            messages[-1][1].append(word >> 3)
        else:
            messages.append((ROLES[word & 7], [word >> 3]))
    return messages
