"""What a dialect may say: the lexicon with its own wording, and sentences put together without joining any.

No sentence is joined to another or cut, so that each is read back by its own skeleton.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from random import Random

from aloe.world import language
from aloe.world.latent import Item, fill
from aloe.world.lexicon.dialect_wording import OWN_WORDING, nouns, phrases
from aloe.world.lexicon.options import Lexicon, Options, narrow
from aloe.world.lexicon.schema import Pole, Slot, Trait


@lru_cache(maxsize=256)
def spoken(options: Options, dialect: str) -> Lexicon:
    """What the options leave to a user of a dialect, in its own wording where it has one."""
    lexicon = narrow(replace(options, dialect=""))
    if dialect not in OWN_WORDING:
        return lexicon
    slots = tuple(_slot(slot, dialect) for slot in lexicon.slots)
    traits = tuple(
        replace(t, poles=(_pole(t, t.poles[0], dialect), _pole(t, t.poles[1], dialect))) for t in lexicon.traits
    )
    topics = tuple(
        replace(t, requests=phrases(dialect, "requests", t.name) or t.requests)
        for t in (*lexicon.neutral, *lexicon.topics)
    )
    n_neutral = len(lexicon.neutral)
    return replace(
        lexicon,
        slots=slots,
        traits=traits,
        topics=topics[n_neutral:],
        neutral=topics[:n_neutral],
        by_slot={s.name: s for s in slots},
        by_trait={t.name: t for t in traits},
        by_topic={t.name: t for t in topics},
    )


def _slot(slot: Slot, dialect: str) -> Slot:
    return replace(
        slot,
        said=phrases(dialect, "said", slot.name) or slot.said,
        hinted=phrases(dialect, "hinted", slot.name) if slot.hinted else (),
        other=phrases(dialect, "other", slot.name) or slot.other,
    )


def _pole(trait: Trait, pole: Pole, dialect: str) -> Pole:
    return replace(pole, shown=phrases(dialect, "shown", f"{trait.name} {pole.name}"))


def wry(dialect: str, item: Item, rng: Random) -> str:
    """Irony that names a fact and implies it."""
    return fill(rng.choice(phrases(dialect, "wry", item.name)), item.value)


def about_fact(dialect: str, kind: str, slot: str, value: str, rng: Random) -> str:
    """A sentence of a kind (``slipped``, ``corrected``) with a value, or (``quiz``) about a kind of fact."""
    return fill(rng.choice(phrases(dialect, kind, slot)), value)


def aside(dialect: str, kind: str, rng: Random) -> str:
    """A sentence that says nothing about anybody."""
    return rng.choice(phrases(dialect, kind))


def has_noun(slot: str) -> bool:
    """Whether a kind of fact has a name by which a user speaks of it."""
    return slot in nouns()


def in_order(parts: Sequence[str]) -> str:
    """Sentences as a message; empty ones are left out."""
    return " ".join(filter(None, parts))


def manner(markers: Sequence[str]) -> list[str]:
    """Phrases of manner as sentences of their own."""
    return [language.alone(marker) for marker in markers]
