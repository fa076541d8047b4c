"""Journals and chats are for their owner's eyes, and what is appended to never leads out of the run by a link."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from pathlib import Path

import pytest

from aloe.config import Config
from aloe.models.caller import Caller
from aloe.models.journal.inspect import export_calls
from aloe.models.journal.journal import Journal
from aloe.personas.stage import run_personas
from aloe.protocols import Completion, PromptMessage
from aloe.store.records import write_jsonl
from aloe.store.rundir import RunDir
from aloe.studio.ratings import append_rating, ratings_path
from aloe.types import Message, Rating


@pytest.fixture(autouse=True)
def open_umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def write_journal(path: Path) -> None:
    journal = Journal.open(path)
    plan = journal.plan_id({"model": "m", "role": "user"})
    journal.queue(b"k" * 16, plan, ("p", 0, None), [PromptMessage("user", ("hello",))], Completion("hi"), (None, 1, 1))
    journal.flush()
    for beside in path.parent.glob(f"{path.name}-*"):
        assert mode(beside) == 0o600, beside
    journal.close()


RATING = Rating(
    rating_id="r", talk_id="t", time=0.0, turn=1, messages=(Message(role="user", content="hello"),),
    replies=("a", "b"), models=("m", "n"), uris=("m", "n"), choice="first",
)  # fmt: skip


def test_journals_and_chats_are_private(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    run.open(Config(), "test")
    run.close()
    write_journal(run.journal_path)
    write_journal(run.path / "studio" / "journal.sqlite")
    append_rating(ratings_path(run.path), RATING)
    export_calls(run.path, tmp_path / "calls.jsonl")
    files = (run.journal_path, run.path / "studio" / "journal.sqlite", ratings_path(run.path), tmp_path / "calls.jsonl")
    assert [mode(file) for file in files] == [0o600] * 4
    assert mode(run.path / "studio") == 0o700


@pytest.mark.parametrize("rights", [0o600, 0o644])
def test_a_run_keeps_its_personas_as_private_as_the_file_that_they_come_from(tmp_path: Path, rights: int) -> None:
    file = tmp_path / "people.jsonl"
    people = [{"profile": f"She owns {n} hens.", "personality": f"She is {w}."} for n, w in ((1, "shy"), (22, "loud"))]
    write_jsonl(file, people)
    file.chmod(rights)
    config = Config.model_validate({"personas": {"file": str(file), "n_personas": 1, "n_bench": 1}})

    async def work() -> None:
        caller = Caller.open(config, None, seed=0)
        try:
            await run_personas(caller, config, tmp_path / "personas")
        finally:
            await caller.aclose()

    asyncio.run(work())
    names = ("personas.jsonl", "pool.jsonl", "rejected.jsonl")
    assert [mode(tmp_path / "personas" / name) for name in names] == [rights] * 3


def test_what_is_appended_to_is_no_link_out_of_the_run(tmp_path: Path) -> None:
    profile = tmp_path / "profile"
    profile.write_text("export PATH\nand a last line without an end")
    run = RunDir(tmp_path / "run")
    run.open(Config(), "test")
    run.close()
    run.log_path.symlink_to(profile)
    with contextlib.suppress(OSError):
        run.log("x", error="$(touch owned)")
    ratings_path(run.path).parent.mkdir()
    ratings_path(run.path).symlink_to(profile)
    with pytest.raises(ValueError, match=r"ratings\.jsonl cannot be written"):
        append_rating(ratings_path(run.path), RATING)
    assert profile.read_text() == "export PATH\nand a last line without an end"
