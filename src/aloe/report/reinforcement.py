"""Reinforcement learning in the report: every reward at each evaluation, curves by turn, replies before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aloe.report.charts import Figure, line_figure
from aloe.report.data import Row, RunData, number, text
from aloe.report.explorer import clip
from aloe.report.figures import LineChart, Series

FOLDER = "checkpoints/rl"
MOST_CURVES, MOST_SAMPLES, LONGEST = 4, 30, 600


def reward_figures(run: RunData) -> list[Figure]:
    """One chart per reward by iteration, so that one that rises while others fall is seen; and the judge's by turn."""
    rows = [r for r in run.rows(f"{FOLDER}/evaluations.jsonl") if number(r.get("step")) is not None]
    names = list(dict.fromkeys(name for row in rows for name in _rewards(row)))
    x = tuple(float(row["step"]) for row in rows)
    figures = []
    for i, name in enumerate(names):
        found = [_rewards(row).get(name, {}) for row in rows]
        mean, low, high = (tuple(number(f.get(key)) for f in found) for key in ("mean", "low", "high"))
        series = Series(name, mean, low, high, style=i)
        chart = LineChart(f"rl-{i}", f"Held-out personas: {clip(name, 40)}", x, (series,), "iteration", "")
        figures.append(line_figure(chart, compact=True))
    if curves := _curves(rows):
        figures.append(curves)
    return figures


def _rewards(row: Row) -> dict[str, Row]:
    found = row.get("rewards")
    return {str(k): dict(v) for k, v in found.items() if isinstance(v, Mapping)} if isinstance(found, Mapping) else {}


def _curves(rows: Sequence[Row]) -> Figure | None:
    """AL by turn at some evaluations, the first and the last among them."""
    known = [(row, curve) for row in rows if isinstance(curve := _rewards(row).get("judge", {}).get("curve"), list)]
    if not known:
        return None
    last = len(known) - 1
    n = min(MOST_CURVES, len(known))
    picked = [known[round(i * last / max(1, n - 1))] for i in range(n)]
    n_turns = max(len(curve) for _, curve in picked)
    series = tuple(
        Series(
            f"after {int(float(row['step']))} iterations",
            tuple(number(curve[t]) if t < len(curve) else None for t in range(n_turns)),
            style=i,
        )
        for i, (row, curve) in enumerate(picked)
    )
    x = tuple(float(t + 1) for t in range(n_turns))
    return line_figure(LineChart("rl-turns", "Judge's score by turn", x, series, "turn", ""), compact=True)


def reply_samples(run: RunData) -> list[tuple[str, str, str, str]]:
    """Conversation, turn, and what user and model said there at the first and at the last evaluation."""
    rows = [r for r in run.rows(f"{FOLDER}/samples.jsonl") if number(r.get("step")) is not None]
    steps = sorted({float(r["step"]) for r in rows})
    if len(steps) < 2:
        return []
    by_place: list[dict[tuple[object, object], Row]] = [
        {(str(r.get("conversation")), str(r.get("turn"))): r for r in rows if float(r["step"]) == step}
        for step in (steps[0], steps[-1])
    ]
    found: list[tuple[str, str, str, str]] = []
    for place, before in by_place[0].items():
        after = by_place[1].get(place)
        if after is not None and len(found) < MOST_SAMPLES:
            one, two = (clip(f"{text(r.get('user'))} → {text(r.get('reply'))}", LONGEST) for r in (before, after))
            found.append((str(place[0]), str(place[1]), one, two))
    return found
