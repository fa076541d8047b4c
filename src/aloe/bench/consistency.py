"""Contradiction rates of conversations with several sessions or with changes, exact for personas of the world.

Shares of the replies, pooled over conversations (``world/consistency.py`` says what contradicts what):
``contradiction_rate`` of those that contradict the user or the model itself, ``contradicts_user`` and
``contradicts_itself`` of each kind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from aloe.bench.ground_truth import has_ground_truth
from aloe.stats import Clusters, ratio_interval
from aloe.types import Message, Persona
from aloe.world.consistency import find_contradictions
from aloe.world.timeline import latent_of

RATES = ("contradiction_rate", "contradicts_user", "contradicts_itself")


class ConsistencyFigures:
    """Adds up conversation by conversation."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[str]] = {}

    def add(self, persona: Persona, messages: Sequence[Message]) -> None:
        """One conversation; ``messages``: user first, alternating."""
        if not has_ground_truth(latent_of(persona)):
            return
        texts = [message.content for message in messages]
        counts = self._counts.setdefault(persona.persona_id, Counter())
        for found in find_contradictions(texts[::2], texts[1::2]):
            counts["replies"] += 1
            counts["contradicts_user"] += found.user
            counts["contradicts_itself"] += found.itself
            counts["contradiction_rate"] += found.user or found.itself

    def figures(self) -> dict[str, float | None]:
        """The rates; none at all where nothing could be read."""
        whole = sum(counts["replies"] for counts in self._counts.values())
        if not whole:
            return {}
        return {name: sum(counts[name] for counts in self._counts.values()) / whole for name in RATES}

    def intervals(self, groups: Mapping[str, tuple[str, str]]) -> dict[str, tuple[float, float]]:
        """95% intervals over personas that share groups.

        Args:
            groups: profile and personality of each persona that was added, by its id.
        """
        if not self._counts:
            return {}
        people, counts = list(self._counts), list(self._counts.values())
        clusters = Clusters([groups[p][0] for p in people], [groups[p][1] for p in people])
        found: dict[str, tuple[float, float]] = {}
        for name in RATES:
            estimate = ratio_interval([c[name] for c in counts], [c["replies"] for c in counts], clusters)
            if estimate is not None:
                found[name] = (estimate.low, estimate.high)
        return found
