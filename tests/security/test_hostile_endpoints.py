"""Endpoints that answer to hang, exhaust or mislead a run: every answer is used, coerced or refused in one line."""

from __future__ import annotations

import asyncio
import gzip
import resource
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aloe.config import Config, ModelConfig
from aloe.errors import DataError, EndpointError
from aloe.models.http.answers import MAX_TOKENS, OddAnswer, read_answer
from aloe.models.journal.journal import Journal
from aloe.personas.embedders import create_embedder
from aloe.protocols import ChatRequest, Completion
from aloe.types import Usage
from models.faulty import HELLO, Fault, Script, answer, calling, model_at, serving

REQUEST = ChatRequest(HELLO)


def ask(script: Script, journal: Path | None = None, budget: dict[str, Any] | None = None, **model: Any) -> Any:
    """The reply of one call to a server that follows ``script``."""

    async def work() -> Any:
        async with serving(script) as server:
            options = {"max_attempts": 1, "timeout_seconds": 10, **model}
            async with calling(model_at(server.base_url, **options), journal=journal, budget=budget) as caller:
                return await caller.call("user", "p", "user", HELLO)

    return asyncio.run(asyncio.wait_for(work(), 30))


def body(usage: Any = None, **choice: Any) -> bytes:
    message = {"role": "assistant", "content": "hello"}
    return orjson.dumps({"choices": [{"index": 0, "message": message, **choice}], "usage": usage})


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 2**63, "completion_tokens": 2**64 - 1},
        {"prompt_tokens": 1e308, "completion_tokens": -1e308},
        {"prompt_tokens": -5_000_000, "completion_tokens": -1},
        {"prompt_tokens": "many", "completion_tokens": [3]},
        {"prompt_tokens": True, "completion_tokens": {"n": 1}},
        {"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": [1]},
        {"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": -(2**62)}},
        [1, 2],
        "none",
        7,
    ],
)
def test_token_counts_that_cannot_be_are_not_believed(usage: Any, tmp_path: Path) -> None:
    reply = ask(lambda b, n: Fault(body=body(usage)), journal=tmp_path / "journal.sqlite")
    used = reply.generation.usage
    assert reply.text == "hello"
    assert 0 <= used.prompt_tokens <= MAX_TOKENS and 0 <= used.completion_tokens <= MAX_TOKENS
    assert 0 <= used.cached_tokens <= used.prompt_tokens
    kept = Journal.open(tmp_path / "journal.sqlite")
    assert kept.spent()[0] == used.prompt_tokens + used.completion_tokens
    kept.close()


def test_negative_counts_do_not_refill_a_budget() -> None:
    async def work() -> int:
        async with serving(
            lambda b, n: Fault(body=body({"prompt_tokens": -10_000, "completion_tokens": -1}))
        ) as server:
            model = model_at(server.base_url, max_tokens=10)
            async with calling(model, budget={"tokens": 500}) as caller:
                for i in range(40):
                    await caller.call("user", f"p/{i}", "user", (*HELLO[:1], HELLO[1].__class__("user", ("x" * 200,))))
                return len(server.requests)

    from aloe.errors import BudgetExceeded

    with pytest.raises(BudgetExceeded):
        asyncio.run(work())


@asynccontextmanager
async def streaming(head: bytes, chunk: bytes) -> AsyncIterator[tuple[str, list[int]]]:
    """A server that answers with ``head`` and then ``chunk`` for ever; gives its address and what it sent."""
    sent = [0]

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + head + b"\r\n")
            while sent[0] < 2**30:
                writer.write(chunk)
                sent[0] += len(chunk)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", sent
    finally:
        server.close()


@pytest.mark.parametrize("role", ["chat", "embeddings"])
def test_a_body_without_end_is_one_line_and_little_memory(role: str) -> None:
    async def work() -> int:
        async with streaming(b"", b'{"choices": [' + b" " * 2**20) as (url, sent):
            model = model_at(url, max_attempts=1)
            async with calling(model) as caller:
                config = Config.model_validate({"roles": {"writer": [model.model_dump()]}})
                embed = create_embedder("openai:e", config, caller).embed
                call = caller.call("user", "p", "user", HELLO) if role == "chat" else asyncio.to_thread(embed, ["a"])
                with pytest.raises(EndpointError, match=r"sent more than \d+ MiB"):
                    await call
            return sent[0]

    assert asyncio.run(work()) < 2**28


def bomb(n_bytes: int) -> bytes:
    """Some kilobytes that become ``n_bytes`` of spaces."""
    packer = zlib.compressobj(9, wbits=31)
    block = b" " * 2**20
    return b"".join(packer.compress(block) for _ in range(n_bytes // 2**20)) + packer.flush()


def test_a_small_compressed_body_that_grows_is_one_line_and_little_memory() -> None:
    small = bomb(2**27)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for status in (200, 500):
        with pytest.raises(EndpointError, match="sent more than 16 MiB"):
            ask(lambda b, n, status=status: Fault(status, small, {"Content_Encoding": "gzip"}))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024  # kibibytes


def test_honest_compression_is_read_and_damaged_or_unknown_is_one_line() -> None:
    packed = gzip.compress(answer("hello"))
    assert ask(lambda b, n: Fault(body=packed, headers={"Content_Encoding": "gzip"})).text == "hello"
    for fault, says in (
        (Fault(body=packed[:20] + b"x" * 20, headers={"Content_Encoding": "gzip"}), "damaged gzip body|not an answer"),
        (Fault(body=answer("x"), headers={"Content_Encoding": "br"}), "encoding 'br'"),
    ):
        with pytest.raises(EndpointError, match=says):
            ask(lambda b, n, fault=fault: fault)


ODD = [
    b"null", b"[]", b"3", b'"x"', b"{", b"", b"\xff\xfe", b"[" * 5000, b'{"choices": 3}', b'{"choices": {"0": 1}}',
    b'{"choices": [null]}', b'{"choices": [[]]}', b'{"choices": [{"message": null}]}', b'{"choices": [{"message": 3}]}',
    b'{"choices": [{"message": {"content": 3}}]}', b'{"choices": [{"message": {"content": {"text": 1}}}]}',
    b'{"choices": [], "error": {"code": 1e400}}', b'{"choices": [], "error": {"code": true}}', b'{"error": [1]}',
    b'{"choices": [{"message": {"content": "' + b"a" * 1_000_001 + b'"}}]}', b'{"a": ' + b"9" * 6000 + b"}",
    b'{"choices": [{"message": {"content": "\\ud800"}}]}',
]  # fmt: skip


@pytest.mark.parametrize("raw", ODD, ids=range(len(ODD)))
def test_what_is_not_an_answer_is_one_line(raw: bytes) -> None:
    for status in (200, 400):
        with pytest.raises(EndpointError) as caught:
            ask(lambda b, n, status=status: Fault(status, raw))
        assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("choice", "finish"),
    [
        ({"finish_reason": 7}, "stop"),
        ({"finish_reason": ["length"]}, "stop"),
        ({"finish_reason": "x" * 10_000}, "x" * 32),
        ({"logprobs": {"content": {"token": 1}}}, "stop"),
        ({"logprobs": [1]}, "stop"),
        ({"logprobs": "all"}, "stop"),
    ],
)
def test_wrong_types_beside_the_text_are_coerced(choice: dict[str, Any], finish: str) -> None:
    found = read_answer(body(**choice), REQUEST)
    assert (found.text, found.finish_reason, found.logprobs) == ("hello", finish, None)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=80)
@given(st.dictionaries(st.sampled_from(["content", "role", "refusal", "tool_calls"]), VALUES), VALUES, VALUES, VALUES)
def test_any_json_is_an_answer_or_said_to_be_none(message: Any, usage: Any, logprobs: Any, finish: Any) -> None:
    raw = orjson.dumps(
        {"choices": [{"message": message, "logprobs": logprobs, "finish_reason": finish}], "usage": usage}
    )
    try:
        found = read_answer(raw, REQUEST)
    except OddAnswer:
        return
    assert isinstance(found.text, str) and isinstance(found.finish_reason, str)
    assert 0 <= found.usage.prompt_tokens <= MAX_TOKENS and 0 <= found.usage.cached_tokens <= found.usage.prompt_tokens


def test_a_server_that_says_the_key_back_does_not_get_it_into_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_KEY", "sk-quoted-by-the-server-0123456789")
    reply = ask(
        lambda b, n: "your key is sk-quoted-by-the-server-0123456789, is it not?",
        journal=tmp_path / "journal.sqlite", api_key_env="A_KEY",
    )  # fmt: skip
    assert reply.text == "your key is [A_KEY], is it not?"
    assert all(b"sk-quoted" not in file.read_bytes() for file in tmp_path.iterdir())


@pytest.mark.parametrize(
    "completion",
    [
        Completion("a", usage=Usage.model_construct(prompt_tokens=2**70, completion_tokens=-1, cached_tokens=2**64)),
        Completion("half \ud800"),
        Completion("a", logprobs=[{"token": object()}]),
    ],
)
def test_a_model_of_a_plug_in_cannot_leave_a_commit_waiting(completion: Completion) -> None:
    """What can't be kept is the call's own error; other calls of the same commit are kept."""

    class Odd:
        name, revision = "odd", ""

        async def complete(self, request: ChatRequest) -> Completion:
            return completion if request.messages[-1].content == "odd" else Completion("fine")

        async def aclose(self) -> None:
            return None

    from aloe.models.registry import register_scheme
    from aloe.protocols import PromptMessage

    register_scheme("oddly", lambda config: Odd())

    async def work() -> list[Any]:
        async with calling(ModelConfig(uri="oddly:x")) as caller:
            asked = [(PromptMessage("user", (text,)),) for text in ("fine", "odd", "fine too")]
            calls = [caller.call("user", f"p/{i}", "user", messages) for i, messages in enumerate(asked)]
            return await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 10)

    first, odd, last = asyncio.run(work())
    assert first.text == last.text == "fine"
    assert isinstance(odd, DataError | TypeError) or odd.text == "a"
