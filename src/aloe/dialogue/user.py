"""The user: plays the persona, reveals a part of it at a time, reacts to the last reply (FACTS: paper section 3.2)."""

from __future__ import annotations

import re

from aloe.dialogue.state import PathState
from aloe.errors import ParseError
from aloe.models.caller import Caller, Reply
from aloe.prompts import PromptSet
from aloe.prompts.parsers import clean_message
from aloe.prompts.sections import persona_slots
from aloe.types import Persona

_AS_ASSISTANT = re.compile(
    r"\b(?:as an ai\b|i(?: a|')m an? (?:ai|language model|assistant|chatbot)\b|as a language model|"
    r"how (?:can|may) i (?:help|assist) you|i(?: a|')m here to (?:help|assist)|is there anything else i can)",
    re.IGNORECASE,
)


def parse_user_message(raw: str) -> str:
    """The user's message, cleaned.

    Raises:
        ParseError: it is empty, or the simulator fell out of its role and spoke as the assistant.
    """
    text = clean_message(raw)
    if _AS_ASSISTANT.search(text):
        raise ParseError("you spoke as the assistant; you are the user, in your persona's own voice")
    return text


async def next_user_message(
    caller: Caller, prompts: PromptSet, persona: Persona, state: PathState, path: str
) -> tuple[str | None, Reply]:
    """The user's next message after ``state``; None where it could not be had even when asked again."""
    messages = prompts.render(
        "user", history=state.flipped, persona=persona_slots(persona.profile, persona.personality)
    )
    return await caller.ask("user", path, "user", messages, parse_user_message, turn=state.turn + 1)
