"""What a run ends with on the screen: one table, a time per stage, the path of the report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.table import Table

from aloe.stages.pipeline import Outcome
from aloe.store.rundir import RunDir, read_result
from aloe.types import BenchmarkResult


def number(value: float | None, digits: int = 2) -> str:
    """A figure for a table; ``none`` where it is undefined."""
    return "none" if value is None else f"{round(value, digits) + 0.0:.{digits}f}"  # + 0.0: never -0.000


def interval(value: tuple[float, float] | None, digits: int = 3) -> str:
    return "none" if value is None else f"[{number(value[0], digits)}, {number(value[1], digits)}]"


def results_table(results: list[BenchmarkResult]) -> Table:
    """The headline table."""
    table = Table(title="ALOE benchmark", title_justify="left", box=None, pad_edge=False)
    table.add_column("model")
    columns = ("AL(1)", "AL(K)", "AVG", "IR", "95%", "N-IR", "N-R2", "recall", "false", "style", "markers", "unscored")
    for column in columns:
        table.add_column(column, justify="right")
    for r in results:
        unscored = sum(p.n_unscored for p in r.points)
        table.add_row(
            r.model,
            number(r.points[0].al) if r.points else "none",
            number(r.points[-1].al) if r.points else "none",
            number(r.avg),
            number(r.ir, 3),
            interval(r.ir_ci),
            number(r.n_ir, 3),
            number(r.n_r2, 3),
            number(r.truth.get("recall")),
            number(r.truth.get("false_memory_rate")),
            number(r.truth.get("style_accuracy")),
            number(r.truth.get("style_recall")),
            str(unscored),
        )
    return table


def extras_table(results: list[BenchmarkResult]) -> Table | None:
    """Personal gain, the other scope and identification at the last turn; None where none was asked for."""
    if all(r.gain is None and r.other_scope is None for r in results):
        return None
    table = Table(box=None, pad_edge=False)
    table.add_column("model")
    for column in ("gain", "95%", "other scope", "AVG", "IR", "mind-reading", "95%", "identified"):
        table.add_column(column, justify="right")
    for r in results:
        other, seen = r.other_scope, r.identification.get("replies") or r.identification.get("judge")
        table.add_row(
            r.model,
            number(r.gain),
            interval(r.gain_ci),
            other.scope if other else "none",
            number(other.avg if other else None),
            number(other.ir if other else None, 3),
            number(other.mind_reading if other else None),
            interval(other.mind_reading_ci if other else None),
            number(seen[-1] if seen else None),
        )
    return table


def suite_table(suite: str, models: Mapping[str, Mapping[str, float | None]]) -> Table:
    """The figures of one suite by model."""
    table = Table(title=suite, title_justify="left", box=None, pad_edge=False)
    table.add_column("model")
    names = list(dict.fromkeys(name for figures in models.values() for name in figures))
    for name in names:
        table.add_column(name, justify="right")
    for model, figures in models.items():
        table.add_row(model, *(number(figures.get(name)) for name in names))
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
    from aloe.bench.compare import result_notes

    plain = [r for _, r in results]
    console.print(results_table(plain))
    extras = extras_table(plain)
    if extras is not None:
        console.print()
        console.print(extras)
    for note in result_notes(results):
        console.print(f"note: {note}", soft_wrap=True, markup=False)


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
