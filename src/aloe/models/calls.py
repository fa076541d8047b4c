"""What a call returns, and the counters of a role."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aloe.types import Generation, Usage


@dataclass(frozen=True, slots=True)
class Reply:
    """A model's answer. ``logprobs`` is the OpenAI list per token where asked for."""

    text: str
    generation: Generation
    finish_reason: str
    logprobs: list[dict[str, Any]] | None


@dataclass(slots=True)
class RoleStats:
    """What a role's calls came to, replayed ones included; ``cost`` is USD, None once a price was unknown."""

    n_calls: int = 0
    n_replayed: int = 0
    n_failed: int = 0
    n_unparsed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cost: float | None = 0.0

    @property
    def usage(self) -> Usage:
        return Usage(
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            cached_tokens=self.cached_tokens,
        )
