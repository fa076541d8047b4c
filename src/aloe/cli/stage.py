"""``aloe run`` and the commands of the stages: the same arguments, the same run directory."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aloe.cli import completers
from aloe.cli.arguments import add_recipe, completed, refuse_together
from aloe.cli.commands import find
from aloe.cli.parser import Overrides, Parser
from aloe.errors import ConfigError, DataError

if TYPE_CHECKING:
    from aloe.config import Config

SHARDED = ("trees", "rollout", "bench")  # stages of which a command can do a part


@dataclass(frozen=True, slots=True)
class StageCommand:
    """The command of a stage that needs nothing of its own, or of all stages (``run``)."""

    NAME: str
    GROUP: str
    HELP: str

    def add_arguments(self, parser: Parser) -> None:
        add_stage_arguments(parser, self.NAME)

    def run(self, options: Namespace, overrides: Overrides) -> int:
        return run_stage(self.NAME, options, overrides)


def command(name: str) -> StageCommand:
    """The command of the stage ``name``, or ``run``."""
    row = find(name)
    return StageCommand(row.name, row.group, row.help)


def add_stage_arguments(parser: Parser, stage: str) -> None:
    """What all commands of stages take; the stage's own flags come before, its forms of usage after."""
    add_run_arguments(parser, stage)
    parser.accept_config(None if stage == "run" else lambda: stage_sections(stage))


def add_run_arguments(parser: Parser, stage: str) -> None:
    """The recipe and the flags of a command that runs stages."""
    from aloe.cli.places import PRECEDENCE
    from aloe.config import recipe_names

    parser.usage = f"{parser.prog} [RECIPE] [--out DIR] [--from STAGE] [--SECTION.OPTION VALUE ...]"
    if stage == "run":
        parser.epilog = PRECEDENCE
    add_recipe(parser, f"a .toml file, a run directory, or {', '.join(recipe_names())}")
    out = parser.add_argument("--out", metavar="DIR", help="run directory (default: runs/RECIPE)")
    completed(out, completers.paths)
    redo = parser.add_argument(
        "--from", dest="redo_from", metavar="STAGE", help="run this stage and all later ones again"
    )
    completed(redo, completers.stages)
    allow = parser.add_argument(
        "--allow-failed",
        type=float,
        metavar="SHARE",
        help="continue if calls failed in at most this share of a stage's trees, conversations, items or writer "
        "calls (default: 0)",
    )
    completed(allow, completers.nothing)
    parser.add_argument(
        "--allow-degraded",
        action="store_true",
        help="continue although more than half of a role's answers are unusable",
    )
    if stage in SHARDED:
        shard = parser.add_argument(
            "--shard",
            metavar="K/N",
            help="do only this part of the stage (docs/scale.md)",
        )
        completed(shard, completers.nothing)
    parser.add_argument("--dry", action="store_true", help="only print the expected calls and their cost")
    parser.add_argument("--json", action="store_true", help="with --dry: print JSON")
    parser.add_argument("-q", "--quiet", action="store_true", help="print errors only")


def stage_sections(name: str) -> Sequence[str]:
    """The sections of the config that shape a stage's result, and what limits its calls if it makes any."""
    from aloe.stages.table import stage_by_name

    stage = stage_by_name(name)
    sections = [read.partition(".")[0] for read in stage.reads]
    if stage.prompts:
        sections += ["roles", "budget", "execution"]
    return list(dict.fromkeys(sections))


def _kinds(stage: str) -> tuple[str, ...]:
    """What the config of a run can bring about when this stage runs: one that shows loads plug-ins at most."""
    from aloe.cli.trust import ALL
    from aloe.stages.table import STAGES

    return ("plug-in",) if any(s.name == stage and s.shows for s in STAGES) else ALL  # a plug-in's method trains


def run_stage(
    stage: str, options: Namespace, overrides: Overrides, notes: Callable[[Config], Iterable[str]] = lambda _: ()
) -> int:
    """Run a recipe up to a stage (``run``: all of it) and print the results.

    Args:
        options: as :func:`add_stage_arguments` declares them.
        notes: lines to print before the work begins, by the config.

    Raises:
        ConfigError: no recipe, or options that do not fit. DataError: nothing to report. AloeError: a stage failed.
    """
    from aloe.cli.output import shield
    from aloe.cli.places import Trust, resolve
    from aloe.config.load import merge

    shield()
    only = None if stage == "run" else stage
    if options.allow_degraded:
        overrides = merge(overrides, {"execution": {"allow_degraded": True}})
    if options.dry:
        from aloe.cli.plan import show_plan

        return show_plan(options, overrides, only)
    refuse_together(options, {"json": "--json"}, f"{stage} without --dry", "add --dry")
    place = resolve(options.recipe, options.out, overrides, Trust.of(options, _kinds(stage)))
    config, run = place.config, place.run
    if stage == "report" and not run.exists():
        raise DataError(f"{run.path} is not a run directory: nothing to report", "give the directory of an 'aloe run'")

    from aloe.stages.pipeline import run_pipeline

    say = None if options.quiet else print
    if say is not None:
        if place.note:
            say(f"aloe: {place.note}")
        say(f"aloe: {place.recipe} -> {run.path} (seed {config.seed})")
        for note in notes(config):
            say(note)
    allow = options.allow_failed or 0.0
    if not 0 <= allow <= 1:
        raise ConfigError(f"--allow-failed {allow:g} is not a valid share", "give a number between 0 and 1")
    redo = options.redo_from
    if getattr(options, "shard", None) is not None:
        from aloe.stages.one_shard import run_shard
        from aloe.store.shards import Shard

        refuse_together(options, {"redo_from": "--from"}, "--shard", "leave one of them out")
        run_shard(config, run, place.recipe, stage, Shard.parse(options.shard), allow_failed=allow, say=say)
        return 0
    if stage == "report" and redo is None:
        redo = "report"  # asking for the report means a fresh one
    outcome = run_pipeline(config, run, place.recipe, only=only, redo_from=redo, allow_failed=allow, say=say)
    if not options.quiet:
        from aloe.cli.tables import print_summary

        print_summary(run, outcome, stage, sys.stdout)
    return 0
