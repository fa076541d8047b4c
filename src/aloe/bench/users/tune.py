"""Which setting of a user simulator is least told from people: chosen on one half of the people, measured on the other.

Settings are compared by the AUC of ``realism``, and where that is the same (1 for all, say) by the held-out loss of the
classifier: the higher it is, the less sure the classifier. Before and after are then measured on people and personas
that had no part in the choice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aloe.bench.users.realism import UserComparison, compare_users, held_out_fit
from aloe.bench.users.talks import UserTalk
from aloe.errors import DataError
from aloe.seeding import derive_rng

#: Settings of the world's user that are tried where none are named: manners of typing, alone and with dialects.
WORLD_TRIES = (
    "typing=0.5",
    "typing=1",
    "dialect=terse,learner,indirect",
    "dialect=terse,learner,indirect&typing=0.5",
    "dialect=plain,terse:2,learner,indirect&typing=0.75",
    "dialect=plain,terse:2,learner,indirect&typing=1",
    "wording=wide&dialect=plain,terse:2,learner:2,indirect:2&typing=1",
)
Hold = Callable[[str, Sequence[UserTalk], int], list[UserTalk]]


@dataclass(frozen=True, slots=True)
class Tried:
    """A setting on the first half: AUC, and held-out loss of the classifier in nats (higher: less sure)."""

    name: str
    auc: float
    loss: float


@dataclass(frozen=True, slots=True)
class TunedUser:
    """What was tried, and the usual setting against the best one on the other half.

    Attributes:
        best: the setting that was chosen; the usual one where nothing is better.
    """

    tried: tuple[Tried, ...]
    best: str
    before: UserComparison
    after: UserComparison

    @property
    def gain_low(self) -> float:
        """By how much the intervals are apart; negative where they overlap."""
        return self.before.auc.low - self.after.auc.high

    def as_dict(self) -> dict[str, Any]:
        return {
            "tried": [{"setting": one.name, "auc": one.auc, "loss": one.loss} for one in self.tried],
            "best": self.best,
            "before": self.before.as_dict(),
            "after": self.after.as_dict(),
            "gain_low": self.gain_low,
        }


def tune_user(people: Sequence[UserTalk], usual: str, settings: Sequence[str], hold: Hold, seed: int = 0) -> TunedUser:
    """Try ``usual`` and ``settings`` on one half of ``people``, measure the best of them on the other.

    Args:
        hold: holds the conversations of a setting, as many and as long as those of the people that it is given, with
            personas drawn from the number that it is given.

    Raises:
        DataError: nothing to try, or too few conversations in a half.
    """
    names = list(dict.fromkeys((usual, *settings)))
    if len(names) < 2:
        raise DataError("there is no setting to try", "name some: --try URI, or --prompts DIR")
    order = derive_rng(seed, "users", "tune").permutation(len(people)).tolist()
    first, second = ([people[at] for at in sorted(order[start::2])] for start in (0, 1))
    tried = []
    for name in names:
        auc, loss = held_out_fit(*_sides(first, hold(name, first, seed)), seed)
        tried.append(Tried(name, auc, loss))
    best = min(tried, key=lambda one: (one.auc, -one.loss)).name
    before, after = (
        compare_users(*_sides(second, hold(name, second, seed + 1)), seed) for name in (usual, best)
    )  # personas that were not in the choice
    return TunedUser(tuple(tried), best, before, after)


def _sides(people: Sequence[UserTalk], talks: Sequence[UserTalk]) -> tuple[list[Any], list[Any]]:
    return [t.messages for t in people], [t.messages for t in talks]
