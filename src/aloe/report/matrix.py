"""Draws matrices of scores as SVG: a row for what was trained on, a column for what was tested on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

CELL, HEIGHT, LEFT, TOP = 118, 46, 150, 54


def matrix_svg(
    title: str, rows: Sequence[str], columns: Sequence[str], cells: Mapping[tuple[str, str], tuple[float, float, float]]
) -> str:
    """A table of (value, low, high) by (row, column), darker where the value is higher; the diagonal is framed."""
    values = [cell[0] for cell in cells.values()]
    low, span = (min(values), max(values) - min(values) or 1.0) if values else (0.0, 1.0)
    width, height = LEFT + CELL * len(columns) + 10, TOP + HEIGHT * len(rows) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="system-ui, sans-serif" fill="currentColor" role="img" aria-label="{escape(title)}">',
        f'<text x="10" y="20" font-size="14" font-weight="600">{escape(title)}</text>',
    ]
    for at, column in enumerate(columns):
        x = LEFT + CELL * at + CELL / 2
        parts.append(f'<text x="{x}" y="{TOP - 8}" font-size="12" text-anchor="middle">{escape(column)}</text>')
    for number, row in enumerate(rows):
        y = TOP + HEIGHT * number
        parts.append(f'<text x="{LEFT - 8}" y="{y + 27}" font-size="12" text-anchor="end">{escape(row)}</text>')
        for at, column in enumerate(columns):
            if (row, column) in cells:
                parts.append(_cell(cells[row, column], (LEFT + CELL * at, y), low, span, row == column))
    return "\n".join([*parts, "</svg>"])


def _cell(cell: tuple[float, float, float], place: tuple[int, int], low: float, span: float, is_framed: bool) -> str:
    value, bottom, top = cell
    x, y = place
    shade = 0.08 + 0.5 * (value - low) / span
    frame = ' stroke="#1d4e89" stroke-width="2"' if is_framed else ' stroke="#c8d0d8"'
    return (
        f'<rect x="{x + 2}" y="{y + 2}" width="{CELL - 4}" height="{HEIGHT - 4}" rx="4" fill="#1d6fb8" '
        f'fill-opacity="{shade:.3f}"{frame}/>'
        f'<text x="{x + CELL / 2}" y="{y + 21}" font-size="14" text-anchor="middle">{value:.2f}</text>'
        f'<text x="{x + CELL / 2}" y="{y + 36}" font-size="10" text-anchor="middle">[{bottom:.2f}, {top:.2f}]</text>'
    )


def matrix_page(title: str, lead: Sequence[str], figures: Sequence[str]) -> str:
    """A page that needs nothing from outside: a heading, some sentences, the figures."""
    body = [f"<h1>{escape(title)}</h1>", *(f"<p>{escape(text)}</p>" for text in lead), *figures]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)}</title><style>body{{font:16px system-ui,sans-serif;max-width:60rem;margin:2rem auto;"
        "padding:0 1rem}svg{display:block;margin:1.5rem 0;max-width:100%;height:auto}</style></head><body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )
