"""What a reader sees first: one paired difference in a sentence, three figures of one model, what was run in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aloe.bench.compare import Scored, compare_pair
from aloe.report.data import TRAINED, BenchModel, RunData, family, interval, number
from aloe.report.explorer import clip
from aloe.report.figures import shown
from aloe.report.measured import late_mean, scored
from aloe.report.sections import NAME, roles_table, with_interval
from aloe.training.methods import BASE, METHODS


@dataclass(frozen=True, slots=True)
class Verdict:
    """The sentence on a difference, and whether its interval holds zero."""

    sentence: str
    holds_zero: bool


def leading(models: Sequence[BenchModel]) -> BenchModel | None:
    """The model that the page is about: the last trained one, else the best that is no control, else the best."""
    measured = [m for m in models if number(m.result.get("avg")) is not None]
    order = [method.name for method in METHODS]
    trained = [m for m in measured if family(m.name) in order]
    if trained:
        return max(trained, key=lambda m: order.index(family(m.name)))
    candidates = [m for m in measured if not m.is_control] or measured
    return max(candidates, key=lambda m: number(m.result.get("avg")) or 0.0, default=None)


def opponent(name: str, others: Sequence[str]) -> str | None:
    """What the leading model is held against: what it was trained from at first, else generic replies, else any."""
    wanted = (BASE, "generic", *(n for n in others if family(n) in TRAINED), *others)
    return next((n for n in wanted if n in others and n != name), None)


def verdict(models: Sequence[BenchModel]) -> Verdict | None:
    """The paired difference in AVG between the leading model and its opponent, in a sentence."""
    lead = leading(models)
    known = {m.name: table for m in models if (table := scored(m)) is not None}
    other = opponent(lead.name, list(known)) if lead is not None else None
    if lead is None or lead.name not in known or other is None:
        return None
    return told(known[lead.name], known[other])


def told(first: Scored, second: Scored) -> Verdict | None:
    """The paired difference in AVG of two models in a sentence; None where they share nothing."""
    pair = compare_pair(first, second)
    found, same = pair.avg, pair.n_personas
    if found is None:
        return None
    value, bounds = with_interval(found.value, (found.low, found.high))
    sign = "+" if found.value > 0 else ""
    holds_zero = found.low <= 0 <= found.high
    names = f"{clip(first.name, NAME)} against {clip(second.name, NAME)}"
    what = f"{names}, on the same {same} personas: {sign}{value} {bounds} points of AVG"
    if holds_zero:
        return Verdict(f"{what}. The interval holds zero: no difference was shown.", True)
    better = "better" if found.value > 0 else "less well"
    return Verdict(f"{what}. Its replies suit their users {better}, beyond what chance explains.", False)


def leading_figures(models: Sequence[BenchModel]) -> list[tuple[str, str, str]]:
    """AVG, late mean and gain of the leading model: (name, value, interval)."""
    lead = leading(models)
    if lead is None:
        return []
    late, late_bounds = late_mean(lead.result)
    rows: list[tuple[str, float | None, Any]] = [
        ("AVG", number(lead.result.get("avg")), lead.result.get("avg_ci")),
        ("late mean", late, late_bounds),
        ("gain", number(lead.result.get("gain")), lead.result.get("gain_ci")),
    ]
    name = clip(lead.name, NAME)
    return [
        (f"{what}, {name}", *with_interval(value, interval(bounds)))
        for what, value, bounds in rows
        if value is not None
    ]


def in_words(run: RunData) -> str:
    """What was run, without addresses: models, people, turns, who played user and judge."""
    models = [m for m in run.bench if m.points]
    said = []
    if models:
        people = max(int(number(m.result.get("n_personas")) or 0) for m in models)
        turns = max(len(m.points) for m in models)
        each = "One model" if len(models) == 1 else f"{len(models)} models"
        whom = f"the same {people:,} people" if len(models) > 1 else f"{people:,} people"
        said.append(f"{each} talked with {whom} for {turns} {'turn' if turns == 1 else 'turns'}.")
    played = _played(dict(roles_table(run)))
    said += [played] if played else []
    seed = number(run.manifest.get("seed", run.config.get("seed")))
    recipe = clip(run.manifest.get("recipe"), NAME)
    if recipe:
        said.append(f"Recipe {recipe}{f', seed {shown(seed, 0)}' if seed is not None else ''}.")
    return " ".join(said)


def _played(roles: Mapping[str, Sequence[str]]) -> str:
    named = {role: " and ".join(dict.fromkeys(map(_plainly, uris))) for role, uris in roles.items() if uris}
    user, judge = named.get("user"), named.get("judge")
    if not user and not judge:
        return ""
    if user == judge:
        return f"Users were played and replies judged by {user}."
    parts = [f"users were played by {user}"] if user else []
    parts += [f"replies were judged by {judge}"] if judge else []
    text = ", ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def _plainly(uri: str) -> str:
    """A model's name without scheme, place and options."""
    scheme, _, name = uri.partition(":")
    if scheme == "world":
        return "the simulated world"
    return name.partition("?")[0].rstrip("/").rpartition("/")[2] or uri
