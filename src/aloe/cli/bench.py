"""``aloe bench``: benchmarks models, or scores logged conversations."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from aloe.cli import completers
from aloe.cli.arguments import completed, existing_path, refuse_together
from aloe.cli.bench_flags import add_flags, bench_overrides
from aloe.cli.parser import Overrides, Parser
from aloe.cli.stage import add_stage_arguments, run_stage
from aloe.stages.table import stage_help

if TYPE_CHECKING:
    from aloe.config import Config

NAME = "bench"
GROUP = "measure"
HELP = stage_help()[NAME]


def add_arguments(parser: Parser) -> None:
    parser.description = "Benchmark models: AL(k), IR, N-IR, N-R2. Without RECIPE, the packaged personas are used."
    add_flags(parser)
    add_stage_arguments(parser, NAME)
    parser.usage = (
        "aloe bench [RECIPE|RUN] [--model URI ...] [--judge URI] [--user URI] [--out DIR] [FLAGS]\n"
        "       aloe bench [RECIPE|RUN] --conversations FILE [--personas FILE] [--name NAME] [--out DIR] [FLAGS]"
    )
    group = parser.add_argument_group("to score logged conversations instead")
    log = group.add_argument(
        "--conversations",
        type=existing_path,
        metavar="FILE",
        help="the log (formats: docs/benchmark.md)",
    )
    completed(log, completers.paths)
    name = group.add_argument("--name", help="name of the result (default: the file's name)")
    completed(name, completers.nothing)


def run(options: Namespace, overrides: Overrides) -> int:
    from aloe.cli.places import is_run

    if options.conversations is not None:
        from aloe.cli.offline import score_logged

        return score_logged(options, overrides)
    refuse_together(options, {"name": "--name"}, "bench without --conversations", "add --conversations FILE")
    if options.recipe is None and not is_run(options.out):
        options.recipe = "bench"
    return run_stage(NAME, options, bench_overrides(options, overrides), left_out)


def left_out(config: Config) -> list[str]:
    """What is wrong with the benchmark's persona file, a line each: a benchmark must not shrink unnoticed.

    Raises:
        DataError: nothing in it is usable.
    """
    from aloe.personas.importer import read_source, summarize_problems

    source = config.bench.personas
    if source in (None, "packaged"):
        return []
    return [f"personas: {problem}" for problem in summarize_problems(read_source(str(source)).problems, 5)]
