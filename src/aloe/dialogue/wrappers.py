"""Inference-time baselines, written as a suffix of any model's URI (``openai:NAME+inducer``).

- ``+inducer``: the model first lists what the user has told so far (without seeing the persona), then answers with
  that list as notes. Two calls a turn.
- ``+selfcritic``: it drafts, then criticises its draft and answers anew. Two calls a turn; the draft stands where
  the second answer can't be read.
- ``+persona``: it is told the user's whole persona from the start. One call a turn; a ceiling of knowledge.
- ``+reminder``: it is reminded, after the user's message, to use what the user told. One call a turn.

What a model is given of earlier turns and sessions is a memory's doing (``memory.py``), written in the same place.
These four see the session that they are in.

Every inner call goes through the Caller under the wrapped model's own identity, so it is journaled, seeded and
limited like any other, and a draft is the very call that the model without wrapper makes. What a wrapper adds is
never part of the conversation.
"""

from __future__ import annotations

from aloe.config import ModelConfig
from aloe.dialogue.responder import Answer, informed_reply, plain_reply, told_reply
from aloe.dialogue.state import PathState
from aloe.models.caller import Caller
from aloe.prompts.catalog import INFER, REMINDER, SELFCRITIC
from aloe.types import Persona


async def wrapped_reply(
    caller: Caller, persona: Persona, state: PathState, path: str, *, model: ModelConfig, wrapper: str
) -> Answer:
    """The reply of ``model`` to ``state``, which ends with the user's message, as ``wrapper`` asks for it.

    Args:
        persona: only ``+persona`` looks at it.
        path: of the reply's call; inner calls are named below it.

    Raises:
        EndpointError: a call failed for good.
    """
    if wrapper == "inducer":
        found, _ = await caller.ask(INFER, f"{path}/infer", turn=state.turn, model=model, conversation=state.shown)
        return await told_reply(caller, state, path, model, found or ())
    if wrapper == "selfcritic":
        return await _draft_then_revise(caller, state, path, model)
    if wrapper == "persona":
        return await informed_reply(caller, state, path, model, persona)
    return await caller.ask(REMINDER, path, history=state.present, turn=state.turn, model=model)


async def _draft_then_revise(caller: Caller, state: PathState, path: str, model: ModelConfig) -> Answer:
    draft, reply = await plain_reply(caller, state, path, model)
    if draft is None:
        return None, reply
    revised, answer = await caller.ask(
        SELFCRITIC, f"{path}/revise", history=state.present, turn=state.turn, model=model, draft=draft
    )
    return (draft, reply) if revised is None else (revised, answer)
