"""A two-sample test of users: can a classifier tell a simulator's conversations from people's, and by what?

A logistic regression on counted features (``features.py``), standardised, scores each conversation by a fit that has
not seen it (folds by conversation). The AUC of these scores is 0.5 where the sides cannot be told apart and 1 where
they always can. People against people, split at random, is the floor:
what the same procedure says where there is nothing to find.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from aloe.bench.users.features import FEATURES, count_features
from aloe.errors import DataError
from aloe.seeding import derive_rng
from aloe.stats import Estimate, Floats, Ints
from aloe.stats.logistic import auc, fit_logistic
from aloe.types import Message

N_FOLDS, N_REPEATS, N_BOOTSTRAP, N_SPLITS = 5, 5, 200, 50
RIDGE = 3.0
LEAST = 10  # conversations on each side, below which nothing is said
Talk = Sequence[Message]


@dataclass(frozen=True, slots=True)
class Giveaway:
    """A feature by which a classifier tells the sides apart.

    Attributes:
        auc: of the feature alone; above 0.5: the second side has more of it. weight: its standardised coefficient.
        first, second: means of the two sides.
    """

    feature: str
    auc: float
    weight: float
    first: float
    second: float


@dataclass(frozen=True, slots=True)
class UserComparison:
    """Two sides compared: the AUC with its interval, and the features in the order of how much they tell."""

    auc: Estimate
    n_first: int
    n_second: int
    features: tuple[Giveaway, ...]

    def as_dict(self) -> dict[str, object]:
        return {
            "auc": self.auc.value,
            "low": self.auc.low,
            "high": self.auc.high,
            "n": [self.n_first, self.n_second],
            "features": [asdict(f) for f in self.features],
        }


def compare_users(first: Sequence[Talk], second: Sequence[Talk], seed: int = 0) -> UserComparison:
    """How well the users of ``second`` can be told from those of ``first``; both are cut to the same number.

    Raises:
        DataError: a side has fewer than ``LEAST`` conversations.
    """
    rows, labels, n = _table(first, second, seed)
    scores = [_held_out_scores(rows, labels, seed, k) for k in range(N_REPEATS)]
    estimate = _with_interval(_auc(np.mean(scores, axis=0), labels), rows, labels, seed)
    return UserComparison(estimate, n, n, _giveaways(rows, labels))


def held_out_fit(first: Sequence[Talk], second: Sequence[Talk], seed: int = 0) -> tuple[float, float]:
    """AUC as in ``compare_users`` without its interval, and the mean held-out log loss in nats.

    The loss still tells settings apart where the AUC is 1 for all: lower is easier to tell, log 2 is chance.

    Raises:
        DataError: a side has fewer than ``LEAST`` conversations.
    """
    rows, labels, _ = _table(first, second, seed)
    scores = np.mean([_held_out_scores(rows, labels, seed, k) for k in range(N_REPEATS)], axis=0)
    signed = np.where(labels > 0, scores, -scores)
    return _auc(scores, labels), float(np.mean(np.logaddexp(0.0, -signed)))


def floor_of(people: Sequence[Talk], groups: Sequence[str], seed: int = 0) -> UserComparison:
    """People against people: halves drawn at random within each group (a task, a source), many times over.

    The mean over the draws, and the interval that holds 95% of them: what a single split could say by chance.
    Cross-validation without anything to find leans to below 0.5.

    Raises:
        DataError: a half has fewer than ``LEAST`` conversations.
    """
    drawn, n = [], 0
    for number in range(N_SPLITS):
        halves = _halves(people, groups, seed, number)
        rows, labels, n = _table(halves[0], halves[1], seed)
        drawn.append(_auc(_held_out_scores(rows, labels, seed, number), labels))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return UserComparison(Estimate(float(np.mean(drawn)), float(low), float(high)), n, n, ())


def _halves(people: Sequence[Talk], groups: Sequence[str], seed: int, number: int) -> tuple[list[Talk], list[Talk]]:
    rng = derive_rng(seed, "users", "floor", number)
    halves: tuple[list[Talk], list[Talk]] = ([], [])
    for group in dict.fromkeys(groups):
        members = [i for i, name in enumerate(groups) if name == group]
        for place, at in enumerate(rng.permutation(len(members)).tolist()):
            halves[place % 2].append(people[members[at]])
    return halves


def _table(first: Sequence[Talk], second: Sequence[Talk], seed: int) -> tuple[Floats, Floats, int]:
    """Rows of features and labels of as many conversations of either side, and that number."""
    n = min(len(first), len(second))
    if n < LEAST:
        raise DataError(
            f"only {n} conversations on one side, at least {LEAST} are needed", "give more of them, or ask for more"
        )
    rng = derive_rng(seed, "users", "sample")
    sides = [[side[i] for i in sorted(rng.permutation(len(side))[:n].tolist())] for side in (first, second)]
    rows = np.array([*count_features(sides[0], sides[1]), *count_features(sides[1], sides[0])])
    return rows, np.repeat([0.0, 1.0], n), n


def _auc(scores: Floats, labels: Floats) -> float:
    value = auc(scores, labels)
    assert value is not None
    return value


def _standardised(rows: Floats, by: Floats) -> Floats:
    spread = by.std(axis=0)
    return np.asarray(np.clip((rows - by.mean(axis=0)) / np.where(spread > 1e-9, spread, 1.0), -5, 5), dtype=float)


def _held_out_scores(rows: Floats, labels: Floats, seed: int, repeat: int, names: Ints | None = None) -> Floats:
    """The score of each conversation by a fit without it; as many of either side in each fold as can be.

    Args:
        names: which conversation each row is, where some stand in it more than once: all in one fold, then.
    """
    rng = derive_rng(seed, "users", "folds", repeat)
    names = np.arange(len(labels)) if names is None else names
    fold = np.empty(len(labels), dtype=int)
    for label in (0.0, 1.0):
        members = np.unique(names[labels == label])
        place = dict(zip(rng.permutation(members).tolist(), range(len(members)), strict=True))
        fold[labels == label] = [place[name] % N_FOLDS for name in names[labels == label].tolist()]
    scores = np.empty(len(labels))
    for k in range(N_FOLDS):
        seen = fold != k
        weights = fit_logistic(_standardised(rows[seen], rows[seen]), labels[seen], RIDGE)
        scores[~seen] = _standardised(rows[~seen], rows[seen]) @ weights[:-1] + weights[-1]
    return scores


def _with_interval(value: float, rows: Floats, labels: Floats, seed: int) -> Estimate:
    """The AUC with a 95% interval: conversations drawn anew within each side, and everything fitted to them anew.

    The spread of the draws is laid around the value: a draw holds fewer different conversations, and so tells less.
    """
    rng = derive_rng(seed, "users", "bootstrap")
    sides = [np.flatnonzero(labels == label) for label in (0.0, 1.0)]
    drawn = []
    for number in range(N_BOOTSTRAP):
        picks = np.concatenate([side[rng.integers(0, len(side), len(side))] for side in sides])
        drawn.append(_auc(_held_out_scores(rows[picks], labels[picks], seed, number, picks), labels[picks]))
    low, high = np.quantile(drawn, [0.025, 0.975]) - np.mean(drawn) + value
    return Estimate(value, float(np.clip(low, 0.0, 1.0)), float(np.clip(high, 0.0, 1.0)))


def _giveaways(rows: Floats, labels: Floats) -> tuple[Giveaway, ...]:
    weights = fit_logistic(_standardised(rows, rows), labels, RIDGE)
    found = []
    for at, name in enumerate(FEATURES):
        alone = auc(rows[:, at], labels)
        means = [float(rows[labels == label, at].mean()) for label in (0.0, 1.0)]
        found.append(Giveaway(name, 0.5 if alone is None else alone, float(weights[at]), *means))
    return tuple(sorted(found, key=lambda g: -abs(g.auc - 0.5)))
