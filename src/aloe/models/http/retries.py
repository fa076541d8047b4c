"""One call to one model: attempts under limits and budget until it is answered or given up.

Tried again: 408, 409, 5xx, time-outs, lost connections, answers cut short or without content; 404 once. Never: an
answer that ended by length, or another 4xx, which would not change. Pauses are drawn with full jitter from a generator
of the call's own, so that they are repeatable. What says nothing about the call uses up no attempt and is waited out,
as long as the limiter has patience: a rate limit (429), a refused connection, a gateway behind which nobody answers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from aloe.errors import EndpointError, EndpointStopped
from aloe.models.budget import Budget, Reservation, worst_case
from aloe.models.http.connection import GATEWAY_STATUS
from aloe.models.http.limits import PATIENCE, Limiter, Ticket
from aloe.models.journal.journal import FailedAttempt
from aloe.models.pricing import Price
from aloe.prompts.faults import KINDS
from aloe.protocols import ChatModel, ChatRequest, Completion
from aloe.seeding import derive_rng
from aloe.types import Usage

FIRST_BACKOFF, LONGEST_BACKOFF = 0.5, 30.0
_OVERLOAD = frozenset({408, 502, 503, 504, 529})
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
    patience: float = PATIENCE

    @property
    def is_direct(self) -> bool:
        """Nothing to wait for: the model can simply be called."""
        return self.limiter is None and not self.budget.is_limited


Record = Callable[[FailedAttempt], None]


class Tries:
    """How often one call was tried, and whether it may be again. ``number`` is of the attempt under way, from 1.

    Args:
        limiter: of the endpoint, which knows whether anybody gets through.
        patience: seconds for which a rate limit may keep one call waiting while others are answered.
    """

    __slots__ = ("_is_lost", "_limited_at", "_limiter", "_max", "_n_limited", "_n_refused", "_patience", "number")

    def __init__(self, max_attempts: int, limiter: Limiter | None = None, patience: float = PATIENCE) -> None:
        self.number = 1
        self._limiter, self._patience = limiter, patience
        self._n_refused = self._n_limited = 0
        self._limited_at: float | None = None
        self._is_lost = False
        self._max = max_attempts

    @property
    def is_last(self) -> bool:
        """Whether the attempt under way is the last that may fail for the call's own sake."""
        return self.number - self._n_refused >= self._max

    def count(self, error: EndpointError) -> None:
        """The attempt under way failed; go on to the next.

        Raises:
            EndpointError: it will not change, or it was tried often enough.
            EndpointStopped: no other call would fare better.
        """
        if error.stops:
            raise EndpointStopped(error.message, error.hint) from None
        if error.status == 404 and not self._is_lost:  # one of many servers behind an address may lack the model
            self._is_lost = True
            self._n_refused += 1
        elif error.status == 429:
            self._n_limited += 1
            self._n_refused += 1
            self._limited_at = self._limited_at or time.monotonic()
            if self._n_limited > self._max and time.monotonic() - self._limited_at > self._patience:
                raise _final(error, self.number) from None
        elif not error.retryable:
            raise _final(error, self.number) from None
        elif self._is_nobodys_fault(error):
            self._n_refused += 1
        elif self.is_last:
            raise _final(error, self.number) from None
        self.number += 1

    def _is_nobodys_fault(self, error: EndpointError) -> bool:
        """Whether the call got nowhere: the circuit breaker says how long that may go on."""
        is_down = self._limiter is not None and self._limiter.is_down
        if _is_unsent(error):
            return is_down or self._n_refused < _MAX_REFUSED
        return is_down and error.status in GATEWAY_STATUS


async def send(
    route: Route, request: ChatRequest, turn: int, seed: tuple[int, bytes], record: Record
) -> tuple[Completion, int, int]:
    """Attempts until an answer: the completion, the number of attempts, milliseconds of the last one.

    An answer without text is asked for again; where the last attempt brings none either, that is the completion.

    Args:
        turn: priority in the limiter's queue.
        seed: run seed and the call's key, for the jitter.
        record: told of each failed attempt.

    Raises:
        EndpointError: a failure that will not change, or too many of the other kind.
        EndpointStopped: the endpoint is down, or refuses every call.
        BudgetExceeded: the next attempt might pass the budget.
    """
    tries: Tries | None = None
    while True:
        number = tries.number if tries is not None else 1
        try:
            completion, ms = await _attempt(route, request, turn, number, record)
            if not completion.nothing:
                return completion, number, ms
            record(_without_text(route, completion, number, ms))
            tries = tries or Tries(route.max_attempts, route.limiter, route.patience)
            if tries.is_last:
                return completion, number, ms
            tries.number += 1
            await asyncio.sleep(_jitter(FIRST_BACKOFF, number, seed))
        except EndpointError as error:
            tries = tries or Tries(route.max_attempts, route.limiter, route.patience)
            tries.count(error)
            if error.status != 429:  # there the limiter holds everybody
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
    # Where nobody is there the circuit breaker sets the pace, for everybody.
    span = FIRST_BACKOFF if _is_unsent(error) else min(LONGEST_BACKOFF, FIRST_BACKOFF * 2.0 ** min(number - 1, 10))
    jitter = _jitter(span, number, seed)
    # Where the endpoint named a time the limiter holds everybody; a little jitter keeps them from coming at once.
    return min(jitter, 0.25) if error.retry_after is not None else jitter


def _jitter(span: float, number: int, seed: tuple[int, bytes]) -> float:
    return float(derive_rng(seed[0], "backoff", seed[1].hex(), number).uniform(0.0, span))


def _without_text(route: Route, completion: Completion, number: int, ms: int) -> FailedAttempt:
    """The record of an attempt whose answer holds no text."""
    tokens = completion.usage.prompt_tokens + completion.usage.completion_tokens
    cost = cost_of(route.price, completion.usage)
    return FailedAttempt(
        number, ms, 200, f"no text: {KINDS[completion.nothing]}", True, tokens, cost, completion.nothing
    )


def _is_unsent(error: EndpointError) -> bool:
    """Whether the request cannot have arrived."""
    return error.status == 0 and not error.possibly_billed


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
    if _is_unsent(error):
        limiter.unreachable(ticket, error)
    elif error.status in GATEWAY_STATUS:
        limiter.overloaded(ticket, error.retry_after)
        limiter.unreachable(ticket, error)
    elif error.status == 429 and not error.stops:
        limiter.limited(ticket, error)
    elif error.status in _OVERLOAD:
        limiter.overloaded(ticket, error.retry_after)
    else:
        if error.status >= 200:
            limiter.let_through(ticket)
        if error.retry_after:
            limiter.hold(min(error.retry_after, limiter.patience))


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
