"""Deals the user its cards: this turn's goal, and the few facts of the persona that may come up now.

A model that is told a whole persona gives it away at once; one that is only told what may come up can't. What has
been told is read from the conversation itself, so that the deal depends on the seed, the tree and what was said, and
on nothing else. Goals are the world's topics, in the words in which its users ask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from aloe.dialogue.state import PathState
from aloe.seeding import derive_rng
from aloe.types import Persona
from aloe.world import fallback
from aloe.world.latent import Item
from aloe.world.lexicon.options import narrow
from aloe.world.lexicon.schema import Topic
from aloe.world.reply import read_reply
from aloe.world.truth import Latent, disclosed, read_persona


@dataclass(frozen=True, slots=True)
class Hand:
    """What the user is dealt for one message.

    Attributes:
        goal: what it wants from the assistant, in a user's words. topic: the goal's name.
        new: facts that may come up now. told: those that have come up before, in the persona's words.
    """

    goal: str
    topic: str
    new: tuple[str, ...]
    told: tuple[str, ...]

    def known_persona(self, persona: Persona) -> Persona:
        """The persona as far as the user may speak of it: these facts, and the whole manner."""
        profile = " ".join((*self.told, *self.new)) or "Nothing is known yet."
        return persona.model_copy(update={"profile": profile})


@lru_cache(maxsize=4096)
def _latent(profile: str, personality: str) -> Latent:
    return read_persona(profile, personality)


def deal(persona: Persona, state: PathState, *, n: int, seed: int, tree_id: str) -> Hand:
    """The hand for the user's message after ``state``.

    Args:
        n: new facts at most. seed: the run's. tree_id: the same on all branches of a conversation.
    """
    latent = _latent(persona.profile, persona.personality)
    said = [m.content for m in state.messages if m.role == "user"]
    shown = {s.item for turn in disclosed(latent, said) for s in turn}
    told = [item for item in latent.facts if item in shown]
    left = [item for item in latent.facts if item not in shown]
    topic = _topic_at(latent.facts, state.turn, seed, tree_id)
    reply = state.messages[-1].content if state.messages else ""
    rng = derive_rng(seed, "cards", tree_id, state.node_id)
    order = [left[i] for i in rng.permutation(len(left))]
    ranked = sorted(order, key=lambda item: -_fit(item, topic, reply))  # the draw decides among equals
    goal = topic.requests[int(rng.integers(len(topic.requests)))]
    return Hand(goal, topic.name, tuple(i.clause for i in ranked[:n]), tuple(i.clause for i in told))


def _topic_at(facts: Sequence[Item], turn: int, seed: int, tree_id: str) -> Topic:
    """The topic of a turn: each once before one comes again, those that concern most of the persona first."""
    topics = narrow().topics
    round_, place = divmod(turn, len(topics))
    order: list[int] = derive_rng(seed, "goals", tree_id, round_).permutation(len(topics)).tolist()
    ranked = sorted((topics[i] for i in order), key=lambda t: -min(3, sum(_concerns(f, t) for f in facts)))
    return ranked[place]


def _concerns(item: Item, topic: Topic) -> bool:
    """Whether a fact has to do with a topic: by what it is about, else by its words."""
    return item.name in topic.slots if item.is_world else bool(fallback.stems(item.value) & _words(topic.name))


@lru_cache(maxsize=256)
def _words(topic: str) -> frozenset[str]:
    found = narrow().by_topic[topic]
    slots = [narrow().by_slot[name] for name in found.slots]
    texts = [*found.requests, *found.advice, *found.slots, *(q for slot in slots for q in slot.questions)]
    return frozenset().union(*map(fallback.stems, texts))


def _fit(item: Item, topic: Topic, reply: str) -> int:
    """How well a fact fits the talk: 2 where the assistant has just asked for it, 1 where it matters to the goal."""
    asked = reply and (
        item.name in read_reply(reply).asked
        if item.is_world
        else any("?" in s and fallback.stems(item.value) & fallback.stems(s) for s in reply.split(". "))
    )
    return 2 * bool(asked) + _concerns(item, topic)
