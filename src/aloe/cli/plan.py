"""``aloe plan RECIPE`` and ``aloe run RECIPE --dry``: an estimate of calls, tokens and cost."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import asdict

from aloe.cli import completers
from aloe.cli.arguments import add_recipe, completed
from aloe.cli.parser import Overrides, Parser

NAME = "plan"
GROUP = "run"
HELP = "estimate the calls, tokens and cost of a recipe before anything is sent"


def add_arguments(parser: Parser) -> None:
    parser.usage = "aloe plan RECIPE [--json] [--SECTION.OPTION VALUE ...]"
    parser.description = (
        "Estimate calls, tokens and cost by running a small part of each stage with the simulated world."
    )
    add_recipe(parser)
    out = parser.add_argument("--out", metavar="DIR", help="run directory (only its config is read)")
    completed(out, completers.paths)
    redo = parser.add_argument(
        "--from", dest="redo_from", metavar="STAGE", help="ignored: a plan always covers all stages"
    )
    completed(redo, completers.stages)
    parser.add_argument("-q", "--quiet", action="store_true", help="ignored: only the plan is printed")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.accept_config()


def run(options: Namespace, overrides: Overrides) -> int:
    return show_plan(options, overrides, None)


def show_plan(options: Namespace, overrides: Overrides, only: str | None) -> int:
    """Print the plan of a recipe or run.

    Args:
        options: of a command with ``recipe`` (a recipe or a run directory; None: the run directory ``out``).
        only: the stage up to which is planned; None: the whole recipe.

    Raises:
        ConfigError: no recipe, or an option that does not fit.
    """
    from aloe.cli.places import Trust, is_run, no_recipe, source_config
    from aloe.cli.trust import NOTHING_SENT
    from aloe.forecast.calls import format_plan, make_plan

    word, out = options.recipe, options.out
    if word is None:
        if not is_run(out):
            raise no_recipe()
        word, out = out, None
    plan = make_plan(source_config(word, out, overrides, Trust.of(options, NOTHING_SENT)), only)
    print(json.dumps(asdict(plan), indent=2) if options.json else format_plan(plan))
    return 0
