"""An allowance that is leased from the office of a run (``models.office``) instead of being divided beforehand.

The budget is asked for each call, where there is one. Calls in flight are shared out among the workers at work.
Where requests or tokens a minute are limited, times to send are booked ahead, a twentieth of a second at once.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from typing import Any, Protocol

from aloe.config import BudgetConfig, ModelConfig
from aloe.errors import AloeError
from aloe.models.allowance import Allowance
from aloe.models.budget import Budget, Reservation
from aloe.models.calls import RoleStats
from aloe.models.http.limits import Host, Limiter
from aloe.models.http.rate import Bucket
from aloe.models.journal.journal import Journal

AHEAD = 0.05  # seconds for which times are booked at once
POLL = 0.005  # seconds after which a limiter looks whether its booking has come
REPORT_EVERY = 0.25  # seconds


class Client(Protocol):
    """The way to the office."""

    async def ask(self, method: str, *arguments: Any) -> Any:
        """Send a request and wait for the answer.

        Raises:
            AloeError: as the office raises it. ConnectionError: the office is gone.
        """
        ...


class LeasedAllowance(Allowance):
    """What the office of the run gives to this worker, and what it hears from it in return.

    Args:
        shard: the name under which progress is reported.
    """

    def __init__(self, client: Client, shard: str, place: int, of: int) -> None:
        super().__init__(of)
        self._client, self._shard = client, shard
        self._place = place
        self._limiters: list[tuple[Limiter, int]] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._reporter: asyncio.Task[None] | None = None
        self._stats: dict[str, RoleStats] = {}
        self._progress: dict[str, Any] = {"done": 0, "total": 0, "unit": ""}

    def budget(self, limits: BudgetConfig, journal: Journal) -> Budget:
        return _LeasedBudget(self, limits.usd, limits.tokens)

    def limiter(
        self, config: ModelConfig, where: str, patience: float, window: float | None, host: Host | None
    ) -> Limiter:
        limiter = Limiter(
            where, self.concurrency(config.max_concurrency), None, None, patience, window, host,
            requests=self._bucket(f"requests {where}", config.requests_per_minute),
            tokens=self._bucket(f"tokens {where}", config.tokens_per_minute),
        )  # fmt: skip
        self._limiters.append((limiter, config.max_concurrency))
        self._begin_reports()  # a worker whose share is 0 makes no progress until it hears of a larger one
        return limiter

    def _bucket(self, name: str, per_minute: float | None) -> Bucket | None:
        return _LeasedBucket(self, name, per_minute) if per_minute else None

    def concurrency(self, most: int) -> int:
        return most // self._of + (self._place < most % self._of)

    def watch(self, stats: dict[str, RoleStats]) -> None:
        self._stats = stats

    # -- the office

    async def ask(self, method: str, *arguments: Any) -> Any:
        """As the client does."""
        return await self._client.ask(method, *arguments)

    def tell(self, method: str, *arguments: Any) -> None:
        """Send a request whose answer nobody waits for."""
        task = asyncio.get_running_loop().create_task(self._client.ask(method, *arguments))
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # the office is gone: whoever waits for an answer says so

    async def flush(self) -> None:
        if self._reporter is not None:
            self._reporter.cancel()
            await self.ask("report", self._shard, self._state())
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _state(self) -> dict[str, Any]:
        tokens = sum(s.prompt_tokens + s.completion_tokens for s in self._stats.values())
        return {**self._progress, "tokens": tokens}

    def note(self, done: float, total: float | None, unit: str) -> None:
        """How far the shard is, for the next report."""
        self._progress = {"done": done, "total": total or 0, "unit": unit}
        self._begin_reports()

    def _begin_reports(self) -> None:
        if self._reporter is None:
            self._reporter = asyncio.get_running_loop().create_task(self._report())

    async def _report(self) -> None:
        while True:
            place, of = await self.ask("report", self._shard, self._state())
            if (place, of) != (self._place, self._of):
                self._place, self._of = place, of
                for limiter, most in self._limiters:
                    limiter.widen(self.concurrency(most))
            await asyncio.sleep(REPORT_EVERY)


class _LeasedBudget(Budget):
    """The office keeps it; here only whether there is one is known."""

    def __init__(self, lease: LeasedAllowance, usd: float | None, tokens: int | None) -> None:
        super().__init__(usd, tokens)
        self._lease = lease
        self._asked: dict[Reservation, asyncio.Task[Any]] = {}

    async def reserve(self, worst: Reservation) -> None:
        await self._lease.ask("reserve", worst.tokens, worst.usd)

    def try_reserve(self, worst: Reservation) -> bool:
        task = self._asked.get(worst)
        if task is None:
            loop = asyncio.get_running_loop()
            task = self._asked[worst] = loop.create_task(self._lease.ask("reserve", worst.tokens, worst.usd))
        if not task.done():
            return False
        del self._asked[worst]
        task.result()
        return True

    def settle(self, worst: Reservation, tokens: int, usd: float) -> None:
        self._lease.tell("settle", [worst.tokens, worst.usd], tokens, usd)


class _LeasedBucket(Bucket):
    """Times to send that the office has given, to be used one after another."""

    def __init__(self, lease: LeasedAllowance, name: str, per_minute: float) -> None:
        super().__init__(per_minute)
        self._lease, self._name, self._per_minute = lease, name, per_minute
        self._times: deque[tuple[float, float]] = deque()  # when, how much
        self._asking: asyncio.Task[None] | None = None

    def wait(self, amount: float, now: float) -> float:
        if self._times:
            return max(0.0, self._times[0][0] - now)
        if self._asking is not None and self._asking.done():
            task, self._asking = self._asking, None
            if isinstance(task.exception(), AloeError | ConnectionError):
                return POLL  # the driver is gone, and this process ends at once
        if self._asking is None:
            n = max(1, math.floor(self._per_minute / 60 * AHEAD)) if amount == 1.0 else 1
            self._asking = asyncio.get_running_loop().create_task(self._book([amount] * n))
        return POLL

    async def _book(self, amounts: list[float]) -> None:
        waits = await self._lease.ask("book", self._name, self._per_minute, amounts)
        now = time.monotonic()
        self._times.extend((now + wait, amount) for wait, amount in zip(waits, amounts, strict=True))

    def take(self, amount: float) -> None:
        booked = self._times.popleft()[1] if self._times and self._times[0][0] <= time.monotonic() else 0.0
        if amount != booked:
            self._lease.tell("give_back", self._name, booked - amount)

    def correct(self, amount: float) -> None:
        self._lease.tell("give_back", self._name, -amount)
