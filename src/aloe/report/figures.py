"""Draws figures as SVG text: curves with bands, forest plots, histograms.

Each figure is drawn twice, for a wide and for a narrow page, so that its letters never shrink; the style sheet
shows one of them. A series has a colour (after Okabe and Ito), a dash and a marker of its own, so that no two
differ by colour alone. Every label is escaped. Drawing needs no browser: ``standalone`` gives the same figure as
a file for a README or a paper.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

AxisScale = Callable[[Any], float]  # a value's place on the page

DASHES = ("", "7 4", "2 3", "9 3 2 3", "12 4", "4 2", "1 4", "6 2 1 2 1 2")
N_STYLES = len(DASHES)
MARKERS = (
    "M-3.6 0a3.6 3.6 0 1 0 7.2 0a3.6 3.6 0 1 0-7.2 0z",  # disc
    "M-3.2-3.2h6.4v6.4h-6.4z",  # square
    "M0-4.4L4 3.2H-4z",  # triangle
    "M0-4.6L4.2 0L0 4.6L-4.2 0z",  # diamond
    "M0 4.4L4-3.2H-4z",  # triangle, point down
    "M-1.2-4h2.4v2.8h2.8v2.4h-2.8v2.8h-2.4v-2.8h-2.8v-2.4h2.8z",  # plus
    "M-4-1.3h8v2.6h-8z",  # bar
    "M-1.3-4h2.6v8h-2.6z",  # post
)

#: Colours of the figures; also part of the page's style sheet, where the same names hold for both themes.
LIGHT = (
    "--ink:#1f2623;--soft:#5a645f;--line:#d5d8d2;--paper:#ffffff;--s0:#0072b2;--s1:#d55e00;--s2:#00825f;"
    "--s3:#b0558c;--s4:#8a6a00;--s5:#2b8cc4;--s6:#6b6f6d;--s7:#7a4b2a;"
)
DARK = (
    "--ink:#e6eae7;--soft:#a3ada8;--line:#39413d;--paper:#191e1c;--s0:#5ab4ee;--s1:#f0884a;--s2:#3fc79b;"
    "--s3:#e09ac6;--s4:#e3b93c;--s5:#93d3f5;--s6:#aeb4b1;--s7:#cf9a72;"
)
STYLE = (
    ".fig text{font:12px ui-sans-serif,system-ui,'Segoe UI',Helvetica,Arial,sans-serif;fill:var(--soft);"
    "unicode-bidi:isolate;font-variant-numeric:tabular-nums}"
    ".fig .name{fill:var(--ink);stroke:var(--bg,var(--paper));stroke-width:4px;paint-order:stroke}"
    ".fig .grid{stroke:var(--line);stroke-width:1}.fig .zero{stroke:var(--soft);"
    "stroke-width:1;stroke-dasharray:3 3}.fig .curve{fill:none;stroke-width:2.2;stroke-linejoin:round}"
    ".fig .raw{fill:none;stroke-width:1;opacity:.3}.fig .band{opacity:.13;stroke:none}"
    ".fig .bar{fill:var(--s0);opacity:.8}.fig .whisker{stroke-width:2;fill:none}"
    + "".join(
        f".fig .s{i} .curve,.fig .s{i} .raw,.fig .s{i} .whisker{{stroke:var(--s{i})}}"
        f".fig .s{i} .band,.fig .s{i} .mark,.fig .bar.s{i}{{fill:var(--s{i})}}"
        f".fig .s{i} .hollow{{fill:var(--paper);stroke:var(--s{i});stroke-width:1.6}}"
        for i in range(N_STYLES)
    )
)


@dataclass(frozen=True, slots=True)
class Series:
    """One curve. ``low``/``high``: the band, empty if none. ``style``: index of colour, dash and marker. ``hollow``:
    by point, whether its marker is an outline; empty if none is. ``raw``: what ``y`` smooths, drawn faintly behind."""

    name: str
    y: tuple[float | None, ...]
    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()
    style: int = 0
    hollow: tuple[bool, ...] = ()
    raw: tuple[float | None, ...] = ()


@dataclass(frozen=True, slots=True)
class LineChart:
    """Curves over a common x. ``bounds`` widens the y axis to hold at least these values."""

    chart_id: str
    title: str
    x: tuple[float, ...]
    series: tuple[Series, ...]
    x_label: str
    y_label: str
    bounds: tuple[float, ...] = ()
    markers: bool = True
    limits: tuple[float, float] | None = None  # the scale's ends, which the axis never passes
    connect: bool = False  # draw across missing values (things logged now and then)


@dataclass(frozen=True, slots=True)
class ForestRow:
    """One row of a forest plot: a value with its 95% interval (None where undefined)."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    style: int = 0


DIGIT = 7.1  # pixels that a character of an axis may take


def ticks(low: float, high: float, n: int = 5) -> list[float]:
    """About ``n`` round numbers that cover [low, high]; the first is <= low and the last >= high."""
    if not (math.isfinite(low) and math.isfinite(high)) or high < low:
        return [0.0, 1.0]
    if high - low < 1e-9 * max(1.0, abs(high)):
        pad = abs(high) * 0.1 or 0.5
        low, high = low - pad, high + pad
    raw = (high - low) / max(n - 1, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1.0, 2.0, 2.5, 5.0, 10.0) if m * power >= raw * (1 - 1e-9))
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    digits = 2 - math.floor(math.log10(step))  # two more than the step has, so that sums of it come out round
    return [round(i * step, digits) for i in range(first, last + 1)]


def shown(value: float | None, digits: int = 3) -> str:
    """A number for people: as many digits as matter, a true minus sign, an en dash for undefined."""
    if value is None:
        return "–"
    if value and abs(value) < 10 ** -(digits + 1):
        return f"{value:.1e}".replace("-", "−")
    result = f"{value:,.{digits}f}" if abs(value) < 1000 else f"{value:,.0f}"
    if float(result.replace(",", "")) == 0:
        result = result.lstrip("-")
    return result.replace("-", "−")


def tick_text(value: float) -> str:
    return f"{value:,g}".replace("-", "−") if abs(value) < 1e6 else f"{value:.3g}"


def short(name: str, n: int) -> str:
    return escape(name if len(name) <= n else name[: n - 1] + "…")


def svg_element(width: int, height: int, body: str, kind: str, label: str, extra: str = "") -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="fig {kind}" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" aria-label="{escape(label)}"{extra}>{body}</svg>'
    )


def line_chart(chart: LineChart, narrow: bool = False) -> str:
    """The chart as one SVG element. A missing value breaks its curve."""
    width, height = (360, 260) if narrow else (760, 330)
    values = [v for s in chart.series for v in (*s.y, *s.low, *s.high, *s.raw) if v is not None]
    values += chart.bounds if values else ()
    y_ticks = _y_ticks(values, chart)
    room = math.floor(11 + DIGIT * max(len(tick_text(tick)) for tick in y_ticks))
    left, right, top, bottom = max(46, room), (14 if narrow else 128), (30 if chart.y_label else 12), 42
    x_low, x_high = min(chart.x, default=0.0), max(chart.x, default=1.0)
    span = (x_high - x_low) or 1.0
    inner = width - left - right - 16

    def at_x(value: float) -> float:
        return left + 8 + ((value - x_low) / span * inner if x_high > x_low else inner / 2)

    def at_y(value: float) -> float:
        inside = min(max(value, y_ticks[0]), y_ticks[-1])
        return top + (y_ticks[-1] - inside) / (y_ticks[-1] - y_ticks[0]) * (height - top - bottom)

    parts = _frame(chart, y_ticks, at_y, (left, width - right, height - bottom))
    for tick in _x_ticks(chart.x):
        parts.append(
            f'<text x="{at_x(tick):.1f}" y="{height - bottom + 18}" text-anchor="middle">{tick_text(tick)}</text>'
        )
    for index, series in enumerate(chart.series):
        parts.append(_curve(series, index, chart, at_x, at_y))
    if not narrow:
        parts.extend(_end_labels(chart, at_x, at_y, (top, height - bottom)))
    parts.append(f'<line class="guide zero" x1="-9" x2="-9" y1="{top}" y2="{height - bottom}"/>')
    extra = f' data-left="{at_x(x_low):.1f}" data-right="{at_x(x_high):.1f}"'
    return svg_element(width, height, "".join(parts), "narrow" if narrow else "wide", chart.title, extra)


def _frame(chart: LineChart, y_ticks: list[float], at_y: AxisScale, box: tuple[int, int, int]) -> list[str]:
    left, right, floor = box
    parts = []
    for tick in y_ticks:
        y = at_y(tick)
        parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{tick_text(tick)}</text>')
    parts.append(
        f'<text x="{(left + right) / 2:.0f}" y="{floor + 36}" text-anchor="middle">{escape(chart.x_label)}</text>'
    )
    if chart.y_label:
        parts.append(f'<text x="{left}" y="14">{escape(chart.y_label)}</text>')
    return parts


def _y_ticks(values: Sequence[float], chart: LineChart) -> list[float]:
    """Round numbers around the values; within the scale's ends if the curves are, even where a band is not."""
    found = ticks(min(values, default=0.0), max(values, default=1.0))
    inside = [y for s in chart.series for y in s.y if y is not None]
    if chart.limits and inside and (found[0] < chart.limits[0] or found[-1] > chart.limits[1]):
        low, high = chart.limits
        if low <= min(inside) and max(inside) <= high:
            return ticks(low, high)
    return found


def _x_ticks(x: Sequence[float], n: int = 10) -> list[float]:
    """Every x where there are few, else round ones; x counts turns, rounds or steps, so ticks are whole."""
    if len(x) <= n:
        return list(x)
    step = max(1, math.ceil(ticks(0.0, max(x) - min(x), 6)[1]))
    return [float(t) for t in range(math.ceil(min(x) / step) * step, math.floor(max(x)) + 1, step)]


def _curve(series: Series, index: int, chart: LineChart, at_x: AxisScale, at_y: AxisScale) -> str:
    style = series.style % N_STYLES
    parts = []
    for run in _runs(series.low, series.high):
        edge = [f"{at_x(chart.x[i]):.1f} {at_y(series.high[i]):.1f}" for i in run]
        edge += [f"{at_x(chart.x[i]):.1f} {at_y(series.low[i]):.1f}" for i in reversed(run)]
        parts.append(f'<path class="band" d="M{"L".join(edge)}z"/>')
    for run in _runs(series.raw) if series.raw else ():
        behind = "L".join(f"{at_x(chart.x[i]):.1f} {at_y(series.raw[i]):.1f}" for i in run)
        parts.append(f'<path class="raw" d="M{behind}"/>')
    path = ["M" + "L".join(f"{at_x(chart.x[i]):.1f} {at_y(series.y[i]):.1f}" for i in run) for run in _runs(series.y)]
    dash = f' stroke-dasharray="{DASHES[style]}"' if DASHES[style] else ""
    parts.append(f'<path class="curve" d="{"".join(path)}"{dash}/>')
    if chart.markers or sum(v is not None for v in series.y) == 1 or series.hollow:
        hollow = series.hollow or (False,) * len(series.y)
        parts.extend(
            f'<path class="mark{" hollow" if empty else ""}" transform="translate({at_x(x):.1f} {at_y(y):.1f})" '
            f'd="{MARKERS[style]}"/>'
            for x, y, empty in zip(chart.x, series.y, hollow, strict=False)
            if y is not None
        )
    return f'<g class="series s{style}" data-series="{index}">{"".join(parts)}</g>'


def _runs(*columns: Sequence[float | None]) -> list[list[int]]:
    """Stretches of indices at which every column has a value."""
    runs: list[list[int]] = [[]]
    for i in range(min(map(len, columns))):
        if all(column[i] is not None for column in columns):
            runs[-1].append(i)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _end_labels(chart: LineChart, at_x: AxisScale, at_y: AxisScale, box: tuple[int, int]) -> list[str]:
    """Names at the right end of the curves, pushed apart where they would overlap."""
    ends: list[list[Any]] = []
    for index, series in enumerate(chart.series):
        last = max((i for i, y in enumerate(series.y) if y is not None), default=None)
        if last is not None:
            ends.append([at_y(series.y[last]), index, at_x(chart.x[-1])])
    ends.sort()
    for below, above in zip(ends[1:], ends, strict=False):
        below[0] = max(below[0], above[0] + 15)
    limit = float(box[1])
    for end in reversed(ends):
        end[0] = min(end[0], limit)
        limit = end[0] - 15
    return [
        f'<g class="series s{chart.series[i].style % N_STYLES}" data-series="{i}">'
        f'<path class="mark" transform="translate({x + 14:.1f} {y:.1f})" '
        f'd="{MARKERS[chart.series[i].style % N_STYLES]}"/>'
        f'<text class="name" x="{x + 23:.1f}" y="{y + 4:.1f}">{short(chart.series[i].name, 15)}</text></g>'
        for y, i, x in ends
    ]


def forest_plot(rows: Sequence[ForestRow], title: str, x_label: str, narrow: bool = False) -> str:
    """Estimates with whiskers around a line at zero, one below the other."""
    width, left, right = (360, 14, 14) if narrow else (760, 170, 178)
    row_height, top = (40 if narrow else 28), 8
    height = top + row_height * len(rows) + 44
    values = [v for r in rows for v in (r.value, r.low, r.high) if v is not None] + [0.0]
    marks = ticks(min(values), max(values), 4 if narrow else 6)

    def at(value: float) -> float:
        return left + (value - marks[0]) / (marks[-1] - marks[0]) * (width - left - right)

    floor = height - 42
    parts = []
    for tick in marks:
        parts.append(f'<line class="grid" x1="{at(tick):.1f}" x2="{at(tick):.1f}" y1="{top}" y2="{floor}"/>')
        parts.append(f'<text x="{at(tick):.1f}" y="{floor + 17}" text-anchor="middle">{tick_text(tick)}</text>')
    parts.append(f'<line class="zero" x1="{at(0):.1f}" x2="{at(0):.1f}" y1="{top}" y2="{floor}"/>')
    for i, row in enumerate(rows):
        y = top + row_height * (i + (0.72 if narrow else 0.5))
        parts.append(_forest_row(row, y, at, (width, left, right), narrow))
    middle = left + (width - left - right) / 2
    parts.append(f'<text x="{middle:.0f}" y="{height - 6}" text-anchor="middle">{escape(x_label)}</text>')
    return svg_element(width, height, "".join(parts), "narrow" if narrow else "wide", title)


def _forest_row(row: ForestRow, y: float, at: AxisScale, box: tuple[int, int, int], narrow: bool) -> str:
    width, left, right = box
    style = row.style % N_STYLES
    label = (
        f'<text class="name" x="{left}" y="{y - 10:.1f}">{short(row.name, 28)}</text>'
        if narrow
        else f'<text class="name" x="{left - 14}" y="{y + 4:.1f}" text-anchor="end">{short(row.name, 27)}</text>'
    )
    if row.value is None:
        return f'{label}<text x="{at(0) + 8:.1f}" y="{y + 4:.1f}">undefined</text>'
    whisker = ""
    if row.low is not None and row.high is not None:
        a, b = at(row.low), at(row.high)
        whisker = f'<path class="whisker" d="M{a:.1f} {y:.1f}H{b:.1f}M{a:.1f} {y - 4:.1f}v8M{b:.1f} {y - 4:.1f}v8"/>'
    mark = f'<path class="mark" transform="translate({at(row.value):.1f} {y:.1f})" d="{MARKERS[style]}"/>'
    numbers = shown(row.value)
    if row.low is not None and row.high is not None:
        numbers += f" [{shown(row.low)}, {shown(row.high)}]"
    place = (
        f'x="{width - right}" y="{y - 10:.1f}" text-anchor="end"'
        if narrow
        else f'x="{width - right + 14}" y="{y + 4:.1f}"'
    )
    note = f"<text {place}>{numbers}</text>"
    tip = f"<title>{escape(row.name)}: {numbers}</title>"
    return f'<g class="s{style}">{tip}{label}{whisker}{mark}{note}</g>'


def histogram(
    edges: Sequence[float],
    counts: Sequence[int],
    title: str,
    x_label: str,
    marker: float | None = None,
    narrow: bool = False,
) -> str:
    """Counts between edges (``len(edges) == len(counts) + 1``), with a dashed line at ``marker``."""
    width, height = (360, 220) if narrow else (372, 230)
    left, right, top, bottom = 42, 12, 14, 42
    y_ticks = ticks(0.0, float(max(counts, default=1) or 1), 4)
    low, high = edges[0], edges[-1]

    def at_x(value: float) -> float:
        return left + (value - low) / ((high - low) or 1.0) * (width - left - right)

    def at_y(value: float) -> float:
        return top + (1 - value / y_ticks[-1]) * (height - top - bottom)

    parts = []
    for tick in y_ticks:
        parts.append(
            f'<line class="grid" x1="{left}" x2="{width - right}" y1="{at_y(tick):.1f}" y2="{at_y(tick):.1f}"/>'
        )
        parts.append(f'<text x="{left - 7}" y="{at_y(tick) + 4:.1f}" text-anchor="end">{tick_text(tick)}</text>')
    for tick in (t for t in ticks(low, high, 5) if low <= t <= high):
        parts.append(
            f'<text x="{at_x(tick):.1f}" y="{height - bottom + 17}" text-anchor="middle">{tick_text(tick)}</text>'
        )
    for a, b, n in zip(edges, edges[1:], counts, strict=False):
        x, y = at_x(a) + 0.5, at_y(n)
        parts.append(
            f'<rect class="bar" x="{x:.1f}" y="{y:.1f}" width="{max(at_x(b) - x - 0.5, 0.5):.1f}" '
            f'height="{height - bottom - y:.1f}"><title>{a:.2f} to {b:.2f}: {n}</title></rect>'
        )
    if marker is not None and low <= marker <= high:
        parts.append(
            f'<line class="zero" x1="{at_x(marker):.1f}" x2="{at_x(marker):.1f}" y1="{top}" y2="{height - bottom}"/>'
        )
    middle = (left + width - right) / 2
    parts.append(f'<text x="{middle:.0f}" y="{height - 6}" text-anchor="middle">{escape(x_label)}</text>')
    return svg_element(width, height, "".join(parts), "narrow" if narrow else "wide", title)


def standalone(svg: str) -> str:
    """The figure as a file of its own, in colours that every renderer knows, with others for dark readers."""
    light = _in_colours(f"svg{{background:var(--paper)}}{STYLE}", LIGHT)
    dark = _in_colours(f"svg{{background:var(--paper)}}{STYLE}", DARK)
    style = f"<style>{light}@media (prefers-color-scheme:dark){{{dark}}}</style>"
    head, close, rest = svg.partition(">")
    return f"{head}{close}{style}{rest}\n"


def _in_colours(style: str, palette: str) -> str:
    """A style sheet with the palette's colours in the place of variables, which few renderers know."""
    colours = dict(entry.split(":", 1) for entry in palette.split(";") if entry)
    colours["--bg"] = colours["--paper"]
    return re.sub(r"var\((--[\w-]+)(?:,var\(--[\w-]+\))?\)", lambda found: colours[found[1]], style)
