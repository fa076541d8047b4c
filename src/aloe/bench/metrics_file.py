"""Reads per-turn values from any JSON or CSV file, for ``aloe metrics FILE``.

What is read, by shape alone (the file's ending only decides what is tried first):

- JSON: a list of numbers; ``{"al": [...]}``; ``{"points": [{"k": 1, "al": 2.5}, ...]}`` (a ``result.json``); a list of
  such points; a list of lists (a row per persona, averaged per turn); ``{"name": any of these, ...}``.
- CSV (comma, semicolon, tab or blanks), with or without a header: one row, one column, a column ``k``/``turn`` beside
  columns of values (one curve each), or rows that begin with a name (one curve each).
  Rows of numbers under each other are personas and are averaged.
- JSON Lines: a list per persona, or the rows of a ``scores.jsonl``.

Empty cells, ``null``, ``nan`` and ``none`` are unscored turns; a percent sign is dropped; scale does not matter.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from aloe.bench.metrics import averaged_curve, curve_figures, guarded_ir
from aloe.config.files import refuse_special
from aloe.errors import DataError

Curve = list[float]  # NaN = unscored
_UNSCORED = {"", "nan", "none", "null", "na", "n/a", "-"}
_TURN_NAMES = {"k", "turn", "turns", "step", "round"}
_NAME_NAMES = {"model", "name", "method", "curve", "persona", "persona_id"}
_VALUE_NAMES = {"", "al", "score", "scores", "value", "values"}
_SHAPES = "a list of values, rows per persona, {'al': [...]}, {'points': [{'k': 1, 'al': ...}]} or {'name': curve}"


def read_curve(path: str | Path) -> dict[str, Curve]:
    """Named curves of a file, in its order; a single unnamed one is called by the file's stem.

    Raises:
        DataError: missing, empty or unreadable, with the line or place of the first value that is not a number.
    """
    path = Path(path)
    refuse_special(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}", "give a JSON or CSV file") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a text file", "give a JSON or CSV file in UTF-8") from error
    if not text.strip():
        raise DataError(f"{path} is empty", f"give {_SHAPES}, or CSV")
    if path.suffix.lower() == ".json" or text.lstrip()[0] in "[{":
        curves = _read_json(text, path)
    else:
        curves = _read_csv(text, path)
    for name, curve in curves.items():
        if not any(math.isfinite(v) for v in curve):
            raise DataError(f"{path}: curve '{name}' has no values", "give at least one number")
    return curves


# ------------------------------------------------------------------ JSON


def _read_json(text: str, path: Path) -> dict[str, Curve]:
    try:
        data = orjson.loads(_plain_nan(text))
    except orjson.JSONDecodeError as error:
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) > 1 and all(line.lstrip()[0] in "[{" and line.rstrip()[-1] in "]}" for line in lines):
            return {path.stem: _read_lines(text, path)}
        raise DataError(f"{path}, line {error.lineno}: not valid JSON ({error.msg})", "correct that line") from error
    if isinstance(data, dict) and not _is_curve_object(data):
        named = {name: value for name, value in data.items() if isinstance(value, list | dict)}
        if not named:
            raise DataError(f"{path} contains no curve", f"give {_SHAPES}")
        return {name: _json_curve(value, f"{path}: '{name}'") for name, value in named.items()}
    model = data.get("model") if isinstance(data, dict) else None
    return {model if isinstance(model, str) and model else path.stem: _json_curve(data, str(path))}


def _read_lines(text: str, path: Path) -> Curve:
    """JSON Lines: a list per persona, or the rows of a ``scores.jsonl`` (``turn`` and ``score``)."""
    rows: dict[Any, dict[int, float]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = orjson.loads(_plain_nan(line))
        except orjson.JSONDecodeError as error:
            raise DataError(f"{where}: not valid JSON ({error.msg})", "correct that line") from error
        if isinstance(row, list):
            rows[number] = {k: _number(v, f"{where}, turn {k}") for k, v in enumerate(row, 1)}
        elif "turn" in row and "score" in row:
            who = (row.get("persona_id", number), row.get("sample", 0))
            _put(rows.setdefault(who, {}), row["turn"], _number(row["score"], where), where)
        else:
            raise DataError(f"{where} is neither a list of values nor a score", "write lists, or turn and score")
    return _average([_in_order(by_turn) for by_turn in rows.values() if by_turn])


def _plain_nan(text: str) -> str:
    """Python writes NaN into JSON; read it as null. Strings are left alone."""
    pieces = re.split(r'("(?:[^"\\]|\\.)*")', text)
    return "".join(p if i % 2 else re.sub(r"\bNaN\b", "null", p) for i, p in enumerate(pieces))


def _is_curve_object(data: Mapping[str, Any]) -> bool:
    return isinstance(data.get("al"), list) or isinstance(data.get("points"), list)


def _json_curve(data: Any, where: str) -> Curve:
    if isinstance(data, dict):
        if not _is_curve_object(data):
            raise DataError(f"{where} is not a valid curve", f"expected {_SHAPES}")
        return _json_curve(data["points"] if isinstance(data.get("points"), list) else data["al"], where)
    if not isinstance(data, list) or not data:
        raise DataError(f"{where} is not a valid curve", f"expected {_SHAPES}")
    if all(isinstance(entry, dict) for entry in data):
        return _json_points(data, where)
    if any(isinstance(entry, list) for entry in data):
        rows = []
        for n, row in enumerate(data, 1):
            if not isinstance(row, list):
                raise DataError(f"{where}, row {n}: {row!r:.40} is not a list", "give every persona a list of values")
            rows.append([_number(v, f"{where}, row {n}, turn {k}") for k, v in enumerate(row, 1)])
        return _average(rows)
    return [_number(v, f"{where}, turn {k}") for k, v in enumerate(data, 1)]


def _json_points(points: Sequence[Mapping[str, Any]], where: str) -> Curve:
    by_turn: dict[int, float] = {}
    for n, point in enumerate(points, 1):
        place = f"{where}, point {n}"
        if "al" not in point:
            raise DataError(f"{place} has no 'al'", "write {'k': 1, 'al': 2.5}")
        _put(by_turn, point.get("k", point.get("turn", n)), _number(point["al"], place), place)
    return _in_order(by_turn)


# ------------------------------------------------------------------ CSV

Row = tuple[int, list[str]]  # line number, cells


def _read_csv(text: str, path: Path) -> dict[str, Curve]:
    rows = _cells(text, path)
    header: list[str] = []
    if _is_header(rows):
        header, rows = rows[0][1], rows[1:]
        if not rows:
            raise DataError(f"{path}: only a header, no values", "add the values below it")
    names = [name.strip().lower() for name in header]
    firsts = [row[0] for _, row in rows]
    wide = max(len(row) for _, row in rows) > 1
    if wide and ((names and names[0] in _NAME_NAMES and not _TURN_NAMES & set(names)) or all(map(_is_label, firsts))):
        return _rows_by_name(names, rows, path)
    turn = next((i for i, name in enumerate(names) if name in _TURN_NAMES), None)
    if turn is None and not header and wide and len(rows) >= 3 and _counts_up(firsts):
        turn, header = 0, [f"column {i}" for i in range(1, len(rows[0][1]) + 1)]
    if turn is not None:
        return _columns_by_turn(header, rows, turn, path)
    table = [[_number(c, f"{path}, line {line}, column {i}") for i, c in enumerate(row, 1)] for line, row in rows]
    _check_widths(rows, len(header) or len(table[0]), path)
    if len(table[0]) == 1:
        named = bool(names) and names[0] not in _VALUE_NAMES
        return {header[0].strip() if named else path.stem: [row[0] for row in table]}
    if header and not _counts_up([re.sub(r"\D", "", name) for name in names]):
        return {name.strip(): [row[i] for row in table] for i, name in enumerate(header)}
    return {path.stem: _average(table)}


def _cells(text: str, path: Path) -> list[Row]:
    """Every line that is neither empty nor a comment. A decimal comma is read where it can't be a delimiter."""
    lines = [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip() and line.lstrip()[0] != "#"]
    if not lines:
        raise DataError(f"{path} contains only comments", f"give {_SHAPES}, or CSV")
    delimiter = next((d for d in ";\t," if any(d in line for _, line in lines)), None)
    rows = []
    for number, line in lines:
        try:
            cells = next(csv.reader([line], delimiter=delimiter)) if delimiter else line.split()
        except csv.Error as error:
            raise DataError(f"{path}, line {number}: {error}", "correct that line") from error
        cells = [cell.strip() for cell in cells]
        if delimiter != ",":
            cells = [re.sub(r"^(-?\d+),(\d+\s*%?)$", r"\1.\2", cell) for cell in cells]
        rows.append((number, cells))
    while all(len(row) > 1 and not row[-1] for _, row in rows):  # a delimiter at the end of every line
        rows = [(number, row[:-1]) for number, row in rows]
    return rows


def _is_header(rows: Sequence[Row]) -> bool:
    """Names where values should be; or 1, 2, 3, ... over further rows (a scale of 1 to 5 has no such row of 6)."""
    first, rest = rows[0][1], rows[0][1][1:]
    if any(rest) and all(_is_label(cell) or not cell for cell in rest):
        return True
    if len(first) == 1:
        return _is_label(first[0])
    known = first[0].lower() in _NAME_NAMES | _TURN_NAMES or not first[0]
    return len(rows) > 1 and ((known and _counts_up(rest)) or (len(first) >= 6 and _counts_up(first)))


def _counts_up(cells: Sequence[str]) -> bool:
    return list(cells) == [str(i) for i in range(1, len(cells) + 1)]


def _is_label(cell: str) -> bool:
    """Text that is neither a number nor a mark for unscored."""
    if cell.strip().lower() in _UNSCORED:
        return False
    try:
        float(cell.strip().rstrip("%").strip())
    except ValueError:
        return True
    return False


def _check_widths(rows: Sequence[Row], width: int, path: Path) -> None:
    for line, row in rows:
        if len(row) != width:
            raise DataError(
                f"{path}, line {line}: {len(row)} values, expected {width} as in the first line",
                "give every line the same number of values; leave unscored cells empty but keep the delimiters",
            )


def _rows_by_name(names: Sequence[str], rows: Sequence[Row], path: Path) -> dict[str, Curve]:
    grouped: dict[str, list[Curve]] = {}
    for line, row in rows:
        values = [_number(c, f"{path}, line {line}, column {i}") for i, c in enumerate(row[1:], 2)]
        if not values:
            raise DataError(f"{path}, line {line}: '{row[0]:.40}' without values", "write NAME,VALUE,VALUE,...")
        grouped.setdefault(row[0], []).append(values)
    if names and names[0].startswith("persona"):
        return {path.stem: _average([row for group in grouped.values() for row in group])}
    return {name: _average(group) for name, group in grouped.items()}


def _columns_by_turn(header: Sequence[str], rows: Sequence[Row], turn: int, path: Path) -> dict[str, Curve]:
    _check_widths(rows, len(header), path)
    columns = [i for i, name in enumerate(header) if i != turn and name.strip().lower() not in _NAME_NAMES]
    columns = [i for i in columns if header[i].strip().lower() == "al"] or columns
    if not columns:
        raise DataError(f"{path}: no column of values next to the turns", "add one, for example 'al'")
    curves: dict[str, dict[int, float]] = {}
    for line, row in rows:
        for i in columns:
            name = path.stem if len(columns) == 1 else header[i].strip()
            place = f"{path}, line {line}, column {i + 1}"
            _put(curves.setdefault(name, {}), row[turn], _number(row[i], place), place)
    return {name: _in_order(by_turn) for name, by_turn in curves.items()}


# ------------------------------------------------------------------ values


def _number(value: Any, where: str) -> float:
    """A value as a number, NaN where unscored."""
    if value is None:
        return math.nan
    found = value
    if isinstance(value, str):
        text = value.strip().rstrip("%").strip()
        if text.lower() in _UNSCORED:
            return math.nan
        try:
            found = float(text)
        except ValueError:
            found = None
    if isinstance(found, bool) or not isinstance(found, int | float) or not abs(found) < 1e150:
        raise DataError(
            f"{where}: {str(value)[:40]!r} is not a number", "write a number, or leave it empty for unscored"
        )
    return float(found)


def _put(by_turn: dict[int, float], turn: Any, value: float, where: str) -> None:
    try:
        k = int(turn)
        whole = k == float(turn)
    except (TypeError, ValueError):
        k, whole = 0, False
    if not whole or not 1 <= k <= 100_000:
        raise DataError(f"{where}: turn {turn!r:.40} is not a valid turn", "turns are whole numbers from 1")
    if k in by_turn:
        raise DataError(f"{where}: turn {k} occurs twice", "give one value per turn")
    by_turn[k] = value


def _in_order(by_turn: Mapping[int, float]) -> Curve:
    return [by_turn.get(k, math.nan) for k in range(1, max(by_turn) + 1)]


def _average(rows: Sequence[Sequence[float]]) -> Curve:
    """AL(k) of rows per persona; shorter rows are unscored at the end."""
    table = np.full((len(rows), max(len(row) for row in rows)), np.nan)
    for line, row in zip(table, rows, strict=True):
        line[: len(row)] = row
    curve: Curve = averaged_curve(table).tolist()
    return curve


# ------------------------------------------------------------------ figures


def metrics_table(
    curves: Mapping[str, Sequence[float]], floor: float | None = None
) -> list[dict[str, str | float | int | None]]:
    """One row per curve, ``None`` where undefined, never NaN.

    Keys: ``name, n_turns, avg, late, al_1, al_k, guarded_ir, ir, n_ir, n_r2``.

    Args:
        floor: of guarded IR; default the curve called ``generic``, without which that is undefined.
    """
    start = curves.get("generic") if floor is None else floor
    rows: list[dict[str, str | float | int | None]] = []
    for name, curve in curves.items():
        f = curve_figures(curve)
        rows.append(
            {
                "name": name,
                "n_turns": len(curve),
                "avg": f.avg,
                "late": f.late,
                "al_1": f.al_1,
                "al_k": f.al_k,
                "guarded_ir": None if start is None else _guarded(curve, start),
                "ir": f.ir,
                "n_ir": f.n_ir,
                "n_r2": f.n_r2,
            }
        )
    return rows


def _guarded(curve: Sequence[float], floor: float | Sequence[float]) -> float | None:
    """Guarded IR over the turns that curve and floor both have."""
    if isinstance(floor, int | float):
        return guarded_ir(curve, floor)
    n = min(len(curve), len(floor))
    return guarded_ir(curve[:n], floor[:n])


def format_metrics(rows: Sequence[Mapping[str, str | float | int | None]]) -> str:
    """Rows as aligned text; ``none`` for what is undefined; guarded IR only where any curve has it."""
    titles = {"name": "curve", "n_turns": "turns", "avg": "AVG", "late": "late", "al_1": "AL(1)", "al_k": "AL(K)"}
    if any(row["guarded_ir"] is not None for row in rows):
        titles["guarded_ir"] = "guarded IR"
    titles |= {"ir": "IR", "n_ir": "N-IR", "n_r2": "N-R2"}
    digits = {"al_1": 2, "al_k": 2, "avg": 2, "late": 2, "guarded_ir": 3, "ir": 3, "n_ir": 3, "n_r2": 3}
    cells = [list(titles.values())]
    for row in rows:
        cells.append([format_value(row[key], digits.get(key, 0)) for key in titles])
    return align(cells)


def format_value(value: str | float | int | None, digits: int) -> str:
    """Text of a figure: ``none`` where undefined, no negative zero."""
    if value is None:
        return "none"
    if isinstance(value, str):
        return value
    text = f"{value:.{digits}f}"
    return text[1:] if text.startswith("-") and float(text) == 0.0 else text


def align(cells: Sequence[Sequence[str]]) -> str:
    """Columns of equal width, the first to the left and the others to the right."""
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return "\n".join(
        "  ".join(
            c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    )
