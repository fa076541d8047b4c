"""One call to one model: attempts under limits and budget until it is answered or given up.

Tried again: 408, 409, 429, 5xx, time-outs, lost connections, answers cut short or without content. Never: an answer
that ended by length, or another 4xx, which would not change. Pauses are drawn with full jitter from a generator of the
call's own, so that they are repeatable. A connection that was refused does not use up an attempt: nothing was sent, and
the circuit breaker bounds it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from aloe.errors import EndpointError
from aloe.models.budget import Budget, Reservation, worst_case
from aloe.models.http.limits import Limiter, Ticket
from aloe.models.journal.journal import FailedAttempt
from aloe.models.pricing import Price
from aloe.protocols import ChatModel, ChatRequest, Completion
from aloe.seeding import derive_rng
from aloe.types import Usage

FIRST_BACKOFF, LONGEST_BACKOFF = 0.5, 30.0
_OVERLOAD = frozenset({408, 429, 502, 503, 504, 529})
_MAX_REFUSED = 64  # connections refused per call, in case others get through meanwhile
_GUESS = 256  # completion tokens assumed by tokens/min where no max_tokens is set


@dataclass(frozen=True, slots=True)
class Route:
    """A model with everything that governs calls to it; ``limiter`` None for models in this process."""

    model: ChatModel
    limiter: Limiter | None
    budget: Budget
    price: Price | None
    max_attempts: int

    @property
    def is_direct(self) -> bool:
        """Nothing to wait for: the model can simply be called."""
        return self.limiter is None and not self.budget.is_limited


Record = Callable[[FailedAttempt], None]


class Tries:
    """How often one call was tried, and whether it may be again. ``number`` is of the attempt under way, from 1."""

    __slots__ = ("_max", "_n_refused", "number")

    def __init__(self, max_attempts: int) -> None:
        self.number = 1
        self._n_refused = 0
        self._max = max_attempts

    def count(self, error: EndpointError) -> None:
        """The attempt under way failed; go on to the next.

        Raises:
            EndpointError: it will not change, or it was tried often enough.
        """
        refused = error.status == 0 and not error.possibly_billed
        self._n_refused += refused
        if not error.retryable or self.number - self._n_refused >= self._max or self._n_refused >= _MAX_REFUSED:
            raise _final(error, self.number) from None
        self.number += 1


async def send(
    route: Route, request: ChatRequest, turn: int, seed: tuple[int, bytes], record: Record
) -> tuple[Completion, int, int]:
    """Attempts until an answer: the completion, the number of attempts, milliseconds of the last one.

    Args:
        turn: priority in the limiter's queue.
        seed: run seed and the call's key, for the jitter.
        record: told of each failed attempt.

    Raises:
        EndpointError: a failure that will not change, or too many of the other kind.
        BudgetExceeded: the next attempt might pass the budget.
    """
    tries: Tries | None = None
    while True:
        number = tries.number if tries is not None else 1
        try:
            completion, ms = await _attempt(route, request, turn, number, record)
            return completion, number, ms
        except EndpointError as error:
            tries = tries or Tries(route.max_attempts)
            tries.count(error)
            await asyncio.sleep(backoff(error, number, seed))


def _final(error: EndpointError, number: int) -> EndpointError:
    if number == 1:
        return error
    return EndpointError(
        f"{error.message} (after {number} attempts)", error.hint, status=error.status,
        possibly_billed=error.possibly_billed,
    )  # fmt: skip


def backoff(error: EndpointError, number: int, seed: tuple[int, bytes]) -> float:
    """Seconds to wait after attempt ``number``, drawn from (run seed, the call's key, number)."""
    refused = error.status == 0 and not error.possibly_billed  # then the circuit breaker sets the pace, for everybody
    span = FIRST_BACKOFF if refused else min(LONGEST_BACKOFF, FIRST_BACKOFF * 2.0 ** (number - 1))
    jitter = float(derive_rng(seed[0], "backoff", seed[1].hex(), number).uniform(0.0, span))
    # Where the endpoint named a time the limiter holds everybody; a little jitter keeps them from coming at once.
    return min(jitter, 0.25) if error.retry_after is not None else jitter


async def _attempt(
    route: Route, request: ChatRequest, turn: int, number: int, record: Record
) -> tuple[Completion, int]:
    limiter, budget = route.limiter, route.budget
    guess = _estimate(request) if limiter is not None and limiter.needs_tokens else 0.0
    worst: Reservation | None = None
    ticket = (limiter.try_enter(guess) or await limiter.enter(turn, guess)) if limiter is not None else None
    started = 0.0  # nothing is sent yet
    used: tuple[int, float] = (0, 0.0)
    try:
        if budget.is_limited:
            reserved = worst_case(request.messages, request.max_tokens, request.n, route.price)
            await budget.reserve(reserved)
            worst = reserved
        started = time.perf_counter()
        completion = await route.model.complete(request)
        ms = _ms(started)
        if worst is not None or guess:
            used = (completion.usage.prompt_tokens + completion.usage.completion_tokens, _usd(route, completion))
        if limiter is not None and ticket is not None:
            limiter.succeeded(ticket, used[0] - guess if guess else 0.0)
        return completion, ms
    except EndpointError as error:
        spent = worst_case(request.messages, request.max_tokens, request.n, route.price)
        billed = error.possibly_billed
        used = (spent.tokens, spent.usd) if billed else used
        cost = spent.usd if route.price else None
        record(
            FailedAttempt(
                number, _ms(started), error.status, str(error), billed, spent.tokens if billed else None,
                cost if billed else 0.0,
            )
        )  # fmt: skip
        if limiter is not None and ticket is not None:
            steer(limiter, ticket, error)
        raise
    except asyncio.CancelledError:
        if started:  # it may be on its way, and billed
            spent = worst_case(request.messages, request.max_tokens, request.n, route.price)
            used = (spent.tokens, spent.usd)
            cost = spent.usd if route.price else None
            record(FailedAttempt(number, _ms(started), 0, "cancelled", True, spent.tokens, cost))
        raise
    finally:
        if worst is not None:
            budget.settle(worst, *used)
        if limiter is not None and ticket is not None:
            limiter.leave(ticket)


def steer(limiter: Limiter, ticket: Ticket, error: EndpointError) -> None:
    """Tell the limiter what a failure means for everybody else."""
    if error.status == 0 and not error.possibly_billed:
        limiter.unreachable(ticket, error)
    elif error.status in _OVERLOAD:
        limiter.overloaded(ticket, error.retry_after)
    elif error.retry_after:
        limiter.hold(min(error.retry_after, 300.0))


def _estimate(request: ChatRequest) -> float:
    """Tokens of prompt and answer, roughly."""
    chars = sum(len(part) for m in request.messages for part in m.parts)
    return chars / 4 + (request.max_tokens or _GUESS)


def _usd(route: Route, completion: Completion) -> float:
    return route.price.cost(completion.usage) if route.price else 0.0


def _ms(started: float) -> int:
    return int(1000 * (time.perf_counter() - started))


def cost_of(price: Price | None, usage: Usage) -> float | None:
    """USD, None where the price is unknown."""
    return price.cost(usage) if price is not None else None
