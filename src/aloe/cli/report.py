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
    parser.usage = "aloe report [RECIPE|RUN] [--out DIR]\n       aloe report RUN RUN ... [--out DIR]"
    more = parser.add_argument(
        "more", nargs="*", type=existing_path, metavar="RUN",
        help="further runs: one page compares all, the first being what the others are held against "
        f"(default of --out: {COMPARED})",
    )  # fmt: skip
    completed(more, completers.paths)


def run(options: Namespace, overrides: Overrides) -> int:
    """The report of one run, or the page of several.

    Raises:
        ConfigError: options that mean nothing for a comparison. DataError: nothing to report.
    """
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
