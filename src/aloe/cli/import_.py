"""``aloe import FILE --out DIR``: published conversations as personas, trees and labels."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from aloe.cli import completers
from aloe.cli.arguments import completed, existing_path
from aloe.cli.parser import Overrides, Parser
from aloe.errors import ConfigError

NAME = "import"
GROUP = "data"
HELP = "import conversations in the published format as trees"
N_PROBLEMS = 20  # problems of the file that are printed


def add_arguments(parser: Parser) -> None:
    parser.add_argument("file", type=existing_path, help="JSON or JSON Lines, one conversation per row")
    out = parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new or empty directory")
    completed(out, completers.paths)


def run(options: Namespace, overrides: Overrides) -> int:
    from aloe.export.published import import_file

    if options.out.exists() and (not options.out.is_dir() or any(options.out.iterdir())):
        raise ConfigError(f"--out {options.out} is not empty", "give a new directory")
    found = import_file(options.file, options.out)
    for problem in found.problems[:N_PROBLEMS]:
        print(problem)
    if len(found.problems) > N_PROBLEMS:
        print(f"... and {len(found.problems) - N_PROBLEMS} more")
    print(f"{len(found.trees):,} trees of {len(found.personas):,} personas with {len(found.labels):,} preferences")
    return 0
