"""Adaptive limits on how fast an endpoint is called.

One :class:`Limiter` per (address, key, model). Concurrency starts low, grows with every answer while all of it is
used (slow start), and shrinks by a factor when the endpoint reports overload; from then on it grows by one per round
(additive increase, multiplicative decrease). Requests and tokens per minute are paced where configured.
``Retry-After`` and rate headers hold everything back. When nothing can connect, one probe at a time goes out with
growing pauses (circuit breaker), and after a bound all waiting calls fail with one clear line. Of the waiting
calls the one at the deepest turn goes first. None of this changes a result.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import math
import re
import time
from collections.abc import Mapping

from aloe.errors import EndpointError, EndpointStopped
from aloe.models.http.rate import Bucket, LearntRate

log = logging.getLogger(__name__)

START_WINDOW = 16.0
GROWTH = 2.0  # per answer during slow start: the window triples per round trip
DECREASE = 0.6
BREAK_AFTER = 4  # connections refused in a row
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 5.0
PATIENCE = 300.0  # seconds
DOWN_SECONDS = 60.0  # an endpoint that was given up is not asked again for so long
_RESET = re.compile(r"([\d.]+)(ms|s|m|h|d)?")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "": 1.0}


class Host:
    """What the limiters of one address share: whether anything has ever come from there."""

    __slots__ = ("has_answered",)

    def __init__(self) -> None:
        self.has_answered = False


class Ticket:
    """Leave to send one request. ``is_probe``: it tests an endpoint that could not be reached."""

    __slots__ = ("is_probe", "sent_at")

    def __init__(self, sent_at: float, is_probe: bool) -> None:
        self.sent_at = sent_at
        self.is_probe = is_probe


class Limiter:
    """All limits of one endpoint. Every ticket from :meth:`enter` is given back by :meth:`leave`, whatever happened.

    Args:
        where: the endpoint, for messages.
        max_concurrency: calls in flight at most.
        patience: seconds for which nothing need be answered before the endpoint is given up.
        window: calls in flight to begin with, where an earlier limiter of this endpoint has found it out.
        host: shared with other limiters of the same address.
        requests, tokens: what paces them instead of the limits per minute.
    """

    def __init__(
        self,
        where: str,
        max_concurrency: int,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        patience: float = PATIENCE,
        window: float | None = None,
        host: Host | None = None,
        requests: Bucket | None = None,
        tokens: Bucket | None = None,
    ) -> None:
        self.where = where
        self.max_concurrency = max_concurrency
        self.n_in_flight = 0
        self.window = min(window or START_WINDOW, float(max_concurrency))
        self._threshold = math.inf
        self._requests = Bucket(requests_per_minute) if requests_per_minute else requests
        self._tokens = Bucket(tokens_per_minute) if tokens_per_minute else tokens
        self.needs_tokens = self._tokens is not None
        self._queue: list[tuple[int, int, asyncio.Future[Ticket], float]] = []
        self._n_queued = 0
        self._timer: asyncio.TimerHandle | None = None
        self._not_before = 0.0
        self._decreased_at = -math.inf
        self.patience = patience
        self._host = host or Host()
        self._rate = LearntRate()
        self._is_told = False  # that the endpoint limits the rate
        self._n_refused = 0
        self._broken_since: float | None = None
        self._pause = FIRST_PAUSE
        self._probing = False
        self._down_until = -math.inf
        self._why_down = ""

    @property
    def is_down(self) -> bool:
        """Whether the endpoint is unreachable at present; failures meanwhile say nothing about the call."""
        return self._broken_since is not None

    @property
    def is_waiting(self) -> bool:
        """Whether one request at a time goes out, to see whether it is answered."""
        return self.is_down or self._rate.refused_since is not None

    # -- entering and leaving

    def try_enter(self, tokens: float = 0.0) -> Ticket | None:
        """Permission to send at once, without waiting; None if :meth:`enter` has to be asked."""
        now = time.monotonic()  # the event loop's clock
        if self._queue or now < self._down_until or self._delay(now, tokens) > 0.0:
            return None
        return self._grant(now, tokens)

    async def enter(self, turn: int, tokens: float = 0.0) -> Ticket:
        """Wait for leave to send; higher ``turn`` first, then first come. ``tokens``: estimate for tokens/min.

        Raises:
            EndpointStopped: the endpoint is down.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        if now < self._down_until:
            raise self._stopped(self._why_down)
        future: asyncio.Future[Ticket] = loop.create_future()
        self._n_queued += 1
        heapq.heappush(self._queue, (-turn, self._n_queued, future, tokens))
        self._pump()
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                self.leave(future.result())
            raise

    def widen(self, max_concurrency: int) -> None:
        """More calls may be in flight than before."""
        self.max_concurrency = max_concurrency
        self.window = max(self.window, float(min(1, max_concurrency)))
        self._pump()

    def leave(self, ticket: Ticket) -> None:
        """The request of ``ticket`` is no longer in flight."""
        self.n_in_flight -= 1
        if ticket.is_probe:
            self._probing = False
        if self._queue:
            self._pump()

    def _grant(self, now: float, tokens: float) -> Ticket:
        self.n_in_flight += 1
        if self._requests is not None:
            self._requests.take(1.0)
        if self._tokens is not None:
            self._tokens.take(tokens)
        self._rate.sent(now)
        probe = self.is_waiting
        self._probing = self._probing or probe
        return Ticket(now, probe)

    def _delay(self, now: float, tokens: float) -> float:
        """Seconds until a request may go; infinity: not before another one comes back."""
        if now < self._not_before:
            return self._not_before - now
        if self.is_waiting and self._probing:
            return math.inf
        if self.n_in_flight >= int(self.window):
            return math.inf
        delay = self._rate.wait(now)
        if self._requests is not None:
            delay = max(delay, self._requests.wait(1.0, now))
        if self._tokens is not None:
            delay = max(delay, self._tokens.wait(tokens, now))
        return delay

    def _pump(self) -> None:
        """Let go whatever may go now; set a timer where time alone is what is missing."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        queue = self._queue
        while queue:
            _, _, future, tokens = queue[0]
            if future.done():  # cancelled while it waited
                heapq.heappop(queue)
                continue
            delay = self._delay(now, tokens)
            if delay > 0.0:
                if delay != math.inf:
                    self._timer = loop.call_later(delay, self._pump)
                return
            heapq.heappop(queue)
            future.set_result(self._grant(now, tokens))

    # -- what came back

    def succeeded(self, ticket: Ticket, extra_tokens: float = 0.0) -> None:
        """An answer arrived. ``extra_tokens``: what it used above the estimate (negative: below)."""
        self.let_through(ticket)
        if extra_tokens and self._tokens is not None:
            self._tokens.correct(extra_tokens)
        if self.window < self.max_concurrency and (self._queue or self.n_in_flight >= int(self.window)):
            step = GROWTH if self.window < self._threshold else 1.0 / self.window
            self.window = min(self.window + step, float(self.max_concurrency))

    def overloaded(self, ticket: Ticket, retry_after: float | None) -> None:
        """It is too much (429, 503, no answer in time): fewer at once, and a pause if the endpoint asked."""
        now = asyncio.get_running_loop().time()
        if ticket.sent_at >= self._decreased_at:  # once per round: what was sent before it says nothing new
            self.window = max(1.0, min(self.window, self.n_in_flight + 1.0) * DECREASE)
            self._threshold = self.window
            self._decreased_at = now
        if retry_after:
            self.hold(min(retry_after, self.patience))

    def limited(self, ticket: Ticket, error: EndpointError) -> None:
        """The endpoint limits the rate (429): nothing is wrong with the call, which waits like all others."""
        now = asyncio.get_running_loop().time()
        is_new = not self.is_waiting or ticket.is_probe  # the others were sent before it was known
        self.heard()
        self.overloaded(ticket, None)
        if not is_new:
            if error.retry_after:
                self.hold(min(error.retry_after, self.patience))
            return
        own = self._rate.refused(now)
        if not self._is_told:
            self._is_told = True
            log.warning(
                "%s limits the rate (429): calls wait until it answers, at most %s", self.where, span(self.patience)
            )
        waited = now - (self._rate.refused_since or now)
        left = self.patience - waited
        if error.retry_after and error.retry_after > left:
            self._give_up(f"limits the rate and asks to wait for {span(error.retry_after)}: {error.message}")
        elif left <= 0:
            self._give_up(f"limits the rate, and nothing was answered for {span(waited)}: {error.message}")
        else:
            self.hold(error.retry_after or min(own, left))

    def let_through(self, ticket: Ticket) -> None:
        """Something else than a refusal for speed came back, be it an error of another kind: the rate was borne."""
        self.heard()
        self._rate.answered(time.monotonic(), ticket.is_probe)

    def heard(self) -> None:
        """The endpoint answered, whatever it said: it is reachable."""
        self._host.has_answered = True
        self._n_refused = 0
        if self._broken_since is not None:
            log.warning("%s answers again", self.where)
            self._broken_since = None
            self._pause = FIRST_PAUSE

    def hold(self, seconds: float) -> None:
        """Send nothing for so long."""
        self._not_before = max(self._not_before, asyncio.get_running_loop().time() + seconds)

    def observe(self, headers: Mapping[str, str]) -> None:
        """Rate headers: where nothing remains, hold until it does (a few seconds at most; 429 says the rest)."""
        for kind in ("requests", "tokens"):
            if headers.get(f"x-ratelimit-remaining-{kind}") == "0":
                self.hold(min(read_reset(headers.get(f"x-ratelimit-reset-{kind}", "")), 5.0))

    def unreachable(self, ticket: Ticket, error: EndpointError) -> None:
        """Unreachable. After some failures in a row only probes go out, with growing pauses, until one gets through."""
        now = asyncio.get_running_loop().time()
        self._n_refused += 1
        patience = self.patience
        if error.patience is not None and not self._host.has_answered:
            patience = min(patience, error.patience)
        if self._broken_since is None:
            if self._n_refused < BREAK_AFTER:
                return
            self._broken_since = ticket.sent_at
            log.warning(
                "%s can't be reached, trying again for %s at most (%s)", self.where, span(patience), error.message
            )
        elif not ticket.is_probe:
            return
        waited = now - self._broken_since
        if waited >= patience:
            self._give_up(
                f"is down: {self._n_refused} attempts failed in a row over {waited:.0f} s, the last: {error.message}"
            )
            return
        self.hold(min(self._pause, LONGEST_PAUSE, max(patience - waited, 0.05)))
        self._pause *= 2

    def _give_up(self, why: str) -> None:
        self._why_down = why
        self._down_until = asyncio.get_running_loop().time() + DOWN_SECONDS
        queue, self._queue = self._queue, []
        for _, _, future, _ in queue:
            if not future.done():
                future.set_exception(self._stopped(why))

    def _stopped(self, why: str) -> EndpointStopped:
        return EndpointStopped(
            f"{self.where} {why}",
            "correct that and run the same command again: completed calls are kept "
            "(--execution.outage_minutes says how long to wait)",
        )


def span(seconds: float) -> str:
    """``"5 min"``, ``"30 s"``."""
    return f"{seconds / 60:.3g} min" if seconds >= 120 else f"{seconds:.3g} s"


def read_reset(text: str) -> float:
    """Seconds in a rate header's duration: ``"6m0s"``, ``"20ms"``, ``"1.5"``; 0 if it is none."""
    return sum(float(n) * _UNITS[unit] for n, unit in _RESET.findall(text) if n.strip("."))
