"""The figures of the page: which curves they show, and under which title.

A ``Figure`` has its drawing for wide and narrow pages and its numbers as a table, so that they can be read, copied and
checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aloe.report.data import TRAINED, BenchModel, Row, family, interval, number, scale_of
from aloe.report.explorer import TreeStats
from aloe.report.figures import (
    N_STYLES,
    ForestRow,
    LineChart,
    Series,
    forest_plot,
    histogram,
    line_chart,
    shown,
)
from aloe.report.measured import late_mean
from aloe.stats import Estimate as Interval


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing with its numbers. ``series`` is set for line charts: names and styles for the legend."""

    figure_id: str
    title: str
    note: str
    wide: str
    narrow: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    series: tuple[Series, ...] = ()
    x: tuple[float, ...] = ()
    compact: bool = False

    def data(self) -> dict[str, Any]:
        """What the page's script needs for reading values, and for the CSV file."""
        curves = [{"name": s.name, "y": s.y, "low": s.low, "high": s.high, "style": s.style} for s in self.series]
        return {"title": self.title, "columns": self.columns, "rows": self.rows, "x": self.x, "series": curves}


def style_map(names: Iterable[str]) -> dict[str, int]:
    """One style per model, the same in every figure of the page."""
    return {name: i % N_STYLES for i, name in enumerate(names)}


def line_figure(chart: LineChart, note: str = "", compact: bool = False) -> Figure:
    """A line chart with its table: x, then each curve with its band where it has one."""
    columns = [chart.x_label]
    for s in chart.series:
        columns += [s.name, f"{s.name}, low", f"{s.name}, high"] if any(v is not None for v in s.low) else [s.name]
        columns += [f"{s.name}, smoothed"] if s.raw else []
    rows = []
    for i, x in enumerate(chart.x):
        row: list[float | None] = [x]
        for s in chart.series:
            row += [s.y[i], s.low[i], s.high[i]] if any(v is not None for v in s.low) else [*s.raw[i : i + 1], s.y[i]]
        rows.append(tuple(row))
    return Figure(
        chart.chart_id,
        chart.title,
        note,
        line_chart(chart),
        line_chart(chart, narrow=True),
        tuple(columns),
        tuple(rows),
        chart.series,
        chart.x,
        compact,
    )


def score_axis(models: Sequence[BenchModel]) -> tuple[str, tuple[float, float] | None]:
    """What an axis of mean scores is called, and the scale's ends; no ends where the models have several scales."""
    scale = scale_of(models)
    if scale is None:
        return "mean score (several scales)", None
    if scale.name == "binary":
        return "share of replies that please the user (0 to 1)", (scale.low, scale.high)
    return f"mean score from {scale.low:g} to {scale.high:g}", (scale.low, scale.high)


def al_figure(
    models: Sequence[BenchModel], styles: Mapping[str, int], figure_id: str, title: str, note: str
) -> Figure | None:
    """AL(k) of several models with 95% bands, over the union of their turns."""
    turns = sorted({float(p["k"]) for m in models for p in m.points})
    series = []
    for model in models:
        by_turn = {float(p["k"]): p for p in model.points}
        al, low, high = (
            tuple(number(by_turn.get(k, {}).get(key)) for k in turns) for key in ("al", "ci_low", "ci_high")
        )
        hollow = tuple(by_turn.get(k, {}).get("in_figures") is False for k in turns)
        if any(v is not None for v in al):
            series.append(Series(model.name, al, low, high, styles.get(model.name, 0), hollow if any(hollow) else ()))
    if not series:
        return None
    if any(s.hollow for s in series):
        note += " Hollow points: fewer than ten conversations were scored; other figures leave them out."
    label, limits = score_axis(models)
    chart = LineChart(figure_id, title, tuple(turns), tuple(series), "turn k", f"AL(k): {label}", limits=limits)
    return line_figure(chart, note)


def learning_figures(models: Sequence[BenchModel], styles: Mapping[str, int]) -> list[Figure]:
    """The paper's ten-round figure: base against SFT against DPO, where at least two of them were measured."""
    trained = [m for m in models if family(m.name) in TRAINED]
    figure = None
    if len({family(m.name) for m in trained}) > 1 and len(trained) < len(models):
        figure = al_figure(
            trained,
            styles,
            "learning",
            "What training changed",
            "User, judge and personas are the same; only the model differs.",
        )
    return [figure] if figure else []


def level_figure(models: Sequence[BenchModel], styles: Mapping[str, int]) -> Figure | None:
    """AVG and late mean of every model with their intervals."""
    rows = []
    for model in models:
        for name, value, bounds in (
            (model.name, number(model.result.get("avg")), model.result.get("avg_ci")),
            (f"{model.name}, late", *late_mean(model.result)),
        ):
            if value is not None:
                low, high = interval(bounds) or (None, None)
                rows.append(ForestRow(name, value, low, high, styles.get(model.name, 0)))
    note = "Mean of AL(k) over all turns and, late, over the last three turns: how good a model's replies are."
    return estimates_figure("levels", "AVG and late mean", "AL points", rows, note) if rows else None


def rate_figures(
    models: Sequence[BenchModel], guarded: Mapping[str, Interval | None], styles: Mapping[str, int]
) -> list[Figure]:
    """Guarded IR of every model over the generic control, and its IR."""
    safe = [ForestRow(n, e.value, e.low, e.high, styles.get(n, 0)) for n, e in guarded.items() if e is not None]
    plain = []
    for model in models:
        if "ir" in model.result:
            low, high = interval(model.result.get("ir_ci")) or (None, None)
            plain.append(ForestRow(model.name, number(model.result["ir"]), low, high, styles.get(model.name, 0)))
    figures = []
    if safe:
        note = (
            "Mean rise of AL(k) above the scores of generic replies, divided by the mean number of turns since the "
            "first; later turns weigh more. A better reply never lowers it."
        )
        figures.append(estimates_figure("guarded-ir", "Guarded improvement rate", "AL points per turn", safe, note))
    if plain:
        note = (
            "Slope of AL(k), in points per turn. A bad start raises it as much as a good end does, so read it together "
            "with AVG, the late mean and guarded IR."
        )
        figures.append(estimates_figure("ir", "Improvement rate (IR)", "AL points per turn", plain, note))
    return figures


def estimates_figure(figure_id: str, title: str, x_label: str, rows: Sequence[ForestRow], note: str = "") -> Figure:
    """A forest plot with its table."""
    return Figure(
        figure_id,
        title,
        note,
        forest_plot(rows, title, x_label),
        forest_plot(rows, title, x_label, narrow=True),
        ("", "value", "95% low", "95% high"),
        tuple((r.name, r.value, r.low, r.high) for r in rows),
    )


def by_position(
    models: Sequence[BenchModel], key: str, styles: Mapping[str, int], inner: str = ""
) -> tuple[Series, ...]:
    """A list of numbers in each model's result as curves of one length, without a tail that no model has.

    Args:
        inner: the name of the list where ``key`` holds several.
    """
    found: dict[str, list[float | None]] = {}
    for model in models:
        values = model.result.get(key)
        if inner:
            values = values.get(inner) if isinstance(values, dict) else None
        numbers = [number(v) for v in values] if isinstance(values, list) else []
        if any(v is not None for v in numbers):
            found[model.name] = numbers
    n = max((i + 1 for values in found.values() for i, v in enumerate(values) if v is not None), default=0)
    return tuple(
        Series(name, tuple((values + [None] * n)[:n]), style=styles.get(name, 0)) for name, values in found.items()
    )


def recall_figure(models: Sequence[BenchModel], styles: Mapping[str, int]) -> Figure | None:
    """Of the facts that mattered, the share used, by how many turns ago the user revealed them."""
    series = by_position(models, "fact_use_by_lag", styles)
    if not series:
        return None
    lags = tuple(map(float, range(len(series[0].y))))
    chart = LineChart(
        "recall", "Recall by lag", lags, series, "turns since revealed", "recall", (0.0, 1.0), limits=(0.0, 1.0)
    )
    return line_figure(
        chart,
        "Share of the revealed facts that matter to the question and that the reply uses, by the number of turns since "
        "they were revealed. Exact, because the simulated world knows the ground truth.",
    )


def facts_figure(models: Sequence[BenchModel], styles: Mapping[str, int]) -> Figure | None:
    """What users revealed at each turn: it depends on the replies, so it differs between models."""
    series = by_position(models, "facts_by_turn", styles)
    if not series:
        return None
    turns = tuple(float(k + 1) for k in range(len(series[0].y)))
    chart = LineChart("facts", "Facts that users reveal", turns, series, "turn k", "new facts", (0.0,))
    return line_figure(chart, "New facts per conversation at turn k. A model that asks and listens learns more.")


def length_figure(lengths: Mapping[str, TreeStats], styles: Mapping[str, int]) -> Figure | None:
    """Mean words per reply by turn, for each benchmarked model: longer is not better."""
    turns = sorted({turn for stats in lengths.values() for turn in stats.turns})
    series = []
    for name, stats in lengths.items():
        kinds = {kind for kind, _ in stats.words if kind != "user"}
        values = tuple(
            next((w for kind in sorted(kinds) if (w := stats.mean_words(kind, turn)) is not None), None)
            for turn in turns
        )
        if any(v is not None for v in values):
            series.append(Series(name, values, style=styles.get(name, 0)))
    if not series:
        return None
    chart = LineChart("length", "Length of replies", tuple(map(float, turns)), tuple(series), "turn k", "words", (0.0,))
    return line_figure(chart, "Mean words per reply. Check whether a higher score only comes with longer replies.")


def tree_figures(stage: str, stats: TreeStats) -> list[Figure]:
    """What users revealed by turn, and how long messages were."""
    figures = []
    turns = tuple(float(t) for t in stats.turns)
    if stats.disclosed and stats.n_trees:
        series = tuple(
            Series(name, tuple(stats.disclosed.get((key, int(t)), 0) / stats.n_trees for t in turns), style=i)
            for i, (key, name) in enumerate(
                (("stated", "facts stated"), ("implied", "facts implied"), ("trait", "traits shown"))
            )
        )
        chart = LineChart(
            f"{stage}-disclosed", "What users reveal", turns, series, "turn k", "new parts of the persona", (0.0,)
        )
        figures.append(line_figure(chart, "New parts of the persona per conversation, by turn."))
    series = tuple(
        Series(kind, tuple(stats.mean_words(kind, int(t)) for t in turns), style=i)
        for i, kind in enumerate(("user", "tailored", "generic", "responder"))
        if any(stats.mean_words(kind, int(t)) is not None for t in turns)
    )
    if series:
        chart = LineChart(f"{stage}-words", "Length of messages", turns, series, "turn k", "words", (0.0,))
        figures.append(line_figure(chart, "Mean words per message, by who wrote it."))
    return figures


TRAINING_CHARTS = (
    ("loss", "Loss", ("loss", "eval_loss")),
    ("margins", "Reward margin", ("rewards/margins",)),
    ("accuracy", "Share of pairs ranked correctly", ("rewards/accuracies",)),
    ("tokens", "Share of tokens predicted correctly", ("mean_token_accuracy",)),
    ("copying", "Share of values copied correctly", ("copy_accuracy",)),
    ("logps", "Log-probability of replies", ("logps/chosen", "logps/rejected")),
    ("rewards", "Rewards", ("rewards/chosen", "rewards/rejected")),
    ("packing", "Packing ratio", ("packing_ratio", "packing/ratio")),
    ("grad", "Gradient norm", ("grad_norm",)),
    ("reward", "Reward of the replies drawn", ("reward",)),
    ("kl", "KL divergence from the starting model, nats per token", ("kl",)),
    ("sampling", "Entropy, nats per token", ("entropy",)),
    ("clipped", "Share of clipped tokens", ("clipped",)),
    ("length", "Tokens of a reply", ("reply_tokens",)),
    ("speed", "Tokens per second", ("tokens_per_second_rollout", "tokens_per_second_training")),
)


def logged_series(name: str, values: tuple[float | None, ...], style: int) -> Series:
    """What a trainer logged; where there is much of it, its running mean over a twentieth, the values behind."""
    known = sum(value is not None for value in values)
    if known < 40:
        return Series(name, values, style=style)
    half = max(1, len(values) // 40)
    smoothed: list[float | None] = []
    for at, value in enumerate(values):
        near = [v for v in values[max(0, at - half) : at + half + 1] if v is not None]
        smoothed.append(sum(near) / len(near) if value is not None else None)
    return Series(name, tuple(smoothed), style=style, raw=values)


def training_figures(checkpoint: str, rows: Sequence[Row]) -> list[Figure]:
    """Small charts of what the trainer logged, for the quantities that are there."""
    figures = []
    for key, title, names in TRAINING_CHARTS:
        kept = [
            r
            for r in rows
            if any(number(r.get(name)) is not None for name in names) and number(r.get("step")) is not None
        ]
        if not kept:
            continue
        kept = kept[:: max(1, len(kept) // 300)]
        series = tuple(
            logged_series(name, tuple(number(r.get(name)) for r in kept), i)
            for i, name in enumerate(names)
            if any(number(r.get(name)) is not None for r in kept)
        )
        x = tuple(float(r["step"]) for r in kept)
        over = "iteration" if checkpoint == "rl" else "step"
        chart = LineChart(f"train-{checkpoint}-{key}", f"{checkpoint}: {title}", x, series, over, "", (), len(x) <= 12)
        figures.append(line_figure(chart, compact=True))
    return figures


def growth_figure(counts: Mapping[str, Mapping[int, int]]) -> Figure | None:
    """Members of each pool after each wave; wave 0 holds the seeds."""
    last = max((max(c) for c in counts.values() if c), default=0)
    waves = tuple(float(w) for w in range(last + 1))
    series = []
    for i, (kind, by_wave) in enumerate(counts.items()):
        total, values = 0, []
        for wave in range(last + 1):
            total += by_wave.get(wave, 0)
            values.append(float(total))
        if total:
            series.append(Series(kind, tuple(values), style=i))
    if not series:
        return None
    chart = LineChart("pool-growth", "Growth of the pools", waves, tuple(series), "round", "", (0.0,), last <= 30)
    return line_figure(chart, "Descriptions in the pool after each round of growth; round 0 are the seeds.")


def acceptance_figure(
    accepted: Mapping[str, Mapping[int, int]], refused: Mapping[str, Mapping[int, int]]
) -> Figure | None:
    """Share of the written candidates that entered the pool, by round."""
    waves = sorted({w for c in (*accepted.values(), *refused.values()) for w in c if w > 0})
    if not waves or not any(refused.values()):
        return None
    series = []
    for i, kind in enumerate(accepted):
        values: list[float | None] = []
        for wave in waves:
            n_in, n_out = accepted[kind].get(wave, 0), refused.get(kind, {}).get(wave, 0)
            values.append(n_in / (n_in + n_out) if n_in + n_out else None)
        if any(v is not None for v in values):
            series.append(Series(kind, tuple(values), style=i))
    chart = LineChart(
        "pool-acceptance",
        "Acceptance",
        tuple(map(float, waves)),
        tuple(series),
        "round",
        "",
        (0.0, 1.0),
        len(waves) <= 30,
    )
    return line_figure(
        chart,
        "Share of new candidates that were accepted. A candidate is rejected if it is too similar to a member, so "
        "the share falls as the pool fills up.",
    )


def similarity_figure(kind: str, values: Sequence[float], threshold: float | None, embedder: str = "") -> Figure:
    """How close each member was to its nearest neighbour when it came in."""
    edges = [round(i * 0.05, 2) for i in range(21)]
    counts = [0] * 20
    for value in values:
        counts[min(19, max(0, int(value / 0.05 + 1e-9)))] += 1
    note = f"{len(values):,} members when they were accepted"
    note += f", by the {embedder} embedder" if embedder else ""
    note += f"; dashed: the threshold {shown(threshold, 2)}." if threshold else "."
    title = f"Similarity to the nearest member: {kind}"
    label = "highest cosine similarity to a member"
    return Figure(
        f"similarity-{kind}",
        title,
        note,
        histogram(edges, counts, title, label, threshold),
        histogram(edges, counts, title, label, threshold, narrow=True),
        ("from", "to", "members"),
        tuple((a, b, n) for a, b, n in zip(edges, edges[1:], counts, strict=False)),
        compact=True,
    )
