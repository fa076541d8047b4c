"""Figures for personal gain, identification, the parts of the score and the other scope, where measured.

Axes follow the scale of the scores (1 to 5, 1 to 100, 0 or 1). What each figure means: ``bench/gain.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aloe.report.charts import Figure, by_position, estimates_figure, line_figure, score_axis
from aloe.report.data import BenchModel, Row, interval, number, text
from aloe.report.explorer import clip
from aloe.report.figures import ForestRow, LineChart, Series
from aloe.report.sessions import time_figures

READERS = {
    "judge": ("the judge", "the reply of that turn scored higher for the true persona than for a swapped one"),
    "replies": (
        "the replies alone",
        "what the replies say up to that turn fits the true persona better than another one",
    ),
    "conversation": (
        "the whole conversation",
        "what all messages say up to that turn fits the true persona better than another one",
    ),
}
PARTS = {
    "style": "Style: does the manner suit this user?",
    "content": "Content: does it use what was revealed, and nothing false?",
    "natural": "Natural: on topic, human, concise?",
}
WORLD_NATURAL = (
    "The simulated world's judge checks only the form: sentences with a verb, no lists of keywords, no insults or "
    "dangers from its word list, no markup, a suitable length. It can't tell whether a correct sentence makes sense."
)
SCOPES = {"persona": "whole persona", "revealed": "revealed only"}


def extra_groups(models: Sequence[BenchModel], styles: Mapping[str, int]) -> list[tuple[str, list[Figure]]]:
    """The figures of the further judgements under their headings, in the order of the page."""
    groups = [
        ("Personal gain", gain_figures(models, styles)),
        ("Identification: whose conversation is it?", identification_figures(models, styles)),
        ("Parts of the score", part_figures(models, styles)),
        ("Whole persona or revealed only", scope_figures(models, styles)),
        ("Sessions and changes", time_figures(models, styles)),
    ]
    return [(name, figures) for name, figures in groups if figures]


def gain_figures(models: Sequence[BenchModel], styles: Mapping[str, int]) -> list[Figure]:
    """Personal gain of every model with its interval, and by turn."""
    rows = []
    for model in models:
        if (value := number(model.result.get("gain"))) is not None:
            rows.append(_estimate(model.name, value, model.result.get("gain_ci"), styles))
    figures = []
    if rows:
        figures.append(
            estimates_figure(
                "gain",
                "Personal gain",
                "AL for the true persona minus AL for another one",
                rows,
                "Every reply is judged a second time, as if its user were another persona. The difference is what is "
                "personal about the replies: replies that suit everybody equally gain nothing.",
            )
        )
    if series := by_position(models, "gain_by_turn", styles):
        chart = LineChart("gain-turns", "Personal gain by turn", _turns(series), series, "turn k", "gain", (0.0,))
        figures.append(
            line_figure(chart, "In the scope “revealed”, only what the user has revealed by that turn can raise it.")
        )
    return figures


def identification_figures(models: Sequence[BenchModel], styles: Mapping[str, int]) -> list[Figure]:
    """AUC by turn of each reader that the results hold."""
    figures = []
    for place, key in enumerate(_keys(models, "identification", READERS)):
        series = by_position(models, "identification", styles, key)
        if not series:
            continue
        name, how = READERS.get(key, (clip(key, 60), "the true persona is ranked higher"))
        chart = LineChart(
            f"identify-{key if key in READERS else place}", f"Identified by {name}", _turns(series), series, "turn k",
            "AUC", (0.0, 1.0),
        )  # fmt: skip
        note = f"How often {how} (ties count half). 0.5 is chance; at 1 every user is told apart from the others."
        figures.append(line_figure(chart, note))
    return figures


def part_figures(models: Sequence[BenchModel], styles: Mapping[str, int]) -> list[Figure]:
    """Mean of each part of the score by turn."""
    figures = []
    label, limits = score_axis(models)
    label = "share of replies with a yes (0 to 1)" if limits == (0.0, 1.0) else label
    for place, key in enumerate(_keys(models, "parts", PARTS)):
        if series := by_position(models, "parts", styles, key):
            title = PARTS.get(key, clip(key, 60))
            name = f"part-{key if key in PARTS else place}"
            chart = LineChart(name, title, _turns(series), series, "turn k", label, limits or ())
            by_world = any(str(m.result.get("judge_model")).startswith("world:") for m in models)
            figures.append(line_figure(chart, WORLD_NATURAL if key == "natural" and by_world else ""))
    return figures


def scope_figures(models: Sequence[BenchModel], styles: Mapping[str, int]) -> list[Figure]:
    """AL by turn in the other scope, and what a model earns by hitting on things that were never said."""
    other = {m.name: found for m in models if isinstance(found := m.result.get("other_scope"), dict)}
    if not other:
        return []
    figures = []
    scopes = {text(found.get("scope")) for found in other.values()}
    title = f"The same replies, judged by {_scope(scopes.pop()) if len(scopes) == 1 else 'the other scope'}"
    points = {name: _points(found) for name, found in other.items()}
    turns = sorted({k for by_turn in points.values() for k in by_turn})
    series = []
    for name, by_turn in points.items():
        al, low, high = (
            tuple(number(by_turn.get(k, {}).get(key)) for k in turns) for key in ("al", "ci_low", "ci_high")
        )
        if any(v is not None for v in al):
            series.append(Series(name, al, low, high, styles.get(name, 0)))
    if series:
        label, limits = score_axis(models)
        chart = LineChart("scope", title, tuple(turns), tuple(series), "turn k", f"AL(k): {label}", limits=limits)
        figures.append(line_figure(chart, "Bands are 95% intervals."))
    rows = [
        _estimate(name, value, found.get("mind_reading_ci"), styles)
        for name, found in other.items()
        if (value := number(found.get("mind_reading"))) is not None
    ]
    if rows:
        figures.append(
            estimates_figure(
                "mind-reading",
                "Mind-reading",
                "AVG by the whole persona minus AVG by what was revealed",
                rows,
                "What a model earns with facts that the user has not revealed.",
            )
        )
    return figures


def scope_table(
    models: Sequence[BenchModel],
) -> list[tuple[str, list[tuple[float | None, tuple[float, float] | None]]]]:
    """AVG and IR of each model in both scopes: (model, [AVG persona, AVG revealed, IR persona, IR revealed])."""
    rows = []
    for model in models:
        other = model.result.get("other_scope")
        if not isinstance(other, dict):
            continue
        by_scope = {text(model.result.get("scope")): model.result, text(other.get("scope")): other}
        cells = []
        for key in ("avg", "ir"):
            for scope in SCOPES:
                found: Row = by_scope.get(scope, {})
                cells.append((number(found.get(key)), interval(found.get(f"{key}_ci"))))
        rows.append((model.name, cells))
    return rows


def _estimate(name: str, value: float, bounds: object, styles: Mapping[str, int]) -> ForestRow:
    low, high = interval(bounds) or (None, None)
    return ForestRow(name, value, low, high, styles.get(name, 0))


def _points(found: Row) -> dict[float, Row]:
    rows = found.get("points")
    listed = rows if isinstance(rows, list) else []
    return {k: p for p in listed if isinstance(p, dict) and (k := number(p.get("k"))) is not None}


def _keys(models: Sequence[BenchModel], field: str, known: Mapping[str, object]) -> list[str]:
    """Names under which results hold lists, the known ones first."""
    held = {str(key) for m in models if isinstance(found := m.result.get(field), dict) for key in found}
    return [key for key in known if key in held] + sorted(held - set(known))


def _scope(name: str) -> str:
    return {"persona": "the whole persona", "revealed": "what was revealed only"}.get(name, "the other scope")


def _turns(series: Sequence[Series]) -> tuple[float, ...]:
    return tuple(float(k + 1) for k in range(len(series[0].y)))
