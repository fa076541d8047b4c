"""The budget of a run in USD and tokens: reserved at the worst case before a call, settled after it.

Spending of earlier sessions of the same journal counts, and so do failed attempts that may have been billed.
Invariant: what was spent plus what is in flight at its worst never passes a limit. A call that does not fit because
others are in flight waits for them; when it does not fit alone, the run stops.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from aloe.errors import BudgetExceeded
from aloe.models.pricing import Price
from aloe.protocols import PromptMessage
from aloe.types import Usage

UNBOUNDED_COMPLETION = 4096  # assumed where no max_tokens bounds the answer


@dataclass(frozen=True, slots=True)
class Reservation:
    tokens: int
    usd: float


def worst_case(
    messages: Sequence[PromptMessage], max_tokens: int | None, n: int | None, price: Price | None
) -> Reservation:
    """The most that a call can use: three bytes a token for the prompt, ``max_tokens`` for each answer."""
    prompt = sum(len(part.encode()) for m in messages for part in m.parts) // 3 + 8 * len(messages)
    completion = (max_tokens or UNBOUNDED_COMPLETION) * (n or 1)
    usage = Usage.model_construct(prompt_tokens=prompt, completion_tokens=completion, cached_tokens=0)
    return Reservation(prompt + completion, price.cost(usage) if price else 0.0)


class Budget:
    """Limits in USD and tokens, None where there is none.

    Args:
        spent: tokens and USD that the journal already holds.
    """

    def __init__(self, usd: float | None, tokens: int | None, spent: tuple[int, float] = (0, 0.0)) -> None:
        self._usd = usd
        self._tokens = tokens
        self.spent_tokens, self.spent_usd = spent
        self._held_tokens = 0
        self._held_usd = 0.0
        self._n_held = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._stopped: str | None = None

    @property
    def is_limited(self) -> bool:
        return self._usd is not None or self._tokens is not None

    @property
    def is_money(self) -> bool:
        return self._usd is not None

    async def reserve(self, worst: Reservation) -> None:
        """Wait until ``worst`` fits beside what is in flight, and hold it.

        Raises:
            BudgetExceeded: it does not fit even with nothing in flight, or an earlier call did not.
        """
        while self._stopped is None and not self._fits(worst):
            if self._n_held == 0:
                self._stop(worst)
                break
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            await future
        if self._stopped is not None:
            raise BudgetExceeded(self._stopped, "raise the budget and run again: completed calls are kept")
        self._hold(worst)

    def try_reserve(self, worst: Reservation) -> bool:
        """As :meth:`reserve` for those who wait otherwise: False while it does not fit beside what is in flight.

        Raises:
            BudgetExceeded: it does not fit even with nothing in flight, or an earlier call did not.
        """
        if self._stopped is None and not self._fits(worst):
            if self._n_held:
                return False
            self._stop(worst)
        if self._stopped is not None:
            raise BudgetExceeded(self._stopped, "raise the budget and run again: completed calls are kept")
        self._hold(worst)
        return True

    def _hold(self, worst: Reservation) -> None:
        self._held_tokens += worst.tokens
        self._held_usd += worst.usd
        self._n_held += 1

    def settle(self, worst: Reservation, tokens: int, usd: float) -> None:
        """Replace what was held for a call by what it used."""
        self._held_tokens -= worst.tokens
        self._held_usd -= worst.usd
        self._n_held -= 1
        if self._n_held == 0:
            self._held_usd = 0.0  # no rounding left over
        self.spent_tokens += tokens
        self.spent_usd += usd
        waiting, self._waiting = self._waiting, deque()
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def _fits(self, worst: Reservation) -> bool:
        if self._tokens is not None and self.spent_tokens + self._held_tokens + worst.tokens > self._tokens:
            return False
        return self._usd is None or self.spent_usd + self._held_usd + worst.usd <= self._usd

    def _stop(self, worst: Reservation) -> None:
        if self._tokens is not None and self.spent_tokens + worst.tokens > self._tokens:
            self._stopped = (
                f"budget of {self._tokens:,} tokens: {self.spent_tokens:,} are used and the next call may take "
                f"{worst.tokens:,}"
            )
        else:
            self._stopped = (
                f"budget of ${self._usd:g}: ${self.spent_usd:.4f} is spent and the next call may cost ${worst.usd:.4f}"
            )
