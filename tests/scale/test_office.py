"""The office of a run: whatever workers ask for and however they end, together they stay within its limits."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aloe.config import ModelConfig
from aloe.errors import BudgetExceeded
from aloe.models.budget import Budget
from aloe.models.http.limits import Limiter
from aloe.models.leased import LeasedAllowance
from aloe.models.office import Office


class Direct:
    """The way to an office in the same process."""

    def __init__(self, office: Office, worker: int) -> None:
        self.office, self.worker = office, worker

    async def ask(self, method: str, *arguments: Any) -> Any:
        return await self.office.ask(self.worker, method, list(arguments))


@settings(max_examples=30)
@given(st.integers(1, 40), st.integers(1, 9), st.randoms(use_true_random=False))
def test_shares_of_calls_in_flight_add_up_and_never_shrink(most: int, n: int, random: Any) -> None:
    office = Office(Budget(None, None), n)
    workers = list(range(n))
    before = dict.fromkeys(workers, 0)

    async def shares() -> dict[int, int]:
        found = {}
        for worker in workers:
            place, of = await office.ask(worker, "report", [str(worker), {"done": 0}])
            found[worker] = LeasedAllowance(Direct(office, worker), "1/1", place, of).concurrency(most)
        return found

    while workers:
        now = asyncio.run(shares())
        assert sum(now.values()) == most
        assert all(now[worker] >= before[worker] for worker in workers)
        before = now
        gone = random.choice(workers)
        workers.remove(gone)
        office.retire(gone)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 50), st.sampled_from("sld")), max_size=40))
def test_reservations_of_all_workers_stay_within_the_budget(calls: list[tuple[int, int, str]]) -> None:
    """Each call is settled at what it used (s) or less (l), or its worker dies over it (d)."""

    async def run() -> tuple[int, int]:
        office, used, worst = Office(Budget(None, 300), 4), 0, 0
        for worker, tokens, end in calls:
            try:
                await office.ask(worker, "reserve", [tokens, 0.0])
            except BudgetExceeded:
                break
            worst = max(worst, used + tokens)
            if end == "d":
                office.lost(worker)
            else:
                await office.ask(worker, "settle", [[tokens, 0.0], tokens if end == "s" else 1, 0.0])
            used += 1 if end == "l" else tokens
        assert office.budget.spent_tokens == used
        return used, worst

    assert max(asyncio.run(run())) <= 300


def test_workers_under_one_limit_of_requests_are_paced_as_one() -> None:
    async def run() -> list[float]:
        office, loop = Office(Budget(None, None), 3), asyncio.get_running_loop()
        begin, sent = loop.time(), list[float]()

        async def work(number: int) -> None:
            lease = LeasedAllowance(Direct(office, number), "1/3", number, 3)
            bucket = lease._bucket("requests here", 3000.0)
            limiter = Limiter("here", 8, requests=bucket)
            while loop.time() - begin < 1.0:
                ticket = await limiter.enter(1)
                sent.append(loop.time() - begin)
                limiter.leave(ticket)

        await asyncio.gather(*map(work, range(3)))
        return sent

    sent = asyncio.run(run())
    assert 3 <= len(sent) <= 50 + 50 * max(sent) * 1.02 + 3 * 2  # a second at once, and a booking or two of each


def test_an_unknown_request_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown request"):
        asyncio.run(Office(Budget(None, None), 1).ask(0, "retire", []))


def test_a_worker_without_a_share_is_given_one_once_another_has_ended() -> None:
    async def run() -> None:
        office = Office(Budget(None, None), 2)
        lease = LeasedAllowance(Direct(office, 1), "2/2", 1, 2)
        limiter = lease.limiter(ModelConfig(uri="openai:x", max_concurrency=1), "here", 300.0, None, None)
        assert limiter.max_concurrency == 0
        office.retire(0)
        limiter.leave(await asyncio.wait_for(limiter.enter(1), 20))

    asyncio.run(run())
