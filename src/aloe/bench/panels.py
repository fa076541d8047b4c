"""How far the judges of a panel agree on the same replies, and whether one favours models of its own family.

Read from what each member gave (``parts`` of ``scores.jsonl``); nothing is asked. Intervals: bootstrap over personas
for agreement, over personas with their groups for self-preference.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aloe.bench.check import Answers
from aloe.bench.families import family_of
from aloe.dialogue.panel import MEMBER
from aloe.errors import DataError
from aloe.seeding import derive_rng
from aloe.stats import Clusters, Estimate, Floats, mean_interval
from aloe.stats.agreement import alpha_of, alpha_parts, quadratic_kappa
from aloe.store.records import read_jsonl
from aloe.store.rundir import read_result
from aloe.types import BenchScore

N_BOOTSTRAP = 500
Ids = Sequence[str]


@dataclass(frozen=True, slots=True)
class PanelScores:
    """What every member gave to the replies of one model; NaN = nothing.

    Attributes:
        judges: URIs, in their order. ratings: shape (reply, judge). replies: persona, sample and turn of each row.
        groups: profile and personality of each persona.
    """

    name: str
    uri: str
    judges: tuple[str, ...]
    ratings: Floats
    replies: tuple[tuple[str, int, int], ...]
    groups: Mapping[str, tuple[str, str]]

    @property
    def personas(self) -> tuple[str, ...]:
        return tuple(persona for persona, _, _ in self.replies)


@dataclass(frozen=True, slots=True)
class RaterAgreement:
    """How far raters agree beyond chance: alpha of all, kappa of each two; None where it is undefined."""

    n_items: int
    alpha: Estimate | None
    kappas: Mapping[tuple[int, int], Estimate | None]


@dataclass(frozen=True, slots=True)
class SelfPreference:
    """How much more than the other judges one gives to models of its family, compared with what it gives to the rest.

    Attributes:
        points: on the judges' scale; above 0: its own are favoured.
    """

    judge: str
    family: str
    own: tuple[str, ...]
    points: Estimate


def read_panel(folder: Path, name: str) -> PanelScores:
    """The members' scores of a ``bench/MODEL`` folder.

    Raises:
        DataError: it was not scored by a panel, or a file is damaged.
    """
    rows = list(read_jsonl(folder / "scores.jsonl", BenchScore))
    n = max((_n_members(row.parts) for row in rows), default=0)
    if n < 2:
        raise DataError(
            f"{folder} was not scored by several judges side by side",
            "benchmark with several --judge and --bench.panel mean (or majority)",
        )
    result = read_result(folder / "result.json")
    named = result.judge_model.split(", ") if result is not None else []
    judges = tuple(named) if len(named) == n else tuple(MEMBER.format(at + 1) for at in range(n))
    kept = [row for row in rows if _n_members(row.parts)]
    ratings = [[row.parts.get(MEMBER.format(at + 1), np.nan) for at in range(n)] for row in kept]
    return PanelScores(
        name=name,
        uri=result.uri if result is not None else "",
        judges=judges,
        ratings=np.array(ratings, dtype=float).reshape(len(kept), n),
        replies=tuple((row.persona_id, row.sample, row.turn) for row in kept),
        groups={row.persona_id: (row.profile_id, row.personality_id) for row in kept},
    )


def _n_members(parts: Mapping[str, float]) -> int:
    return next((at for at in itertools.count() if MEMBER.format(at + 1) not in parts), 0)


def agreement(
    ratings: Floats, units: Ids, *, of_categories: bool = False, with_kappas: bool = True, seed: int = 0
) -> RaterAgreement:
    """How far raters agree, with 95% intervals from a bootstrap over ``units`` (persona or item of each row).

    Args:
        ratings: shape (item, rater), NaN = none. of_categories: verdicts as numbers; distance means nothing then.
            with_kappas: of each two raters; many raters have many couples.
    """
    names = list(dict.fromkeys(units))
    place = {name: at for at, name in enumerate(names)}
    codes = np.array([place[unit] for unit in units], dtype=int)
    rng = derive_rng(seed, "panel", "bootstrap")
    draws = rng.integers(0, len(names), size=(N_BOOTSTRAP, len(names))) if names else np.zeros((0, 0), dtype=int)
    counts = np.array([np.bincount(draw, minlength=len(names)) for draw in draws], dtype=float)
    parts = alpha_parts(ratings, of_categories)
    summed = np.zeros((len(names), parts.shape[1]))
    np.add.at(summed, codes, parts)
    alpha = _with_interval(alpha_of(summed.sum(axis=0)), [alpha_of(weights @ summed) for weights in counts])
    kappas = {
        (a, b): _kappa(ratings[:, a], ratings[:, b], codes, counts, of_categories)
        for a, b in itertools.combinations(range(ratings.shape[1] if with_kappas else 0), 2)
    }
    return RaterAgreement(int(np.sum(np.isfinite(ratings).sum(axis=1) >= 2)), alpha, kappas)


def _kappa(first: Floats, second: Floats, codes: Floats, counts: Floats, of_categories: bool) -> Estimate | None:
    known = np.isfinite(first) & np.isfinite(second)
    a, b, unit = first[known], second[known], np.asarray(codes)[known]
    if not a.size:
        return None
    measure: Callable[[Floats], float | None]
    if of_categories:
        one, other = (np.equal.outer(side, np.unique([*a, *b])).astype(float) for side in (a, b))

        def measure(weights: Floats) -> float | None:
            w = weights / weights.sum()
            chance = float((w @ one) @ (w @ other))
            return (float(w @ (a == b)) - chance) / (1 - chance) if chance < 1 - 1e-12 else None

        value = measure(np.ones(len(a)))
    else:

        def measure(weights: Floats) -> float | None:
            w = weights / weights.sum()
            mean_a, mean_b = w @ a, w @ b
            expected = float(w @ (a - mean_a) ** 2 + w @ (b - mean_b) ** 2 + (mean_a - mean_b) ** 2)
            return 1 - float(w @ (a - b) ** 2) / expected if expected > 1e-12 else None

        value = quadratic_kappa(a, b)
    rows = [draw[unit] for draw in counts]
    return _with_interval(value, [measure(row) if row.sum() else None for row in rows])


def _with_interval(value: float | None, draws: Sequence[float | None]) -> Estimate | None:
    if value is None:
        return None
    known = [draw for draw in draws if draw is not None]
    low, high = np.quantile(known, [0.025, 0.975]) if known else (np.nan, np.nan)
    return Estimate(value, float(low), float(high))


def agreement_of_panel(models: Sequence[PanelScores], seed: int = 0) -> RaterAgreement:
    """How far the judges agree on all replies of ``models``, which the same judges have scored; by persona.

    Raises:
        DataError: they were scored by different panels.
    """
    if len({model.judges for model in models}) > 1:
        raise DataError("the models were scored by different panels", "give results of one panel at a time")
    units = [persona for model in models for persona in model.personas]
    return agreement(np.concatenate([model.ratings for model in models]), units, seed=seed)


def check_agreement(judges: Sequence[Sequence[Answers]]) -> dict[str, RaterAgreement]:
    """How far judges agree on items of ``bench.check``: their verdicts (both orders), and their scores.

    Args:
        judges: for each judge its answers, in the order of the same items. An unread answer is no rating.
    """
    codes = {"good": 0.0, "bad": 1.0, "tie": 2.0, None: np.nan}
    verdicts = [[codes[v] for a in one for v in (a.forward, a.backward)] for one in judges]
    scores = [[np.nan if v is None else v for a in one for v in (a.score_good, a.score_bad)] for one in judges]
    units = [str(number) for number in range(len(judges[0])) for _ in range(2)]
    return {
        "verdicts": agreement(np.array(verdicts, dtype=float).T, units, of_categories=True),
        "scores": agreement(np.array(scores, dtype=float).T, units),
    }


def self_preferences(models: Sequence[PanelScores]) -> list[SelfPreference]:
    """For every judge that shares a family with some of the models, and not with all: how much it favours them.

    Per persona: (its score minus the mean of the other judges') on the replies of its own family, minus the same on
    the others' replies; so what is simply better or worse, and a judge that is strict with everybody, cancels out.
    """
    found = []
    for at, judge in enumerate(models[0].judges if models else ()):
        family = family_of(judge)
        own = [model for model in models if family is not None and family_of(model.uri) == family]
        rest = [model for model in models if model not in own]
        if family is None or not own or not rest:
            continue
        leanings = [{name: _leaning(model, at) for name, model in ((m.name, m) for m in side)} for side in (own, rest)]
        shared = [
            p for p in dict.fromkeys(own[0].personas) if all(p in one for side in leanings for one in side.values())
        ]
        values = [
            float(np.mean([one[p] for one in leanings[0].values()]) - np.mean([one[p] for one in leanings[1].values()]))
            for p in shared
        ]
        groups = [own[0].groups[p] for p in shared]
        if shared and (points := mean_interval(values, Clusters([a for a, _ in groups], [b for _, b in groups]))):
            found.append(SelfPreference(judge, family, tuple(model.name for model in own), points))
    return found


def _leaning(model: PanelScores, judge: int) -> dict[str, float]:
    """By persona: the judge's score minus the mean of the other judges', over the replies that all have scored."""
    others = np.delete(model.ratings, judge, axis=1).mean(axis=1)
    gaps = model.ratings[:, judge] - others
    personas = np.array(model.personas)
    return {
        p: float(np.mean(gaps[rows]))
        for p in dict.fromkeys(model.personas)
        if (rows := (personas == p) & np.isfinite(gaps)).any()
    }
