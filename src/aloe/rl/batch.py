"""From the replies of an iteration to what the policy is trained on: rows of tokens with advantages and weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from aloe.config import RLConfig
from aloe.rl.rollout import DrawnReply, Siblings
from aloe.seeding import derive_rng
from aloe.training.data import TokenRows
from aloe.training.reinforce.advantages import sibling_advantages
from aloe.training.reinforce.policy import Drawn


@dataclass(slots=True)
class Batch:
    """An iteration's replies that have siblings.

    Attributes:
        members: for each of ``drawn`` the groups of its rows: first row and the siblings' credit.
    """

    drawn: list[Drawn] = field(default_factory=list)
    members: list[list[tuple[int, list[float | None]]]] = field(default_factory=list)
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
    """Rows of the replies that have siblings; weights make a conversation's turns count equally, reached or not.

    A turn's weight is one over the turns that a conversation may have, so that a conversation that ends early counts
    for less, as its turns do in the objective. Of ``return``, the turns not drawn as forks are made up for.
    """
    batch, by_talk = Batch(), dict[int, tuple[Drawn, list[tuple[int, list[float | None]]]]]()
    drawn_share = section.forks / n_turns if section.credit == "return" else 1.0
    for group in groups:
        batch.replies += group.replies
        credit = [reply.value for reply in group.replies]
        if section.shuffle:
            order = derive_rng(seed, "rl", "shuffle", group.state.node_id).permutation(len(credit))
            credit = [credit[i] for i in order]
        usable = [v is not None and bool(r.draw.ids) for v, r in zip(credit, group.replies, strict=True)]
        if sum(usable) < 2:
            continue
        number = group.talk.number
        if number not in by_talk:
            by_talk[number] = Drawn(number, TokenRows(str(number))), []
        drawn, members = by_talk[number]
        kept = [reply for reply, ok in zip(group.replies, usable, strict=True) if ok]
        members.append((len(drawn.rows.rows), [v for v, ok in zip(credit, usable, strict=True) if ok]))
        drawn.rows.add(([*group.prompt, *reply.draw.ids], len(group.prompt)) for reply in kept)
        drawn.weights += [1 / (len(kept) * n_turns * min(1.0, drawn_share))] * len(kept)
    for drawn, members in by_talk.values():
        batch.drawn.append(drawn)
        batch.members.append(members)
    return batch


def settle_advantages(batch: Batch, section: RLConfig) -> None:
    """Advantages of all rows from their credit; a KL penalty in the reward is taken off first (after ``measure``)."""
    charge = section.kl if section.kl_in == "reward" else 0.0
    for drawn, members in zip(batch.drawn, batch.members, strict=True):
        drawn.advantages = []
        for first, credit in members:
            costs = (
                [charge * p for p in drawn.penalties[first : first + len(credit)]] if charge else [0.0] * len(credit)
            )
            net = [None if v is None else v - cost for v, cost in zip(credit, costs, strict=True)]
            drawn.advantages += [0.0 if a is None else a for a in sibling_advantages(net, section.estimator)]
