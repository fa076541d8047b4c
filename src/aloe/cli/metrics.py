"""``aloe metrics FILE``: AVG, late mean, IR and related figures from per-turn values."""

from __future__ import annotations

import json
from argparse import Namespace

from aloe.cli.arguments import existing_path
from aloe.cli.parser import Overrides, Parser

NAME = "metrics"
GROUP = "measure"
HELP = "compute AVG, late mean, IR, N-IR, N-R2 from per-turn values in JSON or CSV"


def add_arguments(parser: Parser) -> None:
    parser.add_argument(
        "file", type=existing_path, help="JSON or CSV: a list of values, one row per persona, or named curves"
    )
    parser.add_argument(
        "--floor", type=float, help="level that guarded IR starts from (default: the curve named generic)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: Namespace, overrides: Overrides) -> int:
    from aloe.bench.metrics_file import format_metrics, metrics_table, read_curve

    rows = metrics_table(read_curve(options.file), options.floor)
    print(json.dumps(rows, indent=2) if options.json else format_metrics(rows))
    return 0
