"""Inference-time baselines: ways to ask any model, written as a suffix of its URI (``openai:NAME+inducer``).

- ``+inducer``: the model first lists what the user has told so far (without seeing the persona), then answers with
  that list as notes. Two calls a turn.
- ``+selfcritic``: it drafts, then criticises its draft and answers anew. Two calls a turn; the draft stands where
  the second answer can't be read.
- ``+persona``: it is told the user's whole persona from the start. One call a turn; a ceiling of knowledge.
- ``+reminder``: it is reminded, after the user's message, to use what the user told. One call a turn.

Every inner call goes through the Caller under the wrapped model's own identity, so it is journaled, seeded and
limited like any other, and a draft is the very call that the model without wrapper makes. What a wrapper adds is
never part of the conversation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aloe.config import ModelConfig
from aloe.prompts.parsers import clean_message, parse_disclosures, parse_revision
from aloe.prompts.sections import Slots, revealed_slots
from aloe.protocols import PromptMessage

if TYPE_CHECKING:
    from aloe.models.caller import Caller, Reply
    from aloe.prompts import PromptSet


@dataclass(frozen=True, slots=True)
class View:
    """What a wrapper may look at for one reply.

    Attributes:
        history: as the model sees it; ends with the user's message.
        conversation, persona: as slots of prompts. Only ``+persona`` uses the persona.
        path: of the reply's call; inner calls are named below it.
    """

    history: tuple[PromptMessage, ...]
    conversation: Slots
    persona: Slots
    path: str
    turn: int


async def wrapped_reply(
    caller: Caller, prompts: PromptSet, model: ModelConfig, wrapper: str, view: View
) -> tuple[str | None, Reply]:
    """The reply of ``model`` as ``wrapper`` asks for it; None where no usable text came, also when asked again.

    Raises:
        EndpointError: a call failed for good.
    """
    if wrapper == "inducer":
        return await _infer_then_reply(caller, prompts, model, view)
    if wrapper == "selfcritic":
        return await _draft_then_revise(caller, prompts, model, view)
    if wrapper == "persona":
        messages = prompts.render("informed", history=view.history, persona=view.persona)
        name = "informed"
    else:
        messages = prompts.render("reminder", history=view.history)
        name = "reminder"
    return await caller.ask("responder", view.path, name, messages, clean_message, turn=view.turn, model=model)


async def _infer_then_reply(
    caller: Caller, prompts: PromptSet, model: ModelConfig, view: View
) -> tuple[str | None, Reply]:
    asked = prompts.render("infer", conversation=view.conversation)
    found, _ = await caller.ask(
        "responder", f"{view.path}/infer", "infer", asked, parse_disclosures, turn=view.turn, model=model
    )
    messages = prompts.render(
        "tailored",
        history=view.history[:-1],
        last=view.history[-1].content,
        revealed=revealed_slots(found or ()),
    )
    return await caller.ask("responder", view.path, "tailored", messages, clean_message, turn=view.turn, model=model)


async def _draft_then_revise(
    caller: Caller, prompts: PromptSet, model: ModelConfig, view: View
) -> tuple[str | None, Reply]:
    messages = prompts.render("responder", history=view.history)
    draft, reply = await caller.ask(
        "responder", view.path, "responder", messages, clean_message, turn=view.turn, model=model
    )
    if draft is None:
        return None, reply
    again = prompts.render("selfcritic", history=view.history, draft=draft)
    revised, answer = await caller.ask(
        "responder", f"{view.path}/revise", "selfcritic", again, parse_revision, turn=view.turn, model=model
    )
    return (draft, reply) if revised is None else (revised, answer)
