"""Every way in which an endpoint can fail, over real sockets: what is retried, what is not, what is recorded."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from aloe.config import Config
from aloe.dialogue.forest import grow_forest, plan_jobs
from aloe.dialogue.tree_builder import TreeBuilder, TreePlan
from aloe.errors import EndpointError, EndpointStopped
from aloe.models.caller import Caller
from aloe.models.server import read_request
from aloe.store.records import read_jsonl
from aloe.store.validate import validate_run
from aloe.types import ConversationTree
from aloe.world.model import WorldModel
from helpers import world_personas
from models.faulty import HELLO, Fault, FaultyServer, answer, attempts, calling, model_at, refusal, serving


def test_a_good_answer_is_read_with_its_usage() -> None:
    async def work() -> None:
        async with serving(lambda body, n: "Hi!") as server, calling(model_at(server.base_url, temperature=0.5)) as c:
            reply = await c.call("user", "a", "user", HELLO)
            assert reply.text == "Hi!" and reply.finish_reason == "stop"
            assert reply.generation.usage.prompt_tokens == 20 and reply.generation.model == "openai:made-up"
            (body,) = server.requests
            assert body["model"] == "made-up" and body["temperature"] == 0.5 and 0 <= body["seed"] < 2**31
            assert body["messages"] == [
                {"role": "system", "content": "Be kind."},
                {"role": "user", "content": "Hello there"},
            ]

    asyncio.run(work())


GOOD = answer("Fine.")
ONCE = {
    "too many requests": (Fault(429, b"{}", {"Retry_After": "0.3"}), 429, 0),
    "server error": (refusal("oops", 500), 500, 0),
    "bad gateway in HTML": (Fault(502, b"<html>nginx</html>", {"Content_Type": "text/html"}), 502, 0),
    "request time-out": (refusal("slow", 408), 408, 1),
    "conflict": (refusal("busy", 409), 409, 0),
    "hang": (Fault(hang=True), 408, 1),
    "slow drip": (Fault(body=GOOD, drip=0.05), 408, 1),
    "cut in the body": (Fault(body=GOOD, cut=0.5), 0, 1),
    "cut before the body": (Fault(body=GOOD, cut=0.0), 0, 1),
    "truncated JSON, valid length": (Fault(body=GOOD[:-30]), 200, 1),
    "no choices": (Fault(body=b'{"choices": []}'), 200, 1),
    "choices of an odd shape": (Fault(body=b'{"choices": [{"text": 3}]}'), 200, 1),
    "a list": (Fault(body=b"[1, 2]"), 200, 1),
    "a page of HTML": (Fault(body=b"<html>Sign in</html>", headers={"Content_Type": "text/html"}), 200, 1),
    "an error inside a 200": (Fault(body=b'{"error": {"code": 502, "message": "upstream"}}'), 502, 0),
}


@pytest.mark.parametrize("name", ONCE)
def test_a_passing_fault_is_recorded_and_the_call_succeeds(name: str) -> None:
    fault, status, billed = ONCE[name]

    async def work() -> None:
        async with (
            serving(lambda body, n: fault if n == 0 else "Fine.") as server,
            calling(model_at(server.base_url, timeout_seconds=0.4)) as caller,
        ):
            started = time.monotonic()
            reply = await caller.call("user", "a", "user", HELLO)
            assert reply.text == "Fine." and len(server.requests) == 2
            assert server.requests[0] == server.requests[1]
            ((got, was_billed, error),) = attempts(caller)
            assert (got, was_billed) == (status, billed) and error
            if status == 429:
                assert time.monotonic() - started >= 0.3

    asyncio.run(work())


def test_a_type_that_lies_is_no_fault() -> None:
    async def work() -> None:
        odd = Fault(body=GOOD, headers={"Content_Type": "text/plain"})
        async with serving(lambda body, n: odd) as server, calling(model_at(server.base_url)) as caller:
            assert (await caller.call("user", "a", "user", HELLO)).text == "Fine." and len(server.requests) == 1

    asyncio.run(work())


@pytest.mark.parametrize(("status", "hint"), [(400, "logs"), (403, "rights"), (302, "")])
def test_what_will_not_change_is_not_tried_again(status: int, hint: str) -> None:
    async def work() -> None:
        async with (
            serving(lambda b, n: refusal("no such thing", status)) as server,
            calling(model_at(server.base_url)) as caller,
        ):
            with pytest.raises(EndpointError, match="no such thing") as caught:
                await caller.call("user", "a", "user", HELLO)
            assert caught.value.status == status and hint in caught.value.hint
            assert len(server.requests) == 1 and caller.stats["user"].n_failed == 1
            assert len(attempts(caller)) == 1

    asyncio.run(work())


def test_an_answer_that_ran_out_of_tokens_is_an_answer() -> None:
    async def work() -> None:
        cut = Fault(body=answer("And so", finish_reason="length"))
        async with serving(lambda b, n: cut) as server, calling(model_at(server.base_url)) as caller:
            reply = await caller.call("user", "a", "user", HELLO)
            assert (reply.text, reply.finish_reason) == ("And so", "length") and len(server.requests) == 1

    asyncio.run(work())


def test_attempts_are_bounded() -> None:
    async def work() -> None:
        async with (
            serving(lambda b, n: refusal("broken", 500)) as server,
            calling(model_at(server.base_url, max_attempts=3)) as caller,
        ):
            with pytest.raises(EndpointError, match="after 3 attempts"):
                await caller.call("user", "a", "user", HELLO)
            assert len(server.requests) == 3 == len(attempts(caller))

    asyncio.run(work())


def test_a_burst_of_errors_costs_nobody_the_answer() -> None:
    async def work() -> None:
        def script(body: dict, n: int) -> Fault | str:
            return refusal("burst", 500) if 5 <= n < 25 else f"{body['seed']}"

        async with serving(script) as server, calling(model_at(server.base_url)) as caller:
            replies = await asyncio.gather(*(caller.call("user", f"p/{i}", "user", HELLO) for i in range(40)))
            assert len({r.text for r in replies}) == 40 and len(server.requests) == 60

    asyncio.run(work())


def test_refusals_for_speed_lower_the_concurrency_and_good_answers_raise_it() -> None:
    async def work() -> None:
        async with serving(lambda b, n: "x") as server:
            server.script = lambda b, n: refusal("slow down", 429, Retry_After="0.05") if server.n_open > 6 else "x"
            server.delay = 0.01
            async with calling(model_at(server.base_url, max_concurrency=64, max_attempts=50)) as caller:
                await asyncio.gather(*(caller.call("user", f"p/{i}", "user", HELLO) for i in range(300)))
                (limiter,) = caller._limiters.values()
                n_refused = len(attempts(caller))
                assert limiter.window < 16 and 0 < n_refused < 150
                server.script = lambda b, n: "x"
                await asyncio.gather(*(caller.call("user", f"q/{i}", "user", HELLO) for i in range(400)))
                assert limiter.window > 12 and len(attempts(caller)) == n_refused

    asyncio.run(work())


def test_the_next_caller_begins_with_the_concurrency_that_the_last_one_found() -> None:
    """Each stage has a caller of its own, and none of them should feel its way up again."""

    async def first_wave(server: FaultyServer, stage: str, max_concurrency: int) -> int:
        """How many requests come before the first answer."""
        server.delay = 1.0
        async with calling(model_at(server.base_url, max_concurrency=max_concurrency)) as caller:
            gathered = asyncio.gather(*(caller.call("user", f"{stage}/{i}", "user", HELLO) for i in range(200)))
            await asyncio.sleep(0.8)
            n = server.n_open
            server.delay = 0.02
            await gathered
            return n

    async def work() -> None:
        async with serving(lambda b, n: "x") as server:
            assert await first_wave(server, "first", 64) == 16
            assert await first_wave(server, "second", 64) == 64
            assert await first_wave(server, "third", 8) == 8

    asyncio.run(work())


def test_no_connection_and_no_such_host_end_in_one_clear_line() -> None:
    async def work(base_url: str) -> None:
        async with calling(model_at(base_url), patience=3) as caller:
            found = await asyncio.gather(
                *(caller.call("user", f"p/{i}", "user", HELLO) for i in range(8)), return_exceptions=True
            )
            assert all(isinstance(e, EndpointStopped) for e in found)
            assert any("is down" in str(e) and "same command again" in str(e) for e in found), found
            assert all(billed == 0 for _, billed, _ in attempts(caller))
            started = time.monotonic()
            with pytest.raises(EndpointStopped, match="is down"):
                await caller.call("user", "later", "user", HELLO)
            assert time.monotonic() - started < 0.5  # known to be down: nothing is waited for

    async def both() -> None:
        async with serving(lambda b, n: "x") as server:
            port = server.port
        await asyncio.gather(work(f"http://127.0.0.1:{port}/v1"), work("http://no-such-host.invalid/v1"))

    asyncio.run(both())


@pytest.mark.slow
def test_an_endpoint_that_dies_for_longer_than_attempts_last_and_returns_loses_no_call() -> None:
    async def work() -> None:
        async with (
            serving(lambda b, n: f"{b['seed']}") as server,
            calling(model_at(server.base_url, max_concurrency=8), patience=60) as caller,
        ):
            await caller.call("user", "first", "user", HELLO)

            async def outage() -> None:
                await server.down()
                await asyncio.sleep(12.0)
                await server.up()

            started = time.monotonic()
            calls = [caller.call("user", f"p/{i}", "user", HELLO) for i in range(40)]
            *replies, _ = await asyncio.gather(*calls, outage())
            assert len({r.text for r in replies}) == 40
            assert 12 <= time.monotonic() - started < 32  # a probe at least every five seconds
            assert len(attempts(caller)) < 40  # few were sent into the void
            assert attempts(caller) and caller.stats["user"].n_failed == 0

    asyncio.run(work())


def test_eight_conversations_that_fail_for_good_leave_the_other_120(tmp_path: Path) -> None:
    """And a second run asks for just those."""
    personas = world_personas(16)
    jobs = plan_jobs(personas, 0, 8)
    marked = personas[3].profile
    healed: list[bool] = []
    actors = {name: WorldModel(name) for name in ("world:user", "world:inducer", "world:judge",
                                                          "world:tailored", "world:generic")}  # fmt: skip

    def script(body: dict, n: int) -> Fault | str:
        if not healed and marked in body["messages"][0]["content"] + body["messages"][-1]["content"]:
            return refusal("content policy", 400)
        request, name, _ = read_request(body)
        return actors[name].answer(request).text

    async def grow(folder: Path, base_url: str):
        roles = {
            r: [{"uri": f"world:{r}", "base_url": base_url}]
            for r in ("user", "inducer", "judge", "tailored", "generic")
        }
        config = Config.model_validate({"roles": roles})
        caller = Caller.open(config, tmp_path / "journal.sqlite", seed=1)
        try:
            return await grow_forest(TreeBuilder(caller, TreePlan(n_turns=1), 1), jobs, folder, 64)
        finally:
            await caller.aclose()

    async def work() -> None:
        async with serving(script) as server:
            summary = await grow(tmp_path / "trees", server.base_url)
            trees = list(read_jsonl(tmp_path / "trees" / "trees.jsonl", ConversationTree))
            failed = [t for t in trees if t.errors]
            assert len(jobs) == 128 and len(failed) == 8 == summary.n_failed_nodes
            assert all("content policy" in t.errors[0].error for t in failed)
            assert sum(not t.errors and len(t.nodes) == 3 for t in trees) == 120
            assert validate_run(tmp_path).breaches == []
            n_before = len(server.requests)
            healed.append(True)
            await grow(tmp_path / "trees", server.base_url)
            trees = list(read_jsonl(tmp_path / "trees" / "trees.jsonl", ConversationTree))
            assert len(trees) == 128 and not any(t.errors for t in trees)
            assert len(server.requests) - n_before == 8 * 5

    asyncio.run(work())
