"""Compares what users really disclosed with what the inducer claimed, where ground truth exists.

All shares lie in [0, 1] and are None where there is nothing to count. ``figures`` names, in this order: precision and
recall of the inducer (recall over what is known at the end of each path; stated and implied facts apart), leak at
turn 1 (share of a persona's facts that its first message reveals), facts per user message, the share of facts that
were only implied, contradictions (user messages that say something of themselves which the persona denies, per
message), the share of labels whose chosen reply the ground truth also prefers, and the share of forks after which the
user's next messages differ. ``by_turn`` holds coverage (share of the persona's facts known by turn k) and the facts
that a message of turn k adds. Only counts are kept: memory does not grow with the trees.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from aloe.types import Node, Persona, Status
from aloe.world.latent import Item, in_context
from aloe.world.lexicon.options import narrow
from aloe.world.lexicon.schema import Topic
from aloe.world.reading import read_message
from aloe.world.timeline import latent_of
from aloe.world.truth import Known, Latent, read_user_message, weigh

if TYPE_CHECKING:
    from aloe.dialogue.tree_builder import GrownTree


@lru_cache(maxsize=1)
def _topics() -> Mapping[str, Topic]:
    return narrow().by_topic


@dataclass(frozen=True, slots=True)
class _Heard:
    """What the path down to a user message has revealed."""

    turn: int
    facts: dict[Item, tuple[int, Status]]
    traits: dict[Item, Status]
    topic: str | None
    claimed: frozenset[str]  # what the inducer says so far

    def known(self, latent: Latent) -> Known:
        slots = _topics()[self.topic].slots if self.topic else None
        latent = in_context(latent, self.topic) if latent.history is not None else latent
        traits = {item.name: item.value for item in self.traits}
        return Known(latent, self.turn, self.facts, traits, self.topic, slots)


class Ledger:
    """Adds up tree by tree."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.turns: Counter[tuple[str, int]] = Counter()

    def add(self, persona: Persona, grown: GrownTree) -> None:
        """Count one finished tree of ``persona``."""
        tree = grown.tree
        claimed: dict[str, set[str]] = {}
        for disclosure in grown.disclosures:
            claimed.setdefault(disclosure.node_id, set()).add(disclosure.item)
        heard: dict[str, _Heard] = {}
        goes_on: set[str | None] = set()
        for node in grown.tree.nodes:
            if node.kind == "user":
                before = None
                if node.parent_id is not None:
                    above = grown.tree.by_id[node.parent_id].parent_id
                    goes_on.add(above)
                    before = heard[above or ""]
                heard[node.node_id] = self._hear(
                    node, before, latent_of(tree.persona_at(persona, node.turn)), claimed.get(node.node_id, frozenset())
                )
        if grown.disclosures:
            for node_id, state in heard.items():
                if node_id not in goes_on:
                    self._count_recall(state)
        self._add_labels(grown, heard, persona)
        self._add_forks(grown)

    def _hear(self, node: Node, before: _Heard | None, latent: Latent, claimed: frozenset[str] | set[str]) -> _Heard:
        """The state after a user message; counts what is new."""
        facts = dict(before.facts) if before else {}
        traits = dict(before.traits) if before else {}
        if latent.history is not None:
            facts = {item: seen for item, seen in facts.items() if item in latent.facts}
            traits = {item: seen for item, seen in traits.items() if item in (*latent.traits, *latent.turning.values())}
        n_new = 0
        for shown in read_user_message(node.message.content, latent):
            if shown.item.kind == "fact":
                if shown.item not in facts:
                    facts[shown.item] = (node.turn, shown.status)
                    n_new += 1
            else:
                traits.setdefault(shown.item, shown.status)
        reading = read_message(node.message.content)
        c = self.counts
        c["user_messages"] += 1
        c["facts_given"] += n_new
        c["contradictions"] += any(
            all((p.name, p.value) not in latent.by_value for p in mention.payloads)
            and any(p.name in latent.by_slot for p in mention.payloads)
            for mention in reading.mentions
        )
        if node.turn == 1:
            c["leak"] += n_new
            c["leak_of"] += len(latent.facts)
        turn = self.turns
        turn["messages", node.turn] += 1
        turn["facts", node.turn] += n_new
        turn["known", node.turn] += len(facts)
        turn["all", node.turn] += len(latent.facts)
        if claimed:
            true = {item.clause for item in (*facts, *traits)}
            c["claims"] += len(claimed)
            c["claims_true"] += len(true & claimed)
        so_far = before.claimed if before else frozenset()
        return _Heard(node.turn, facts, traits, reading.topic, so_far | claimed if claimed else so_far)

    def _count_recall(self, state: _Heard) -> None:
        c = self.counts
        for item, (_, status) in state.facts.items():
            c[f"true_fact_{status}"] += 1
            c[f"found_fact_{status}"] += item.clause in state.claimed
        for item, status in state.traits.items():
            c[f"true_trait_{status}"] += 1
            c[f"found_trait_{status}"] += item.clause in state.claimed

    def _add_labels(self, grown: GrownTree, heard: dict[str, _Heard], persona: Persona) -> None:
        nodes = grown.tree.by_id
        for label in grown.labels:
            if label.chosen is None or label.rejected is None:
                continue
            chosen, rejected = nodes[label.chosen], nodes[label.rejected]
            known = heard[chosen.parent_id or ""].known(latent_of(grown.tree.persona_at(persona, chosen.turn)))
            good, bad = (_worth(known, n.message.content) for n in (chosen, rejected))
            if good != bad:
                self.counts["labels_checked"] += 1
                self.counts["labels_agree"] += good > bad

    def _add_forks(self, grown: GrownTree) -> None:
        for label in grown.labels:
            texts = [n.message.content for i in label.node_ids for n in grown.tree.children(i)]
            if len(texts) > 1:
                self.counts["forks"] += 1
                self.counts["forks_differ"] += len(set(texts)) > 1

    def figures(self) -> dict[str, float | None]:
        """The figures named above; see the module's docstring."""
        c = self.counts
        found = sum(n for key, n in c.items() if key.startswith("found_"))
        true = sum(n for key, n in c.items() if key.startswith("true_"))
        return {
            "inducer_precision": share(c["claims_true"], c["claims"]),
            "inducer_recall": share(found, true),
            "inducer_recall_stated": share(c["found_fact_stated"], c["true_fact_stated"]),
            "inducer_recall_implied": share(c["found_fact_implied"], c["true_fact_implied"]),
            "leak_turn_1": share(c["leak"], c["leak_of"]),
            "facts_per_message": share(c["facts_given"], c["user_messages"]),
            "implied_share": share(c["true_fact_implied"], c["true_fact_implied"] + c["true_fact_stated"]),
            "contradictions": share(c["contradictions"], c["user_messages"]),
            "label_agreement": share(c["labels_agree"], c["labels_checked"]),
            "branches_differ": share(c["forks_differ"], c["forks"]),
        }

    def by_turn(self) -> dict[str, list[float | None]]:
        """Coverage and new facts by turn, position k - 1 for turn k."""
        t = self.turns
        last = max((turn for name, turn in t if name == "messages"), default=0)
        return {
            "coverage": [share(t["known", k], t["all", k]) for k in range(1, last + 1)],
            "facts": [share(t["facts", k], t["messages", k]) for k in range(1, last + 1)],
        }


def _worth(known: Known, reply: str) -> int:
    """A coarse ground-truth order of replies: facts used and manner that suits, against what is false or off topic."""
    seen = weigh(known, reply)
    shown = [suits for _, suits, was_shown in seen.fits if was_shown]
    return min(3, len(seen.used)) + 2 * sum(shown) - len(shown) - 2 * seen.n_false + 3 * seen.on_topic


def share(part: int, whole: int) -> float | None:
    """``part / whole``, rounded; None of nothing."""
    return round(part / whole, 4) if whole else None
