"""A real writer's faults are said: how much it brings, what is refused and why, and that it is waited for."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from aloe.config import load_config, parse_overrides
from aloe.models.caller import Caller
from aloe.personas import growth
from aloe.personas.stage import run_personas
from aloe.stages.brief import personas_brief
from models.faulty import Fault, FaultyServer, answer, serving

SMALL = [
    "--personas.n_profiles=8", "--personas.n_personalities=4", "--personas.n_personas=4", "--personas.wave=1",
    "--personas.n_bench_profiles=2", "--personas.n_bench_personalities=2", "--personas.n_bench=2",
    "--personas.embedder=lexical", "--personas.seeds=packaged", "--personas.saturation_window=2",
]  # fmt: skip
LONG = "She is 58, mends clocks in a small shop in Bergen, has two grown sons, rides a red moped and sings in a choir."


def write_with(script: Any, tmp_path: Path, slow: float = 0.0) -> tuple[dict[str, Any], list[str]]:
    """The stage's summary with a writer that answers by ``script``, and the notes of its progress."""
    notes: list[str] = []

    async def work() -> dict[str, Any]:
        async with serving(script) as server:
            assert isinstance(server, FaultyServer)
            server.delay = slow
            writer = f'{{uri = "openai:writer", base_url = "{server.base_url}"}}'
            config = load_config(
                "demo", parse_overrides([*SMALL, "--personas.n_profiles=24", "--roles.writer", writer])
            )
            caller = Caller.open(config, None, seed=0)
            try:
                return await run_personas(caller, config, tmp_path, lambda done, of, note: notes.append(note))
            finally:
                await caller.aclose()

    return asyncio.run(work()), notes


def test_refusals_by_reason_and_an_end_that_is_said(tmp_path: Path) -> None:
    def script(request: dict[str, Any], number: int) -> str:
        return json.dumps({"descriptions": ["Too short.", LONG, LONG, "Here is a description of the task: " + LONG]})

    summary, notes = write_with(script, tmp_path)
    grown = summary["profile"]
    assert grown["stop_reason"] == "saturated" and grown["n_members"] < grown["target"] == 24
    said = personas_brief(summary)
    assert "profile: ends at 21 of 24 (saturated), 1 of" in said and "too short" in said, said
    assert any("wave 1: 1 of 4 accepted; refused:" in note for note in notes)


def test_a_slow_writer_is_waited_for_aloud(tmp_path: Path) -> None:
    before, growth.SAY_EVERY = growth.SAY_EVERY, 0.05
    try:
        _, notes = write_with(lambda request, n: json.dumps({"descriptions": [LONG]}), tmp_path, slow=0.2)
    finally:
        growth.SAY_EVERY = before
    assert any("waiting for the writer for" in note for note in notes)


BAD = {
    "quotes": None,  # says the prompt back, with its examples
    "refuses": answer("I'm sorry, but I can't assist with that request."),
    "thinks": answer("<think> Okay. A profile: " + LONG, finish_reason="length"),
    "truncates": answer('{"descriptions": ["' + LONG[:60], finish_reason="length"),
    "talks on": answer(json.dumps({"descriptions": [LONG * 40, "She likes to talk. " * 200]})),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_writer_that_plays_badly_brings_no_one_into_the_pool_and_is_counted(tmp_path: Path, fault: str) -> None:
    def script(request: dict[str, Any], number: int) -> Fault:
        return Fault(body=BAD[fault] or answer(request["messages"][-1]["content"]))

    summary, notes = write_with(script, tmp_path)
    waves = [wave for kind in ("profile", "personality") for wave in summary[kind]["waves"]]
    assert sum(w["n_calls"] for w in waves) > 0 == sum(w["n_accepted"] for w in waves)
    assert all(w["n_failed"] == w["n_calls"] or w["n_candidates"] for w in waves)
    assert all(w["n_candidates"] == sum(w["reasons"].values()) for w in waves)
    assert "(saturated)" in personas_brief(summary) and notes
