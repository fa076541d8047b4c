"""What a server is found not to take: only what its error names, twice, and what works without it; kept with the run."""

# ruff: noqa: E501 - servers' errors are quoted whole

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from aloe.errors import EndpointError
from aloe.models.http.refusals import refused_field
from models.faulty import HELLO, Fault, calling, model_at, refusal, serving

FIELDS: dict[str, Any] = {
    "model": "x", "messages": [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}],
    "temperature": 0.3, "top_p": 0.9, "seed": 7, "max_tokens": 9, "logprobs": True, "top_logprobs": 5,
    "response_format": {},
}  # fmt: skip


def error(message: str, **more: Any) -> bytes:
    return json.dumps({"error": {"message": message, **more}}).encode()


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (error("Unsupported value: 'temperature' does not support 0.3. Only the default (1) is supported."), "temperature"),
        (error("Unsupported parameter", param="seed"), "seed"),
        (error("Use 'max_completion_tokens' instead of 'max_tokens', which is not supported.", param="max_tokens"), "max_tokens"),
        (error("This model does not support system messages"), "system"),
        (error("'system' role is not supported", param="messages[0].role"), "system"),
        (error("Invalid value", param="messages[0].role"), None),
        (error("The system role is not supported", param="messages[0].role"), "system"),
        (error("Conversation roles: only user and assistant roles are supported!"), "system"),
        (error("logprobs are not supported with reasoning models"), "logprobs"),
        (error("response_format of type json_schema is not supported"), "response_format"),
        (json.dumps({"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}).encode(), "seed"),
        # errors that name no parameter, or that are about a value or a single call
        (error("Invalid request: the system is overloaded, temperature too high in the data centre"), None),
        (error("Unsupported content in your message"), None),
        (error("Your prompt violates our system policy and is not allowed"), None),
        (error("temperature must be between 0 and 1"), None),
        (error("max_completion_tokens is too large: 9"), None),
        (error("Unknown error", param="messages"), None),
        (error("Unsupported parameter: 'frequency_penalty'. The parameters that remain valid are many, and among those that you may still send with any request to this model you find seed"), None),
        (b"<html>seed not supported</html>", "seed"),
        (b"\xff\xfe\x00", None),
        (b"[]", None),
        (b'{"error": null}', None),
    ],
)  # fmt: skip
def test_a_field_is_refused_only_where_the_error_names_it(raw: bytes, field: str | None) -> None:
    assert refused_field(raw, FIELDS) == field


def test_a_field_that_was_not_sent_is_not_refused() -> None:
    raw = error("Unsupported parameter", param="seed")
    assert refused_field(raw, {k: v for k, v in FIELDS.items() if k != "seed"}) is None


ACCIDENTS = [
    "System role not supported",
    "Unrecognized request argument supplied: seed",
    "Unsupported value: 'temperature' does not support 0.3",
    "Use 'max_completion_tokens' instead of 'max_tokens'",
]


@pytest.mark.parametrize("message", ACCIDENTS)
def test_one_refusal_among_many_calls_teaches_nothing(message: str) -> None:
    async def work() -> None:
        async with (
            serving(lambda b, n: refusal(message) if n == 5 else "ok") as server,
            calling(model_at(server.base_url, temperature=0.3, max_tokens=9)) as caller,
        ):
            for i in range(12):
                await caller.call("user", f"p/{i}", "user", HELLO)
            assert len(server.requests) == 13
            assert all(b["messages"][0]["role"] == "system" and "seed" in b for b in server.requests)
            assert all(b["temperature"] == 0.3 and b["max_tokens"] == 9 for b in server.requests)

    asyncio.run(work())


def test_what_helps_nothing_is_not_learnt() -> None:
    async def work() -> None:
        def script(body: dict[str, Any], n: int) -> Fault | str:
            return refusal("Unsupported parameter: seed") if "seed" in body else refusal("no such user")

        async with serving(script) as server, calling(model_at(server.base_url)) as caller:
            for path in ("a", "b"):
                with pytest.raises(EndpointError, match="Unsupported parameter: seed"):
                    await caller.call("user", path, "user", HELLO)
            assert ["seed" in b for b in server.requests] == [True, True, False] * 2

    asyncio.run(work())


def test_what_was_learnt_is_said_once_and_kept_with_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = tmp_path / "journal.sqlite"

    async def work() -> None:
        async with serving(lambda b, n: refusal("Unrecognized argument: seed") if "seed" in b else "ok") as server:
            for run in range(3):
                async with calling(model_at(server.base_url), journal=journal) as caller:
                    calls = (caller.call("user", f"{run}/{i}", "user", HELLO) for i in range(4))
                    await asyncio.gather(*calls)
            assert len(server.requests) == 4 + 1 + 4 + 4 + 4  # only the first run had to find out
            assert not any("seed" in b for b in server.requests[-8:])

    asyncio.run(work())
    assert sum("does not take seed" in m for m in caplog.messages) == 1
