"""``aloe config RECIPE``: the resolved config as TOML."""

from __future__ import annotations

import sys
from argparse import Namespace

from aloe.cli.arguments import add_recipe
from aloe.cli.parser import Overrides, Parser

NAME = "config"
GROUP = "run"
HELP = "print the resolved config of a recipe"


def add_arguments(parser: Parser) -> None:
    parser.usage = "aloe config [RECIPE] [--SECTION.OPTION VALUE ...]"
    parser.description = "Print the resolved config as TOML."
    add_recipe(parser, "a recipe's name, a .toml file, or a run directory (default: the built-in defaults)")
    parser.accept_config()


def run(options: Namespace, overrides: Overrides) -> int:
    from aloe.cli.places import READ_ONLY, source_config
    from aloe.config import dump_toml

    sys.stdout.write(dump_toml(source_config(options.recipe, None, overrides, READ_ONLY)))
    return 0
