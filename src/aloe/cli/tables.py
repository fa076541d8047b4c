"""What a run prints at its end: the table of results, the time of each stage, the path of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from aloe.cli.screen import printable
from aloe.stages.pipeline import Outcome
from aloe.store.rundir import RunDir, read_result
from aloe.types import BenchmarkResult

if TYPE_CHECKING:
    from aloe.stats import Estimate


def number(value: float | None, digits: int = 2) -> str:
    """A figure for a table; ``none`` where it is undefined."""
    return "none" if value is None else f"{round(value, digits) + 0.0:.{digits}f}"  # + 0.0: never -0.000


def interval(value: tuple[float, float] | None, digits: int = 3) -> str:
    return "none" if value is None else f"[{number(value[0], digits)}, {number(value[1], digits)}]"


def results_table(results: list[BenchmarkResult], guarded: Mapping[str, Estimate | None] | None = None) -> Table:
    """The headline table; columns that no model has anything in are left out.

    Args:
        guarded: guarded IR by model.
    """
    table = Table(title="ALOE benchmark", title_justify="left", box=None, pad_edge=False)
    table.add_column("model")
    rates = {name: None if e is None else e.value for name, e in (guarded or {}).items()}
    columns: dict[str, list[str]] = {
        "AVG": [number(r.avg) for r in results],
        "95%": [interval(r.avg_ci, 2) for r in results],
        "late": [number(r.late_mean) for r in results],
        "gain": [number(r.gain) for r in results] if any(r.gain is not None for r in results) else [],
        "AL(1)": [number(r.points[0].al if r.points else None) for r in results],
        "AL(K)": [number(r.points[-1].al if r.points else None) for r in results],
        "guarded": [number(rates.get(r.model), 3) for r in results]
        if any(v is not None for v in rates.values())
        else [],
        "IR": [number(r.ir, 3) for r in results],
        "N-IR": [number(r.n_ir, 3) for r in results],
        "recall": [number(r.truth.get("fact_use")) for r in results],
        "false": [number(r.truth.get("untrue_rate")) for r in results],
        "style": [number(r.truth.get("style_accuracy")) for r in results],
        "markers": [number(r.truth.get("style_recall")) for r in results],
        "unscored": _counts([sum(p.n_unscored for p in r.points) for r in results]),
        "empty": _counts([r.n_empty for r in results]),
    }
    shown = {name: cells for name, cells in columns.items() if cells}
    for name in shown:
        table.add_column(name, justify="right")
    for r, *cells in zip(results, *shown.values(), strict=True):
        table.add_row(_name(r.model), *cells)
    return table


def _name(text: str) -> Text:
    """A name from a file as a cell: no markup, no control characters."""
    return Text(printable(text))


def _counts(values: Sequence[int]) -> list[str]:
    return [str(n) for n in values] if any(values) else []


def extras_table(results: list[BenchmarkResult]) -> Table | None:
    """Personal gain with its interval, the other scope, identification at the last turn; None if none was asked for."""
    if all(r.gain is None and r.other_scope is None for r in results):
        return None
    table = Table(box=None, pad_edge=False)
    table.add_column("model")
    for column in ("gain", "95%", "other scope", "AVG", "IR", "mind-reading", "95%", "identified", "95%"):
        table.add_column(column, justify="right")
    for r in results:
        reader = next((name for name in ("replies", "judge") if r.identification.get(name)), "")
        other, seen = r.other_scope, r.identification.get(reader)
        table.add_row(
            _name(r.model),
            number(r.gain),
            interval(r.gain_ci),
            other.scope if other else "none",
            number(other.avg if other else None),
            number(other.ir if other else None, 3),
            number(other.mind_reading if other else None),
            interval(other.mind_reading_ci if other else None),
            number(seen[-1] if seen else None),
            interval(r.identification_ci.get(reader), 2),
        )
    return table


def suite_table(suite: str, models: Mapping[str, Mapping[str, float | None]]) -> Table:
    """The figures of one suite by model."""
    table = Table(title=_name(suite), title_justify="left", box=None, pad_edge=False)
    table.add_column("model")
    names = list(dict.fromkeys(name for figures in models.values() for name in figures))
    for name in names:
        table.add_column(name, justify="right")
    for model, figures in models.items():
        table.add_row(_name(model), *(number(figures.get(name)) for name in names))
    return table


def load_results(run: RunDir) -> list[BenchmarkResult]:
    """All results of a run: in the order in which they were benchmarked, others by name."""
    folder = run.stage_dir("bench")
    if not folder.is_dir():
        return []
    order = list(run.manifest().get("bench", {}))
    names = sorted(
        (p.name for p in folder.iterdir() if p.is_dir()),
        key=lambda n: (order.index(n) if n in order else len(order), n),
    )
    found = (read_result(folder / name / "result.json") for name in names)
    return [result for result in found if result is not None]


def print_results(console: Console, results: list[tuple[Path, BenchmarkResult]]) -> None:
    """The headline table of results, each with its folder; what else was asked for; and what to keep in mind."""
    from aloe.bench.compare import tabled

    plain, guarded, notes = tabled(results)
    console.print(results_table(plain, guarded))
    extras = extras_table(plain)
    if extras is not None:
        console.print()
        console.print(extras)
    for note in notes:
        console.print(f"note: {printable(note)}", soft_wrap=True, markup=False)


def print_summary(run: RunDir, outcome: Outcome, command: str, stream: TextIO) -> None:
    """Table, times, report path."""
    console = Console(file=stream, width=None if stream.isatty() else 120, highlight=False)
    if command in ("run", "bench", "report") and (results := load_results(run)):
        console.print()
        print_results(console, [(run.stage_dir("bench") / r.model, r) for r in results])
    for suite, models in outcome.summaries.get("suites", {}).get("suites", {}).items() if command == "run" else ():
        console.print()
        console.print(suite_table(suite, models))
    total = sum(outcome.seconds.values())
    if outcome.seconds:
        times = "  ".join(f"{name} {seconds:.1f} s" for name, seconds in outcome.seconds.items())
        console.print(f"\ntime: {times}  total {total:.1f} s", soft_wrap=True)
    if outcome.skipped:
        console.print(f"already done: {', '.join(outcome.skipped)} (--from STAGE runs a stage again)", soft_wrap=True)
    if command in ("run", "report") and run.report_path.is_file():
        console.print(f"report: {run.report_path}", soft_wrap=True)
