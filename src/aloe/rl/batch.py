"""From the replies of an iteration to what the policy is trained on: rows of tokens with advantages and weights."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from aloe.config import RLConfig
from aloe.rl.rollout import DrawnReply, Siblings
from aloe.seeding import derive_rng
from aloe.training.data import TokenRows
from aloe.training.reinforce.advantages import sibling_advantages
from aloe.training.reinforce.policy import Drawn


@dataclass(frozen=True, slots=True)
class Rivals:
    """Rows that are each other's baseline: ``first`` and as many as there are credits.

    ``stands_alone``: where there is one only, it is credited in full.
    """

    first: int
    credit: list[float]
    stands_alone: bool


@dataclass(slots=True)
class Batch:
    """An iteration's replies that are trained on: for each of ``drawn`` its ``rivals``."""

    drawn: list[Drawn] = field(default_factory=list)
    rivals: list[list[Rivals]] = field(default_factory=list)
    replies: list[DrawnReply] = field(default_factory=list)

    def figures(self, names: Iterable[str]) -> dict[str, float]:
        """Sums over this process: the rewards called ``names`` by reply, squares of advantages, counts."""
        scored = [r for r in self.replies if r.reward is not None]
        found = {"n_replies": float(len(scored)), "reward": sum(r.reward for r in scored if r.reward is not None)}
        for name in names:
            found[f"reward/{name}"] = sum(r.terms[name] or 0.0 for r in scored)
        advantages = [a for d in self.drawn for a in d.advantages]
        found["advantage_squares"] = sum(a * a for a in advantages)
        found["n_credited"] = float(len(advantages))
        found["n_trained_tokens"] = float(
            sum(len(row) - at for d in self.drawn for row, at in zip(d.rows.rows, d.rows.starts, strict=True))
        )
        return found


def make_batch(groups: Sequence[Siblings], section: RLConfig, n_turns: int, seed: int) -> Batch:
    """Rows of the replies that have a baseline; a row's weight is one over the chance that its turn gets one.

    So all turns that a conversation may have count equally, reached or not: one that ends early counts for less, as its
    turns do in the objective.
    """
    found: dict[int, tuple[Drawn, list[Rivals]]] = {}
    batch = Batch(replies=[reply for group in groups for reply in group.replies])
    for rivals, stands_alone in _rivals(groups, section):
        replies = [(group, reply) for group in rivals for reply in group.replies]
        credit = [reply.value for _, reply in replies]
        if section.shuffle:
            order = derive_rng(seed, "rl", "shuffle", rivals[0].state.node_id).permutation(len(credit))
            credit = [credit[i] for i in order]
        kept = [(g, r, v) for (g, r), v in zip(replies, credit, strict=True) if v is not None and r.draw.ids]
        if len(kept) < (1 if stands_alone else 2):
            continue
        number, turn = rivals[0].talk.number, rivals[0].turn
        drawn, sets = found.setdefault(number, (Drawn(number, TokenRows(str(number))), []))
        sets.append(Rivals(len(drawn.rows.rows), [v for _, _, v in kept], stands_alone))
        drawn.rows.add(([*g.prompt, *r.draw.ids], len(g.prompt)) for g, r, _ in kept)
        drawn.sampled += [r.draw.log_probs for _, r, _ in kept]
        size = section.siblings if stands_alone else len(kept)
        drawn.weights += [1 / (size * n_turns * _chance(section, turn, n_turns))] * len(kept)
    batch.drawn, batch.rivals = [d for d, _ in found.values()], [sets for _, sets in found.values()]
    return batch


def _chance(section: RLConfig, turn: int, n_turns: int) -> float:
    """How likely replies at ``turn`` are trained on, if the conversation gets there."""
    if section.credit == "turn" or not section.forks:
        return 1.0
    return turn / n_turns if section.trains_continuations else min(1.0, section.forks / n_turns)


def _rivals(groups: Sequence[Siblings], section: RLConfig) -> Iterable[tuple[list[Siblings], bool]]:
    """Siblings; and the replies of one turn in the continuations of one fork, which share the history until there.

    Whether other continuations are still going does not depend on what a reply does: their mean is a baseline, and so
    is nothing at all where all others have ended.
    """
    cousins: dict[tuple[int, int, int], list[Siblings]] = defaultdict(list)
    for group in groups:
        if group.continues:
            cousins[group.talk.number, group.continues, group.turn].append(group)
        elif len(group.replies) > 1:
            yield [group], False
    for some in cousins.values():
        yield some, True


def settle_advantages(batch: Batch, section: RLConfig) -> None:
    """Advantages of all rows from their credit; a KL penalty in the reward is taken off first (after ``measure``)."""
    charge = section.kl if section.kl_in == "reward" else 0.0
    for drawn, sets in zip(batch.drawn, batch.rivals, strict=True):
        drawn.advantages = []
        for rivals in sets:
            n = len(rivals.credit)
            costs = [charge * p for p in drawn.penalties[rivals.first : rivals.first + n]] or [0.0] * n
            net = [v - cost for v, cost in zip(rivals.credit, costs, strict=True)]
            if n == 1:
                drawn.advantages += net
                continue
            drawn.advantages += [0.0 if a is None else a for a in sibling_advantages(net, section.estimator)]
