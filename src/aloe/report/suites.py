"""Tables of other benchmarks of a run (``suites/NAME/MODEL/result.json``), with intervals."""

from __future__ import annotations

from aloe.report.data import Row, RunData, folders, interval, number, read_json
from aloe.report.explorer import clip
from aloe.report.figures import shown

SuiteTable = tuple[str, list[str], list[tuple[str, list[str]]]]  # suite, columns, (model, cells)


def suite_tables(run: RunData) -> list[SuiteTable]:
    """A table for each suite that any model of the run has been through."""
    tables: list[SuiteTable] = []
    for folder in folders(run.path / "suites"):
        results = {}
        for file in sorted(folder.glob("*/result.json")):
            found = read_json(file, run.problems, run.path)
            if isinstance(found, dict):
                results[file.parent.name] = found
        names = list(dict.fromkeys(name for result in results.values() for name in _figures(result)))
        rows = [
            (model, [*(_cell(_figures(result).get(name)) for name in names), _counted(result)])
            for model, result in results.items()
        ]
        if rows:
            tables.append((folder.name, [*(clip(name, 60) for name in names), "items"], rows))
    return tables


def _figures(result: Row) -> Row:
    found = result.get("figures")
    return found if isinstance(found, dict) else {}


def _cell(figure: object) -> str:
    """``0.62 [0.51, 0.73]``; a dash where it is undefined."""
    if not isinstance(figure, dict) or (value := number(figure.get("value"))) is None:
        return "–"
    bounds = interval([figure.get("low"), figure.get("high")])
    return shown(value, 2) + (f" [{shown(bounds[0], 2)}, {shown(bounds[1], 2)}]" if bounds else "")


def _counted(result: Row) -> str:
    n, failed = number(result.get("n_items")), number(result.get("n_failed"))
    return f"{int(n or 0):,}" + (f" ({int(failed):,} failed)" if failed else "")
