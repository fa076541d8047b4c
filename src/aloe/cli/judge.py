"""``aloe judge check | agreement | sheet | calibrate``: checks judges, and compares them with each other and people."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from aloe.cli import completers
from aloe.cli.arguments import add_recipe, add_run, completed, existing_path
from aloe.cli.bench_flags import add_flags
from aloe.cli.calibrate import calibrate
from aloe.cli.panel import check_judges, panel_agreement
from aloe.cli.parser import Overrides, Parser
from aloe.errors import ConfigError

NAME = "judge"
GROUP = "measure"
HELP = "check a judge, measure how far judges agree, write a blind rating sheet, compare with human ratings"


def add_arguments(parser: Parser) -> None:
    check = parser.add_verb(
        "check",
        "test a judge with swapped orders, repeats and pairs whose better reply is known",
        check_judges,
        usage="aloe judge check [RECIPE|RUN] [--judge URI] [--n N] [--seed S] [--scope S] [--scale S] [--json]",
    )
    add_recipe(check)
    add_flags(check, ("--judge", "--scope", "--scale"))
    _add_number(check, "--n", 40, "items to judge")
    _add_number(check, "--seed", 0, "which items are drawn")
    check.add_argument("--json", action="store_true", help="print JSON")
    check.accept_config(lambda: ("roles", "bench", "budget", "execution"))
    agree = parser.add_verb(
        "agreement",
        "how far the judges of a panel agree, and whether one favours models of its own family",
        panel_agreement,
        usage="aloe judge agreement RUN|BENCH/MODEL ... [--json]",
    )
    scored = agree.add_argument(
        "paths", nargs="+", type=existing_path, metavar="DIR", help="runs or bench/MODEL folders, scored by one panel"
    )
    agree.add_argument("--json", action="store_true", help="print JSON")
    sheet = parser.add_verb("sheet", "write a blind, shuffled CSV of benchmarked replies for people to score", _sheet)
    add_run(sheet)
    out = sheet.add_argument(
        "--out", type=Path, default=Path("sheet.csv"), metavar="FILE", help="the CSV to write (default: sheet.csv)"
    )
    _add_number(sheet, "--n", 50, "replies on the sheet")
    _add_number(sheet, "--seed", 0, "which replies are drawn, in which order")
    people = sheet.add_argument(
        "--personas", metavar="FILE", help="persona file of the benchmark, or 'packaged' (default: the run's own)"
    )
    rated = parser.add_verb(
        "calibrate",
        "compare human scores (a filled-in sheet) or blind choices (RUN/studio/ratings.jsonl) with the judge",
        calibrate,
        usage="aloe judge calibrate FILE.csv [RUN] | RUN  [--json]",
    )
    source = rated.add_argument("source", type=existing_path, help="a filled-in sheet, or a run with blind choices")
    run = rated.add_argument(
        "run", nargs="?", type=existing_path, metavar="RUN", help="the sheet's run (default: from the sheet's key file)"
    )
    rated.add_argument("--json", action="store_true", help="print JSON")
    for action in (scored, out, people, source, run):
        completed(action, completers.paths)


def _add_number(parser: Parser, name: str, default: int, what: str) -> None:
    action = parser.add_argument(name, type=int, default=default, metavar="N", help=f"{what} (default: {default})")
    completed(action, completers.nothing)


def run(options: Namespace, overrides: Overrides) -> int:
    return int(options.verb(options, overrides))


def _sheet(options: Namespace, overrides: Overrides) -> int:
    from aloe.bench.calibration import key_path, write_sheet
    from aloe.cli.places import READ_ONLY, bench_config
    from aloe.personas.stage import read_bench_file
    from aloe.store.records import read_jsonl
    from aloe.types import Persona

    if not (options.run / "config.toml").is_file():
        raise ConfigError(f"{options.run} is not a run directory", "give the one that holds config.toml and bench/")
    config, _ = bench_config(f"{options.run}/", {}, READ_ONLY)
    own = options.run / "personas" / "personas.jsonl"
    source = options.personas or config.bench.personas
    people = list(read_jsonl(own, Persona)) if own.is_file() else []
    if source:
        people += read_bench_file(source, 10**6, config.seed)
    n = write_sheet(options.run, options.out, options.n, options.seed, people)
    print(
        f"{n} replies -> {options.out} (fill in 'score'; {key_path(options.out)} names the models, keep it from raters)"
    )
    return 0
