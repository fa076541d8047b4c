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


FLAGS = ("users", "judges", "checkpoint", "personas")  # options of [transfer]


def add_arguments(parser: Parser) -> None:
    parser.usage = "aloe transfer [RECIPE] --users plain,terse,... [--judges URI,URI,...] --out DIR"
    parser.epilog = "example: aloe transfer demo --users plain,terse,learner --out runs/transfer"
    add_recipe(parser)
    users = parser.add_argument("--users", metavar="NAMES", help="dialects of the world's user")
    judges = parser.add_argument("--judges", metavar="URIS", help="judges (default: style, content, tact)")
    out = parser.add_argument(
        "--out", type=Path, default=Path("runs/transfer"), metavar="DIR", help="default: runs/transfer"
    )
    which = parser.add_argument("--checkpoint", choices=("sft", "dpo"), help="default: dpo")
    people = parser.add_argument("--personas", type=int, metavar="N", help="benchmark personas (default: 40)")
    parser.add_argument("--no-mixture", action="store_true", help="train no model on the mixture of all users")
    parser.add_argument(
        "--own-base", action="store_true", help="a base model for each user, of its words alone, instead of one for all"
    )
    completed(out, completers.paths)
    for action in (users, judges, which, people):
        completed(action, completers.nothing)
    parser.accept_config()


def run(options: Namespace, overrides: Overrides) -> int:
    from aloe.bench.transfer import summary
    from aloe.cli.places import Trust, source_config
    from aloe.config import merge
    from aloe.stages.transfer import plan_of, run_transfer

    given = {name: value for name in FLAGS if (value := getattr(options, name)) is not None}
    given |= {"mixture": False} if options.no_mixture else {}
    given |= {"shared_base": False} if options.own_base else {}
    config = source_config(options.recipe, None, merge(overrides, {"transfer": given}), Trust.of(options))
    figures, _ = run_transfer(config, plan_of(config.transfer), options.out)
    print("\n".join([*summary(figures), f"{options.out / 'index.html'} shows the matrices"]))
    return 0
