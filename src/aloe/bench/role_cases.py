"""The fixed cases on which role prompts are tested: personas of the simulated world, whose truth is known.

Every case has a conversation of three turns between the world's user and the world's tailored responder. The same seed
gives the same cases, whatever model and prompts are tried.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random

from aloe.bench.check import say, told_reply, world_persona
from aloe.dialogue.state import PathState, content_id
from aloe.prompts.catalog import USER
from aloe.types import Persona
from aloe.world.latent import Latent
from aloe.world.truth import Shown, disclosed, read_persona

N_TURNS = 3
_WORDS = re.compile(r"[^\w]+")
#: what a model copies that does not understand that an example is one: of the prompts' versions, without punctuation
PLACEHOLDERS = (
    "a sentence of the description copied", "the users words", "a short sentence about the user", "one sentence",
    "keeps bees", "i keep bees", "two whole weeks", "write to my landlord", "six year old", "my hives",
    "uses his honey", "his own honey", "lentils with carrots", "as short as he is",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RoleCase:
    """One persona with a conversation that ends with the user's message.

    Attributes:
        shown: what the user's messages have given away, in order.
    """

    number: int
    persona: Persona
    latent: Latent
    state: PathState
    shown: tuple[Shown, ...]

    @property
    def said(self) -> list[str]:
        """The user's messages."""
        return [m.content for m in self.state.messages if m.role == "user"]


def role_cases(n: int, seed: int) -> list[RoleCase]:
    """``n`` cases; ``seed``: of the personas, conversations and replies."""
    return [_make_case(number, Random(f"roles/{seed}/{number}")) for number in range(n)]


def _make_case(number: int, rng: Random) -> RoleCase:
    persona = world_persona(rng, f"roles-{number}")
    latent = read_persona(persona.profile, persona.personality)
    state = PathState(f"roles-{number}")
    for turn in range(1, N_TURNS + 1):
        text = say("user", rng.randrange(2**31), USER, state.flipped, persona=persona, release="")
        state = state.with_user(content_id(state.node_id, "user", text), text)
        said = [m.content for m in state.messages if m.role == "user"]
        shown = tuple(s for new in disclosed(latent, said) for s in new)
        if turn < N_TURNS:
            reply = told_reply(state, shown, rng.randrange(2**31))
            state = state.with_reply(content_id(state.node_id, "assistant", reply), reply)
    return RoleCase(number, persona, latent, state, shown)


def plain(text: str) -> str:
    """A text without punctuation and capitals, to be compared."""
    return _WORDS.sub(" ", text.lower().replace("'", "").replace("’", "")).strip()


def copies_placeholder(text: str) -> bool:
    """Whether an answer holds words of the prompt's own example or skeleton."""
    found = plain(text)
    return any(words in found for words in PLACEHOLDERS)
