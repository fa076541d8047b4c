"""What a transfer between users shows: scores by (trained on, tested on), the diagonal against the rest, the mixture.

The headline is the diagonal minus the off-diagonal: on each user, the model that was trained on it against the mean of
those that were not, paired by persona, so that easy and hard users do not matter.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aloe.dialogue.panel import MEMBER
from aloe.stats import Clusters, Estimate, Floats, mean_interval
from aloe.store.records import read_jsonl
from aloe.types import BenchScore, Persona

MIXTURE = "mixture"
Scores = Mapping[tuple[str, str], Floats]  # (trained on, tested on) -> (persona, judge)


@dataclass(frozen=True, slots=True)
class TransferPlan:
    """What is trained and tested.

    Attributes:
        users: dialects (``plain`` among them). judges: URIs that score; labels are made by the recipe's own judge.
        checkpoint: which of a run's is tested, ``sft`` or ``dpo``. n_personas: of the benchmark.
        with_mixture: whether a model is trained on all users as well.
        shared_base: all start from one base model, which has read the words of every user: what is left between them
            is what they learned to do, not which words they know. Otherwise each has a base model of its own user's.
    """

    users: tuple[str, ...]
    judges: tuple[str, ...]
    checkpoint: str = "sft"
    n_personas: int = 40
    with_mixture: bool = True
    shared_base: bool = False

    @property
    def trained(self) -> tuple[str, ...]:
        return (*self.users, MIXTURE) if self.with_mixture else self.users


@dataclass(frozen=True, slots=True)
class TransferFigures:
    """What a matrix says.

    Attributes:
        diagonal_minus_off: paired by persona, over all users and judges. by_judge: the same under each judge.
        closes: the share of it that the mixture closes; None without a mixture, or where there is nothing to close.
        costs: what the mixture loses on the diagonal.
    """

    diagonal_minus_off: Estimate
    by_judge: Mapping[str, Estimate]
    closes: float | None
    costs: Estimate | None


def read_members(folder: Path, personas: Sequence[Persona], n_judges: int) -> Floats:
    """The mean score of each persona's replies under each judge, shape (persona, judge); NaN where nothing is scored.

    Where the user had walked out, all judges give the lowest score.
    """
    rows: dict[str, list[list[float]]] = defaultdict(lambda: [[] for _ in range(n_judges)])
    for row in read_jsonl(folder / "scores.jsonl", BenchScore):
        for at in range(n_judges):
            value = row.parts.get(MEMBER.format(at + 1), row.score if n_judges == 1 or not row.parts else None)
            if value is not None:
                rows[row.persona_id][at].append(value)
    return np.array(
        [[np.mean(values) if values else np.nan for values in rows[p.persona_id]] for p in personas], dtype=float
    )


def measure_transfer(scores: Scores, plan: TransferPlan, clusters: Clusters) -> TransferFigures:
    """Diagonal minus off-diagonal and what the mixture does, from the scores of every cell."""

    def off(tested: str) -> Floats:
        others = [scores[trained, tested] for trained in plan.users if trained != tested]
        return np.asarray(np.mean(others, axis=0), dtype=float)

    gaps = np.mean([scores[name, name] - off(name) for name in plan.users], axis=0)  # (persona, judge)
    closes, costs = None, None
    if plan.with_mixture:
        gained = np.mean([scores[MIXTURE, name] - off(name) for name in plan.users], axis=0)
        whole = float(np.nanmean(gaps))
        closes = float(np.nanmean(gained)) / whole if whole > 0 else None
        lost = np.mean([scores[name, name] - scores[MIXTURE, name] for name in plan.users], axis=0)
        costs = _estimate(lost.mean(axis=1), clusters)
    by_judge = {judge: _estimate(gaps[:, at], clusters) for at, judge in enumerate(plan.judges)}
    return TransferFigures(_estimate(gaps.mean(axis=1), clusters), by_judge, closes, costs)


def _estimate(values: Floats, clusters: Clusters) -> Estimate:
    found = mean_interval(values, clusters)
    return found if found is not None else Estimate(float("nan"), float("nan"), float("nan"))


def cells_of(
    scores: Scores, plan: TransferPlan, judge: int, clusters: Clusters
) -> dict[tuple[str, str], tuple[float, float, float]]:
    found = {}
    for place, values in scores.items():
        one = _estimate(values[:, judge], clusters)
        found[place] = (one.value, one.low, one.high)
    return found


def as_json(figures: TransferFigures, scores: Scores, plan: TransferPlan, clusters: Clusters) -> dict[str, Any]:
    """The figures and the matrix of every judge as plain values."""

    def plain(one: Estimate) -> list[float]:
        return [round(value, 6) for value in (one.value, one.low, one.high)]

    return {
        "users": list(plan.users),
        "judges": list(plan.judges),
        "checkpoint": plan.checkpoint,
        "diagonal_minus_off": plain(figures.diagonal_minus_off),
        "by_judge": {judge: plain(one) for judge, one in figures.by_judge.items()},
        "mixture_closes": figures.closes,
        "mixture_costs": plain(figures.costs) if figures.costs is not None else None,
        "matrix": {
            judge: {f"{a} -> {b}": list(cell) for (a, b), cell in cells_of(scores, plan, at, clusters).items()}
            for at, judge in enumerate(plan.judges)
        },
    }


def summary(figures: TransferFigures) -> list[str]:
    """What a matrix says, in sentences."""
    d = figures.diagonal_minus_off
    lines = [f"Diagonal minus off-diagonal: {d.value:+.3f} [{d.low:+.3f}, {d.high:+.3f}]."]
    if figures.costs is not None:
        share = "nothing to close" if figures.closes is None else f"closes {figures.closes:.0%} of it"
        c = figures.costs
        lines.append(f"The mixture: {share}; costs {c.value:+.3f} [{c.low:+.3f}, {c.high:+.3f}] on the diagonal.")
    return lines
