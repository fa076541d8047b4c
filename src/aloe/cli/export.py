"""``aloe export``: the stage of a run, or with ``--format`` files for other tools."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from aloe.cli import completers
from aloe.cli.arguments import completed, refuse_together
from aloe.cli.parser import Overrides, Parser
from aloe.cli.stage import add_stage_arguments, run_stage
from aloe.stages.table import stage_help

NAME = "export"
GROUP = "data"
HELP = stage_help()[NAME]
STAGES_WITH_TREES = ("trees", "rollout")


def add_arguments(parser: Parser) -> None:
    from aloe.export.formats import FORMATS

    formats = (*FORMATS, "hub", "published")
    add_stage_arguments(parser, NAME)
    parser.usage = (
        "aloe export [RECIPE] [--out DIR] [--from STAGE] [--SECTION.OPTION VALUE ...]\n"
        f"       aloe export RUN --format {'|'.join(formats)} [--to PATH] [FILTERS]"
    )
    group = parser.add_argument_group("for other tools, from a run directory or what 'aloe import' wrote")
    group.add_argument(
        "--format",
        choices=formats,
        help="the format to write; published: the path that continued in each tree, without filters",
    )
    to = group.add_argument(
        "--to", type=Path, metavar="PATH", help="folder (default: RUN/datasets/FORMAT), or a .json file"
    )
    completed(to, completers.paths)
    numbers = [
        group.add_argument(
            "--labeler", metavar="NAME", help="use the labels of this labeler (default: those made with the trees)"
        ),
        group.add_argument("--min-margin", type=float, help="smallest margin of a pair (default: the run's)"),
        group.add_argument(
            "--max-length-ratio", type=float, help="largest length of the longer reply over the shorter; 0 = any"
        ),
        group.add_argument(
            "--validation", type=float, help="share of the profiles held out for validation (default: 0)"
        ),
        group.add_argument("--license", help="hub: the card's licence field (default: other)"),
        group.add_argument("--name", help="hub: the data set's name (default: the run's)"),
    ]
    for action in numbers:
        completed(action, completers.nothing)
    group.add_argument("--evidenced", action="store_true", help="only turns at which something was revealed")
    group.add_argument("--stage", choices=STAGES_WITH_TREES, help="export the trees of this stage (default: trees)")


def run(options: Namespace, overrides: Overrides) -> int:
    from aloe.cli.export_format import FILTERS, write_format

    if options.format is not None:
        return write_format(options, overrides)
    names = {"to": "--to", **FILTERS, "stage": "--stage", "license": "--license", "name": "--name"}
    refuse_together(options, names, "export without --format", "add --format FORMAT")
    return run_stage(NAME, options, overrides)
