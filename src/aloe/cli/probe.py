"""``aloe probe MODEL``: what a local model would decide in the simulated world, by its log-probabilities."""

from __future__ import annotations

import json
from argparse import ArgumentTypeError, Namespace
from typing import TYPE_CHECKING

from aloe.cli import completers
from aloe.cli.arguments import add_recipe, completed
from aloe.cli.parser import Overrides, Parser

if TYPE_CHECKING:
    from aloe.stages.probe import ProbeReport

NAME = "probe"
GROUP = "measure"
HELP = "measure what a local model would decide (which fact now, which value, which manner) without decoding"


def count(text: str) -> int:
    """argparse type: a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"'{text}' is not a whole number of at least 1")
    return int(text)


def add_arguments(parser: Parser) -> None:
    parser.usage = "aloe probe [RECIPE] --model MODEL [--model MODEL ...] [--personas N] [--json]"
    parser.description = (
        "Compare the log-probabilities of right and wrong continuations of a tailored reply, at each place where it "
        "decides something, in fresh conversations of the recipe's simulated world."
    )
    parser.epilog = "example: aloe probe smollm2 --model smollm2 --model runs/smollm2/checkpoints/sft"
    add_recipe(parser)
    model = parser.add_argument(
        "--model", action="append", required=True, metavar="MODEL", help="path, id or hf: URI of a local model; repeat"
    )
    completed(model, completers.paths)
    people = parser.add_argument("--personas", type=count, default=16, help="conversations (default: 16)")
    turns = parser.add_argument("--turns", type=count, default=7, help="turns of each conversation (default: 7)")
    held = parser.add_argument(
        "--held-out", metavar="SLOTS", default="", help="kinds of fact to count apart, for example pet,sport"
    )
    for action in (people, turns, held):
        completed(action, completers.nothing)
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.accept_config()


def run(options: Namespace, overrides: Overrides) -> int:
    from aloe.cli.places import Trust, source_config
    from aloe.progress import stage_progress
    from aloe.stages.probe import run_probe
    from aloe.world.lexicon.options import parse_options

    config = source_config(options.recipe, None, overrides, Trust.of(options))
    held_out = parse_options(f"slots={options.held_out}", "--held-out").slots
    reports = []
    for model in options.model:
        with stage_progress("probe", quiet=options.quiet) as progress:
            reports.append(
                run_probe(
                    config,
                    model,
                    n_personas=options.personas,
                    n_turns=options.turns,
                    held_out=held_out,
                    progress=progress.update,
                )
            )
    if options.json:
        print(json.dumps([report.as_dict() for report in reports], indent=2))
    else:
        for report in reports:
            _print(report)
    return 0


def _print(report: ProbeReport) -> None:
    from aloe.stages.probe import FIGURES

    print(f"{report.model}: {report.n_personas} personas, {report.seconds:.1f} s")
    for name, estimate in report.figures.items():
        if estimate is not None:
            span = f"[{estimate.low:.2f}, {estimate.high:.2f}]"
            print(f"  {name:<18} {estimate.value:.2f} {span}  n {report.counts[name]:<5} {FIGURES[name]}")
    print("  by kind of fact (fact_now, first token, n):")
    cells = [f"{k} {v['fact_now']:.2f} {v['first_token']:.2f} {v['n']}" for k, v in report.kinds.items()]
    for at in range(0, len(cells), 4):
        print("    " + "   ".join(f"{cell:<26}" for cell in cells[at : at + 4]).rstrip())
