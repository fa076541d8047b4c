"""Damaged journals: no bit that is turned over changes an answer, and what is whole is kept."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from aloe.__main__ import main
from aloe.models.journal.check import check_journal, repair_journal
from models.faulty import HELLO, FaultyServer, calling, model_at, serving


async def ask(server: FaultyServer, journal: Path, n: int = 40) -> list[str]:
    async with calling(model_at(server.base_url), journal=journal) as caller:
        replies = await asyncio.gather(*(caller.call("user", f"p/{i}", "user", HELLO) for i in range(n)))
        return [reply.text for reply in replies]


def tell(body: dict, n: int) -> str:
    return f"an answer of some length to {body['seed']}"


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    path = tmp_path / "journal.sqlite"

    async def work() -> None:
        async with serving(tell) as server:
            await ask(server, path)

    asyncio.run(work())
    return path


def test_a_journal_as_it_was_written_is_whole(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    condition = check_journal(journal)
    assert condition.is_whole and condition.n_calls == condition.n_checked == 40
    assert main(["journal", "check", str(journal)]) == 0 and "40 calls, 0 of them damaged" in capsys.readouterr().out
    assert main(["journal", "repair", str(journal)]) == 0 and "nothing to repair" in capsys.readouterr().out


CHANGES = [
    "UPDATE texts SET body = replace(body, 'answer', 'answar') WHERE body LIKE '%answer%' AND id % 2",
    "UPDATE texts SET body = CAST(X'ff41fe' AS TEXT) WHERE body LIKE '%answer%' AND id % 2",
    "UPDATE calls SET completion_tokens = completion_tokens + 1 WHERE id % 2",
    "UPDATE calls SET reply = reply + 1 WHERE id % 2",
    "UPDATE calls SET reply = 999 WHERE id % 2",
    "UPDATE calls SET finish = 'length' WHERE id % 2",
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_damaged_answer_is_made_anew_and_the_others_replay(journal: Path, change: str) -> None:
    with closing(sqlite3.connect(journal)) as database, database:
        n = database.execute(change).rowcount
    assert len(check_journal(journal).damaged) == n > 0

    async def work() -> None:
        async with serving(tell) as server:
            texts = await ask(server, journal)
            assert len(server.requests) == n and len(set(texts)) == 40
            assert all(text.startswith("an answer of some length to ") for text in texts)
            assert len(set(await ask(server, journal))) == 40 and len(server.requests) == n

    asyncio.run(work())
    assert check_journal(journal).is_whole


def test_a_request_that_was_changed_is_found_by_its_key(journal: Path) -> None:
    with closing(sqlite3.connect(journal)) as database, database:
        database.execute("UPDATE texts SET body = 'Be rude.' WHERE body = 'Be kind.'")
    assert len(check_journal(journal).damaged) == 40


@pytest.mark.parametrize("seed", range(12))
def test_whatever_bits_are_turned_over_no_answer_changes(journal: Path, seed: int) -> None:
    """Either the journal still opens, or repair keeps what is whole; every answer is as it was."""
    rng = random.Random(seed)
    raw = bytearray(journal.read_bytes())
    for _ in range(1 + seed % 4):
        raw[rng.randrange(100, len(raw))] ^= 1 << rng.randrange(8)
    journal.write_bytes(raw)

    async def work() -> None:
        async with serving(tell) as server:
            condition, kept = repair_journal(journal)
            assert kept.read_bytes() == raw and check_journal(journal).is_whole
            before = condition.n_calls - len(condition.damaged)
            texts = await ask(server, journal)
            assert len(set(texts)) == 40 and all(t.startswith("an answer of some length to ") for t in texts)
            assert len(server.requests) == 40 - before or len(server.requests) <= 40

    asyncio.run(work())


def test_a_journal_of_an_earlier_version_opens_and_replays(journal: Path) -> None:
    with closing(sqlite3.connect(journal)) as database, database:
        database.executescript("DROP TRIGGER forget_check; DROP TABLE checks; DROP TABLE learnt;")
    assert check_journal(journal).is_whole and check_journal(journal).n_checked == 0

    async def work() -> None:
        async with serving(tell) as server:
            await ask(server, journal)
            assert not server.requests

    asyncio.run(work())


def test_a_call_that_is_pruned_takes_its_digest_along(journal: Path) -> None:
    assert main(["journal", "prune", str(journal), "--path", "p/1"]) == 0
    with closing(sqlite3.connect(journal)) as database:
        assert database.execute("SELECT COUNT(*) FROM checks").fetchone() == (29,)
        assert database.execute("SELECT COUNT(*) FROM calls").fetchone() == (29,)


def test_a_journal_without_its_table_is_one_line(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(sqlite3.connect(journal)) as database, database:
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'view'").fetchall():
            database.execute(f'DROP VIEW "{name}"')
        database.execute("DROP TABLE calls")
    for verb in ("stats", "cost"):
        assert main(["journal", verb, str(journal)]) != 0
        said = capsys.readouterr().err
        assert "can't be read as a journal" in said and said.count("\n") == 1
