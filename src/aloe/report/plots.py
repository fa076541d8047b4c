"""The benchmark's figures by matplotlib, in a style for papers: PDF or PNG, one column wide (extra ``plots``)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aloe.errors import ConfigError
from aloe.report.build import figures_of, write_figures
from aloe.report.charts import Figure
from aloe.report.figures import DASHES, LIGHT, N_STYLES
from aloe.store.records import atomic_write

FORMATS = ("svg", "pdf", "png")
WIDTH = 3.4  # inches: a column of a paper in two columns
DPI = 300
PAPER = {
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.linewidth": 0.4,
    "grid.color": "#d5d8d2",
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 3,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # letters stay letters: journals ask for it
}
MARKS = ("o", "s", "^", "D", "v", "P", "_", "|")


def write_plots(run_dir: Path, folder: Path, forms: Sequence[str] = ("pdf",)) -> list[Path]:
    """The benchmark's figures in the given formats; returns their paths.

    Args:
        forms: of ``svg`` (drawn without matplotlib), ``pdf``, ``png``.

    Raises:
        ConfigError: an unknown format, or matplotlib is not installed. DataError: no benchmark results.
    """
    unknown = [form for form in forms if form not in FORMATS]
    if unknown:
        raise ConfigError(f"format {unknown[0]!r}", f"use of: {', '.join(FORMATS)}")
    paths = write_figures(run_dir, folder) if "svg" in forms else []
    drawn = [form for form in forms if form != "svg"]
    if not drawn:
        return paths
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure as Canvas
    except ModuleNotFoundError as error:
        raise ConfigError(f"{', '.join(drawn)} need matplotlib", "pip install 'aloe-align[plots]'") from error
    for figure in figures_of(run_dir):
        with rc_context(PAPER):
            canvas = Canvas(figsize=(WIDTH, _height(figure)), layout="constrained")
            (_lines if figure.series else _forest)(figure, canvas.add_subplot())
            for form in drawn:
                paths.append(folder / f"{figure.figure_id}.{form}")
                content = io.BytesIO()
                fixed = {"CreationDate": None} if form == "pdf" else {}  # the same run gives the same bytes
                canvas.savefig(content, format=form, dpi=DPI, metadata=fixed)
                with atomic_write(paths[-1]) as file:
                    file.write(content.getvalue())
    return paths


def _height(figure: Figure) -> float:
    return 2.1 + 0.16 * -(-len(figure.series) // 4) if figure.series else 0.7 + 0.2 * len(figure.rows)


def _colour(style: int) -> str:
    colours = dict(entry.split(":", 1) for entry in LIGHT.split(";") if entry)
    return colours[f"--s{style % N_STYLES}"]


def _lines(figure: Figure, axes: Any) -> None:
    for series in figure.series:
        style, dashes = series.style % N_STYLES, DASHES[series.style % N_STYLES]
        y = [float("nan") if value is None else value for value in series.y]
        axes.plot(
            figure.x, y, label=series.name, color=_colour(style), marker=MARKS[style],
            linestyle=(0, tuple(float(d) / 2 for d in dashes.split())) if dashes else "-",
        )  # fmt: skip
        band = [
            i for i, (a, b) in enumerate(zip(series.low, series.high, strict=True)) if a is not None and b is not None
        ]
        if band:
            low, high = ([side[i] for i in band] for side in (series.low, series.high))
            axes.fill_between([figure.x[i] for i in band], low, high, color=_colour(style), alpha=0.12, linewidth=0)
    axes.set_xlabel(figure.columns[0])
    axes.set_title(figure.title, fontsize=8)
    axes.figure.legend(loc="outside lower center", ncols=4, handlelength=2.4, columnspacing=1.0)


def _forest(figure: Figure, axes: Any) -> None:
    rows = [row for row in figure.rows if row[1] is not None]
    for place, (_, value, *bounds) in enumerate(rows):
        low, high = bounds[:2] if len(bounds) >= 2 and None not in bounds[:2] else (value, value)
        axes.errorbar(value, place, xerr=[[value - low], [high - value]], fmt="o", color=_colour(0), capsize=2)
    axes.axvline(0, color="#5a645f", linewidth=0.6, linestyle=(0, (3, 3)))
    axes.set_yticks(range(len(rows)), [str(row[0]) for row in rows])
    axes.invert_yaxis()
    axes.set_title(figure.title, fontsize=8)
