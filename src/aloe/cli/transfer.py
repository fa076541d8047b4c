"""``aloe transfer``: trains on one simulated user after the other and tests every model on all of them."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from aloe.cli import completers
from aloe.cli.arguments import add_recipe, completed
from aloe.cli.parser import Overrides, Parser

NAME = "transfer"
GROUP = "measure"
HELP = "train on each of several users, test on all under several judges: does what is learned carry over?"
JUDGES = "world:judge?weighing=style,world:judge?weighing=content,world:judge?weighing=tact"


def add_arguments(parser: Parser) -> None:
    parser.usage = "aloe transfer [RECIPE] --users plain,terse,... [--judges URI,URI,...] --out DIR"
    parser.epilog = "example: aloe transfer demo --users plain,terse,learner --out runs/transfer"
    add_recipe(parser)
    users = parser.add_argument("--users", required=True, metavar="NAMES", help="dialects of the world's user")
    judges = parser.add_argument(
        "--judges", default=JUDGES, metavar="URIS", help="judges (default: style,content,tact)"
    )
    out = parser.add_argument(
        "--out", type=Path, default=Path("runs/transfer"), metavar="DIR", help="default: runs/transfer"
    )
    which = parser.add_argument("--checkpoint", choices=("sft", "dpo"), default="dpo", help="default: dpo")
    people = parser.add_argument("--personas", type=int, default=40, metavar="N", help="default: 40")
    parser.add_argument("--no-mixture", action="store_true", help="train no model on the mixture of all users")
    completed(out, completers.paths)
    for action in (users, judges, which, people):
        completed(action, completers.nothing)
    parser.accept_config()


def run(options: Namespace, overrides: Overrides) -> int:
    from aloe.cli.places import Trust, source_config
    from aloe.stages.transfer import TransferPlan, run_transfer, summary

    config = source_config(options.recipe, None, overrides, Trust.of(options))
    plan = TransferPlan(
        users=tuple(filter(None, options.users.split(","))),
        judges=tuple(filter(None, options.judges.split(","))),
        checkpoint=options.checkpoint,
        n_personas=options.personas,
        with_mixture=not options.no_mixture,
    )
    figures, _ = run_transfer(config, plan, options.out)
    print("\n".join([*summary(figures), f"{options.out / 'index.html'} shows the matrices"]))
    return 0
