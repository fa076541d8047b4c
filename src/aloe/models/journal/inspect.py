"""Reads a journal: counts, cost, one call in full, export, and pruning.

Everything here reads a journal beside a run that may be writing it; only :func:`prune` writes and takes the lock.
Requests are stored as lists of text ids; :class:`Reader` puts them together again.
"""

from __future__ import annotations

import os
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from aloe.errors import DataError
from aloe.models.journal.journal import unpack
from aloe.models.journal.lock import Lock
from aloe.models.journal.tables import check_schema
from aloe.store.rundir import RunDir

_MIB = 2**20
_COLUMNS = (
    "c.id, hex(c.key), p.body, c.path, c.sample, c.seed, c.request, t.body, c.finish, c.prompt_tokens,"
    " c.completion_tokens, c.cached_tokens, c.cost, c.logprobs, c.at, c.ms, c.tries"
)
_CALLS = f"SELECT {_COLUMNS} FROM calls c JOIN plans p ON p.id = c.plan JOIN texts t ON t.id = c.reply"


@dataclass(frozen=True, slots=True)
class ModelUse:
    """What one model was asked in one role, all sessions together. ``cost`` USD, None where a price was unknown."""

    model: str
    role: str
    n_calls: int
    n_failed: int  # attempts that brought no answer
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    cost: float | None
    cost_lost: float  # of failed attempts that may have been billed, at their worst
    ms: float  # mean, of the attempts that were answered


@dataclass(frozen=True, slots=True)
class Stats:
    """A journal at a glance."""

    n_calls: int
    n_texts: int
    n_attempts_failed: int
    failures: dict[str, int]  # by status
    file_bytes: int
    text_bytes: int
    request_bytes: int
    uses: tuple[ModelUse, ...]


def find_journal(where: Path) -> Path:
    """The journal of a run directory, or the file itself.

    Raises:
        DataError: there is none.
    """
    path = RunDir(where).journal_path if where.is_dir() else where
    if not path.is_file():
        what = "holds no journal.sqlite" if path.parent in (where, where.parent) else f"has no journal at {path}"
        raise DataError(f"{where} {what}", "give a run directory, or a journal file")
    return path


class Reader:
    """A journal opened for reading only; safe beside a run that writes it. Use as a context manager.

    Raises:
        DataError: not a journal, or of an unknown schema.
    """

    def __init__(self, where: Path) -> None:
        self.path = find_journal(where)
        uri = f"{self.path.resolve().as_uri()}?mode=ro"
        try:
            self._database = sqlite3.connect(uri, uri=True)
            check_schema(self._database, str(self.path))
            self._database.execute("SELECT id FROM calls LIMIT 1")  # an empty database has a schema's number too
        except sqlite3.DatabaseError as error:
            raise DataError(f"{self.path} can't be read as a journal: {error}", "give a journal of aloe") from error

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._database.close()
        if isinstance(error, sqlite3.DatabaseError):
            raise DataError(f"{self.path} is damaged: {error}", "aloe journal check says where") from error

    def _one(self, query: str) -> tuple[Any, ...]:
        row: tuple[Any, ...] = self._database.execute(query).fetchone()
        return row

    def stats(self) -> Stats:
        """Counts, sizes and use by model and role."""
        n_calls, request_bytes = self._one("SELECT COUNT(*), COALESCE(SUM(LENGTH(request)), 0) FROM calls")
        n_texts, text_bytes = self._one("SELECT COUNT(*), COALESCE(SUM(LENGTH(CAST(body AS BLOB))), 0) FROM texts")
        by_status = self._database.execute(
            "SELECT CASE WHEN status = 200 AND error LIKE 'no text: %' THEN error ELSE status END AS what, COUNT(*)"
            " FROM attempts GROUP BY what ORDER BY 2 DESC"
        )
        failures = {str(status) if status else "no answer": n for status, n in by_status}
        return Stats(
            n_calls, n_texts, sum(failures.values()), failures, self.path.stat().st_size, text_bytes, request_bytes,
            tuple(self.uses()),
        )  # fmt: skip

    def uses(self) -> list[ModelUse]:
        """Use by model and role, the dearest and then the most used first."""
        plans = {i: orjson.loads(body) for i, body in self._database.execute("SELECT id, body FROM plans")}
        sums: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0] * 9)
        query = (
            "SELECT plan, COUNT(*), TOTAL(prompt_tokens), TOTAL(completion_tokens), TOTAL(cached_tokens), TOTAL(cost),"
            " COUNT(*) - COUNT(cost), TOTAL(ms) FROM calls GROUP BY plan"
        )
        for plan, *values in self._database.execute(query):
            row = sums[plans[plan]["model"], plans[plan]["role"]]
            for i, value in enumerate(values):
                row[i] += value
        query = "SELECT plan, COUNT(*), TOTAL(cost) FROM attempts GROUP BY plan"
        for plan, n_failed, lost in self._database.execute(query):
            row = sums[plans[plan]["model"], plans[plan]["role"]]
            row[7] += n_failed
            row[8] += lost
        uses = []
        for (model, role), (n, prompt, completion, cached, cost, n_unknown, ms, n_failed, lost) in sums.items():
            price = None if n_unknown else cost
            uses.append(
                ModelUse(model, role, int(n), int(n_failed), int(prompt), int(completion), int(cached), price, lost,
                         ms / n if n else 0.0)
            )  # fmt: skip
        return sorted(uses, key=lambda u: (-(u.cost or 0.0), -u.prompt_tokens, u.model, u.role))

    def latencies(self) -> dict[tuple[str, str], list[int]]:
        """(Model, role) -> milliseconds of every call that was answered, in no order; 0 = less than one."""
        plans = {i: orjson.loads(body) for i, body in self._database.execute("SELECT id, body FROM plans")}
        found: dict[tuple[str, str], list[int]] = defaultdict(list)
        for plan, ms in self._database.execute("SELECT plan, ms FROM calls"):
            found[plans[plan]["model"], plans[plan]["role"]].append(ms or 0)
        return dict(found)

    def calls(self, prefix: str = "") -> Iterator[dict[str, Any]]:
        """All calls in full, in order of completion; ``prefix``: only of this place in the run (``trees/``)."""
        query = f"{_CALLS} WHERE substr(c.path, 1, ?) = ? ORDER BY c.id"
        for row in self._database.execute(query, (len(prefix), prefix)):
            yield self._call(row)

    def find(self, name: str) -> list[dict[str, Any]]:
        """Calls by the start of their key (as in ``call_key`` of the files), by path, or by the start of a path."""
        query = f"{_CALLS} WHERE hex(c.key) LIKE ? || '%' OR c.path = ? OR c.path LIKE ? || '/%' ORDER BY c.id LIMIT 50"
        is_key = bool(name) and all(c in "0123456789abcdefABCDEF" for c in name)
        rows = self._database.execute(query, (name.upper() if is_key else "-", name, name.rstrip("/"))).fetchall()
        return [self._call(row) for row in rows]

    def _call(self, row: tuple[Any, ...]) -> dict[str, Any]:
        (number, key, plan, path, sample, seed, request, reply, finish, prompt, completion, cached, cost, logprobs,
         at, ms, tries) = row  # fmt: skip
        messages = [{"role": role, "content": self._join(ids)} for role, ids in unpack(request)]
        failed = self._database.execute(
            "SELECT number, status, error, billed FROM attempts WHERE key = ? ORDER BY id", (bytes.fromhex(key),)
        )
        names = ("number", "status", "error", "billed")
        return {
            "call": number, "call_key": key.lower(), **orjson.loads(plan), "path": path, "sample": sample or 0,
            "seed": seed, "messages": messages, "reply": reply, "finish_reason": finish or "stop",
            "usage": {"prompt_tokens": prompt, "completion_tokens": completion, "cached_tokens": cached or 0},
            "cost": cost, "logprobs": orjson.loads(logprobs) if logprobs else None, "at": at, "ms": ms or 0,
            "tries": tries or 1, "failed_attempts": [dict(zip(names, row, strict=True)) for row in failed],
        }  # fmt: skip

    def _join(self, ids: list[int]) -> str:
        marks = ",".join("?" * len(set(ids)))
        texts = dict(self._database.execute(f"SELECT id, body FROM texts WHERE id IN ({marks})", tuple(set(ids))))
        return "".join(texts[i] for i in ids)


def export_calls(where: Path, out: Path, prefix: str = "") -> int:
    """All calls in full as JSON lines; returns how many.

    Raises:
        DataError: there is no journal.
    """
    n = 0
    with Reader(where) as reader, open(out, "wb", opener=_private) as file:
        for n, call in enumerate(reader.calls(prefix), start=1):  # noqa: B007 - the last n is the count
            file.write(orjson.dumps(call, option=orjson.OPT_APPEND_NEWLINE))
    return n


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)  # it holds every word that was sent and received


@dataclass(frozen=True, slots=True)
class Pruned:
    n_calls: int
    n_texts: int
    n_attempts: int
    bytes_before: int
    bytes_after: int


def prune(where: Path, prefix: str | None = None, failed_only: bool = False, dry: bool = False) -> Pruned:
    """Delete calls, then the texts that no call holds any more, and give the space back.

    What is deleted will be paid for again if it is needed again. Spending that a budget must count goes with it.

    Args:
        prefix: delete the calls of this place in the run (``trees/``, ``bench/oracle``); None: no calls.
        failed_only: delete the records of failed attempts (of that place, or all).
        dry: only count.

    Raises:
        DataError: no journal, or a run is using it.
    """
    path = find_journal(where)
    before = path.stat().st_size
    lock = Lock(path.with_name(path.name + ".lock"))
    database = sqlite3.connect(path, isolation_level=None)
    try:
        check_schema(database, str(path))
        database.execute("BEGIN IMMEDIATE")
        n_calls = 0
        if prefix is not None and not failed_only:
            n_calls = database.execute("DELETE FROM calls WHERE substr(path, 1, ?) = ?", (len(prefix), prefix)).rowcount
        start = prefix or ""
        n_attempts = 0
        if failed_only or prefix is not None:
            n_attempts = database.execute(
                "DELETE FROM attempts WHERE substr(path, 1, ?) = ?", (len(start), start)
            ).rowcount
        n_texts = _drop_orphans(database)
        database.execute("ROLLBACK" if dry else "COMMIT")
        if not dry:
            database.execute("VACUUM")
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.DatabaseError as error:
        raise DataError(f"{path} can't be pruned: {error}", "give a journal of aloe") from error
    finally:
        database.close()
        lock.release()
    return Pruned(n_calls, n_texts, n_attempts, before, path.stat().st_size)


def _drop_orphans(database: sqlite3.Connection) -> int:
    """Delete texts that neither a request nor a reply refers to; ids of the others stay."""
    held = {row[0] for row in database.execute("SELECT reply FROM calls")}
    for (request,) in database.execute("SELECT request FROM calls"):
        for _, ids in unpack(request):
            held.update(ids)
    orphans = [(i,) for (i,) in database.execute("SELECT id FROM texts") if i not in held]
    database.executemany("DELETE FROM texts WHERE id = ?", orphans)
    return len(orphans)


def format_stats(stats: Stats) -> str:
    """The journal at a glance, for people."""
    per_call = stats.file_bytes / stats.n_calls if stats.n_calls else 0.0
    lines = [
        f"{stats.n_calls:,} calls, {stats.n_texts:,} texts, {stats.file_bytes / _MIB:.1f} MiB ({per_call:,.0f} bytes a "
        f"call; texts {stats.text_bytes / _MIB:.1f} MiB, requests {stats.request_bytes / _MIB:.1f} MiB)"
    ]
    if stats.n_attempts_failed:
        by = ", ".join(f"{status}: {n:,}" for status, n in stats.failures.items())
        lines.append(f"{stats.n_attempts_failed:,} attempts without an answer ({by})")
    lines += [
        "",
        f"{'role':<10} {'calls':>9} {'failed':>7} {'prompt':>12} {'cached':>7} {'completion':>11} {'ms':>7}  model",
    ]
    for u in stats.uses:
        cached = f"{u.cached_tokens / u.prompt_tokens:.0%}" if u.prompt_tokens else "-"
        lines.append(
            f"{u.role:<10} {u.n_calls:>9,} {u.n_failed:>7,} {u.prompt_tokens:>12,} {cached:>7} "
            f"{u.completion_tokens:>11,} {u.ms:>7,.0f}  {u.model[:60]}"
        )
    return "\n".join(lines)


def format_cost(uses: list[ModelUse]) -> str:
    """USD by model and role; what failed attempts may have cost stands apart."""
    lines = [f"{'role':<10} {'USD':>12} {'maybe lost':>12}  model"]
    for u in uses:
        cost = "unknown" if u.cost is None else f"{u.cost:,.4f}"
        lines.append(f"{u.role:<10} {cost:>12} {u.cost_lost:>12,.4f}  {u.model[:60]}")
    known, lost = sum(u.cost or 0.0 for u in uses), sum(u.cost_lost for u in uses)
    unknown = sum(u.cost is None for u in uses)
    more = f", and {unknown} whose price is unknown" if unknown else ""
    lines.append(f"{'together':<10} {known:>12,.4f} {lost:>12,.4f}{more}")
    return "\n".join(lines)


def format_call(call: dict[str, Any]) -> str:
    """One call in full, for people."""
    usage = call["usage"]
    cost = "unknown" if call["cost"] is None else f"${call['cost']:.6f}"
    lines = [
        f"call {call['call_key']}  {call['path']}" + (f" (sample {call['sample']})" if call["sample"] else ""),
        f"{call['role']}: {call['model']}  prompt {call['prompt']} {call['prompt_hash']}  seed {call['seed']}",
        f"{usage['prompt_tokens']} + {usage['completion_tokens']} tokens ({usage['cached_tokens']} cached), {cost}, "
        f"{call['ms']} ms, {call['tries']} tries, finished by {call['finish_reason']}",
    ]
    lines += [f"  attempt {a['number']} failed ({a['status']}): {a['error']}" for a in call["failed_attempts"]]
    for message in [*call["messages"], {"role": "reply", "content": call["reply"]}]:
        lines += [f"--- {message['role']}", message["content"]]
    return "\n".join(lines)
