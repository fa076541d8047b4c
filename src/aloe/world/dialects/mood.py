"""The mood of a user whose patience is limited, by the replies that it has had; and whether it has walked out.

Patience begins at 3. A reply that offends or says something untrue costs 1.5, one on another topic 1, one that makes
nothing of what the user has told 0.75; one that does makes up for 0.75. At 1.5 and less the user is irritated, at 0.75
and less angry, at nothing it leaves for good: what has been lost is not made up for afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

from aloe.types import Message
from aloe.world.latent import Latent
from aloe.world.lexicon.dialect_wording import phrases
from aloe.world.truth import read_known, weigh

PATIENCE, HURT, ASTRAY, IGNORED, HEARD = 3.0, 1.5, 1.0, 0.75, 0.75
IRRITATED, ANGRY = 1.5, 0.75
Mood = Literal["calm", "thawed", "irritated", "angry", "leaving"]


def read_mood(latent: Latent, conversation: Sequence[Message]) -> Mood:
    """The mood after a conversation that ends with a reply; calm before there is any.

    ``thawed`` is the mood in which a user that was irritated has just been heard again.
    """
    patience, mood = PATIENCE, "calm"
    for at in range(1, len(conversation), 2):
        step = _step(latent, conversation[:at], conversation[at].content)
        before, patience = patience, min(PATIENCE, patience + step)
        if patience <= 0:
            return "leaving"
        calm = "thawed" if step > 0 and before <= IRRITATED else "calm"
        mood = "angry" if patience <= ANGRY else "irritated" if patience <= IRRITATED and step <= 0 else calm
    return mood  # type: ignore[return-value]


def _step(latent: Latent, before: Sequence[Message], reply: str) -> float:
    """What a reply does to the user's patience."""
    known = read_known(latent, before)
    seen = weigh(known, reply)
    if seen.n_false or seen.offences:
        return -HURT
    if not seen.on_topic:
        return -ASTRAY
    suits = sum(suits - (not suits) for _, suits, shown in seen.fits if shown)
    if seen.used or suits > 0:
        return HEARD
    could = any(map(known.matters, known.facts)) or known.traits
    return -IGNORED if could else 0.0


@lru_cache(maxsize=1)
def _farewells() -> frozenset[str]:
    return frozenset(phrases("moody", "leaving"))


def has_walked_out(text: str) -> bool:
    """Whether a message is that of a user of the world who leaves because it was not listened to."""
    return text in _farewells()
