"""What about a persona stays the same in all its conversations, and the numbers that its texts fix."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from aloe.world.latent import Item, Latent, same_item


def roll(*parts: object) -> float:
    """A number in [0, 1) fixed by its parts."""
    return digest(*parts) / 2**64


def digest(*parts: object) -> int:
    text = "\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


class Character(NamedTuple):
    """What about a persona stays the same in all its conversations."""

    key: int
    facts: tuple[Item, ...]  # in the order in which they come up
    traits: tuple[Item, ...]
    own: frozenset[tuple[str, str]]


def character_of(latent: Latent) -> Character:
    """What stays: the key and the orders are those of the start, whatever has changed since."""
    start = latent.history.start if latent.history else latent
    key = digest(*(item.clause for item in (*start.facts, *start.traits)))
    rng = Random(key)
    facts, traits = list(start.facts), list(start.poles.values())
    rng.shuffle(facts)
    rng.shuffle(traits)
    if latent.history:
        facts, traits = order_items(latent, facts), order_items(latent, traits)
    return Character(key, tuple(facts), tuple(traits), frozenset((*latent.by_value, *latent.past)))


def order_items(latent: Latent, start: Sequence[Item]) -> list[Item]:
    """Facts or traits in an order drawn for the start, with what has taken their places since."""
    assert latent.history is not None
    found = list(start)
    for step in latent.history.steps:
        if step.how == "contextual" or step.since > latent.history.turn:
            continue
        at = next((n for n, item in enumerate(found) if step.was and same_item(item, step.was)), None)
        if at is not None:
            found[at : at + 1] = [step.now] if step.now else []
        elif step.now and found and step.now.kind == found[0].kind:
            found.append(step.now)
    return found
