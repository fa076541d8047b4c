"""Statistics of grown trees that need no ground truth, and warnings derived from them.

Each detects one fault: a user that repeats itself, answers as the assistant or tells all at once, an inducer that
invents, a judge that prefers a position or can't be read, replies that win by length, refuse or have no end. Counts
only: memory does not grow with the trees.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from aloe.dialogue.ledger import share
from aloe.dialogue.user import speaks_as_user
from aloe.prompts.faults import is_refusal
from aloe.types import Label, Node

if TYPE_CHECKING:
    from aloe.dialogue.tree_builder import GrownTree

MIN_COUNT = 30  # below it a share says little, and nothing is warned of
MOST_WORDS = {"user": 100, "reply": 250}  # of a message that anybody would call one


class TreeStatistics:
    """Adds up tree by tree."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def add(self, grown: GrownTree) -> None:
        """Count one finished tree."""
        nodes = grown.tree.by_id
        c = self.counts
        said: dict[str, frozenset[str]] = {}
        for node in grown.tree.nodes:
            c["over_long"] += len(node.message.content.split()) > MOST_WORDS["user" if node.kind == "user" else "reply"]
            if node.kind != "user":
                c["replies"] += 1
                c["refused"] += is_refusal(node.message.content)
                c["echoed"] += node.message.content == nodes[node.parent_id or ""].message.content
                continue
            before = said[nodes[node.parent_id].parent_id or ""] if node.parent_id else frozenset()
            said[node.node_id] = before | {node.message.content}
            c["user"] += 1
            c["repeated"] += node.message.content in before
            c["unlike"] += not speaks_as_user(node.message.content)
        c["goodbyes"] += grown.n_goodbyes
        c["user_errors"] += sum(e.role == "user" for e in grown.tree.errors)
        c["unevidenced"] += grown.n_unevidenced
        for disclosure in grown.disclosures:
            c["disclosed"] += 1
            if disclosure.kind == "fact":
                c["facts"] += 1
                c["facts_first"] += nodes[disclosure.node_id].turn == 1
        c["several_turns"] += any(n.turn > 2 for n in grown.tree.nodes)
        for label in grown.labels:
            self._add_label(label, nodes)

    def _add_label(self, label: Label, nodes: Mapping[str, Node]) -> None:
        c = self.counts
        c["labels"] += 1
        c["unparsed"] += label.outcome == "unparsed"
        for judgement in label.judgements:
            if judgement.verdict in ("first", "second"):
                c["verdicts"] += 1
                c["first"] += judgement.verdict == "first"
        if len(label.judgements) == 2 and len(label.judgements[0].node_ids) == 2 and label.outcome != "unparsed":
            c["both_orders"] += 1
            c["consistent"] += label.outcome != "disagreement"
        if label.chosen is not None and label.rejected is not None:
            lengths = [len(nodes[i].message.content) for i in (label.chosen, label.rejected)]
            c["preferences"] += 1
            c["longer"] += lengths[0] > lengths[1]
            c["chosen_characters"] += lengths[0]
            c["rejected_characters"] += lengths[1]
            c["tailored"] += nodes[label.chosen].kind == "tailored"

    def figures(self) -> dict[str, float | None]:
        """All shares in [0, 1]; ``length_ratio`` is mean characters chosen over mean characters rejected."""
        c = self.counts
        return {
            "repeated_messages": share(c["repeated"], c["user"]),
            "unlike_a_user": share(c["unlike"], c["user"]),
            "facts_told_at_turn_1": share(c["facts_first"], c["facts"]),
            "unevidenced_claims": share(c["unevidenced"], c["unevidenced"] + c["disclosed"]),
            "judge_says_first": share(c["first"], c["verdicts"]),
            "judge_consistency": share(c["consistent"], c["both_orders"]),
            "judge_unparsed": share(c["unparsed"], c["labels"]),
            "tailored_preferred": share(c["tailored"], c["preferences"]),
            "chosen_longer": share(c["longer"], c["preferences"]),
            "length_ratio": share(c["chosen_characters"], c["rejected_characters"]),
            "early_ends": share(c["goodbyes"], c["user"]),
            "refused_replies": share(c["refused"], c["replies"]),
            "echoed_replies": share(c["echoed"], c["replies"]),
            "over_long": share(c["over_long"], c["user"] + c["replies"]),
        }

    def warnings(self) -> list[str]:
        """What looks wrong, one sentence each; empty where all is well or too little was grown to say."""
        c, f = self.counts, self.figures()
        found: list[str] = []

        def check(name: str, of: int, above: float, text: str) -> None:
            value = f[name]
            if value is not None and of >= MIN_COUNT and value > above:
                found.append(text.format(value))

        check("repeated_messages", c["user"], 0.1, "the user repeats itself in {:.0%} of its messages")
        check("unlike_a_user", c["user"], 0.1, "{:.0%} of the user's messages read like an assistant's")
        if c["several_turns"]:
            check(
                "facts_told_at_turn_1", c["facts"], 0.6,
                "{:.0%} of all facts are revealed in the first message (trees.release limits this)",
            )  # fmt: skip
        check(
            "unevidenced_claims", c["unevidenced"] + c["disclosed"], 0.1,
            "{:.0%} of the inducer's claims have no evidence (they were dropped)",
        )  # fmt: skip
        first = f["judge_says_first"]
        if first is not None and c["verdicts"] >= MIN_COUNT and abs(first - 0.5) > 0.2:
            found.append(
                f"the judge says 'first' in {first:.0%} of its verdicts (trees.orders = 2 drops what depends on it)"
            )
        consistency = f["judge_consistency"]
        if consistency is not None and c["both_orders"] >= MIN_COUNT and consistency < 0.7:
            found.append(f"only {consistency:.0%} of the judge's verdicts are the same in both orders")
        check("refused_replies", c["replies"], 0.1, "{:.0%} of the replies decline what the user asks")
        check("echoed_replies", c["replies"], 0.1, "{:.0%} of the replies say the user's words back")
        longest = f"(over {MOST_WORDS['user']} words of the user, {MOST_WORDS['reply']} of a reply)"
        check("over_long", c["user"] + c["replies"], 0.1, f"{{:.0%}} of all messages have no end {longest}")
        check("judge_unparsed", c["labels"], 0.05, "{:.0%} of the judge's answers can't be read")
        return found


__all__ = ["TreeStatistics"]
