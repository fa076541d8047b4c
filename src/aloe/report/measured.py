"""Makes the models of a page comparable: the same replies for each, current intervals, guarded IR.

Figures of a result are kept if nothing is unscored and newer rules make no difference; otherwise they are computed
again from the score rows, as for the table on the screen.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from aloe.bench.compare import Scored, SideBySide, side_by_side
from aloe.bench.metrics import RULES, result_figures
from aloe.bench.unpaired import openings_of
from aloe.errors import DataError
from aloe.report.data import BenchModel, Row, is_logged, number, text
from aloe.stats import Estimate

MAX_TURNS, MAX_SAMPLES = 1000, 100


@dataclass(frozen=True, slots=True)
class Measured:
    """Guarded IR by model (None where there is no floor) and lines to show below the table."""

    guarded: dict[str, Estimate | None]
    notes: tuple[str, ...]


def measure_anew(models: Sequence[BenchModel]) -> Measured:
    """Bring the models' results to one measure, in place."""
    known = [table for model in models if (table := scored(model)) is not None]
    beside = side_by_side(known)
    before = {table.name: table for table in known}
    after = {table.name: table for table in beside.models}
    notes = [f"{note[:1].upper()}{note[1:]}." for note in beside.notes]
    older = [m.name for m in models if m.result and is_older(m.result)]
    if older:
        notes.append(f"Measured with an earlier version, which left empty replies unscored: {', '.join(older)}.")
    for model in models:
        if model.name in before and (is_older(model.result) or after[model.name] is not before[model.name]):
            model.result.update(_figures(model.result, beside, model.name))
        thin = [f"{p['k']:g}" for p in model.points if p.get("in_figures") is False and number(p.get("n_scored"))]
        if thin:
            notes.append(
                f"{model.name}: too few conversations were scored at turn {', '.join(thin)}; left out of figures."
            )
    return Measured(beside.guarded, tuple(notes))


def is_older(result: Row) -> bool:
    """Whether a result was made by older rules than today's."""
    return (number(result.get("rules")) or 1) < RULES


def late_mean(result: Row) -> tuple[float | None, object]:
    """Mean of the last three turns with its bounds; older results say it where a third of the turns is three."""
    points = result.get("points")
    if "late_mean" not in result and isinstance(points, list) and len(points) // 3 == 3:
        return number(result.get("late")), result.get("late_ci")
    return number(result.get("late_mean")), result.get("late_mean_ci")


def _figures(result: Row, beside: SideBySide, name: str) -> Row:
    found = result_figures(beside.measured[name])
    del found["rules"]
    kept = {key: result[key] for key in ("n_ir_ci", "n_r2_ci") if result.get(key) is not None}
    counts = {p.get("k"): p for p in result.get("points") or () if isinstance(p, dict)}
    points = [point.model_dump(mode="json") for point in beside.measured[name].points]
    for point in points:  # what was unscored for this model itself
        own = counts.get(point["k"], {})
        point.update({key: own[key] for key in ("n_scored", "n_unscored") if key in own})
    return found | kept | {"points": points}


def scored(model: BenchModel) -> Scored | None:
    """The scores of a model as far as they can be read; None where there are none."""
    rows = []
    for row in model.scores:
        persona_id, turn, score = text(row.get("persona_id")), number(row.get("turn")), number(row.get("score"))
        sample = int(number(row.get("sample")) or 0)
        if persona_id and turn is not None and 1 <= turn <= MAX_TURNS and 0 <= sample < MAX_SAMPLES:
            rows.append((persona_id, sample, int(turn), score, row))
    if all(score is None for *_, score, _ in rows):
        return None
    places = {persona_id: i for i, persona_id in enumerate(sorted({row[0] for row in rows}))}
    shape = (len(places), 1 + max(row[1] for row in rows), max(row[2] for row in rows))
    scores = np.full(shape, np.nan)
    groups: dict[str, tuple[str, str]] = {}
    for persona_id, sample, turn, score, row in rows:
        if score is not None:
            scores[places[persona_id], sample, turn - 1] = score
        groups[persona_id] = (
            text(row.get("profile_id")) or persona_id,
            text(row.get("personality_id")) or persona_id,
        )
    found = Scored(model.name, model.folder, tuple(places), groups, scores, None)
    if is_logged(model):
        with contextlib.suppress(DataError):
            found = replace(found, openings=openings_of(model.folder))
    return found
