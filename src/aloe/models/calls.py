"""What a call returns, and the counters of a role."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from aloe.types import Generation, Usage


@dataclass(frozen=True, slots=True)
class Reply:
    """A model's answer. ``logprobs`` is the OpenAI list per token where asked for.

    ``reasoning`` is what an endpoint sent apart as the model's thoughts; it is not kept, so a replay has none.
    """

    text: str
    generation: Generation
    finish_reason: str
    logprobs: list[dict[str, Any]] | None
    reasoning: str = ""


@dataclass(slots=True)
class RoleStats:
    """What a role's calls came to, replayed ones included; ``cost`` is USD, None once a price was unknown.

    Attributes:
        n_answers: answers that a stage wanted; one that was asked for again counts once.
        n_again: those that were asked for again. n_unparsed: those that were of no use even then, and ``unusable``
            how many of them by kind (``prompts.faults.KINDS``).
        n_cut: those that could be read but ended at the length limit.
    """

    n_calls: int = 0
    n_replayed: int = 0
    n_failed: int = 0
    n_unparsed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cost: float | None = 0.0
    n_answers: int = 0
    n_again: int = 0
    n_cut: int = 0
    unusable: dict[str, int] = field(default_factory=dict)

    @property
    def usage(self) -> Usage:
        return Usage(
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            cached_tokens=self.cached_tokens,
        )
