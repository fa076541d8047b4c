"""The responders: tailored (told what was revealed), generic (told nothing), or a model under test."""

from __future__ import annotations

from collections.abc import Sequence

from aloe.config import ModelConfig
from aloe.dialogue.state import PathState
from aloe.models.caller import Caller
from aloe.models.calls import Reply
from aloe.prompts.catalog import GENERIC, INFORMED, RESPONDER, TAILORED
from aloe.types import Disclosure, Persona

Answer = tuple[str | None, Reply]  # the reply's text (None: unusable, also when asked again), and the call's answer


async def tailored_reply(caller: Caller, state: PathState, path: str) -> Answer:
    """A reply by the tailored responder. The notes go to the model, never into the tree."""
    return await caller.ask(
        TAILORED, path, history=state.history[:-1], turn=state.turn,
        last=state.messages[-1].content, revealed=state.revealed,
    )  # fmt: skip


async def generic_reply(caller: Caller, state: PathState, path: str) -> Answer:
    return await caller.ask(GENERIC, path, history=state.history, turn=state.turn)


async def plain_reply(caller: Caller, state: PathState, path: str, model: ModelConfig, sample: int = 0) -> Answer:
    """A reply by any model that sees this session only; ``sample`` tells candidates for one place apart."""
    return await caller.ask(RESPONDER, path, history=state.present, turn=state.turn, model=model, sample=sample)


async def told_reply(
    caller: Caller, state: PathState, path: str, model: ModelConfig, revealed: Sequence[Disclosure]
) -> Answer:
    """A reply by any model that is given notes as the tailored responder is."""
    return await caller.ask(
        TAILORED, path, role="responder", history=state.present[:-1], turn=state.turn, model=model,
        last=state.messages[-1].content, revealed=revealed,
    )  # fmt: skip


async def informed_reply(caller: Caller, state: PathState, path: str, model: ModelConfig, persona: Persona) -> Answer:
    """A reply by any model that is told the whole persona."""
    return await caller.ask(INFORMED, path, history=state.present, turn=state.turn, model=model, persona=persona)
