"""Answers without text: the same request again, no complaint that changes it, nothing kept, and asked anew later."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from aloe.errors import EndpointError
from aloe.models.calls import RoleStats
from aloe.models.journal.inspect import Reader
from aloe.prompts.catalog import USER
from aloe.store.rundir import RunDir
from aloe.types import Persona
from models.faulty import Fault, answer, attempts, calling, model_at, serving


def message(**fields: Any) -> Fault:
    return Fault(body=answer("", message={"role": "assistant", **fields}))


NOTHING = {
    "null": (message(content=None), "empty"),
    "empty": (message(content=""), "empty"),
    "blank": (message(content=" \n\t"), "empty"),
    "missing": (message(), "empty"),
    "no parts": (message(content=[]), "empty"),
    "refused": (message(content=None, refusal="I can't help with that."), "refusal"),
    "filtered": (Fault(body=answer("", finish_reason="content_filter")), "filtered"),
    "a tool": (message(content=None, tool_calls=[{"id": "1", "type": "function"}]), "tools"),
    "thoughts": (message(content="", reasoning_content="Let me think."), "thinking"),
}
SOMEBODY = Persona(
    persona_id="p", profile_id="a", personality_id="b", profile="A cook.", personality="Calm.", split="train"
)
PERSONA: dict[str, Any] = {"persona": SOMEBODY, "release": "", "task": ""}


@pytest.mark.parametrize("name", NOTHING)
def test_the_same_request_is_sent_again_and_the_answer_is_as_if_nothing_had_been(name: str) -> None:
    fault, kind = NOTHING[name]

    async def work() -> None:
        async with (
            serving(lambda b, n: fault if n < 2 else "I like tea.") as server,
            calling(model_at(server.base_url)) as caller,
        ):
            value, _reply = await caller.ask(USER, "a", **PERSONA)
            assert value == "I like tea." and len(server.requests) == 3
            assert server.requests[0] == server.requests[1] == server.requests[2]
            stats: RoleStats = caller.stats["user"]
            assert stats.nothing == {kind: 2} and stats.n_failed == stats.n_again == 0
            assert [(status, billed) for status, billed, _ in attempts(caller)] == [(200, 1)] * 2

    asyncio.run(work())


@pytest.mark.parametrize("name", NOTHING)
def test_a_call_that_never_brings_text_fails_and_is_asked_anew_by_the_next_run(name: str, tmp_path: Path) -> None:
    fault, _ = NOTHING[name]

    async def work() -> None:
        async with serving(lambda b, n: fault) as server:
            model = model_at(server.base_url, max_attempts=2)
            async with calling(model, journal=tmp_path / "journal.sqlite") as caller:
                with pytest.raises(EndpointError, match="no text in 2 attempts"):
                    await caller.ask(USER, "a", **PERSONA)
                assert len(server.requests) == 2 and caller.stats["user"].n_failed == 1
            server.script = lambda b, n: "I like tea."
            async with calling(model, journal=tmp_path / "journal.sqlite") as caller:
                assert (await caller.ask(USER, "a", **PERSONA))[0] == "I like tea."
                assert len(server.requests) == 3

    asyncio.run(work())
    (tmp_path / "config.toml").write_text("", "utf-8")
    with Reader(RunDir(tmp_path).path) as reader:
        failures = reader.stats().failures
    assert list(failures.values()) == [2] and next(iter(failures)).startswith("no text: ")


def test_a_model_under_test_that_says_nothing_has_said_nothing() -> None:
    async def work() -> None:
        async with (
            serving(lambda b, n: message(content="")) as server,
            calling(model_at(server.base_url, max_attempts=3)) as caller,
        ):
            value, reply = await caller.ask(
                USER, "a", role="responder", model=model_at(server.base_url, max_attempts=3), **PERSONA
            )
            assert value is None and reply.text == "" and len(server.requests) == 3

    asyncio.run(work())


def test_an_answer_that_ended_by_length_is_not_repeated() -> None:
    async def work() -> None:
        body = orjson.loads(answer("", finish_reason="length"))
        body["choices"][0]["message"]["reasoning_content"] = "Let me think."
        async with (
            serving(lambda b, n: Fault(body=orjson.dumps(body))) as server,
            calling(model_at(server.base_url)) as caller,
        ):
            value, _ = await caller.ask(USER, "a", **PERSONA)
            assert value is None and len(server.requests) == 2  # once more with the reason, as any that can't be read

    asyncio.run(work())
