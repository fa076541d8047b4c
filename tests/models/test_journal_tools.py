"""aloe journal: what people see of a journal, and what pruning takes away."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from aloe.cli.main import dispatch
from aloe.errors import AloeError, DataError
from aloe.models.journal.inspect import Reader, prune
from aloe.models.journal.journal import Journal
from aloe.protocols import PromptMessage
from models.faulty import HELLO, Fault, calling, model_at, refusal, serving


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Twelve calls, one of which was answered at the second attempt."""

    def script(body: dict, n: int) -> Fault | str:
        return refusal("busy", 503) if n == 0 else f"answer to {body['messages'][-1]['content']}"

    async def work() -> None:
        async with serving(script) as server:
            model = model_at(server.base_url, price_prompt=100, price_completion=1000)
            async with calling(model, journal=tmp_path / "journal.sqlite") as caller:
                for i in range(6):
                    ask = PromptMessage("user", (f"question {i}", "?"))
                    await caller.call("user", f"trees/{i}", "user", (HELLO[0], ask))
                    await caller.call("user", f"bench/{i}", "user", (HELLO[0], ask), sample=i)

    asyncio.run(work())
    return tmp_path


def test_stats_and_cost_add_up(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dispatch(["journal", "stats", str(run)]) == 0
    out = capsys.readouterr().out
    assert "12 calls" in out and "1 attempts without an answer (503: 1)" in out and "openai:made-up" in out
    assert dispatch(["journal", "stats", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["uses"][0]["prompt_tokens"] == 240
    assert dispatch(["journal", "cost", str(run)]) == 0
    each = (20 * 100 + 5 * 1000) / 1e6
    assert f"{12 * each:.4f}" in capsys.readouterr().out
    assert dispatch(["journal", "cost", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["cost"] == pytest.approx(12 * each)


def test_a_call_is_shown_in_full_by_key_or_path(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dispatch(["journal", "show", str(run), "trees/0"]) == 0
    shown = capsys.readouterr().out
    assert "question 0?" in shown and "answer to question 0?" in shown and "Be kind." in shown
    assert "attempt 1 failed (503)" in shown and "2 tries" in shown
    with Reader(run) as reader:
        key = next(iter(reader.calls()))["call_key"]
    dispatch(["journal", "show", str(run), key[:20]])
    assert capsys.readouterr().out == shown
    assert dispatch(["journal", "show", str(run), "bench"]) == 0
    assert "6 calls" in capsys.readouterr().out
    with pytest.raises(DataError, match="no call 'nowhere'"):
        dispatch(["journal", "show", str(run), "nowhere"])


def test_an_export_holds_every_call_in_full(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "calls.jsonl"
    assert dispatch(["journal", "export", str(run), "--out", str(out)]) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(rows) == 12 and rows[0]["messages"][1] == {"role": "user", "content": "question 0?"}
    assert {r["sample"] for r in rows} == set(range(6)) and all(r["seed"] is not None for r in rows)
    dispatch(["journal", "export", str(run), "--out", str(out), "--path", "bench/"])
    assert {json.loads(line)["path"].partition("/")[0] for line in out.read_text().splitlines()} == {"bench"}


def test_pruning_takes_a_place_and_its_texts_and_what_is_left_replays(run: Path) -> None:
    assert dispatch(["journal", "prune", str(run), "--path", "bench/", "--dry"]) == 0
    assert prune(run, "bench/", dry=True).n_calls == 6
    assert prune(run, "trees/3").n_texts == 0  # bench/3 holds the same texts
    done = prune(run, "bench/3")
    assert (done.n_calls, done.n_texts) == (1, 2 + 0)  # its question and answer; the system prompt is still held
    assert prune(run, failed_only=True).n_attempts == 1
    journal = Journal.open(run / "journal.sqlite")
    assert len(journal.keys) == 10
    with pytest.raises(AloeError, match="in use by another run"):
        prune(run, "trees/")
    with Reader(run) as reader:  # reading beside a writer is fine
        assert [c["reply"] for c in reader.calls("trees/4")] == ["answer to question 4?"]
    journal.close()


def test_what_is_no_journal_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no journal\.sqlite"):
        dispatch(["journal", "stats", str(tmp_path)])
    (tmp_path / "journal.sqlite").write_text("not a database, but long enough to be taken for one " * 40)
    for action in (["stats"], ["cost"], ["show"]):
        with pytest.raises(DataError, match="can't be read as a journal"):
            dispatch(["journal", *action, str(tmp_path), *(["x"] if action == ["show"] else [])])
    with pytest.raises(DataError, match="can't be pruned"):
        dispatch(["journal", "prune", str(tmp_path), "--path", "x"])
