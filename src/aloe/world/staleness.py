"""What a reply makes of a persona's changes: whether it uses what no longer holds, or what has come in its place.

A fact counts as used where a phrase ties it to advice, a manner where the reply meets it. Manners that depend on the
context are never stale: both hold.
"""

from __future__ import annotations

from dataclasses import dataclass

from aloe.world import fallback
from aloe.world.latent import Item, Latent, Step
from aloe.world.reply import ReplyReading, read_reply
from aloe.world.truth import Known


@dataclass(frozen=True, slots=True)
class ChangeUse:
    """One change that is in force, and what a reply makes of it.

    Attributes:
        stale: the reply uses what it ended. fresh: it uses what it brought.
        matters: whether what it brought could have been used: it matters to what the user asks.
    """

    step: Step
    stale: bool
    fresh: bool
    matters: bool


def use_of_changes(known: Known, reply: str) -> list[ChangeUse]:
    """Every change in force when a reply is due. ``known`` is of a persona as it is at that turn."""
    history = known.latent.history
    reading = read_reply(reply)
    found: list[ChangeUse] = []
    if history is None:
        return found
    for step in history.steps:
        if step.how == "contextual" or step.since > history.turn:
            continue
        stale = step.was is not None and _is_used(step.was, reading)
        fresh = step.now is not None and _is_used(step.now, reading)
        matters = step.now is not None and (step.now.kind == "trait" or known.matters(step.now))
        found.append(ChangeUse(step, stale, fresh, matters))
    return found


def stale_items(latent: Latent, reply: str) -> list[Item]:
    """What a reply uses of what no longer holds; ``latent`` is a persona as it is at the turn of the reply."""
    history, reading = latent.history, read_reply(reply)
    if history is None:
        return []
    over = [s.was for s in history.steps if s.was and s.how != "contextual" and s.since <= history.turn]
    return [item for item in over if _is_used(item, reading)]


def _is_used(item: Item, reading: ReplyReading) -> bool:
    if item.kind == "trait":
        return (item.name, item.value) in reading.fits
    if not item.is_world:
        words = fallback.stems(item.value)
        return bool(words) and fallback.share(words, fallback.stems(reading.sound)) >= fallback.USED
    return any((p.name, p.value) == (item.name, item.value) for payloads in reading.used for p in payloads)
