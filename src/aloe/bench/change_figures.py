"""Ground-truth figures of conversations in which the persona changes: does a model notice, and how soon?

Only where personas have a timeline and are in the world's language (``ground_truth`` has what is exact there). All but
the last are shares in [0, 1], pooled over replies and changes:

- ``stale_use``: of the uses of what a change ended or brought, those of what it ended: 0 for who always updates, 1 for
  who never does. ``stale_replies``: of the replies after a change, those that use anything stale.
- ``fresh_use``: of the replies in which what a change brought could be used, those that use it.
- ``changes_used``: of the changes that brought something, those whose new part any later reply uses.
- ``turns_to_update``: replies from such a change to the first that uses its new part, 1 for the very next; a mean over
  the changes that were used at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from aloe.bench.ground_truth import has_ground_truth
from aloe.stats import Clusters, mean_interval, ratio_interval
from aloe.types import Message, Persona
from aloe.world.staleness import use_of_changes
from aloe.world.timeline import latent_of
from aloe.world.truth import read_known

_SHARES: dict[str, tuple[str, tuple[str, ...]]] = {
    "stale_use": ("stale", ("stale", "fresh")),
    "stale_replies": ("stale_replies", ("replies",)),
    "fresh_use": ("taken", ("chances",)),
    "changes_used": ("noticed", ("brought",)),
}


class ChangeFigures:
    """Adds up conversation by conversation; nothing is counted of personas that don't change."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[str]] = {}
        self._delays: dict[str, list[int]] = {}

    def add(self, persona: Persona, messages: Sequence[Message]) -> None:
        """One conversation; ``messages``: user first, alternating."""
        if not persona.timeline or not has_ground_truth(latent_of(persona)):
            return
        counts = self._counts.setdefault(persona.persona_id, Counter())
        waiting: dict[tuple[str, str], int] = {}  # what a change brought -> since which turn
        seen: set[tuple[str, str]] = set()
        for turn in range(1, len(messages) // 2 + 1):
            known = read_known(latent_of(persona.as_of(turn)), messages[: 2 * turn - 1])
            uses = use_of_changes(known, messages[2 * turn - 1].content)
            counts["replies"] += bool(uses)
            counts["stale_replies"] += any(use.stale for use in uses)
            for use in uses:
                counts["stale"] += use.stale
                counts["fresh"] += use.fresh
                counts["chances"] += use.matters
                counts["taken"] += use.matters and use.fresh
                if use.step.now is None:
                    continue
                what = (use.step.now.name, use.step.now.value)
                if what not in seen:
                    seen.add(what)
                    waiting[what] = turn
                    counts["brought"] += 1
                if use.fresh and what in waiting:
                    counts["noticed"] += 1
                    self._delays.setdefault(persona.persona_id, []).append(turn - waiting.pop(what) + 1)

    def shares(self, name: str) -> dict[str, tuple[int, int]]:
        """Part and whole of one of the shares, by persona."""
        part, wholes = _SHARES[name]
        return {persona: (own[part], sum(own[key] for key in wholes)) for persona, own in self._counts.items()}

    def figures(self) -> dict[str, float | None]:
        """The figures named in the module's docstring; none at all where nothing changed."""
        if not self._counts:
            return {}
        total: Counter[str] = Counter()
        for counts in self._counts.values():
            total.update(counts)
        found: dict[str, float | None] = {}
        for name, (part, wholes) in _SHARES.items():
            whole = sum(total[key] for key in wholes)
            found[name] = total[part] / whole if whole else None
        delays = [delay for own in self._delays.values() for delay in own]
        return found | {"turns_to_update": sum(delays) / len(delays) if delays else None}

    def intervals(self, groups: Mapping[str, tuple[str, str]]) -> dict[str, tuple[float, float]]:
        """95% intervals over personas that share groups, where something could be counted.

        Args:
            groups: profile and personality of each persona that was added, by its id.
        """
        found: dict[str, tuple[float, float]] = {}
        if not self._counts:
            return found
        clusters = _clusters(list(self._counts), groups)
        for name, (part, wholes) in _SHARES.items():
            whole = [sum(counts[key] for key in wholes) for counts in self._counts.values()]
            parts = [counts[part] for counts in self._counts.values()]
            estimate = ratio_interval(parts, whole, clusters)
            if estimate is not None:
                found[name] = (estimate.low, estimate.high)
        means = [sum(own) / len(own) for own in self._delays.values()]
        delay = mean_interval(means, _clusters(list(self._delays), groups)) if means else None
        return found | ({"turns_to_update": (max(1.0, delay.low), delay.high)} if delay is not None else {})


def _clusters(personas: Sequence[str], groups: Mapping[str, tuple[str, str]]) -> Clusters:
    return Clusters([groups[p][0] for p in personas], [groups[p][1] for p in personas])
