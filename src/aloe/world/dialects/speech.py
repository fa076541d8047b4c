"""What a dialect may say: the lexicon with its own wording, and sentences put together without joining any.

No sentence is joined to another or cut, so that each is read back by its own skeleton.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import chain
from random import Random

from aloe.world import language
from aloe.world.latent import Item, fill
from aloe.world.lexicon.dialect_wording import OWN_WORDING, nouns, phrases
from aloe.world.lexicon.mixture import shares
from aloe.world.lexicon.options import Lexicon, Options, narrow
from aloe.world.lexicon.schema import Pole, Slot, Topic, Trait


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
    return _indexed(lexicon, slots, traits, topics)


@lru_cache(maxsize=64)
def heard(options: Options) -> Lexicon:
    """All that users with these options may say: of a mixture, the wording of each of its dialects."""
    parts = [spoken(options, name) for name, _ in shares(options.dialect)]

    def together(found: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(chain.from_iterable(found)))

    slots = tuple(
        replace(same[0], **{kind: together(getattr(s, kind) for s in same) for kind in ("said", "hinted", "other")})
        for same in zip(*(part.slots for part in parts), strict=True)
    )
    traits = []
    for same in zip(*(part.traits for part in parts), strict=True):
        poles = [replace(same[0].poles[at], shown=together(t.poles[at].shown for t in same)) for at in range(2)]
        traits.append(replace(same[0], poles=(poles[0], poles[1])))
    topics = [
        replace(same[0], requests=together(t.requests for t in same))
        for same in zip(*((*part.neutral, *part.topics) for part in parts), strict=True)
    ]
    return _indexed(parts[0], slots, tuple(traits), tuple(topics))


def _indexed(base: Lexicon, slots: tuple[Slot, ...], traits: tuple[Trait, ...], topics: tuple[Topic, ...]) -> Lexicon:
    """``base`` with other entries; ``topics`` begin with those to which no fact matters."""
    n_neutral = len(base.neutral)
    return replace(
        base,
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
