"""Simulated users over HTTP: the benchmark's messages and scores, several clients, mistakes in one line."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

from aloe.bench.env_server import EnvServer
from aloe.config import load_config
from aloe.models.caller import Caller
from aloe.models.guard import Guard, own_hosts
from aloe.store.records import read_jsonl
from aloe.studio.start import serving
from aloe.types import BenchScore, ConversationTree

Post = Callable[..., Awaitable[tuple[int, Any]]]
TOKEN = "t" * 24


def with_server(personas, work: Callable[[Post], Awaitable[None]], **bench) -> None:
    config = load_config(overrides={"bench": bench})

    async def run() -> None:
        caller = Caller.open(config, None, seed=config.seed)
        guard = Guard(own_hosts("127.0.0.1"), TOKEN)
        async with (
            serving(EnvServer(caller, config, personas).app(guard), "127.0.0.1", 0, guard.prefix) as url,
            aiohttp.ClientSession() as session,
        ):

            async def post(path: str, **body: Any) -> tuple[int, Any]:
                method = (
                    session.post(url + path, json=body)
                    if path not in ("personas", "health")
                    else session.get(url + path)
                )
                async with method as answer:
                    return answer.status, await answer.json()

            await work(post)
        await caller.aclose()

    asyncio.run(run())


def test_steps_of_several_clients_are_those_of_the_benchmark(personas, bench, tmp_path) -> None:
    bench(personas[:4], ["world:assistant"], tmp_path)
    trees = list(read_jsonl(tmp_path / "assistant/conversations.jsonl", ConversationTree))
    rows = list(read_jsonl(tmp_path / "assistant/scores.jsonl", BenchScore))

    async def client(post: Post, tree: ConversationTree) -> None:
        said = [node.message.content for node in tree.nodes]
        status, begun = await post("reset", persona_id=tree.persona_id)
        assert (status, begun["observation"], begun["info"]["persona_id"]) == (200, said[0], tree.persona_id)
        heard, rewards, last = [], [], {}
        for reply in said[1::2]:
            _, last = await post("step", env_id=begun["env_id"], action=reply)
            heard.append(last["observation"])
            rewards.append(last["reward"])
        assert heard == [*said[2::2], ""]
        assert rewards == [row.score for row in rows if row.tree_id == tree.tree_id]
        assert (last["done"], last["terminated"], last["truncated"], last["info"]["ended"]) == (
            True,
            False,
            True,
            "turns",
        )
        status, told = await post("step", env_id=begun["env_id"], action="More?")
        assert status == 400 and told == {"error": "the conversation is over; call reset first"}
        assert (await post("reset", env_id=begun["env_id"]))[1]["observation"] == said[0]

    async def work(post: Post) -> None:
        await asyncio.gather(*(client(post, tree) for tree in trees))
        assert (await post("personas"))[1] == {"personas": [p.persona_id for p in personas[:4]], "n_turns": 4}

    with_server(personas[:4], work, n_turns=4)


def test_everybody_comes_in_turn_and_mistakes_are_told(personas) -> None:
    async def work(post: Post) -> None:
        begun = [(await post("reset"))[1] for _ in range(5)]
        ids = [p.persona_id for p in personas[:2]]
        told = [(b["info"]["persona_id"], b["info"]["sample"]) for b in begun]
        assert told == [(ids[0], 0), (ids[1], 0), (ids[0], 1), (ids[1], 1), (ids[0], 2)]
        env = begun[0]["env_id"]
        _, ended = await post("step", env_id=env, action="")
        assert (ended["reward"], ended["terminated"], ended["truncated"]) == (1.0, True, False)
        assert (await post("health"))[1]["n_open"] == 5
        assert await post("close", env_id=env) == (200, {"closed": True})
        for path, body, status, said in (
            ("step", {"env_id": env, "action": "x"}, 404, f"no conversation '{env}'; reset begins one"),
            ("step", {"env_id": begun[1]["env_id"], "action": 3}, 400, "action is '3'; give the reply as a text"),
            ("reset", {"persona_id": "nobody"}, 400, "no persona 'nobody'"),
            ("reset", {"sample": -1}, 400, "sample is '-1'"),
            ("nowhere", {}, 404, "Not Found"),
        ):
            found, answer = await post(path, **body)
            assert found == status and said in answer["error"], answer

    with_server(personas[:2], work, n_turns=3)
