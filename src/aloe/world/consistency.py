"""Whether replies contradict what the user said, or what the same model said before, by the words alone.

No persona is needed: what the user said of itself is taken at its word, hints by all that they can mean, and what it
said is over is over. Only facts of the world's lexicon can be contradicted. A reply contradicts

- the user, where it speaks of another value of a kind of fact of which the user has named one, or uses one that the
  user has said is over (to speak of what the user has only just said is over is not using it);
- itself, where it speaks of another value than an earlier reply, or than the same reply, without the user having said
  anything about that kind of fact in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from aloe.world.lexicon.scan import Payload
from aloe.world.reading import read_message
from aloe.world.reply import read_reply


class Contradictions(NamedTuple):
    """What one reply contradicts, and whether it speaks of any fact at all."""

    user: bool
    itself: bool
    speaks: bool


class _Told:
    """What the user has said of itself so far: by kind of fact, the values that may hold and those that are over."""

    def __init__(self) -> None:
        self.holds: dict[str, set[str]] = {}
        self.over: dict[str, set[str]] = {}
        self.last: dict[str, int] = {}  # the turn at which anything was said of a kind
        self.just_over: set[tuple[str, str]] = set()

    def hear(self, text: str, turn: int) -> None:
        reading = read_message(text)
        self.just_over = {(p.name, p.value) for mention in reading.ended for p in mention.payloads}
        for slot, value in self.just_over:
            self.holds.get(slot, set()).discard(value)
            self.over.setdefault(slot, set()).add(value)
            self.last[slot] = turn
        for mention in (*reading.mentions, *reading.claimed):
            for payload in mention.payloads:
                self.holds.setdefault(payload.name, set()).add(payload.value)
                self.over.get(payload.name, set()).discard(payload.value)
                self.last[payload.name] = turn

    def denies(self, payload: Payload, is_used: bool) -> bool:
        """Whether a reply that speaks of this value contradicts what was said."""
        slot, value = payload.name, payload.value
        if value in self.over.get(slot, ()):
            return is_used or (slot, value) not in self.just_over
        return bool(self.holds.get(slot)) and value not in self.holds[slot]

    def is_right(self, payload: Payload) -> bool:
        return payload.value in self.holds.get(payload.name, ())


def find_contradictions(said: Sequence[str], replies: Sequence[str]) -> list[Contradictions]:
    """What each reply contradicts.

    Args:
        said: the user's messages. replies: the answers to them, in turn; the last may be missing.
    """
    told, spoken = _Told(), dict[str, tuple[str, int]]()  # kind -> value of which the model spoke last, and when
    found = []
    for turn, (text, reply) in enumerate(zip(said, replies, strict=False), 1):
        told.hear(text, turn)
        reading = read_reply(reply)
        denies = changes = False
        here: dict[str, str] = {}
        for payloads in reading.values:
            is_used = payloads in reading.used
            if not any(map(told.is_right, payloads)):
                denies |= all(told.denies(payload, is_used) for payload in payloads)
            if len(payloads) > 1 or (payloads[0].name, payloads[0].value) in told.just_over:
                continue  # it may mean several things, or speaks of what is over
            slot, value = payloads[0].name, payloads[0].value
            before, when = spoken.get(slot, (value, turn))
            changes |= before != value and told.last.get(slot, 0) <= when
            changes |= here.setdefault(slot, value) != value
        spoken.update({slot: (value, turn) for slot, value in here.items()})
        found.append(Contradictions(denies, changes, bool(reading.values)))
    return found
