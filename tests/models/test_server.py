"""Our OpenAI-compatible server: answers, streams, and says what is wrong with a request."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from aloe.config import ModelConfig
from aloe.errors import ConfigError, EndpointError
from aloe.models.registry import create_model
from aloe.models.server import resolve_world, start_server
from aloe.protocols import ChatRequest, Completion, PromptMessage
from aloe.types import Usage
from models.faulty import HELLO, calling


class Fixed:
    name, revision = "fixed", "1"

    async def complete(self, request: ChatRequest) -> Completion:
        text = request.messages[-1].content
        if text == "refuse":
            raise EndpointError("the one behind is gone", status=503)
        if text == "break":
            raise ZeroDivisionError("a fault of the model")
        return Completion(text * 10, "length", Usage(prompt_tokens=8, completion_tokens=3, cached_tokens=5))

    async def aclose(self) -> None:
        return None


async def post(url: str, body: Any) -> tuple[int, dict[str, Any]]:
    data = body if isinstance(body, bytes) else None
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{url}/chat/completions",
            json=None if data else body,
            data=data,
            headers={"Content-Type": "application/json"},
        ) as response,  # fmt: skip
    ):
        return response.status, await response.json(content_type=None)


def user(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **more}


def test_answers_have_the_shape_of_the_api_and_health_and_models_answer() -> None:
    async def work() -> None:
        server = await start_server({"m": Fixed()})
        status, answer = await post(server.base_url, user("ab"))
        assert status == 200 and answer["choices"][0]["message"] == {"role": "assistant", "content": "ab" * 10}
        assert answer["choices"][0]["finish_reason"] == "length" and answer["usage"]["total_tokens"] == 11
        assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 5
        parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
        _, same = await post(server.base_url, {"model": "m", "messages": [{"role": "user", "content": parts}]})
        assert same["choices"] == answer["choices"]
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{server.port}/health") as response:
                assert response.status == 200
            async with session.get(f"{server.base_url}/models") as response:
                assert [m["id"] for m in (await response.json())["data"]] == ["m"]
        await server.aclose()

    asyncio.run(work())


def test_a_stream_is_the_answer_in_pieces() -> None:
    async def work() -> None:
        server = await start_server({"m": Fixed()})
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{server.base_url}/chat/completions", json=user("word ", stream=True)) as response,
        ):
            assert response.headers["Content-Type"] == "text/event-stream"
            lines = [line for line in (await response.text()).split("\n\n") if line]
        import json

        assert lines[-1] == "data: [DONE]"
        chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
        assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks) == "word " * 10
        assert [c["choices"][0]["finish_reason"] for c in chunks][-1] == "length" and len(chunks) > 3
        await server.aclose()

    asyncio.run(work())


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"{", 400, "unexpected end"),
        ([], 400, "JSON object"),
        ({"messages": []}, 400, "'model'"),
        ({"model": "m", "messages": []}, 400, "at least one"),
        ({"model": "m", "messages": [{"role": "robot", "content": "x"}]}, 400, "must have a role"),
        ({"model": "m", "messages": [{"role": "user", "content": 3}]}, 400, "must be a string"),
        (user("x", temperature="hot"), 400, "'temperature' must be a number"),
        (user("x", max_tokens=True), 400, "'max_tokens' must be a number"),
        (user("x", stop=3), 400, "'stop'"),
        ({**user("x"), "model": "other"}, 404, "no model 'other'"),
        (user("refuse"), 503, "the one behind is gone"),
        (user("break"), 500, "a fault of the model"),
    ],
)
def test_what_is_wrong_is_said_in_the_shape_of_the_api(body: Any, status: int, says: str) -> None:
    async def work() -> None:
        server = await start_server({"m": Fixed()})
        got, answer = await post(server.base_url, body)
        assert got == status and says in answer["error"]["message"]
        assert (await post(server.base_url, user("ok")))[0] == 200  # and it goes on
        await server.aclose()

    asyncio.run(work())


def test_a_port_in_use_is_refused_and_a_closed_server_lets_go() -> None:
    async def work() -> None:
        server = await start_server({"m": Fixed()})
        with pytest.raises(ConfigError, match="choose another port"):
            await start_server({"m": Fixed()}, port=server.port)
        await server.aclose()
        again = await start_server({"m": Fixed()}, port=server.port)
        await again.aclose()

    asyncio.run(work())


def test_the_world_answers_the_same_here_and_behind_an_address_under_the_same_key() -> None:
    async def work() -> None:
        server = await start_server(resolve_world())
        async with aiohttp.ClientSession() as session, session.get(f"{server.base_url}/models") as listed:
            assert {"world:user", "world:judge"} <= {model["id"] for model in (await listed.json())["data"]}
        uri = "world:assistant?phrasings=2"
        here, there = create_model(ModelConfig(uri=uri)), create_model(ModelConfig(uri=uri, base_url=server.base_url))
        messages = (PromptMessage("user", ("What shall I cook tonight?",)),)
        for seed in range(5):
            request = ChatRequest(messages, seed=seed)
            assert (await here.complete(request)).text == (await there.complete(request)).text
        async with calling(ModelConfig(uri=uri)) as one, calling(ModelConfig(uri=uri, base_url=server.base_url)) as two:
            local = await one.call("user", "p", "user", HELLO)
            remote = await two.call("user", "p", "user", HELLO)
            assert local.generation.call_key == remote.generation.call_key and local.text == remote.text
        await there.aclose()
        with pytest.raises(ConfigError, match="no model 'gpt'"):
            resolve_world()("gpt")
        assert resolve_world(any_model=True)("gpt").name == "gpt"
        await server.aclose()

    asyncio.run(work())
