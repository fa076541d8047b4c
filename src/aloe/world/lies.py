"""What users say of themselves that is not so, as mistakes or to test the assistant, and when they put it right.

Only sentences of the dialects that lie or slip are read so (``lexicon/dialects``): what anybody else says of himself
against his persona stays a contradiction. A lie stands from the turn in which it was told until the user states the
true fact; as long as it stands, nobody can be blamed for believing it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from aloe.world.reading import read_message

_HONEST: set[tuple[str, ...]] = set()  # what was read and claims nothing, so that only what follows need be read
_MOST_HONEST = 4096


class Lie(NamedTuple):
    """A false value that the user claimed, at which turn, and in which turn it named the true one (None: not yet)."""

    slot: str
    value: str
    told: int
    corrected: int | None


def find_lies(said: Sequence[str], true: Mapping[str, str]) -> tuple[Lie, ...]:
    """The lies in a user's messages, in their order.

    Args:
        true: slot -> value of the persona. What it has no value for, nobody can lie about.
    """
    said = tuple(said)
    new = said[-1:] if said[:-1] in _HONEST else said
    if not any(read_message(text).claimed for text in new):
        if len(_HONEST) >= _MOST_HONEST:
            _HONEST.clear()
        _HONEST.add(said)
        return ()
    lies: list[Lie] = []
    for turn, text in enumerate(said, 1):
        reading = read_message(text)
        stated = {(p.name, p.value) for m in reading.mentions for p in m.payloads if p.kind == "value"}
        lies = [
            lie._replace(corrected=turn) if lie.corrected is None and (lie.slot, true[lie.slot]) in stated else lie
            for lie in lies
        ]
        for mention in reading.claimed:
            for payload in mention.payloads:
                if true.get(payload.name) not in (None, payload.value):
                    lies.append(Lie(payload.name, payload.value, turn, None))
    return tuple(lies)


def believed(lies: Iterable[Lie], turn: int) -> frozenset[tuple[str, str]]:
    """What was claimed up to a turn and had not been put right by then: (slot, value)."""
    return frozenset(
        (lie.slot, lie.value) for lie in lies if lie.told <= turn and (lie.corrected is None or lie.corrected > turn)
    )
