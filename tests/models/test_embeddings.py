"""An embeddings endpoint that fails in every way, over real sockets; and that no text is paid for twice."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from aloe.__main__ import main
from aloe.config import Config
from aloe.errors import BudgetExceeded, ConfigError, EndpointError, EndpointStopped
from aloe.models.caller import Caller
from aloe.models.embed.openai import OpenAIEmbedder
from aloe.models.journal.forget import forget_calls
from aloe.models.journal.inspect import Reader, prune
from aloe.personas.embedders import create_embedder
from aloe.personas.growth import grow_pool
from aloe.protocols import Embedder
from models.faulty import Fault, FaultyServer, Script, model_at, refusal, serving

DIM = 6
NAME = "openai:made-up-embedder"


def vector_of(text: str) -> list[float]:
    """Different for different texts, the same each time; not of length one."""
    codes = [float(b) for b in text.encode()] or [1.0]
    return [sum(c * ((i * 7 + k * 3) % 11 + 1) for i, c in enumerate(codes)) % 97 + 1.0 for k in range(DIM)]


def body_of(texts: list[str], vectors: list[Any] | None = None, places: list[int] | None = None) -> Fault:
    vectors = [vector_of(t) for t in texts] if vectors is None else vectors
    places = list(range(len(vectors))) if places is None else places
    rows = [{"object": "embedding", "index": i, "embedding": v} for i, v in zip(places, vectors, strict=True)]
    tokens = sum(len(t.split()) for t in texts)
    return Fault(body=orjson.dumps({"data": rows[::-1], "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}))


def honest(body: dict[str, Any], n: int) -> Fault:
    return body_of(body["input"])


def unit(texts: list[str]) -> np.ndarray:
    vectors = np.array([vector_of(t) for t in texts])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def config_at(server: FaultyServer, **more: Any) -> Config:
    writer = {"uri": "openai:w", "base_url": server.base_url, "timeout_seconds": 0.5, "price_prompt": 0, **more}
    return Config.model_validate({"roles": {"writer": [{**writer, "price_completion": 0}]}})


def embedded(script: Script, texts: list[str], **model: Any) -> tuple[Any, int]:
    """What comes of embedding ``texts`` (vectors or the error), and how many requests it took."""

    async def work() -> tuple[Any, int]:
        async with serving(script) as server:
            config = model_at(server.base_url, uri=NAME, timeout_seconds=0.5, **model)
            try:
                found: Any = await asyncio.to_thread(OpenAIEmbedder(config).embed, texts)
            except EndpointError as error:
                found = error
            return found, len(server.requests)

    return asyncio.run(work())


TEXTS = ["a nurse in Lyon", "a baker", "two dogs and a cat"]
NAN = [[1.0, None, *vector_of("x")[2:]], *map(vector_of, TEXTS[1:])]
PASSING = {
    "too many requests": Fault(429, b"{}", {"Retry_After": "0.2"}),
    "server error": refusal("oops", 500),
    "unavailable in HTML": Fault(503, b"<html>busy</html>"),
    "hang": Fault(hang=True),
    "slow drip": Fault(body=body_of(TEXTS).body, drip=0.05),
    "cut in the body": Fault(body=body_of(TEXTS).body, cut=0.5),
    "truncated JSON, valid length": Fault(body=body_of(TEXTS).body[:-30]),
    "one too few": body_of(TEXTS[:2]),
    "one too many": body_of([*TEXTS, "more"]),
    "one twice": body_of(TEXTS, places=[0, 1, 1]),
    "null among the numbers": body_of(TEXTS, NAN),
    "NaN, which is no JSON": Fault(body=body_of(TEXTS).body.replace(b'"embedding":[', b'"embedding":[NaN,')),
    "infinite": body_of(TEXTS, [[1e300] * DIM, *map(vector_of, TEXTS[1:])]),
    "all zero": body_of(TEXTS, [[0.0] * DIM, *map(vector_of, TEXTS[1:])]),
    "of several lengths": body_of(TEXTS, [[1.0, 2.0], *map(vector_of, TEXTS[1:])]),
    "words for numbers": body_of(TEXTS, ["a", "b", "c"]),
    "no data": Fault(body=b'{"error": null}'),
    "a list": Fault(body=b"[1]"),
}


@pytest.mark.parametrize("name", PASSING)
def test_a_passing_fault_is_tried_again(name: str) -> None:
    found, n = embedded(lambda b, n: PASSING[name] if n == 0 else honest(b, n), TEXTS)
    np.testing.assert_allclose(found, unit(TEXTS), rtol=1e-6)
    assert found.dtype == np.float32 and n == 2


@pytest.mark.parametrize("name", ["one too few", "null among the numbers", "all zero", "words for numbers"])
def test_a_fault_that_stays_ends_in_one_clear_line(name: str) -> None:
    error, n = embedded(lambda b, n: PASSING[name], TEXTS, max_attempts=2)
    assert isinstance(error, EndpointError) and n == 2
    assert "\n" not in str(error) and "embeddings" in error.message and "after 2 attempts" in error.message
    assert "embedding model" in error.hint


def test_what_will_not_change_is_not_tried_again() -> None:
    error, n = embedded(lambda b, n: refusal("no such model", 404), TEXTS)
    assert isinstance(error, EndpointError) and "no such model" in error.message and n == 2
    error, n = embedded(lambda b, n: refusal("no such input", 400), TEXTS)
    assert isinstance(error, EndpointError) and "no such input" in error.message and n == 1
    other = [[1.0] * (DIM + 2)]
    error, n = embedded(
        lambda b, n: honest(b, n) if n == 0 else body_of(b["input"], other * len(b["input"])),
        [f"text {i}" for i in range(129)],  # two batches
        max_concurrency=1,
    )
    assert isinstance(error, EndpointError) and n == 2
    assert "embeddings of 8 numbers instead of 6: the endpoint now serves another model" in error.message


def test_batches_come_back_in_the_order_of_the_texts() -> None:
    texts = [f"person {i} " + "x" * (i % 9) for i in range(300)]
    found, n = embedded(honest, texts)
    np.testing.assert_allclose(found, unit(texts), rtol=1e-5)
    assert n == 3


def test_an_endpoint_that_dies_and_returns_is_waited_for() -> None:
    async def work() -> None:
        async with serving(honest) as server:
            embedder = OpenAIEmbedder(model_at(server.base_url, uri=NAME))
            await asyncio.to_thread(embedder.embed, ["first"])
            await server.down()
            waiting = asyncio.create_task(asyncio.to_thread(embedder.embed, TEXTS))
            await asyncio.sleep(3.0)
            assert not waiting.done()
            await server.up()
            np.testing.assert_allclose(await waiting, unit(TEXTS), rtol=1e-6)

    asyncio.run(work())


def test_an_endpoint_that_was_never_there_is_given_up_in_one_line() -> None:
    async def work() -> None:
        async with serving(honest) as server:
            port = server.port
        embedder = OpenAIEmbedder(model_at(f"http://127.0.0.1:{port}/v1", uri=NAME), patience=1.5)
        started = time.monotonic()
        with pytest.raises(EndpointStopped, match="is down"):
            await asyncio.to_thread(embedder.embed, TEXTS)
        assert time.monotonic() - started < 10

    asyncio.run(work())


# -- the journal


def embedder_of(server: FaultyServer, caller: Caller) -> Embedder:
    return create_embedder(NAME, config_at(server), caller)


def caller_at(path: Path | None, **budget: Any) -> Caller:
    return Caller.open(Config.model_validate({"budget": budget}), path, seed=1, models={})


@contextmanager
def serving_in_a_thread(script: Script) -> Iterator[FaultyServer]:
    """A server with a loop of its own, for those who block theirs."""
    found: list[FaultyServer] = []
    ready, loop, stop = threading.Event(), asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        async with serving(script) as server:
            found.append(server)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield found[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)


@pytest.mark.parametrize("in_thread", [True, False])
def test_a_text_is_paid_for_once(tmp_path: Path, in_thread: bool) -> None:
    async def embed(embedder: Embedder, texts: list[str]) -> np.ndarray:
        return await asyncio.to_thread(embedder.embed, texts) if in_thread else embedder.embed(texts)

    async def work(server: FaultyServer) -> None:
        first = caller_at(tmp_path / "journal.sqlite")
        found = await embed(embedder_of(server, first), [*TEXTS, TEXTS[0]])
        assert [r["input"] for r in server.requests] == [TEXTS]  # a text twice is one text
        np.testing.assert_array_equal(found[0], found[3])
        await first.aclose()
        second = caller_at(tmp_path / "journal.sqlite")
        embedder, stats = embedder_of(server, second), second.stats["embedder"]
        np.testing.assert_array_equal(await embed(embedder, TEXTS[::-1]), found[2::-1])
        assert len(server.requests) == 1 and stats.n_calls == stats.n_replayed == 3 and stats.cost == 0
        np.testing.assert_allclose(await embed(embedder, ["new", *TEXTS]), unit(["new", *TEXTS]), rtol=1e-6)
        assert [r["input"] for r in server.requests[1:]] == [["new"]]
        await second.aclose()

    with serving_in_a_thread(honest) as server:
        asyncio.run(work(server))


async def _fill(path: Path) -> None:
    async with serving(honest) as server:
        caller = caller_at(path)
        await asyncio.to_thread(embedder_of(server, caller).embed, TEXTS)
        await caller.aclose()


def test_what_was_answered_before_a_failure_is_kept(tmp_path: Path) -> None:
    texts = [f"person {i}" for i in range(300)]

    def script(body: dict[str, Any], n: int) -> Fault:
        return refusal("no", 400) if "person 140" in body["input"] else body_of(body["input"])

    async def work() -> None:
        async with serving(script) as server:
            caller = caller_at(tmp_path / "journal.sqlite")
            with pytest.raises(EndpointError, match="answered 400"):
                await asyncio.to_thread(embedder_of(server, caller).embed, texts)
            await caller.aclose()
            assert len(server.requests) == 3
            server.script = honest
            caller = caller_at(tmp_path / "journal.sqlite")
            found = await asyncio.to_thread(embedder_of(server, caller).embed, texts)
            np.testing.assert_allclose(found, unit(texts), rtol=1e-5)
            assert [len(r["input"]) for r in server.requests[3:]] == [128]
            await caller.aclose()
        with Reader(tmp_path) as reader:
            (use,) = reader.uses()
            assert (use.model, use.role, use.n_calls, use.n_failed) == (NAME, "embedder", 300, 1)
            assert use.prompt_tokens == 600  # as the server counted: two words each
            (call,) = reader.find("embeddings")[:1]
            assert call["messages"] == [{"role": "user", "content": texts[0]}] and call["prompt"] == ""

    asyncio.run(work())


def test_a_changed_model_is_not_mixed_with_what_is_kept(tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(lambda b, n: body_of(b["input"], [[1.0, 2.0]] * len(b["input"]))) as server:
            caller = caller_at(tmp_path / "journal.sqlite")
            with pytest.raises(EndpointError, match="of 2 numbers instead of 6"):
                await asyncio.to_thread(embedder_of(server, caller).embed, [*TEXTS, "new"])
            await caller.aclose()

    asyncio.run(_fill(tmp_path / "journal.sqlite"))
    asyncio.run(work())
    assert prune(tmp_path, "embeddings").n_calls == 3
    with Reader(tmp_path) as reader:
        assert not reader.find("embeddings")


def test_a_forgotten_text_leaves_no_vector(tmp_path: Path) -> None:
    asyncio.run(_fill(tmp_path / "journal.sqlite"))
    gone = forget_calls(tmp_path / "journal.sqlite", [], ["nurse in Lyon"])
    assert (gone.n_calls, gone.n_texts) == (1, 2)
    with Reader(tmp_path) as reader:
        assert {c["messages"][0]["content"] for c in reader.find("embeddings")} == set(TEXTS[1:])


def test_a_budget_holds_for_embeddings(tmp_path: Path) -> None:
    texts = [f"person number {i}" for i in range(128 * 20)]

    async def work() -> None:
        async with serving(honest) as server:
            server.delay = 0.01
            caller = caller_at(tmp_path / "journal.sqlite", tokens=5_000)
            with pytest.raises(BudgetExceeded):
                await asyncio.to_thread(embedder_of(server, caller).embed, texts)
            n = len(server.requests)
            assert 0 < n < 20 and caller.budget.spent_tokens == n * 128 * 3 <= 5_000
            assert caller.budget.spent_tokens > 3_000  # it waits for what is in flight before it gives up
            await caller.aclose()
            assert caller_spent(tmp_path) == n * 128 * 3
            with pytest.raises(ConfigError, match=r"price of openai:made-up-embedder is not known"):
                create_embedder(NAME, config_at(server, price_prompt=1), caller_at(None, usd=1.0))

    def caller_spent(folder: Path) -> int:
        caller = caller_at(folder / "journal.sqlite", tokens=1)
        try:
            return caller.budget.spent_tokens
        finally:
            caller.journal.close()

    asyncio.run(work())


def test_a_persona_pool_grown_again_sends_no_text(tmp_path: Path) -> None:
    config = Config.model_validate(
        {"roles": {"writer": "world:persona-writer"}, "personas": {"profile_threshold": 0.999, "wave": 2}}
    )

    async def grow(server: FaultyServer) -> list[str]:
        caller = Caller.open(config, tmp_path / "journal.sqlite", seed=1)
        embedder = create_embedder(NAME, config_at(server), caller)
        try:
            seeds = ["He has a cat and works as a nurse.", "She plays chess and lives in Oslo."]
            pool = await grow_pool(caller, config, embedder, "profile", seeds, 12)
            return [m.text for m in pool.members]
        finally:
            await caller.aclose()

    async def work() -> None:
        async with serving(honest) as server:
            first = await grow(server)
            sent = [t for r in server.requests for t in r["input"]]
            assert len(first) >= 4 and len(sent) == len(set(sent)) >= len(first)
            n = len(server.requests)
            assert await grow(server) == first and len(server.requests) == n

    asyncio.run(work())


def test_calibrating_a_threshold_pays_for_no_text_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, run = tmp_path / "people.jsonl", tmp_path / "run"
    file.write_text("".join(f'{{"profile": "Person {i} keeps {i} bees. She lives by a lake."}}\n' for i in range(12)))
    command = ["pool", "calibrate", str(file), "--embedder", NAME, "--run", str(run)]

    async def work() -> None:
        async with serving(honest) as server:
            writer = f'{{uri = "openai:w", base_url = "{server.base_url}"}}'
            assert await asyncio.to_thread(main, [*command, "--roles.writer", writer]) == 0
            first, n_texts = capsys.readouterr().out, sum(len(r["input"]) for r in server.requests)
            assert "proposed threshold" in first and n_texts > 12
            assert await asyncio.to_thread(main, command) == 0  # where it is served stands in the run
            assert capsys.readouterr().out == first
            assert sum(len(r["input"]) for r in server.requests) == n_texts

    asyncio.run(work())
