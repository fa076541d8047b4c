"""Translates between a latent persona (facts and traits) and its English profile and personality.

Sentences of the world's own language are read exactly; anything else falls back to clauses and trait words
(``fallback.py``), so that every text is a persona. Reading what was written gives back what was meant.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random
from typing import Any, Literal, TypeVar, cast

from aloe.types import How
from aloe.world import fallback
from aloe.world.lexicon.index import persona_sentences, profile_skeletons, skeletons_around, value_scanner
from aloe.world.lexicon.options import Lexicon, narrow
from aloe.world.lexicon.scan import Tokens, neutral_person, split_sentences, tokenize

T = TypeVar("T")
N_FACTS = 8
N_TRAITS = (4, 6)  # fewest and most


@dataclass(frozen=True, slots=True)
class Item:
    """One part of a persona.

    Attributes:
        name: slot or trait of the world, or ``clause<n>`` where the text is not in the world's language.
        value: the slot's value, the trait's pole, or the clause's content words.
        clause: the persona's own sentence (or part of it).
    """

    kind: Literal["fact", "trait"]
    name: str
    value: str
    clause: str

    @property
    def is_world(self) -> bool:
        return not self.name.startswith("clause")


@dataclass(frozen=True, slots=True)
class Step:
    """A change as items: what ends (``was``) and begins (``now``) with the user's message of ``turn``.

    From ``since`` on ``was`` holds no longer (0: it goes on where it is not about ``topics``).
    """

    turn: int
    how: How
    was: Item | None
    now: Item | None
    since: int
    topics: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class History:
    """How a persona has come to be what it is at ``turn``: what it was at the start, and the steps since."""

    start: Latent
    steps: tuple[Step, ...]
    turn: int


@dataclass(frozen=True, slots=True)
class Latent:
    """All items of a persona, in the order of its text, and ways to find them.

    Attributes:
        history: None where nothing has changed.
        past: what held once and does not now. turning: manners that are coming in, which suit as well as the old ones.
    """

    facts: tuple[Item, ...]
    traits: tuple[Item, ...]
    history: History | None = None
    by_value: Mapping[tuple[str, str], Item] = field(init=False, repr=False, compare=False)
    by_slot: Mapping[str, Item] = field(init=False, repr=False, compare=False)
    poles: Mapping[str, Item] = field(init=False, repr=False, compare=False)  # trait -> item
    clauses: tuple[tuple[Item, frozenset[str]], ...] = field(init=False, repr=False, compare=False)
    past: Mapping[tuple[str, str], Item] = field(init=False, repr=False, compare=False)
    turning: Mapping[str, Item] = field(init=False, repr=False, compare=False)  # trait -> item
    read: dict[Hashable, Any] = field(init=False, repr=False, compare=False)  # see ``recall``

    def __post_init__(self) -> None:
        world = [item for item in self.facts if item.is_world]
        other = [item for item in self.facts if not item.is_world]
        put = object.__setattr__
        put(self, "by_value", {(item.name, item.value): item for item in world})
        put(self, "by_slot", {item.name: item for item in reversed(world)})
        put(self, "poles", {item.name: item for item in reversed(self.traits) if item.is_world})
        put(self, "read", {})
        put(self, "clauses", tuple((item, fallback.stems(item.value)) for item in other))
        steps, turn = (self.history.steps, self.history.turn) if self.history else ((), 0)
        over = [s.was for s in steps if s.was and 0 < s.since <= turn]
        held = {(item.name, item.value) for item in (*self.facts, *self.traits)}
        put(self, "past", {(i.name, i.value): i for i in over if (i.name, i.value) not in held})
        put(self, "turning", {s.now.name: s.now for s in steps if s.now and s.how == "gradual" and s.since > turn})


_MOST_READ = 1024  # texts kept for one persona


def recall(latent: Latent, what: Hashable, read: Callable[[], T]) -> T:
    """What reading texts against a persona gives, read once: a long conversation is read again at each of its turns."""
    known = latent.read.get(what)
    if known is None:
        known = read()
        if len(latent.read) >= _MOST_READ:
            latent.read.clear()
        latent.read[what] = known
    return cast("T", known)


def same_item(a: Item, b: Item) -> bool:
    """Whether two items say the same, wherever in a persona they stand."""
    return a.value == b.value and (a.name == b.name or not (a.is_world or b.is_world))


@lru_cache(maxsize=16384)
def in_context(latent: Latent, topic: str | None) -> Latent:
    """The persona as it is where the user asks about ``topic``: its manners there before others of the same trait."""
    here = [s.now for s in (latent.history.steps if latent.history else ()) if s.now and topic in s.topics]
    if not here:
        return latent
    kept = [item for item in latent.traits if not any(item.name == other.name for other in here)]
    return Latent(latent.facts, (*here, *kept), latent.history)


def _world_fact(sentence: str) -> Item | None:
    """A sentence that a world profile would use, as its fact."""
    tokens = tokenize(sentence)
    known = profile_skeletons()
    for span in value_scanner().scan(tokens):
        slots = known.get(neutral_person(skeletons_around(tokens, span.start, span.end)), ())
        for payload in span.payloads:
            if payload.name in slots:
                return Item("fact", payload.name, payload.value, sentence)
    return None


def _world_trait(sentence: str) -> Item | None:
    found = persona_sentences().get(neutral_person(tokenize(sentence)))
    return Item("trait", *found, sentence) if found else None


@lru_cache(maxsize=16384)
def read_sentence(kind: Literal["fact", "trait"], sentence: str) -> Item:
    """One sentence of a persona (or a clause of it) as an item, by itself.

    A fallback item is named by its content, because its place in the persona is not known here.
    """
    item = _world_fact(sentence) if kind == "fact" else _world_trait(sentence)
    if item:
        return item
    trait = fallback.find_trait(sentence) if kind == "trait" else None
    if trait:
        return Item("trait", *trait, sentence)
    words = fallback.content(sentence)
    return Item(kind, f"clause:{words}", words, sentence)


def _read_text(kind: Literal["fact", "trait"], text: str) -> tuple[Item, ...]:
    items: list[Item] = []
    for sentence in split_sentences(text):
        exact = _world_fact(sentence) if kind == "fact" else _world_trait(sentence)
        clauses = (sentence,) if exact else fallback.split_clauses(sentence)
        for clause in clauses:
            item = exact or read_sentence(kind, clause)
            if item.value and all((item.name, item.value) != (i.name, i.value) for i in items):
                items.append(item)
    if not items:  # nothing to hold on to: the text itself, whatever it is
        items = [read_sentence(kind, text.strip())]
    numbered = []
    for number, item in enumerate(items, 1):
        name = item.name if item.is_world else f"clause{number}"
        numbered.append(Item(kind, name, item.value, item.clause))
    return tuple(numbered)


@lru_cache(maxsize=16384)
def read_persona(profile: str, personality: str) -> Latent:
    """The latent persona of any profile and personality; never fails and never is empty."""
    return Latent(_read_text("fact", profile), _read_text("trait", personality))


def article(text: str) -> str:
    """``a`` or ``an``, by the sound of the first word as far as its letters tell."""
    word = text.split(" ", 1)[0].lower()
    if word.startswith(("uni", "use", "euro", "one", "ukulele", "ute")):
        return "a"
    if word.startswith(("hour", "honest", "heir", "8", "11", "18", "80")):
        return "an"
    return "an" if word[:1] in "aeiou" and word else "a"


def fill(template: str, value: str = "", cue: str = "", pronoun: str = "She") -> str:
    """A template of the lexicon with its words put in; the first letter becomes a capital."""
    she, her = (pronoun.lower(), "her" if pronoun == "She" else "his")
    text = (
        template.replace("{a}", article(cue if "{cue}" in template else value))
        .replace("{v}", value)
        .replace("{cue}", cue)
        .replace("{She}", pronoun)
        .replace("{she}", she)
        .replace("{her}", her)
        .replace("{Her}", her.capitalize())
    )
    return text[:1].upper() + text[1:]


def write_profile(facts: Sequence[tuple[str, str]], pronoun: str, rng: Random, lexicon: Lexicon) -> str:
    """Facts (slot, value) as a profile: varied phrasing, in the order given."""
    return " ".join(fill(rng.choice(lexicon.by_slot[slot].profile), value, pronoun=pronoun) for slot, value in facts)


def write_personality(traits: Sequence[tuple[str, str]], pronoun: str, rng: Random, lexicon: Lexicon) -> str:
    """Traits (trait, pole) as a personality."""
    sentences = []
    for name, pole in traits:
        which = next(p for p in lexicon.by_trait[name].poles if p.name == pole)
        sentences.append(fill(rng.choice(which.persona), pronoun=pronoun))
    return " ".join(sentences)


def draw_facts(rng: Random, lexicon: Lexicon) -> list[tuple[str, str]]:
    """About eight facts of different slots, every slot and every value as likely as any other."""
    slots = rng.sample(lexicon.slots, min(N_FACTS, len(lexicon.slots)))
    return [(slot.name, rng.choice(slot.values).text) for slot in slots]


def draw_traits(rng: Random, lexicon: Lexicon) -> list[tuple[str, str]]:
    """Four to six traits (all of them where there are no more than four), each pole equally likely."""
    n = min(rng.randint(*N_TRAITS), len(lexicon.traits))
    chosen = rng.sample(lexicon.traits, n)
    return [(trait.name, trait.poles[rng.random() < 0.5].name) for trait in chosen]


def marks(sentence: str) -> Tokens:
    """Normalised tokens of a persona's sentence: equal for equal statements about anybody."""
    return neutral_person(tokenize(sentence))


__all__ = [
    "Item", "Latent", "article", "draw_facts", "draw_traits", "fill", "marks", "narrow", "read_persona",
    "read_sentence", "write_personality", "write_profile",
]  # fmt: skip
