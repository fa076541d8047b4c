"""The limits of a run that several processes share: kept in one place, which all of them ask.

One object keeps the budget, the pace of each endpoint and who is at work; it knows no transport. Whoever asks gives its
number as a worker. Invariants: reservations of all workers together never pass the budget; what a worker held when it
died counts as spent; the shares of calls in flight add up to the limit, and no share shrinks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from aloe.models.budget import Budget, Reservation
from aloe.models.http.rate import Bucket

METHODS = ("reserve", "settle", "book", "give_back", "report")


class Office:
    """Limits for ``n_workers`` workers, numbered from 0.

    Attributes:
        reports: the latest report of each shard that is or was worked on, by the shard's name.
    """

    def __init__(self, budget: Budget, n_workers: int) -> None:
        self.budget = budget
        self.reports: dict[str, dict[str, Any]] = {}
        self._active = list(range(n_workers))
        self._buckets: dict[str, Bucket] = {}
        self._held: dict[int, list[Reservation]] = {}

    async def ask(self, worker: int, method: str, arguments: list[Any]) -> Any:
        """Do what a worker asks for.

        Raises:
            BudgetExceeded: the reservation does not fit.
        """
        if method not in METHODS:
            raise ValueError(f"unknown request {method!r}")
        answer = getattr(self, f"_{method}")(worker, *arguments)
        return await answer if asyncio.iscoroutine(answer) else answer

    async def _reserve(self, worker: int, tokens: int, usd: float) -> None:
        worst = Reservation(tokens, usd)
        await self.budget.reserve(worst)
        self._held.setdefault(worker, []).append(worst)

    def _settle(self, worker: int, held: list[Any], tokens: int, usd: float) -> None:
        worst = Reservation(*held)
        self._held[worker].remove(worst)
        self.budget.settle(worst, tokens, usd)

    def _book(self, worker: int, name: str, per_minute: float, amounts: list[float]) -> list[float]:
        """Seconds until each of the amounts may go, one after another."""
        bucket = self._buckets.setdefault(name, Bucket(per_minute))
        now, waits = time.monotonic(), []
        for amount in amounts:
            waits.append(bucket.wait(amount, now))
            bucket.take(amount)
        return waits

    def _give_back(self, worker: int, name: str, amount: float) -> None:
        """Some of what was booked was not used; a negative amount: more was."""
        if name in self._buckets:
            self._buckets[name].take(-amount)

    def _report(self, worker: int, shard: str, report: Mapping[str, Any]) -> list[int]:
        """Note how far a shard is; returns the worker's place among those at work, and how many there are."""
        self.reports[shard] = dict(report)
        place = self._active.index(worker) if worker in self._active else 0
        return [place, max(1, len(self._active))]

    def retire(self, worker: int) -> None:
        """A worker has no more to do: its share goes to the others."""
        if worker in self._active:
            self._active.remove(worker)

    def lost(self, worker: int) -> None:
        """A worker has ended, perhaps by force: what it had reserved and not settled may have been spent."""
        for worst in self._held.pop(worker, ()):
            self.budget.settle(worst, worst.tokens, worst.usd)
