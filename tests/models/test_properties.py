"""What must hold for any request and any point at which a run stops: keys, and resuming from a journal's beginning."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aloe.config import Config, ModelConfig
from aloe.dialogue.forest import grow_forest, plan_jobs
from aloe.dialogue.tree_builder import TreeBuilder, TreePlan
from aloe.models.caller import Caller
from aloe.models.registry import register_scheme
from aloe.prompts import PromptSet
from aloe.protocols import ChatRequest, Completion, PromptMessage
from helpers import world_personas

PROMPTS = PromptSet()
RELAXED = settings(deadline=None, max_examples=120, suppress_health_check=list(HealthCheck))


class Listening:
    """Answers nothing of interest; keeps the request that came last."""

    revision = "1"
    last: ChatRequest | None = None

    def __init__(self, uri: str) -> None:
        self.name = uri

    async def complete(self, request: ChatRequest) -> Completion:
        Listening.last = request
        return Completion("yes")

    async def aclose(self) -> None:
        return None


register_scheme("listening", lambda config: Listening(config.uri))

# -- keys: equal exactly where everything that is sent is equal

word = st.sampled_from(["a", "b", "ab", "", "é", "\n", '"'])
extra = st.dictionaries(
    st.sampled_from(["top_k", "penalty", "nested"]),
    st.one_of(st.integers(0, 2), st.booleans(), st.dictionaries(st.sampled_from("xy"), st.integers(0, 1), max_size=2)),
    max_size=3,
)
model = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.sampled_from([0.0, 0.5, 1.0]),
        "top_p": st.sampled_from([0.5, 1.0]),
        "max_tokens": st.sampled_from([7, 8]),
        "stop": st.sampled_from([(), ("END",), ("END", "X")]),
        "send_seed": st.booleans(),
        "structured": st.booleans(),
        "extra": extra,
    },
)
parts = st.lists(word, min_size=1, max_size=2).map(tuple)
message = st.builds(PromptMessage, st.sampled_from(["user", "assistant"]), parts)
messages = st.lists(message, min_size=1, max_size=3).map(tuple)


def sent_and_key(fields: dict[str, Any], asked: tuple[PromptMessage, ...]) -> tuple[Any, str]:
    """Everything that reaches the model, with messages as they are on the wire, and the call's key."""

    async def work() -> str:
        config = ModelConfig.model_validate({"uri": "listening:x", **fields})
        caller = Caller.open(Config(), None, seed=1, prompts=PROMPTS, models={"judge": (config,)})
        try:
            return (await caller.call("judge", "p", "judge_compare", asked)).generation.call_key
        finally:
            await caller.aclose()

    key = asyncio.run(work())
    r = Listening.last
    assert r is not None
    wire = [(m.role, m.content) for m in r.messages]
    rest = (r.temperature, r.top_p, r.max_tokens, r.seed, r.stop, r.n, r.response_format, r.logprobs)
    return (wire, rest, typed(r.extra)), key


def typed(value: Any) -> Any:
    """``value`` with its types: 1 and true are the same in Python and not on the wire."""
    if isinstance(value, dict):
        return {name: typed(inner) for name, inner in value.items()}
    return type(value).__name__, value


@RELAXED
@given(model, messages, st.data())
def test_two_requests_have_one_key_exactly_if_all_that_is_sent_is_equal(
    fields: dict[str, Any], asked: tuple[PromptMessage, ...], data: st.DataObject
) -> None:
    changed = data.draw(st.sampled_from(["messages", *FIELD_NAMES]))
    other, also_asked = dict(reversed(fields.items())), asked
    if changed == "messages":
        also_asked = data.draw(messages)
    else:
        other.pop(changed, None)
        other.update({k: v for k, v in data.draw(model).items() if k == changed})
    one, two = sent_and_key(fields, asked), sent_and_key(other, also_asked)
    assert (one[0] == two[0]) == (one[1] == two[1])


FIELD_NAMES = ["temperature", "top_p", "max_tokens", "stop", "send_seed", "structured", "extra"]

# -- a run of trees, stopped anywhere

FILES = ("trees.jsonl", "disclosures.jsonl", "labels.jsonl")


def grow(folder: Path) -> tuple[dict[str, bytes], int, int]:
    """Trees of three personas into ``folder``: the files, calls made, calls replayed."""
    jobs = plan_jobs(world_personas(3), 0, 1)

    async def work() -> tuple[int, int]:
        caller = Caller.open(Config(), folder / "journal.sqlite", seed=3, prompts=PROMPTS)
        try:
            await grow_forest(TreeBuilder(caller, TreePlan(n_turns=3), 3), jobs, folder / "trees", 2)
            return sum(s.n_calls for s in caller.stats.values()), sum(s.n_replayed for s in caller.stats.values())
        finally:
            await caller.aclose()

    n_calls, n_replayed = asyncio.run(work())
    return {name: (folder / "trees" / name).read_bytes() for name in FILES}, n_calls, n_replayed


@lru_cache(maxsize=1)
def whole_run() -> tuple[dict[str, bytes], int]:
    with tempfile.TemporaryDirectory() as name:
        files, n_calls, n_replayed = grow(Path(name))
        assert n_replayed == 0 and n_calls > 30
        return files, n_calls


@settings(RELAXED, max_examples=15)
@given(st.floats(0, 1))
def test_any_beginning_of_a_journal_resumes_to_the_same_files(share: float) -> None:
    whole, n_all = whole_run()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        grow(folder)
        for path in (folder / "trees").iterdir():
            path.unlink()
        kept = round(share * n_all)
        with sqlite3.connect(folder / "journal.sqlite") as database:
            database.execute("DELETE FROM calls WHERE id > ?", (kept,))
        database.close()
        files, n_calls, n_replayed = grow(folder)
        assert files == whole and (n_calls, n_replayed) == (n_all, kept)


@pytest.mark.parametrize(("n_lost", "calls_lost"), [(1, {1}), (4096, {1, 2}), (70_000, set(range(3, 30)))])
def test_a_journal_whose_last_pages_were_lost_resumes_to_the_same_files(
    tmp_path: Path, n_lost: int, calls_lost: set[int]
) -> None:
    """Without its write-ahead log's end, as after a power cut."""
    whole, n_all = whole_run()
    first = tmp_path / "first"
    first.mkdir()
    grow(first)
    log = leave_log(first / "journal.sqlite", tmp_path / "cut")
    log.write_bytes(log.read_bytes()[:-n_lost])
    files, n_calls, n_replayed = grow(tmp_path / "cut")
    assert files == whole and n_calls == n_all and n_all - n_replayed in calls_lost


def leave_log(journal: Path, folder: Path) -> Path:
    """A copy of a journal in ``folder`` whose calls are all in its write-ahead log still, one commit each."""
    folder.mkdir()
    source = sqlite3.connect(journal)
    target = sqlite3.connect(folder / "growing.sqlite", isolation_level=None)
    for statement in source.execute("SELECT sql FROM sqlite_master WHERE sql NOT NULL"):
        target.execute(statement[0])
    for pragma in ("application_id", "user_version"):
        target.execute(f"PRAGMA {pragma}={source.execute(f'PRAGMA {pragma}').fetchone()[0]}")
    for name in ("texts", "plans"):
        rows = source.execute(f"SELECT * FROM {name}").fetchall()
        target.executemany(f"INSERT INTO {name} VALUES ({','.join('?' * len(rows[0]))})", rows)
    target.execute("PRAGMA journal_mode=WAL")
    target.execute("PRAGMA wal_autocheckpoint=0")
    for row in source.execute("SELECT * FROM calls ORDER BY id"):
        target.execute(f"INSERT INTO calls VALUES ({','.join('?' * len(row))})", row)
    for part in ("", "-wal"):
        (folder / f"journal.sqlite{part}").write_bytes((folder / f"growing.sqlite{part}").read_bytes())
    target.close()
    source.close()
    return folder / "journal.sqlite-wal"
