"""What a call returns, and the counters of a role."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from aloe.config import ModelConfig
from aloe.models.local.grammar import can_constrain
from aloe.models.uri import is_in_process
from aloe.prompts.catalog import Prompt
from aloe.prompts.render import FIRST
from aloe.types import Generation, Usage

HERE = 5  # alternatives of a token that a judge in this process tells, where its prompt names no number


@dataclass(frozen=True, slots=True)
class Reply:
    """A model's answer. ``logprobs`` is the OpenAI list per token where asked for.

    ``reasoning`` is what an endpoint sent apart as the model's thoughts; it is not kept, so a replay has none.
    ``nothing``: of which kind an answer without text is; it is not kept, and asked for anew by the next run.
    """

    text: str
    generation: Generation
    finish_reason: str
    logprobs: list[dict[str, Any]] | None
    reasoning: str = ""
    nothing: str = ""


@dataclass(slots=True)
class RoleStats:
    """What a role's calls came to, replayed ones included; ``cost`` is USD, None once a price was unknown.

    Attributes:
        n_answers: answers that a stage wanted; one that was asked for again counts once.
        n_again: those that were asked for again. n_unparsed: those that were of no use even then, and ``unusable``
            how many of them by kind (``prompts.faults.KINDS``).
        n_cut: those that could be read but ended at the length limit.
        nothing: attempts whose answer held no text, by kind; most of them are mended by the next attempt.
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
    nothing: dict[str, int] = field(default_factory=dict)

    def count(self, fault: str, was_cut: bool) -> None:
        """One more answer that was wanted; ``fault``: of which kind one is that can't be used."""
        self.n_answers += 1
        if fault:
            self.n_unparsed += 1
            self.unusable[fault] = self.unusable.get(fault, 0) + 1
        else:
            self.n_cut += was_cut

    def count_nothing(self, kind: str) -> None:
        """One more attempt whose answer held no text; ``kind`` empty: no answer came at all."""
        if kind:
            self.nothing[kind] = self.nothing.get(kind, 0) + 1

    @property
    def usage(self) -> Usage:
        return Usage(
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            cached_tokens=self.cached_tokens,
        )


def alternatives_for(config: ModelConfig, prompt: Prompt[Any], version: str) -> int | None:
    """How many alternatives of each token are asked for; None: no log-probabilities.

    Servers are asked as the prompt says. A model that decodes in this process tells them for nothing, to all that a
    judge is asked; with version 1 it is asked as ever, so that what a journal holds is not asked anew.
    """
    if not config.logprobs or "logprobs" in config.extra:
        return None
    if config.uri.startswith("openai:"):
        return prompt.alternatives
    is_here = config.uri.startswith("hf:") and is_in_process(config)
    return (prompt.alternatives or HERE) if is_here and prompt.role == "judge" and version > FIRST else None


def is_held(config: ModelConfig) -> bool:
    """Whether the model decodes in this process, and every token can be held to a schema."""
    return is_in_process(config) and config.uri.startswith("hf:") and can_constrain()


def takes_schema(config: ModelConfig) -> bool:
    """Whether answers are asked for by schema; ``auto``: of models behind an address, and of those that are held."""
    return not is_in_process(config) or is_held(config) if config.structured == "auto" else config.structured


def schema_for(config: ModelConfig, prompt: Prompt[Any], version: str) -> dict[str, Any] | None:
    """The response format to be sent with a prompt of this version: the bounded one where every token is held to it."""
    if prompt.response_format is None or version < prompt.shaped_since or not takes_schema(config):
        return None
    return prompt.tight if is_held(config) else prompt.response_format
