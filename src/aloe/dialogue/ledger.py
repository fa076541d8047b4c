"""What was really disclosed, against what the inducer said: exact where the world gives the ground truth.

Figures (all shares in [0, 1], None where there is nothing to count):
precision and recall of the inducer over facts and traits, recall for stated and implied facts apart, leak at
turn 1 (share of a persona's facts given away in its first message), facts per user message, the share of labels
whose chosen reply the world's own truth also prefers, and the share of sibling replies after which the user's
next message differs.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache

from aloe.dialogue.tree_builder import GrownTree
from aloe.types import Message, Node, Persona
from aloe.world.truth import Latent, Shown, assess_reply, read_persona, read_user_message


@lru_cache(maxsize=4096)
def _latent(profile: str, personality: str) -> Latent:
    return read_persona(profile, personality)


class Ledger:
    """Adds up tree by tree; holds counts only."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def add(self, persona: Persona, grown: GrownTree) -> None:
        latent = _latent(persona.profile, persona.personality)
        nodes = {n.node_id: n for n in grown.tree.nodes}
        shown: dict[str, dict[str, Shown]] = {}
        for node in grown.tree.nodes:
            if node.kind != "user":
                continue
            found = {s.item.clause: s for s in read_user_message(node.message.content, latent)}
            before = self._inherited(node, nodes, shown)
            new = {clause: s for clause, s in found.items() if clause not in before}
            shown[node.node_id] = {**before, **new}
            facts = sum(s.item.kind == "fact" for s in new.values())
            self.counts["user_messages"] += 1
            self.counts["facts_given"] += facts
            if node.turn == 1:
                self.counts["leak"] += facts
                self.counts["leak_of"] += len(latent.facts)
        if grown.disclosures:
            self._add_inducer(grown, nodes, shown)
        self._add_labels(grown, nodes, latent)
        self._add_branches(grown)

    @staticmethod
    def _inherited(node: Node, nodes: dict[str, Node], shown: dict[str, dict[str, Shown]]) -> dict[str, Shown]:
        if node.parent_id is None:
            return {}
        return shown[nodes[node.parent_id].parent_id or ""]

    def _add_inducer(self, grown: GrownTree, nodes: dict[str, Node], shown: dict[str, dict[str, Shown]]) -> None:
        claimed: dict[str, set[str]] = {}
        for disclosure in grown.disclosures:
            claimed.setdefault(disclosure.node_id, set()).add(disclosure.item)
        on_path: dict[str, set[str]] = {}
        for node in grown.tree.nodes:
            if node.kind != "user":
                continue
            before = on_path[nodes[node.parent_id].parent_id or ""] if node.parent_id else set()
            on_path[node.node_id] = before | claimed.get(node.node_id, set())
            for item in claimed.get(node.node_id, ()):
                self.counts["claims"] += 1
                self.counts["claims_true"] += item in shown[node.node_id]
        parents = {n.parent_id for n in grown.tree.nodes}
        for node in grown.tree.nodes:  # recall over what is known at the end of each path
            if node.kind != "user" or any(
                child in parents for child in (n.node_id for n in grown.tree.nodes if n.parent_id == node.node_id)
            ):
                continue
            for clause, s in shown[node.node_id].items():
                self.counts[f"true_{s.item.kind}_{s.status}"] += 1
                self.counts[f"found_{s.item.kind}_{s.status}"] += clause in on_path[node.node_id]

    def _add_labels(self, grown: GrownTree, nodes: dict[str, Node], latent: Latent) -> None:
        for label in grown.labels:
            if label.chosen is None or label.rejected is None:
                continue
            conversation = path_messages(nodes, nodes[label.chosen].parent_id)
            good, bad = (
                assess_reply(latent, conversation, nodes[i].message.content) for i in (label.chosen, label.rejected)
            )
            if good == bad:
                continue
            values = [
                t.n_used + t.n_style_match - t.n_style_mismatch - 2 * t.n_false + 3 * t.on_topic for t in (good, bad)
            ]
            if values[0] != values[1]:
                self.counts["labels_checked"] += 1
                self.counts["labels_agree"] += values[0] > values[1]

    def _add_branches(self, grown: GrownTree) -> None:
        next_text = {n.parent_id: n.message.content for n in grown.tree.nodes if n.kind == "user"}
        for label in grown.labels:
            texts = [next_text[i] for i in label.node_ids if i in next_text]
            if len(texts) > 1:
                self.counts["forks"] += 1
                self.counts["forks_differ"] += len(set(texts)) > 1

    def figures(self) -> dict[str, float | None]:
        """The figures named above; see the module's docstring."""
        c = self.counts

        def share(part: int, whole: int) -> float | None:
            return round(part / whole, 4) if whole else None

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
            "label_agreement": share(c["labels_agree"], c["labels_checked"]),
            "branches_differ": share(c["forks_differ"], c["forks"]),
        }


def path_messages(nodes: dict[str, Node], node_id: str | None) -> list[Message]:
    """The messages from the root down to ``node_id``, inclusive."""
    path: list[Message] = []
    while node_id is not None:
        node = nodes[node_id]
        path.append(node.message)
        node_id = node.parent_id
    return path[::-1]
