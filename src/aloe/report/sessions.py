"""Figures of conversations with several sessions, and of personas that change on the way, where there are any.

What each means: ``bench/session_figures.py`` and ``bench/change_figures.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aloe.report.charts import Figure, by_position, estimates_figure, line_figure
from aloe.report.data import BenchModel, Row, interval, number
from aloe.report.figures import ForestRow, LineChart

STALE = (
    "Of the uses of a fact or manner that has changed, the share that uses what no longer holds. An oracle that never "
    "updates has 1, one that always does has 0."
)
CONTRADICTS = (
    "Share of replies that speak of another fact than the one that the user has told, or of one that it has said is "
    "over, or that differ from what the model itself said before."
)
LATE = "Replies from a change to the first one that uses what is new, 1 for the very next; over changes that were used."


def time_figures(models: Sequence[BenchModel], styles: Mapping[str, int]) -> list[Figure]:
    """What sessions and changes show, in the order of the page; empty for results without either."""
    found = [
        _forest(models, styles, "boundary", "Loss at the boundary of a session", "AL before minus AL after", BOUNDARY),
        _lines(models, styles, "al", "al-session", "AL by session", "session", "AL"),
        _lines(models, styles, "fact_use_by_session_lag", "recall-session", "Recall by sessions since revealed",
               "sessions since revealed", "recall"),
        _truth_forest(models, styles, "contradiction_rate", "Contradictions", "share of replies", CONTRADICTS),
        _truth_forest(models, styles, "stale_use", "Use of what no longer holds", "share of uses", STALE),
        _truth_forest(models, styles, "turns_to_update", "Turns until a change is used", "turns", LATE),
    ]  # fmt: skip
    return [figure for figure in found if figure is not None]


BOUNDARY = (
    "Mean score of the last three turns of a session minus that of the first three of the next. Models without memory "
    "see nothing of earlier sessions; what they lose is what they had learnt."
)


def _row(name: str, value: float, bounds: object, styles: Mapping[str, int]) -> ForestRow:
    low, high = interval(bounds) or (None, None)
    return ForestRow(name, value, low, high, styles.get(name, 0))


def _forest(
    models: Sequence[BenchModel], styles: Mapping[str, int], figure_id: str, title: str, x_label: str, note: str
) -> Figure | None:
    rows = []
    for model in models:
        own = _sessions(model)
        if (value := number(own.get("boundary_loss"))) is not None:
            rows.append(_row(model.name, value, own.get("boundary_loss_ci"), styles))
    return estimates_figure(figure_id, title, x_label, rows, note) if rows else None


def _truth_forest(
    models: Sequence[BenchModel], styles: Mapping[str, int], key: str, title: str, x_label: str, note: str
) -> Figure | None:
    rows = []
    for model in models:
        truth, bounds = model.result.get("truth"), model.result.get("truth_ci")
        value = number(truth.get(key)) if isinstance(truth, dict) else None
        if value is not None:
            rows.append(_row(model.name, value, bounds.get(key) if isinstance(bounds, dict) else None, styles))
    return estimates_figure(key.replace("_", "-"), title, x_label, rows, note) if rows else None


def _sessions(model: BenchModel) -> Row:
    found = model.result.get("sessions")
    return found if isinstance(found, dict) else {}


def _lines(
    models: Sequence[BenchModel], styles: Mapping[str, int], key: str, figure_id: str, title: str, x: str, y: str
) -> Figure | None:
    series = by_position(models, "sessions", styles, key)
    if not series:
        return None
    first = 1.0 if key == "al" else 0.0
    places = tuple(first + n for n in range(len(series[0].y)))
    limits = None if key == "al" else (0.0, 1.0)
    return line_figure(LineChart(figure_id, title, places, series, x, y, limits or (), limits=limits))
