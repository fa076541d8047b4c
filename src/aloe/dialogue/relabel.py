"""Labels existing trees again, by another judge or by look-ahead, and measures how far labelers agree.

Trees are never touched: labels are added to ``labels.jsonl`` beside them, one labeler's at a time.

Look-ahead: the value of a reply is the mean judged alignment of what grew below it. Each later turn of the branch
counts once (the mean over the scored replies of that turn), whatever its width, and the reply's own score is left out:
what is measured is where the reply leads. Two siblings are compared over the turns that both reach, since alignment
grows with the turns and the longer branch would win by its length.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Literal

from aloe.dialogue.judge import Candidate, compare, label_from_scores, score_all
from aloe.dialogue.ledger import share
from aloe.dialogue.state import PathState
from aloe.errors import DataError, EndpointError
from aloe.models.caller import Caller
from aloe.stats import cohen_kappa
from aloe.store.records import read_jsonl, write_jsonl
from aloe.types import ConversationTree, Label, Node, Persona


@dataclass(frozen=True, slots=True)
class Judging:
    """How a judge labels: by comparison (in one or both orders) or by scores; what it rewards; under which name."""

    labeler: str
    label: Literal["compare", "score"] = "compare"
    orders: int = 1
    scope: str = "persona"
    min_margin: float = 0.0
    seed: int = 0


def forks(tree: ConversationTree) -> list[tuple[Node, tuple[Node, ...]]]:
    """(user message, its replies) wherever there are at least two, parents first."""
    users = (n for n in tree.nodes if n.message.role == "user")
    return [(n, replies) for n in users if len(replies := tree.children(n.node_id)) > 1]


def state_at(tree: ConversationTree, node_id: str) -> PathState:
    """The conversation down to a user message, as the judge sees it."""
    state = PathState(node_id=tree.tree_id)
    for node in tree.path_to(node_id):
        add = state.with_user if node.message.role == "user" else state.with_reply
        state = add(node.node_id, node.message.content)
    return state


async def judge_trees(
    caller: Caller,
    trees: Sequence[ConversationTree],
    personas: Mapping[str, Persona],
    judging: Judging,
    concurrency: int = 64,
    progress: Callable[[int], None] | None = None,
) -> tuple[list[Label], int]:
    """Labels for all siblings of all trees, in their order, and the number of failed calls.

    Raises:
        DataError: a tree's persona is not among ``personas``.
    """
    gate = asyncio.Semaphore(concurrency)
    done = 0

    async def work(tree: ConversationTree) -> tuple[list[Label], int]:
        nonlocal done
        persona = personas.get(tree.persona_id)
        if persona is None:
            raise DataError(f"tree {tree.tree_id}: unknown persona {tree.persona_id}", "run 'aloe validate'")
        async with gate:
            labels: list[Label] = []
            n_failed = 0
            for user, replies in forks(tree):
                try:
                    labels.append(await _judge(caller, tree, persona, user, replies, judging))
                except EndpointError:
                    n_failed += 1
        done += 1
        if progress is not None:
            progress(done)
        return labels, n_failed

    found = await asyncio.gather(*map(work, trees))
    return [label for labels, _ in found for label in labels], sum(n for _, n in found)


async def _judge(
    caller: Caller,
    tree: ConversationTree,
    persona: Persona,
    user: Node,
    replies: Sequence[Node],
    judging: Judging,
) -> Label:
    state = state_at(tree, user.node_id)
    persona = tree.persona_at(persona, user.turn)
    candidates = [Candidate(n.node_id, n.message.content) for n in replies]
    if judging.label == "compare" and len(candidates) == 2:
        return await compare(
            caller, persona, state, (candidates[0], candidates[1]), tree_id=tree.tree_id, seed=judging.seed,
            orders=judging.orders, scope=judging.scope, labeler=judging.labeler,
        )  # fmt: skip
    judgements = await score_all(caller, persona, state, candidates, judging.scope)
    return label_from_scores(tree.tree_id, candidates, judgements, judging.labeler, judging.min_margin)


def reply_scores(labels: Iterable[Label]) -> dict[str, float]:
    """The judged score of each reply that has one."""
    return {
        j.node_ids[0]: j.score
        for label in labels
        for j in label.judgements
        if len(j.node_ids) == 1 and j.score is not None
    }


def look_ahead_turns(tree: ConversationTree, scores: Mapping[str, float]) -> dict[str, dict[int, float]]:
    """For every reply, the mean score of each later turn that has scored replies below it."""
    below: dict[str, dict[int, list[float]]] = {}
    for node in tree.nodes:
        score = scores.get(node.node_id)
        if score is None:
            continue
        for above in tree.path_to(node.parent_id):
            below.setdefault(above.node_id, {}).setdefault(node.turn, []).append(score)
    return {
        node.node_id: {turn: sum(s) / len(s) for turn, s in below.get(node.node_id, {}).items()}
        for node in tree.nodes
        if node.message.role == "assistant"
    }


def look_ahead_margin(first: Mapping[int, float], second: Mapping[int, float]) -> float | None:
    """Later scores after one reply minus those after its sibling, over the turns that both reach; None if none.

    Args:
        first, second: mean scores by turn, of ``look_ahead_turns``.
    """
    turns = first.keys() & second.keys()
    return round(sum(first[t] - second[t] for t in sorted(turns)) / len(turns), 6) if turns else None


def look_ahead_labels(
    tree: ConversationTree, scores: Mapping[str, float], labeler: str, min_margin: float = 0.0
) -> list[Label]:
    """The two siblings of each fork that lie furthest apart; no difference, or less than ``min_margin``, is a tie."""
    turns = look_ahead_turns(tree, scores)
    labels: list[Label] = []
    for _, replies in forks(tree):
        ids = [n.node_id for n in replies]
        margins = {
            (one, two): margin
            for one, two in permutations(ids, 2)
            if (margin := look_ahead_margin(turns[one], turns[two])) is not None
        }
        if not margins:
            continue
        best, worst = max(margins, key=lambda pair: (margins[pair], pair))
        margin = margins[best, worst]
        preferred = margin > 0 and margin >= min_margin
        labels.append(
            Label(
                tree_id=tree.tree_id,
                node_ids=tuple(i for i in ids if any(i in pair for pair in margins)),
                chosen=best if preferred else None,
                rejected=worst if preferred else None,
                margin=margin if preferred else None,
                labeler=labeler,
                outcome="preferred" if preferred else "tie",
            )
        )
    return labels


def merge_labels(path: Path, new: Sequence[Label], labeler: str) -> int:
    """Put one labeler's labels into a file in place of its older ones; returns the number of all labels.

    The order is by tree, within a tree by labeler in order of first appearance.
    """
    old = [label for label in read_jsonl(path, Label) if label.labeler != labeler] if path.is_file() else []
    names = {name: i for i, name in enumerate(dict.fromkeys(label.labeler for label in (*old, *new)))}
    merged = sorted([*old, *new], key=lambda x: (x.tree_id, names[x.labeler]))
    return write_jsonl(path, merged)


def keep_other_labels(folder: Path, own: str) -> list[Label]:
    """Labels in ``folder`` by others than ``own``, to be put back after the trees were grown again."""
    path = folder / "labels.jsonl"
    return [x for x in read_jsonl(path, Label) if x.labeler != own] if path.is_file() else []


def restore_labels(folder: Path, kept: Sequence[Label]) -> int:
    """Put back those of ``kept`` whose replies still exist; returns how many."""
    nodes = {n.node_id for tree in read_jsonl(folder / "trees.jsonl", ConversationTree) for n in tree.nodes}
    alive = [label for label in kept if nodes.issuperset(label.node_ids)]
    for labeler in dict.fromkeys(label.labeler for label in alive):
        merge_labels(folder / "labels.jsonl", [x for x in alive if x.labeler == labeler], labeler)
    return len(alive)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How two labelers compare on the sibling replies that both have looked at.

    ``kappa`` is Cohen's over first / second / neither; ``same`` the share of equal outcomes; ``opposite`` the share
    of those on which both have a preference and it is not the same one.
    """

    first: str
    second: str
    n: int
    same: float | None
    opposite: float | None
    kappa: float | None


def agreement(labels: Iterable[Label]) -> list[Agreement]:
    """All pairs of labelers, in order of appearance."""
    by_labeler: dict[str, dict[tuple[str, ...], str]] = {}
    for label in labels:
        ids = tuple(sorted(label.node_ids))
        by_labeler.setdefault(label.labeler, {})[ids] = label.chosen or "none"
    names = list(by_labeler)
    return [_compare(names[i], names[j], by_labeler) for i in range(len(names)) for j in range(i + 1, len(names))]


def _compare(first: str, second: str, labels: Mapping[str, Mapping[tuple[str, ...], str]]) -> Agreement:
    shared = sorted(labels[first].keys() & labels[second].keys())
    pairs = [(labels[first][ids], labels[second][ids]) for ids in shared]

    def places(which: int) -> list[str]:
        chosen = (p[which] for p in pairs)
        return [c if c == "none" else str(ids.index(c)) for c, ids in zip(chosen, shared, strict=True)]

    decided = [(a, b) for a, b in pairs if "none" not in (a, b)]
    return Agreement(
        first,
        second,
        len(pairs),
        share(sum(a == b for a, b in pairs), len(pairs)),
        share(sum(a != b for a, b in decided), len(decided)),
        cohen_kappa(places(0), places(1)) if pairs else None,
    )
