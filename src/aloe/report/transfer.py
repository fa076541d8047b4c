"""Transfer between users in the report: its figures, and a matrix for each judge, from ``transfer/transfer.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aloe.report.data import RunData, interval, number, read_json
from aloe.report.explorer import clip
from aloe.report.figures import shown
from aloe.report.matrix import matrix_svg

PLACE = "transfer/transfer.json"
LONGEST = 60


@dataclass(frozen=True, slots=True)
class TransferSection:
    """What the report shows: sentences, rows of figures by judge, and the matrices as SVG."""

    lead: tuple[str, ...]
    rows: tuple[tuple[str, str], ...]
    matrices: tuple[str, ...]


def transfer_section(run: RunData) -> TransferSection | None:
    """The section; None where the run has no transfer, or its file is damaged (which the page says elsewhere)."""
    path = run.path / PLACE
    if not path.is_file():
        return None
    found = read_json(path, run.problems, run.path)
    matrix = found.get("matrix") if isinstance(found, dict) else None
    if not isinstance(found, dict) or not isinstance(matrix, Mapping):
        return None
    users = _names(found.get("users"))
    rows = [("all judges", _estimate(found.get("diagonal_minus_off")))]
    by_judge = found.get("by_judge")
    if isinstance(by_judge, Mapping):
        rows += [(clip(str(judge), LONGEST), _estimate(value)) for judge, value in by_judge.items()]
    matrices = []
    for judge, cells in matrix.items():
        placed = _cells(cells)
        trained = list(dict.fromkeys(place[0] for place in placed))
        if placed:
            matrices.append(matrix_svg(clip(str(judge), LONGEST), trained, users, placed))
    return TransferSection(_lead(found), tuple(rows), tuple(matrices))


def _lead(found: Mapping[str, Any]) -> tuple[str, ...]:
    lines = [f"Rows: trained on ({clip(str(found.get('checkpoint')), 20)}). Columns: tested on. Framed: the same user."]
    if found.get("mixture_costs") is not None:
        closes = number(found.get("mixture_closes"))
        share = "there is nothing to close" if closes is None else f"it closes {closes:.0%} of the difference"
        lines.append(
            f"A model trained on all of them: {share}, and costs {_estimate(found['mixture_costs'])} on the diagonal."
        )
    return tuple(lines)


def _names(value: object) -> list[str]:
    return [clip(str(name), LONGEST) for name in value] if isinstance(value, list) else []


def _estimate(value: object) -> str:
    """``0.312 [0.250, 0.371]``; a dash where it is undefined."""
    numbers = [number(part) for part in value] if isinstance(value, list) and len(value) == 3 else []
    if len(numbers) != 3 or numbers[0] is None:
        return "–"
    bounds = interval(numbers[1:])
    return shown(numbers[0], 3) + (f" [{shown(bounds[0], 3)}, {shown(bounds[1], 3)}]" if bounds else "")


def _cells(value: object) -> dict[tuple[str, str], tuple[float, float, float]]:
    """The cells by (trained on, tested on); those that are not three numbers are left out."""
    placed = {}
    for name, cell in value.items() if isinstance(value, Mapping) else ():
        trained, arrow, tested = str(name).partition(" -> ")
        parts = [number(part) for part in cell] if isinstance(cell, list) else []
        if arrow and len(parts) == 3 and all(part is not None for part in parts):
            mean, low, high = (float(part) for part in parts if part is not None)
            placed[clip(trained, LONGEST), clip(tested, LONGEST)] = (mean, low, high)
    return placed
