"""What is known of one attempt at a call. In a file of its own, because both retries and the journal speak of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """An attempt that brought no answer. Tokens and cost are the worst case where it may have been billed."""

    number: int
    ms: int
    status: int
    error: str
    billed: bool
    tokens: int | None
    cost: float | None
