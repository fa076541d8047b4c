"""Rate limits: those that a recipe sets, and those learnt from an endpoint's refusals.

An endpoint that answers 429 says that there is a limit, and rarely which. What it let through between two refusals,
over the time that this took with the pauses that it forced, is what it bears: requests are then sent evenly at a
little less than that, and slowly faster while all is well.
"""

from __future__ import annotations

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0
_SHARE = 0.95  # of what was borne
_GROWTH, _FAST_GROWTH = 0.003, 0.03  # per answer: where two refusals agree on what is borne, and before
_LOWEST, _HIGHEST = 1 / 120, 200.0  # requests a second; what is faster needs no pacing


class Bucket:
    """Paces a rate: ``burst`` seconds' worth may go at once, the rest evenly. The level may go below zero."""

    def __init__(self, per_minute: float, burst: float = 1.0) -> None:
        self._per_second = per_minute / 60.0
        self._capacity = max(1.0, burst * self._per_second)
        self._level = self._capacity
        self._at: float | None = None

    def wait(self, amount: float, now: float) -> float:
        """Seconds until ``amount`` may be taken; a larger amount than fits at once waits for a full bucket."""
        if self._at is not None:
            self._level = min(self._capacity, self._level + (now - self._at) * self._per_second)
        self._at = now
        missing = min(amount, self._capacity) - self._level
        return missing / self._per_second if missing > 1e-9 else 0.0

    def take(self, amount: float) -> None:
        self._level -= amount

    def correct(self, amount: float) -> None:
        """What was taken before came to so much more (negative: less)."""
        self.take(amount)


class LearntRate:
    """What an endpoint's refusals say of its rate.

    Attributes:
        per_second: requests a second to send at most; None while nothing is known or nothing need be paced.
        refused_since: when the refusals began that no answer has ended yet, None where there are none.
        pause: seconds to wait after the next refusal that names no time.
    """

    def __init__(self) -> None:
        self.per_second: float | None = None
        self.refused_since: float | None = None
        self.pause = FIRST_PAUSE
        self._borne = 0.0  # requests a second at the last refusal
        self._is_sure = False  # the last two agree
        self._phase_began: float | None = None
        self._n_answers = 0
        self._next = 0.0  # no request before

    def wait(self, now: float) -> float:
        """Seconds until the next request may go."""
        return max(0.0, self._next - now) if self.per_second is not None else 0.0

    def sent(self, now: float) -> None:
        if self._phase_began is None:
            self._phase_began = now
        if self.per_second is not None:
            self._next = max(self._next, now - 0.05) + 1.0 / self.per_second  # a timer that comes late is made up for

    def refused(self, now: float) -> float:
        """A refusal; returns the pause before the next request, which grows until an answer comes."""
        if self.refused_since is None:
            self.refused_since = now
            self.pause = min(FIRST_PAUSE, 4.0 / self.per_second) if self.per_second is not None else FIRST_PAUSE
        pause, self.pause = self.pause, min(2 * self.pause, LONGEST_PAUSE)
        self._next = now + pause  # the time of the pause is not made up for
        return pause

    def answered(self, now: float, is_after_pause: bool) -> None:
        """An answer. ``is_after_pause``: to a request that was sent after the last refusal."""
        self._n_answers += 1
        if self.refused_since is not None:
            if not is_after_pause:
                return
            borne = self._n_answers / max(now - (self._phase_began or now), 0.05)
            self._is_sure = abs(borne - self._borne) < 0.25 * borne
            self._borne = borne
            self.per_second = min(max(_SHARE * borne, _LOWEST), _HIGHEST, self.per_second or _HIGHEST)
            self.refused_since, self._phase_began, self._n_answers = None, now, 0
            self._next = now + 1.0 / self.per_second
        elif self.per_second is not None:
            is_near = self._is_sure and self.per_second < 1.2 * self._borne
            self.per_second *= 1.0 + (_GROWTH if is_near else _FAST_GROWTH)
            if self.per_second > _HIGHEST:
                self.per_second = None
