"""What is waited out and what stops a stage at once: rate limits, outages, used-up quotas, keys and certificates."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import pytest

from aloe.errors import EndpointError, EndpointStopped
from aloe.models.http.connection import read_retry_after
from aloe.models.http.limits import Limiter
from aloe.models.http.rate import LearntRate
from aloe.models.http.retries import steer
from models.faulty import HELLO, Fault, attempts, calling, model_at, refusal, serving

Hint = Callable[[float], dict[str, str]]  # seconds until the next request may come -> headers


def rate_limited(per_second: float, burst: int, hint: Hint) -> Callable[[dict[str, Any], int], Fault | str]:
    """A token bucket that answers 429 when it is empty."""
    level, at = float(burst), time.monotonic()

    def script(body: dict[str, Any], n: int) -> Fault | str:
        nonlocal level, at
        now = time.monotonic()
        level, at = min(float(burst), level + (now - at) * per_second), now
        if level < 1.0:
            return refusal("slow down", 429, **hint((1.0 - level) / per_second))
        level -= 1.0
        return f"{body['seed']}"

    return script


def fixed_window(n_allowed: int, seconds: float) -> Callable[[dict[str, Any], int], Fault | str]:
    """So many requests in each span of time, all others are refused."""
    began, count = time.monotonic(), 0

    def script(body: dict[str, Any], n: int) -> Fault | str:
        nonlocal began, count
        now = time.monotonic()
        if now - began >= seconds:
            began, count = now, 0
        count += 1
        return f"{body['seed']}" if count <= n_allowed else refusal("slow down", 429)

    return script


LIMITS: dict[str, Callable[[], Callable[[dict[str, Any], int], Fault | str]]] = {
    "bare": lambda: rate_limited(30, 4, lambda left: {}),
    "Retry-After: 0": lambda: rate_limited(30, 4, lambda left: {"Retry_After": "0"}),
    "Retry-After: date": lambda: rate_limited(
        30, 4, lambda left: {"Retry_After": formatdate(time.time(), usegmt=True)}
    ),
    "retry-after-ms": lambda: rate_limited(30, 4, lambda left: {"retry_after_ms": str(int(1000 * left) + 1)}),
    "a fixed window": lambda: fixed_window(40, 1.2),
}


def test_a_rate_limit_costs_time_and_no_call(caplog: pytest.LogCaptureFixture) -> None:
    async def work(name: str) -> None:
        async with (
            serving(LIMITS[name]()) as server,
            calling(model_at(server.base_url, max_attempts=2), patience=60) as caller,
        ):
            replies = await asyncio.gather(*(caller.call("user", f"p/{i}", "user", HELLO) for i in range(90)))
            assert len({r.text for r in replies}) == 90 and caller.stats["user"].n_failed == 0, name
            assert len(attempts(caller)) < 60, name  # the rate is learnt

    async def all_of_them() -> None:
        await asyncio.gather(*map(work, LIMITS))

    asyncio.run(all_of_them())
    assert sum("limits the rate" in m for m in caplog.messages) == len(LIMITS)


@pytest.mark.parametrize(("status", "ends"), [(500, True), (200, True), (400, True), (503, False), (0, False)])
def test_whatever_passes_a_rate_limit_ends_the_wait_for_it(status: int, ends: bool) -> None:
    """Else pauses double up to 15 s between calls that fail in other ways, and nothing tells that the limit is gone."""

    async def work() -> bool:
        limiter = Limiter("here", 8)
        first = await limiter.enter(0)
        limiter.limited(first, EndpointError("slow down", status=429, retry_after=0.01))
        limiter.leave(first)
        probe = await limiter.enter(0)
        assert probe.is_probe and limiter.is_waiting
        steer(limiter, probe, EndpointError("an error, or an answer without sense", status=status))
        limiter.leave(probe)
        return not limiter.is_waiting

    assert asyncio.run(work()) == ends


def test_a_rate_limit_without_an_end_stops_the_stage_when_patience_ends() -> None:
    async def work(script: Any, patience: float, says: str) -> None:
        async with (
            serving(script) as server,
            calling(model_at(server.base_url), patience=patience) as caller,
        ):
            started = time.monotonic()
            found = await asyncio.gather(
                *(caller.call("user", f"p/{i}", "user", HELLO) for i in range(5)), return_exceptions=True
            )
            assert all(isinstance(e, EndpointStopped) and says in str(e) for e in found), found
            assert time.monotonic() - started < patience + 3

    asyncio.run(work(lambda b, n: refusal("slow down", 429), 1.0, "nothing was answered for"))
    later = refusal("daily limit", 429, Retry_After="7200")
    asyncio.run(work(lambda b, n: later, 60.0, "asks to wait for 120 min"))


def test_one_call_that_is_too_large_for_the_rate_limit_is_given_up_alone() -> None:
    async def work() -> None:
        def script(body: dict[str, Any], n: int) -> Fault | str:
            return refusal("Request too large", 429) if "large" in body["messages"][-1]["content"] else "x"

        large = (*HELLO[:1], type(HELLO[1])("user", ("large",)))
        async with serving(script) as server, calling(model_at(server.base_url, max_attempts=2), patience=1.5) as c:
            others = asyncio.gather(*(c.call("user", f"p/{i}", "user", HELLO) for i in range(40)))
            with pytest.raises((EndpointError, EndpointStopped), match="too large"):
                await c.call("user", "large", "user", large)
            assert len(await others) == 40

    asyncio.run(work())


QUOTA = b'{"error": {"message": "You exceeded your current quota", "type": "insufficient_quota", "code": null}}'
STOPS = {
    "no quota": (Fault(429, QUOTA, {"Retry_After": "1"}), "nothing left to spend"),
    "to be paid": (refusal("add credits", 402), "nothing left to spend"),
    "a refused key": (refusal("bad key", 401), "check the key"),
}


@pytest.mark.parametrize("name", STOPS)
def test_what_no_call_gets_past_ends_the_stage_at_once(name: str) -> None:
    fault, says = STOPS[name]

    async def work() -> None:
        async with serving(lambda b, n: fault) as server, calling(model_at(server.base_url)) as caller:
            with pytest.raises(EndpointStopped, match=says):
                await caller.call("user", "a", "user", HELLO)
            assert len(server.requests) == 1 == len(attempts(caller))

    asyncio.run(work())


def test_an_outage_is_waited_out_by_models_that_have_never_answered_too() -> None:
    async def work(kind: str | int) -> None:
        async with serving(lambda b, n: f"{b['seed']}") as server:

            async def outage() -> None:
                if kind == "closed":
                    await server.down()
                else:
                    server.script = lambda b, n: refusal("nobody there", int(kind))
                await asyncio.sleep(4.0)
                server.script = lambda b, n: f"{b['seed']}"
                if kind == "closed":
                    await server.up()

            ended = asyncio.create_task(outage())
            await asyncio.sleep(0.05)
            async with calling(model_at(server.base_url, max_attempts=4), patience=30) as caller:
                replies = await asyncio.gather(*(caller.call("user", f"p/{i}", "user", HELLO) for i in range(12)))
                assert len({r.text for r in replies}) == 12 and caller.stats["user"].n_failed == 0, kind
            await ended

    async def all_of_them() -> None:
        await asyncio.gather(*(work(kind) for kind in ("closed", 502, 503, 507, 520, 523, 530)))

    asyncio.run(all_of_them())


def test_a_server_that_stays_away_ends_the_stage_in_one_line_when_patience_ends() -> None:
    async def work(script: Any) -> None:
        async with serving(script) as server, calling(model_at(server.base_url), patience=1.5) as caller:
            found = await asyncio.gather(
                *(caller.call("user", f"p/{i}", "user", HELLO) for i in range(6)), return_exceptions=True
            )
            assert all(isinstance(e, EndpointStopped | EndpointError) for e in found)
            stopped = [e for e in found if isinstance(e, EndpointStopped)]
            assert stopped and "is down" in str(stopped[0]) and "outage_minutes" in str(stopped[0])

    asyncio.run(work(lambda b, n: refusal("nobody there", 503)))


@pytest.mark.parametrize("n_missing", [1, 9])
def test_not_found_is_asked_again_once(n_missing: int) -> None:
    async def work() -> None:
        async with (
            serving(lambda b, n: refusal("no such model", 404) if n < n_missing else "x") as server,
            calling(model_at(server.base_url)) as caller,
        ):
            if n_missing == 1:
                await caller.call("user", "a", "user", HELLO)
            else:
                with pytest.raises(EndpointError, match="no such model") as caught:
                    await caller.call("user", "a", "user", HELLO)
                assert "model name" in caught.value.hint
            assert len(server.requests) == 2

    asyncio.run(work())


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "2"}, 2.0),
        ({"retry-after-ms": "1500", "Retry-After": "9"}, 1.5),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:07 GMT", "Date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 7.0),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "-3"}, 0.0),
        ({}, None),
    ],
)
def test_how_long_to_wait_is_read_from_seconds_and_dates(headers: dict[str, str], seconds: float | None) -> None:
    assert read_retry_after(headers) == seconds
    later = read_retry_after({"Retry-After": formatdate(time.time() + 90, usegmt=True)})
    assert later is not None and 85 < later <= 90


@pytest.mark.parametrize("limit", [0.5, 4.0, 40.0])
@pytest.mark.parametrize("burst", [1.0, 20.0])
def test_the_learnt_rate_comes_close_to_the_limit_and_stays_there(limit: float, burst: float) -> None:
    """Against a token bucket, with a clock of our own."""
    rate, now, seen, level, hold, n_refused = LearntRate(), 0.0, 0.0, burst, 0.0, 0
    answered: list[float] = []
    while now < 400.0 / limit + 120.0:
        now = max(now, hold)
        now += rate.wait(now) + 1e-4
        level, seen = min(burst, level + limit * (now - seen)), now
        rate.sent(now)
        if level < 1.0:
            n_refused += 1
            hold = now + rate.refused(now)
        else:
            level -= 1.0
            answered.append(now)
            rate.answered(now, rate.refused_since is not None)
    late = [t for t in answered if t > now / 2]
    assert 0.7 * limit < len(late) / (now / 2) <= 1.05 * limit
    assert n_refused < 0.2 * len(answered)
