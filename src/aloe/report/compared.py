"""A page that compares runs: the same model of two runs on the same personas, with its interval.

Models keep their names with the run's behind (``dpo-spring``). What the runs did differently stands beside, from their
configs, so that a difference can be read as the effect of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aloe.bench.compare import compare_pair
from aloe.errors import ConfigError, DataError
from aloe.report import charts, sections
from aloe.report.build import encoded_data, environment, looks
from aloe.report.charts import Figure, estimates_figure
from aloe.report.data import BenchModel, RunData, read_run
from aloe.report.explorer import clip, escape_json
from aloe.report.figures import ForestRow
from aloe.report.measured import measure_anew, scored
from aloe.report.verdict import Verdict, leading, told
from aloe.store.records import atomic_write

MAX_RUNS = 12
MAX_VALUE = 120  # characters of an option's value in the table of differences
PLACES = ("roles.", "execution.", "report.")  # told last: who plays and how fast


@dataclass(slots=True)
class Together:
    """Runs side by side. ``models``: of all runs, under their longer names; ``pairs``: the same model of two runs."""

    names: list[str]
    models: list[BenchModel]
    pairs: list[tuple[str, str]] = field(default_factory=list)
    options: list[tuple[str, list[str]]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def build_comparison(run_dirs: Sequence[Path], path: Path) -> Path:
    """Write the page that compares ``run_dirs`` (the first is what the others are held against) to ``path``.

    Raises:
        ConfigError: fewer than two runs, or too many. DataError: a directory that does not exist or has no benchmark.
    """
    if not 2 <= len(run_dirs) <= MAX_RUNS:
        raise ConfigError(f"{len(run_dirs)} runs to compare", f"give 2 to {MAX_RUNS} run directories")
    for run_dir in run_dirs:
        if not run_dir.is_dir():
            raise DataError(f"{run_dir} is not a directory", "give the directories of runs")
    runs = [read_run(run_dir) for run_dir in run_dirs]
    for run in runs:
        if not run.bench:
            raise DataError(f"{run.path} contains no benchmark results", "run 'aloe bench' on it first")
    together = put_together(runs)
    with atomic_write(path) as file:
        for chunk in _page(together):
            file.write(chunk)
    return path


def put_together(runs: Sequence[RunData]) -> Together:
    """The models of all runs under names of their own, which of them to compare, and where the configs differ."""
    names: list[str] = []
    for run in runs:
        name, number = run.name, 2
        while name in names:
            name, number = f"{run.name}-{number}", number + 1
        names.append(name)
    found = Together(names, [])
    for name, run in zip(names, runs, strict=True):
        for model in run.bench:
            found.models.append(BenchModel(f"{model.name}-{name}", model.folder, model.result, model.scores))
        found.problems += [f"{name}: {problem}" for problem in run.problems]
    for name, run in zip(names[1:], runs[1:], strict=True):
        here, first = {m.name for m in run.bench}, [m.name for m in runs[0].bench]
        found.pairs += [(f"{model}-{name}", f"{model}-{names[0]}") for model in first if model in here]
    found.options = _different([_flat(run.config) for run in runs])
    return found


def _flat(table: dict[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in table.items():
        if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
            value = value[0] if len(value) == 1 else {str(number): one for number, one in enumerate(value, 1)}
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
            found[f"{prefix}{key}"] = shown
    return found


def _different(configs: Sequence[dict[str, str]]) -> list[tuple[str, list[str]]]:
    keys = dict.fromkeys(key for config in configs for key in config)
    rows = [(key, [config.get(key, "–") for config in configs]) for key in keys]
    kept = [(key, [clip(value, MAX_VALUE) for value in values]) for key, values in rows if len(set(values)) > 1]
    return sorted(kept, key=lambda row: row[0].startswith(PLACES))


def _page(found: Together) -> Iterator[bytes]:
    measured = measure_anew(found.models)
    styles = charts.style_map(m.name for m in found.models)
    figures = _figures(found, styles)
    content = {
        "names": found.names,
        "verdict": _verdict(found),
        "figures": figures,
        "headline": sections.headline(found.models, measured.guarded),
        "unfair": [*sections.unfair_notes(found.models), *measured.notes, *found.problems],
        "options": found.options,
    }
    page = environment().get_template("compared.html.jinja").render(looks() | content)
    head, _, tail = page.partition("<!--data-->")
    yield head.encode("utf-8", "replace")
    yield encoded_data("figures", escape_json({f.figure_id: f.data() for f in figures}))
    yield tail.encode("utf-8", "replace")


def _figures(found: Together, styles: dict[str, int]) -> list[Figure]:
    trained = [m for m in found.models if not m.is_control] or found.models
    note = "AL(k): mean of the judge's scores at turn k over the benchmark's personas; bands are 95% intervals."
    curves = charts.al_figure(trained, styles, "al", "How well replies suit their user, turn by turn", note)
    known = {m.name: table for m in found.models if (table := scored(m)) is not None}
    note = f"Later run minus {found.names[0]}, same personas; intervals are those of the difference."
    drawn = [curves] if curves else []
    for key, title in (("avg", "AVG"), ("late", "the late mean")):
        rows = []
        for one, other in found.pairs:
            estimate = getattr(compare_pair(known[one], known[other]), key) if {one, other} <= set(known) else None
            if estimate is not None:
                rows.append(ForestRow(one, estimate.value, estimate.low, estimate.high, styles.get(one, 0)))
        if rows:
            drawn.append(estimates_figure(f"paired-{key}", f"Differences in {title}", "AL points", rows, note))
    return drawn


def _verdict(found: Together) -> Verdict | None:
    """The difference between the runs in the model that the first one is about."""
    lead = leading([m for m in found.models if m.name.endswith(f"-{found.names[0]}")])
    pair = next((pair for pair in found.pairs if lead is not None and pair[1] == lead.name), None)
    tables = {m.name: table for m in found.models if pair and m.name in pair and (table := scored(m)) is not None}
    return told(tables[pair[0]], tables[pair[1]]) if pair and len(tables) == 2 else None
