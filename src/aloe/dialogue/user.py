"""The user: plays the persona, reveals it part by part, reacts to the last reply (paper section 3.2).

A message in which the simulator speaks as the assistant, or says the assistant's words back to it, is asked for
again. What is merely suspicious (a message that was said before, one in which nobody speaks of himself or asks for
anything) is counted, not refused: real people do that too. A user that is dealt cards is told what to ask for: with
prompts of version 2, one that offers help or asks for nothing is asked again once, and its second answer is taken.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from aloe.config import ModelConfig
from aloe.dialogue.cards import deal
from aloe.dialogue.state import PathState
from aloe.errors import ParseError
from aloe.models.caller import Caller
from aloe.models.calls import Reply
from aloe.prompts.catalog import USER, USER_CARDS, USER_SESSION, Prompt
from aloe.prompts.faults import FORM, ROLE, is_assistants, split_thoughts
from aloe.prompts.parsers import refuse_echo
from aloe.prompts.render import FIRST
from aloe.protocols import PromptMessage
from aloe.types import Persona

_OF_ONESELF = re.compile(r"\b(?:i|i'\w+|me|my|mine|myself|we|we'\w+|us|our)\b|[?]|[^\x00-\x7f]", re.IGNORECASE)
_REQUEST = re.compile(r"^(?:please|tell|help|give|show|what|how|which|any|can|could|do|is|are|let)\b", re.IGNORECASE)
_ASKS = re.compile(
    r"[?？]|\b(?:i (?:need|want|wish|would like|could use|am looking for)|i'd (?:like|love|appreciate)|"
    r"i'm (?:looking for|trying to|hoping|after)|help me|tell me|give me|show me|suggest|recommend|advise|explain|"
    r"let me know|wondering|any (?:ideas?|tips?|advice|suggestions?|thoughts?)|(?:can|could|would|will) you|please|"
    r"need (?:a|an|some|to|help))\b",
    re.IGNORECASE,
)
_SERVES = re.compile(
    r"\b(?:how|what) (?:can|may|could) i (?:help|assist|do for)|(?:happy|glad|here|able) to (?:help|assist)(?! me)\b|"
    r"\bi (?:can|could|will|would|'ll|'d be happy to) (?:help|assist|guide|provide|suggest|recommend|offer)\b(?! me)|"
    r"^\W*(?:sure|certainly|of course|absolutely|great question|thank you for (?:your|sharing|asking))\b|"
    r"\bhere(?:'s| is| are) (?:some|a few|an?|the|my) (?:\w+ )?"
    r"(?:tips?|ideas?|suggestions?|steps?|ways?|plan|recipe|list|options?|examples?)\b|"
    r"\b(?:feel free to|i hope (?:this|that|these) helps?|don't hesitate|let me help you|"
    r"as (?:an|your) (?:ai|assistant)|what brings you here|welcome to)\b|^\s*(?:1[.)]|[-*•]) ",
    re.IGNORECASE | re.MULTILINE,
)
_GOODBYE = re.compile(
    r"\b(?:good ?bye|bye(?: now| for now|-bye)?|see you (?:later|soon|around|then|next time)|good night|"
    r"talk (?:to you )?(?:later|soon)|(?:have|gotta|got) to (?:go|run) now|that(?:'s| is| will be|'ll be) all"
    r"(?: for (?:now|today|tonight)|,? (?:thanks|thank you))|until next time|farewell|so long,? and thanks?)\b",
    re.IGNORECASE,
)


def says_goodbye(text: str) -> bool:
    """Whether the user ends the conversation: a farewell, and no question after it."""
    found = None
    for found in _GOODBYE.finditer(text):  # noqa: B007 - the last one counts
        pass
    return found is not None and "?" not in text[found.end() :] and len(text[found.end() :].split()) <= 12


def speaks_as_user(text: str) -> bool:
    """Whether a message is one that a user would send: it speaks of oneself, asks, or wants something."""
    return _OF_ONESELF.search(text) is not None or _REQUEST.match(text.strip()) is not None


def asks_for_something(text: str) -> bool:
    """Whether a message wants something of the one it is sent to."""
    return _ASKS.search(text) is not None


def plays_assistant(text: str) -> bool:
    """Whether a message is the assistant's rather than a user's: it offers help, gives advice, or speaks for both."""
    text = split_thoughts(text)[0]
    return is_assistants(text) or _SERVES.search(text) is not None


def is_repeated(text: str, said: Sequence[str]) -> bool:
    """Whether the user has said exactly this before on the same path."""
    return text in said


def release_allowance(release: int, turn: int, n_revealed: int) -> int | None:
    """How many new facts the user's message of ``turn`` may reveal, or None where it need not be told.

    The budget is ``release`` facts a turn. It is named in the first message and whenever a path is ahead of it, so
    that a user model that keeps it by itself is left alone.

    Args:
        release: facts a turn; 0 = no budget.
        n_revealed: facts that the path has revealed before this turn.
    """
    if release <= 0:
        return None
    allowance = release * turn - n_revealed
    return max(0, allowance) if turn == 1 or allowance < release else None


@dataclass(frozen=True, slots=True)
class Steering:
    """How the user is held to its part.

    Attributes:
        release: facts a turn, see ``release_allowance``; 0 = no budget.
        task: the kind of conversation wanted; empty: any.
        cards: new facts a turn that it is dealt, see ``dealt``; 0 = it is told the whole persona.
        seed, tree_id: of the deal.
        model: who plays the user in this tree; None: one of the role's models.
    """

    release: int = 0
    task: str = ""
    cards: int = 0
    seed: int = 0
    tree_id: str = ""
    model: ModelConfig | None = None


async def next_user_message(
    caller: Caller, persona: Persona, state: PathState, path: str, steering: Steering = Steering()
) -> tuple[str | None, Reply]:
    """The user's next message after ``state``; None where it could not be had even when asked again."""
    release, task = steering.release, steering.task
    if steering.cards:
        hand = deal(persona, state, n=steering.cards, seed=steering.seed, tree_id=steering.tree_id)
        prompt = USER_CARDS if caller.prompts.version == FIRST else _insisting()
        return await caller.ask(
            prompt, path, history=state.flipped[-1:], turn=state.turn + 1, persona=hand.known_persona(persona),
            conversation=state.shown, goal=hand.goal, cards=hand.new, task=task,
            model=steering.model,
        )  # fmt: skip
    n_revealed = sum(d.kind == "fact" for d in state.revealed)
    if state.opens_session:
        allowed = release_allowance(release, state.turn + 1, n_revealed)
        return await caller.ask(
            USER_SESSION, path, history=state.flipped, turn=state.turn + 1, persona=persona,
            session=state.session, release="" if allowed is None else allowed, task=task, model=steering.model,
        )  # fmt: skip
    allowance = release_allowance(release, state.turn + 1, n_revealed)
    return await caller.ask(
        USER, path, history=state.flipped, turn=state.turn + 1, model=steering.model,
        persona=persona, release="" if allowance is None else allowance, task=task,
    )  # fmt: skip


def _insisting() -> Prompt[str]:
    """The prompt of a user that is dealt cards, whose first answer has to be a user's message that asks."""
    n_read = 0

    def check(message: str, history: Sequence[PromptMessage]) -> None:
        nonlocal n_read
        n_read += 1
        refuse_echo(message, history)
        if n_read > 1:
            return
        if plays_assistant(message):
            raise ParseError("that is what the assistant would write; write what the person asks of it", kind=ROLE)
        if not asks_for_something(message):
            raise ParseError("the person asks for nothing in it; end with the question for what they want", kind=FORM)

    return replace(USER_CARDS, check=check)
