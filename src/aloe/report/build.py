"""Writes ``report/index.html``: one file that explains a run to somebody who has not seen it.

It opens offline: style, script, figures and conversations are inside, and its content security
policy allows nothing else (one script, by hash). Texts of models are data: conversations are JSON that the
script shows as text nodes, everything else goes through the template's escaping. Reads the files of the run
directory; what the journal says is handed in.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from aloe.errors import DataError
from aloe.report import charts, sections
from aloe.report.calls import JournalData, calls_section
from aloe.report.data import RunData, is_logged, read_run
from aloe.report.explorer import PackedSource, TreeStats, clip, escape_json, pack_bench, pack_personas, pack_trees
from aloe.report.extras import extra_groups, scope_table
from aloe.report.figures import DARK, DASHES, LIGHT, MARKERS, STYLE, shown, standalone
from aloe.report.measured import Measured, measure_anew
from aloe.report.outcomes import stage_table
from aloe.report.paired import paired_figures
from aloe.report.pool import pool_section
from aloe.report.reinforcement import reply_samples, reward_figures
from aloe.report.suites import suite_tables
from aloe.report.training import packing_figure
from aloe.report.transfer import transfer_section
from aloe.report.verdict import in_words, leading_figures, verdict
from aloe.store.records import atomic_write

MAX_BYTES = 10_500_000  # of conversations; with everything else the page stays below 15 MB
SCRIPTS = ("figures.js", "thread.js", "explorer.js", "links.js")


def build_report(run_dir: Path, journal: JournalData | None = None) -> Path:
    """Write ``report/index.html`` of a run, whatever of the run is there; returns its path.

    Args:
        journal: what the run's journal says of its calls; None: the page says that there is none.

    Raises:
        DataError: the directory does not exist, or the page cannot be written.
    """
    if not run_dir.is_dir():
        raise DataError(f"{run_dir} is not a directory", "give the directory of an 'aloe run'")
    run = read_run(run_dir)
    page = render(run, journal or JournalData())
    path = run_dir / "report" / "index.html"
    with atomic_write(path) as file:
        for chunk in page:
            file.write(chunk)
    return path


def figures_of(run_dir: Path) -> list[charts.Figure]:
    """The benchmark's figures of a run.

    Raises:
        DataError: the run has no benchmark results to draw.
    """
    run = read_run(run_dir)
    figures = bench_figures(run, measure_anew(run.bench), {})
    figures += [f for _, group in extra_groups(run.bench, charts.style_map(m.name for m in run.bench)) for f in group]
    if not figures:
        raise DataError(f"{run_dir} contains no benchmark results", "run 'aloe bench' on it first")
    return figures


def write_figures(run_dir: Path, folder: Path) -> list[Path]:
    """The benchmark's figures as SVG files of their own (for a README or a paper); returns their paths.

    Raises:
        DataError: the run has no benchmark results to draw.
    """
    paths = []
    for figure in figures_of(run_dir):
        path = folder / f"{figure.figure_id}.svg"
        with atomic_write(path) as file:
            file.write(standalone(figure.wide).encode())
        paths.append(path)
    return paths


def bench_figures(run: RunData, measured: Measured, lengths: dict[str, TreeStats]) -> list[charts.Figure]:
    """The figures of the benchmark, in the order of the page: levels, then rates; those without data are left out."""
    models = run.bench
    styles = charts.style_map(m.name for m in models)
    note = "AL(k): mean of the judge's scores at turn k over the benchmark's personas; bands are 95% intervals."
    paired = paired_figures(models, styles)
    found = [
        charts.al_figure(models, styles, "al", "How well replies suit their user, turn by turn", note),
        *charts.learning_figures(models, styles),
        charts.level_figure(models, styles),
        *paired[:2],
        *charts.rate_figures(models, measured.guarded, styles),
        *paired[2:],
        charts.recall_figure(models, styles),
        charts.facts_figure(models, styles),
        charts.length_figure(lengths, styles),
    ]
    return [figure for figure in found if figure]


def render(run: RunData, journal: JournalData) -> Iterator[bytes]:
    """The page in pieces, so that the conversations are never copied into one string."""
    sources, stats = _pack(run)
    shown_personas, splits = pack_personas(run, sources)
    content = _content(run, journal, sources, stats)
    every = [
        *content["first"],
        *content["figures"],
        *(f for _, group in content["extras"] for f in group),
        *content["pool"]["figures"],
        *content["pool"]["coverage"],
        *([content["packing"]] if content["packing"] else []),
        *content["calls"]["figures"],
        *(f for t in content["trees"] for f in t["figures"]),
        *(f for fs in content["training"].values() for f in fs),
    ]
    page = environment().get_template("page.html.jinja").render(looks() | content | {"run": run, "splits": splits})
    head, _, tail = page.partition("<!--data-->")
    yield head.encode("utf-8", "replace")
    yield encoded_data("figures", escape_json({f.figure_id: f.data() for f in every}))
    yield encoded_data("scales", escape_json({f"bench-{m.name}": [m.scale.low, m.scale.high] for m in run.bench}))
    yield encoded_data("personas", escape_json(shown_personas))
    for source in sources:
        if source.n_total:
            yield encoded_data(f"source-{source.source_id}", b"[" + b",".join(source.items) + b"]")
    yield tail.encode("utf-8", "replace")


def looks() -> dict[str, Any]:
    """Style and script with the hashes by which the page's policy admits them."""
    style = f":root{{{LIGHT}}}@media (prefers-color-scheme:dark){{:root{{{DARK}}}}}:root[data-theme=light]{{{LIGHT}}}"
    style += f":root[data-theme=dark]{{{DARK}}}.asfile{{{LIGHT}--bg:#fff;}}{STYLE}{_asset('style.css')}"
    script = "\n".join(_asset(name) for name in SCRIPTS)
    return {
        "style": Markup(style),
        "script": Markup(script),
        "style_hash": _hash(style),
        "script_hash": _hash(script),
    }


def _content(
    run: RunData, journal: JournalData, sources: list[PackedSource], stats: dict[str, TreeStats]
) -> dict[str, Any]:
    """What the template shows, section by section."""
    measured = measure_anew(run.bench)
    lengths = {m.name: stats[f"bench-{m.name}"] for m in run.bench if f"bench-{m.name}" in stats}
    figures = bench_figures(run, measured, lengths)
    first = [figure for figure in figures if figure.figure_id == "al"]
    return {
        "first": first,
        "verdict": verdict(run.bench),
        "leading": leading_figures(run.bench),
        "in_words": in_words(run),
        "judging": sections.judging(run.bench),
        "overview": sections.overview(run),
        "degraded": sections.degraded_notes(run),
        "roles": sections.roles_table(run),
        "synthetic": sections.synthetic_note(run),
        "is_logged": any(map(is_logged, run.bench)),
        "is_all_logged": bool(run.bench) and all(map(is_logged, run.bench)),
        "headline": sections.headline(run.bench, measured.guarded),
        "unfair": [*sections.unfair_notes(run.bench), *sections.kin_notes(run), *measured.notes],
        "findings": sections.findings(run.bench, measured.guarded),
        "truth": sections.truth_tables(run.bench),
        "suites": suite_tables(run),
        "transfer": transfer_section(run),
        "figures": [figure for figure in figures if figure not in first],
        "extras": extra_groups(run.bench, charts.style_map(m.name for m in run.bench)),
        "scopes": scope_rows(run),
        "sources": [s for s in sources if s.n_total],
        "trees": [
            _tree_section(run, s, stats[s.source_id])
            for s in sources
            if not s.source_id.startswith("bench-") and s.n_total
        ],
        "pool": pool_section(run),
        "training": {
            name: [*(reward_figures(run) if name == "rl" else ()), *charts.training_figures(name, rows)]
            for name, rows in run.metrics.items()
        },
        "samples": reply_samples(run),
        "packing": packing_figure(run),
        "stages": stage_table(run),
        "calls": calls_section(run, journal),
        # last: what could not be read is only known when all was
        "failures": sections.failures(run, {s.name: stats[s.source_id].errors for s in sources}),
        "config": clip(run.config_text, 60_000),
    }


def scope_rows(run: RunData) -> list[tuple[str, list[tuple[str, str]]]]:
    """AVG and IR in both scopes as words for a table."""
    return [
        (name, [sections.with_interval(*cell, digits=2 if i < 2 else 3) for i, cell in enumerate(cells)])
        for name, cells in scope_table(run.bench)
    ]


def _pack(run: RunData) -> tuple[list[PackedSource], dict[str, TreeStats]]:
    """All conversations within the page's size; what one source does not use is left to the next."""
    sources: list[PackedSource] = []
    stats: dict[str, TreeStats] = {}
    remaining = MAX_BYTES
    jobs: list[tuple[int, Any]] = [(len(run.bench), model) for model in run.bench]
    ahead = len(jobs) + 2 * max(1, len(jobs)) + 2  # trees weigh as much as all of the benchmark
    for stage, name, weight in (
        ("trees", "Preference trees", max(1, len(jobs))),
        ("rollout", "On-policy trees", max(1, len(jobs)) // 2 + 1),
    ):
        packed, counted = pack_trees(run, stage, name, remaining * weight // ahead)
        remaining, ahead = remaining - sum(map(len, packed.items)), ahead - weight
        sources.append(packed)
        stats[packed.source_id] = counted
    for index, (_, model) in enumerate(jobs):
        packed, counted = pack_bench(run, model, remaining // (len(jobs) - index))
        remaining -= sum(map(len, packed.items))
        sources.append(packed)
        stats[packed.source_id] = counted
    return sources, stats


def _tree_section(run: RunData, source: PackedSource, stats: TreeStats) -> dict[str, Any]:
    facts = [("trees", f"{stats.n_trees:,}"), ("messages", f"{stats.n_nodes:,}")]
    facts += [("trees with a failure", f"{stats.n_failed:,}")] if stats.n_failed else []
    facts += sections.shares("labels", stats.outcomes)
    facts += sections.shares("preferred reply", stats.preferred)
    facts += sections.shares("continued from", stats.continued) if len(stats.continued) > 1 else []
    return {
        "id": source.source_id,
        "name": source.name,
        "facts": facts,
        "truth": sections.stage_truth(run, source.source_id),
        "figures": charts.tree_figures(source.source_id, stats),
    }


def _asset(name: str) -> str:
    return resources.files("aloe.report").joinpath("templates", name).read_text("utf-8")


def environment() -> Environment:
    """Templates, with everything escaped that is not said to be markup."""
    environment = Environment(
        loader=FunctionLoader(_asset), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["svg"] = Markup  # figures escape their own labels
    environment.globals.update(shown=shown, dashes=DASHES, markers=MARKERS)
    return environment


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def encoded_data(name: str, content: bytes) -> bytes:
    """A block of JSON that the page's script reads by its name."""
    return (
        b'<script type="application/json" id="data-' + Markup.escape(name).encode() + b'">' + content + b"</script>\n"
    )
