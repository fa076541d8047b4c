"""``aloe report``: the report of a run, or a page that compares several."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from aloe.cli import completers
from aloe.cli.arguments import completed, existing_path, refuse_together
from aloe.cli.parser import Overrides, Parser
from aloe.cli.stage import add_stage_arguments, run_stage
from aloe.errors import ConfigError
from aloe.stages.table import stage_help

NAME = "report"
GROUP = "look"
HELP = stage_help()[NAME]
COMPARED = Path("runs") / "compared"


def add_arguments(parser: Parser) -> None:
    add_stage_arguments(parser, NAME)
    parser.usage = (
        "aloe report [RECIPE|RUN] [--out DIR]\n       aloe report RUN RUN ... [--out DIR]\n"
        "       aloe report RUN --figures DIR [--format svg,pdf,png]"
    )
    more = parser.add_argument(
        "more", nargs="*", type=existing_path, metavar="RUN",
        help="further runs: one page compares all, the first being what the others are held against "
        f"(default of --out: {COMPARED})",
    )  # fmt: skip
    completed(more, completers.paths)
    figures = parser.add_argument(
        "--figures", type=Path, metavar="DIR", help="write the benchmark's figures as files instead of a page"
    )
    completed(figures, completers.paths)
    form = parser.add_argument(
        "--format", default="svg", metavar="FORM,...", help="of the figures: svg, pdf, png (default: svg; pdf and png "
        "need the extra plots)",
    )  # fmt: skip
    completed(form, lambda **_: ["svg", "pdf", "png"])


def run(options: Namespace, overrides: Overrides) -> int:
    """The report of one run, or the page of several.

    Raises:
        ConfigError: options that mean nothing for a comparison. DataError: nothing to report.
    """
    if options.figures is not None:
        return _write_figures(options)
    if not options.more:
        return run_stage(NAME, options, overrides)
    from aloe.report.compared import build_comparison

    refuse_together(options, {"dry": "--dry", "redo_from": "--from", "json": "--json"}, "several runs", "leave it out")
    if overrides:
        raise ConfigError("options of the config do not go with several runs", "leave them out")
    runs = [Path(options.recipe), *options.more]
    path = build_comparison(runs, Path(options.out or COMPARED) / "index.html")
    if not options.quiet:
        print(f"comparison: {path}")
    return 0


def _write_figures(options: Namespace) -> int:
    from aloe.report.plots import write_plots

    nothing = {"more": "several runs", "out": "--out", "dry": "--dry", "redo_from": "--from", "json": "--json"}
    refuse_together(options, nothing, "--figures", "give one run and --figures")
    if options.recipe is None or not Path(options.recipe).is_dir():
        raise ConfigError("--figures needs a run directory", "give the directory of an 'aloe run'")
    for path in write_plots(Path(options.recipe), options.figures, options.format.split(",")):
        print(path)
    return 0
