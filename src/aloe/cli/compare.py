"""``aloe compare RUN ...``: paired differences between benchmarked models."""

from __future__ import annotations

from argparse import Namespace

from aloe.cli.arguments import existing_path
from aloe.cli.parser import Overrides, Parser

NAME = "compare"
GROUP = "measure"
HELP = "paired differences between the models of one or more runs"


def add_arguments(parser: Parser) -> None:
    parser.add_argument(
        "paths", nargs="+", type=existing_path, metavar="RUN", help="run directories or bench/MODEL directories"
    )
    parser.add_argument(
        "--strict", action="store_true", help="refuse models that had another user, judge, prompts or personas"
    )


def run(options: Namespace, overrides: Overrides) -> int:
    from aloe.bench.compare import compare, format_comparison

    print(format_comparison(compare(options.paths, strict=options.strict)))
    return 0
