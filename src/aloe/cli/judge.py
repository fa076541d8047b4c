"""``aloe judge check | sheet | calibrate``: checks a judge and compares it with human ratings."""

from __future__ import annotations

import asyncio
import json
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aloe.cli import completers
from aloe.cli.arguments import add_recipe, add_run, completed, existing_path
from aloe.cli.bench_flags import add_flags, bench_overrides
from aloe.cli.calibrate import calibrate
from aloe.cli.parser import Overrides, Parser
from aloe.errors import ConfigError

NAME = "judge"
GROUP = "measure"
HELP = "check a judge, write a blind rating sheet, compare the judge with human ratings"


def add_arguments(parser: Parser) -> None:
    check = parser.add_verb(
        "check",
        "test a judge with swapped orders, repeats and pairs whose better reply is known",
        _check,
        usage="aloe judge check [RECIPE|RUN] [--judge URI] [--n N] [--seed S] [--scope S] [--scale S] [--json]",
    )
    add_recipe(check)
    add_flags(check, ("--judge", "--scope", "--scale"))
    _add_number(check, "--n", 40, "items to judge")
    _add_number(check, "--seed", 0, "which items are drawn")
    check.add_argument("--json", action="store_true", help="print JSON")
    check.accept_config(lambda: ("roles", "bench", "budget", "execution"))
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
    for action in (out, people, source, run):
        completed(action, completers.paths)


def _add_number(parser: Parser, name: str, default: int, what: str) -> None:
    action = parser.add_argument(name, type=int, default=default, metavar="N", help=f"{what} (default: {default})")
    completed(action, completers.nothing)


def run(options: Namespace, overrides: Overrides) -> int:
    return int(options.verb(options, overrides))


def _check(options: Namespace, overrides: Overrides) -> int:
    from aloe.bench.check import check_judge, fitness, format_fitness, known_items
    from aloe.bench.scales import SCALES
    from aloe.cli.places import Trust, bench_config
    from aloe.config.exposure import told
    from aloe.models.caller import Caller
    from aloe.progress import stage_progress
    from aloe.store.rundir import RunDir

    if options.n < 4:
        raise ConfigError(f"--n {options.n} is too small", "give at least 4, one item of each kind")
    config, run = bench_config(options.recipe, bench_overrides(options, overrides), Trust.of(options))
    items = known_items(options.n, options.seed)

    async def work() -> list[Any]:
        journal = RunDir(run).journal_path if run is not None else None
        caller = Caller.open(config, journal, seed=config.seed)
        try:
            with stage_progress("check") as shown:
                return await check_judge(
                    caller,
                    items,
                    config=config,
                    scope=config.bench.scope,
                    scale=SCALES[config.bench.scale],
                    progress=lambda n, of: shown.update(n, of, "items"),
                )
        finally:
            await caller.aclose()

    found = fitness(asyncio.run(work()))
    judge = ", ".join(map(told, config.roles.judge))
    print(json.dumps({"judge": judge, **asdict(found)}, indent=2) if options.json else format_fitness(found, judge))
    return 0


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
