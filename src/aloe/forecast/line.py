"""A line of the plan: what one role does in one stage."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Line:
    """What one role does in one stage. ``cost``: USD, None where a price is unknown."""

    stage: str
    role: str
    models: tuple[str, ...]
    calls: int
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
