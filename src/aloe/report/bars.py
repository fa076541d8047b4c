"""Horizontal bar charts as SVG, for shares, counts and times by name.

Every bar has its number beside it as text; a tick beyond the bar marks a second value (a 95th percentile). Labels are
escaped, and each chart is drawn for a wide and for a narrow page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from aloe.report.charts import Figure
from aloe.report.figures import N_STYLES, AxisScale, short, svg_element, tick_text, ticks


@dataclass(frozen=True, slots=True)
class Bar:
    """One row. ``note``: the value in words; ``mark``: a second value on the same axis, drawn as a tick."""

    name: str
    value: float
    note: str
    mark: float | None = None
    style: int = 0


def bar_chart(bars: Sequence[Bar], title: str, x_label: str, end: float = 0.0, narrow: bool = False) -> str:
    """Bars from zero, one below the other; the axis reaches at least to ``end``."""
    width, left, right = (360, 10, 10) if narrow else (760, 190, 186)
    row_height, top = (38 if narrow else 26), 6
    height = top + row_height * len(bars) + 44
    floor = height - 42
    marks = ticks(0.0, max([end, *(b.value for b in bars), *(b.mark or 0.0 for b in bars)]) or 1.0, 4 if narrow else 6)
    room = width - left - right

    def at(value: float) -> float:
        return left + max(0.0, value) / marks[-1] * room

    parts = []
    for tick in marks:
        anchor = "start" if narrow and tick == 0 else "end" if narrow and tick == marks[-1] else "middle"
        parts.append(f'<line class="grid" x1="{at(tick):.1f}" x2="{at(tick):.1f}" y1="{top}" y2="{floor}"/>')
        parts.append(f'<text x="{at(tick):.1f}" y="{floor + 17}" text-anchor="{anchor}">{tick_text(tick)}</text>')
    for i, bar in enumerate(bars):
        y = top + row_height * i + (18 if narrow else 5)
        parts.append(_row(bar, y, at, (left, width - right), narrow))
    parts.append(f'<text x="{left + room / 2:.0f}" y="{height - 6}" text-anchor="middle">{escape(x_label)}</text>')
    return svg_element(width, height, "".join(parts), "narrow" if narrow else "wide", title)


def _row(bar: Bar, y: int, at: AxisScale, box: tuple[int, int], narrow: bool) -> str:
    """One bar with its name and number; on a narrow page both stand above it."""
    left, right = box
    thick, style, note = 13 if narrow else 16, f"s{bar.style % N_STYLES}", escape(bar.note)
    end = at(bar.value)
    mark = ""
    if bar.mark is not None and at(bar.mark) - end > 2:
        x, middle = at(bar.mark), y + thick / 2
        mark = f'<path class="whisker" d="M{end:.1f} {middle:.1f}H{x:.1f}M{x:.1f} {middle - 5:.1f}v10"/>'
    if narrow:
        label = f'<text class="name" x="{left}" y="{y - 5}">{short(bar.name, 30)}</text>'
        label += f'<text x="{right}" y="{y - 5}" text-anchor="end">{note}</text>'
    else:
        beside = max(end, at(bar.mark or 0.0)) + 9
        label = f'<text class="name" x="{left - 12}" y="{y + 13}" text-anchor="end">{short(bar.name, 29)}</text>'
        label += f'<text x="{beside:.1f}" y="{y + 13}">{note}</text>'
    return (
        f'<g class="{style}"><title>{escape(bar.name)}: {note}</title><rect class="bar {style}" x="{left}" y="{y}" '
        f'width="{max(end - left, 0.8):.1f}" height="{thick}"/>{mark}{label}</g>'
    )


def bars_figure(
    figure_id: str,
    title: str,
    note: str,
    x_label: str,
    bars: Sequence[Bar],
    columns: tuple[str, ...],
    rows: Sequence[tuple[object, ...]],
    end: float = 0.0,
    compact: bool = False,
) -> Figure:
    """A bar chart with its table."""
    wide, narrow = (bar_chart(bars, title, x_label, end, narrow) for narrow in (False, True))
    return Figure(figure_id, title, note, wide, narrow, columns, tuple(rows), compact=compact)
