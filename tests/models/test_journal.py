"""The journal as a file: what it stores, who may open it, what it refuses, and a disk that is full."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aloe.errors import DataError
from aloe.models.journal.journal import Journal, hash_text, unpack
from aloe.models.journal.lock import filesystem_of
from aloe.models.journal.tables import SCHEMA
from aloe.protocols import Completion, PromptMessage
from aloe.types import Usage

LONG = "Static instructions. " * 50


async def fill(journal: Journal, n: int, start: int = 0) -> None:
    plan = journal.plan_id({"model": "x:y"})
    for i in range(start, start + n):
        messages = (PromptMessage("system", (LONG,)), PromptMessage("user", (f"q{i}", "!")))
        usage = Usage(prompt_tokens=10, completion_tokens=2, cached_tokens=4)
        completion = Completion(f"a{i}", "stop", usage, [{"token": "a"}] if i % 2 else None)
        await journal.append(i.to_bytes(16, "big"), plan, (f"p/{i}", 0, i), messages, completion, (0.5, 7, 1))


def test_what_was_stored_comes_back_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    journal = Journal.open(path)
    asyncio.run(fill(journal, 5))
    journal.close()
    again = Journal.open(path)
    assert len(again.keys) == 5 and again.spent() == (60, 2.5)
    stored = again.read(again.keys[(3).to_bytes(16, "big")])
    assert stored.completion.text == "a3" and stored.completion.logprobs == [{"token": "a"}]
    assert stored.completion.usage.cached_tokens == 4 and stored.cost == 0.5
    asyncio.run(fill(again, 3, start=5))  # ids go on where they were
    again.close()
    with sqlite3.connect(path) as database:
        (n_long,) = database.execute("SELECT COUNT(*) FROM texts WHERE body = ?", (LONG,)).fetchone()
        assert n_long == 1
        texts = dict(database.execute("SELECT id, body FROM texts"))
        (blob,) = database.execute("SELECT request FROM calls WHERE path = 'p/6'").fetchone()
    (_, system), (role, parts) = unpack(blob)
    assert role == "user" and [texts[i] for i in parts] == ["q6", "!"] and [texts[i] for i in system] == [LONG]


@given(st.text(), st.text())
def test_texts_have_the_same_hash_only_if_they_are_the_same(one: str, other: str) -> None:
    assert (hash_text(one) == hash_text(other)) == (one == other)


def test_a_caller_is_told_only_once_it_is_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"

    async def work() -> None:
        journal = Journal.open(path)
        await fill(journal, 1)
        with sqlite3.connect(path) as other:  # another connection sees what is committed, and nothing else
            assert other.execute("SELECT COUNT(*) FROM calls").fetchone() == (1,)
        journal.close()

    asyncio.run(work())


def test_a_second_process_is_refused_and_the_lock_ends_with_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    code = (
        "import sys, time; from pathlib import Path; from aloe.models.journal.journal import Journal;"
        "j = Journal.open(Path(sys.argv[1])); print('open', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "open\n"
        with pytest.raises(DataError, match=rf"in use by another run \(process {holder.pid}\)"):
            Journal.open(path)
    finally:
        holder.kill()
        holder.wait()
    Journal.open(path).close()


def test_a_newer_schema_a_foreign_database_and_a_damaged_file_are_refused(tmp_path: Path) -> None:
    newer, foreign, damaged = (tmp_path / f"{n}.sqlite" for n in ("newer", "foreign", "damaged"))
    Journal.open(newer).close()
    with sqlite3.connect(newer) as database:
        database.execute(f"PRAGMA user_version={SCHEMA + 1}")
    with pytest.raises(DataError, match=f"schema {SCHEMA + 1}.*update aloe"):
        Journal.open(newer)
    with sqlite3.connect(foreign) as database:
        database.execute("CREATE TABLE calls (x)")
    with pytest.raises(DataError, match="not a journal of aloe"):
        Journal.open(foreign)
    damaged.write_bytes(b"no database at all" * 400)
    with pytest.raises(DataError, match="can't be used as a journal"):
        Journal.open(damaged)
    for path in (newer, foreign, damaged):  # a refusal holds no lock
        with pytest.raises(DataError, match=path.name):
            Journal.open(path)


def test_an_older_schema_is_refused_and_not_misread(tmp_path: Path) -> None:
    """There is no older one than 1; a file of ours that says 0 is none that this version wrote."""
    path = tmp_path / "journal.sqlite"
    Journal.open(path).close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version=0")
    with pytest.raises(DataError, match="schema 0"):
        Journal.open(path)


def test_a_full_disk_fails_the_calls_and_leaves_the_journal_usable(tmp_path: Path) -> None:
    async def work() -> None:
        journal = Journal.open(tmp_path / "journal.sqlite")
        await fill(journal, 3)
        journal._database.execute("PRAGMA max_page_count=1")  # the smallest that SQLite allows: the present size
        fills = [fill(journal, 1, start=i) for i in range(3, 400)]
        found = await asyncio.gather(*fills, return_exceptions=True)
        assert all(isinstance(e, DataError) and "check disk space" in str(e) for e in found)
        n_kept = len(journal.keys)
        journal._database.execute("PRAGMA max_page_count=100000")
        await fill(journal, 2, start=500)
        assert n_kept == 3 and len(journal.keys) == 3 + 397 + 2  # what was answered is kept as soon as it can be
        journal.close()
        again = Journal.open(tmp_path / "journal.sqlite")
        assert again.read(again.keys[(501).to_bytes(16, "big")]).completion.text == "a501"
        assert again.read(again.keys[(2).to_bytes(16, "big")]).completion.text == "a2"
        again.close()

    asyncio.run(work())


def test_network_file_systems_are_told_from_the_mounts() -> None:
    mounts = "/dev/a / ext4 rw 0 0\nserver:/x /home/me nfs4 rw 0 0\nm /home/me/my\\040disk xfs rw 0 0\n"
    assert filesystem_of(Path("/home/me/run"), mounts) == "nfs4"
    assert filesystem_of(Path("/home/meadow"), mounts) == "ext4"
    assert filesystem_of(Path("/home/me/my disk/run"), mounts) == "xfs"
