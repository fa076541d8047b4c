"""Recall and untrue facts of benchmark conversations by kind of fact, also for kinds held out of training.

Counted as ``aloe.bench.ground_truth`` counts: a fact is due where it was revealed and matters, at most three in a
reply; it is used where the reply ties it to its advice. Only personas in the world's language are counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from aloe.bench.ground_truth import has_ground_truth
from aloe.stats import Estimate, ratio_interval
from aloe.types import ConversationTree, Persona
from aloe.world.truth import expected_facts, read_known, read_persona, read_reply, weigh


@dataclass(slots=True)
class KindCounts:
    """Of one persona and kind of fact: how often it was due and used, how often named, and named untruly."""

    due: int = 0
    used: int = 0
    named: int = 0
    untrue: int = 0


Counts = dict[str, dict[str, KindCounts]]  # persona id -> kind of fact


def count_kinds(trees: Iterable[ConversationTree], personas: Mapping[str, Persona]) -> Counts:
    """What the replies of benchmark conversations make of each kind of fact.

    Args:
        trees: conversations with one branch. personas: by id; conversations of others are left out.
    """
    counts: Counts = {}
    for tree in trees:
        persona = personas.get(tree.persona_id)
        if persona is None:
            continue
        latent = read_persona(persona.profile, persona.personality)
        if not has_ground_truth(latent):
            continue
        mine = counts.setdefault(tree.persona_id, {})
        messages = [node.message for node in tree.nodes]
        for end in range(1, len(messages), 2):
            reply = messages[end].content
            known = read_known(latent, messages[:end])
            for item, is_used in expected_facts(known, weigh(known, reply)):
                kind = mine.setdefault(item.name, KindCounts())
                kind.due += 1
                kind.used += is_used
            for group in read_reply(reply).values:
                own = [p for p in group if (p.name, p.value) in latent.by_value]
                kind = mine.setdefault((own or list(group))[0].name, KindCounts())
                kind.named += 1
                kind.untrue += not own
    return counts


def recall_of(counts: Counts, kinds: Iterable[str]) -> tuple[Estimate | None, int]:
    """Used of due facts of the given kinds with an interval over personas, and how many were due."""
    return _share(counts, kinds, "used", "due")


def untrue_of(counts: Counts, kinds: Iterable[str]) -> tuple[Estimate | None, int]:
    """Untrue of named facts of the given kinds with an interval over personas, and how many were named."""
    return _share(counts, kinds, "untrue", "named")


def _share(counts: Counts, kinds: Iterable[str], part: str, whole: str) -> tuple[Estimate | None, int]:
    wanted = set(kinds)
    parts, wholes = [], []
    for by_kind in counts.values():
        own = [c for name, c in by_kind.items() if name in wanted]
        parts.append(sum(getattr(c, part) for c in own))
        wholes.append(sum(getattr(c, whole) for c in own))
    return ratio_interval(parts, wholes), sum(wholes)
