"""``aloe plan RECIPE`` and ``aloe run RECIPE --dry``: what would be asked and what it would cost."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from aloe.cli.parser import OneLineParser
from aloe.config import load_config, parse_overrides, recipe_names
from aloe.errors import ConfigError


def plan_command(argv: list[str], only: str | None = None) -> int:
    """Print the plan of a recipe or run.

    Args:
        only: the stage up to which is planned; None: the whole recipe.

    Raises:
        ConfigError: no recipe, or an option that does not fit.
    """
    argv = [a for a in argv if a != "--dry"]
    recipe = argv.pop(0) if argv and not argv[0].startswith("-") else None
    parser = OneLineParser(
        prog="aloe plan",
        usage="aloe plan RECIPE [--OPTION VALUE ...] [--json]",
        description="Expected calls, tokens and cost, from a rehearsal of a small part with the simulated world.",
        allow_abbrev=False,
    )
    parser.add_argument("--out", help="run directory (only its config is read)")
    parser.add_argument("--from", dest="redo_from", help="ignored: a plan is from the beginning")
    parser.add_argument("-q", "--quiet", action="store_true")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options, rest = parser.parse_known_args(argv)
    place = recipe or options.out
    if place is None:
        raise ConfigError("no recipe given", f"name one of: {', '.join(recipe_names())}, a .toml file, or a run")
    if (Path(place) / "config.toml").is_file():
        place = str(Path(place) / "config.toml")

    from aloe.forecast.calls import format_plan, make_plan

    plan = make_plan(load_config(place, parse_overrides(rest)), only)
    print(json.dumps(asdict(plan), indent=2) if options.json else format_plan(plan))
    return 0
