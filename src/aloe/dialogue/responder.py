"""The responders: tailored (told what was revealed), generic (told nothing), or any model under test (history only)."""

from __future__ import annotations

from aloe.config import ModelConfig
from aloe.dialogue.state import PathState
from aloe.models.caller import Caller, Reply
from aloe.prompts import PromptSet
from aloe.prompts.parsers import clean_message
from aloe.prompts.sections import revealed_slots


async def tailored_reply(caller: Caller, prompts: PromptSet, state: PathState, path: str) -> tuple[str | None, Reply]:
    """A reply by the tailored responder. The notes go to the model, never into the tree."""
    messages = prompts.render(
        "tailored",
        history=state.history[:-1],
        last=state.messages[-1].content,
        revealed=revealed_slots(state.revealed),
    )
    return await caller.ask("tailored", path, "tailored", messages, clean_message, turn=state.turn)


async def generic_reply(caller: Caller, prompts: PromptSet, state: PathState, path: str) -> tuple[str | None, Reply]:
    messages = prompts.render("generic", history=state.history)
    return await caller.ask("generic", path, "generic", messages, clean_message, turn=state.turn)


async def plain_reply(
    caller: Caller, prompts: PromptSet, state: PathState, path: str, model: ModelConfig, sample: int = 0
) -> tuple[str | None, Reply]:
    """A reply by any model that sees the history only; ``sample`` tells candidates for one place apart."""
    messages = prompts.render("responder", history=state.history)
    return await caller.ask(
        "responder", path, "responder", messages, clean_message, turn=state.turn, model=model, sample=sample
    )
