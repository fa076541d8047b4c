"""``aloe pool``: inspects, validates and calibrates a persona pool (verbs about people: ``cli/people.py``)."""

from __future__ import annotations

import asyncio
from argparse import Namespace
from pathlib import Path

from aloe.cli import completers, people
from aloe.cli.arguments import add_run, add_trust, completed, existing_path, share
from aloe.cli.parser import Overrides, Parser
from aloe.errors import DataError

NAME = "pool"
GROUP = "data"
HELP = "inspect, validate or calibrate a persona pool; personas from chats; remove a person"


def add_arguments(parser: Parser) -> None:
    parser.description = "Inspect persona pools, make personas from chats, remove a person."
    stats = parser.add_verb(
        "stats", "print counts, acceptance by wave, nearest neighbours, coverage, nearest pairs", _stats
    )
    add_run(stats, "a run directory, or its personas folder")
    validate = parser.add_verb("validate", "run the mechanical checks on a persona file", _validate)
    file = validate.add_argument("file", help="a persona file or directory, or 'packaged' for the packaged hundred")
    completed(file, completers.paths)
    language = validate.add_argument("--language", default="en", help="language of the descriptions")
    completed(language, completers.nothing)
    calibrate = parser.add_verb(
        "calibrate", "print the distribution of similarities and propose a threshold", _calibrate
    )
    _add_calibrate_arguments(calibrate)
    people.add_from_chats(parser)
    people.add_forget(parser)


def _add_calibrate_arguments(parser: Parser) -> None:
    add_trust(parser)
    file = parser.add_argument(
        "file", type=existing_path, help="descriptions, in any format that personas.file accepts"
    )
    embedder = parser.add_argument(
        "--embedder", default="lexical", help="lexical, world, st:NAME_OR_PATH, openai:MODEL (default: lexical)"
    )
    completed(embedder, lambda **_: ["lexical", "world", "st:", "openai:"])
    keep = parser.add_argument(
        "--keep", type=share, default=0.9, help="share of the texts that the filter should keep (default: 0.9)"
    )
    completed(keep, completers.nothing)
    run = parser.add_argument(
        "--run",
        type=Path,
        default=Path("runs/calibrate"),
        help="an openai: embedder uses the address and key of this run's writer and this run's journal (default: "
        "runs/calibrate)",
    )
    for action in (file, run):
        completed(action, completers.paths)
    parser.accept_config(lambda: ("roles", "personas", "budget", "execution"))


def run(options: Namespace, overrides: Overrides) -> int:
    return int(options.verb(options, overrides))


def _stats(options: Namespace, overrides: Overrides) -> int:
    from aloe.personas.stats import pool_stats

    run = options.run
    folder = run if (run / "pool.jsonl").is_file() else run / "personas"
    if not (folder / "pool.jsonl").is_file():
        raise DataError(f"{run} holds no personas/pool.jsonl", "run 'aloe personas RECIPE' first")
    print(pool_stats(folder).format())
    return 0


def _validate(options: Namespace, overrides: Overrides) -> int:
    from aloe.personas.validate import validate_personas

    report = validate_personas(options.file, options.language)
    print(report.format())
    return 0 if report.is_clean else 1


def _calibrate(options: Namespace, overrides: Overrides) -> int:
    from aloe.cli.places import Trust, config_of
    from aloe.models.caller import Caller
    from aloe.personas.embedders import create_embedder
    from aloe.personas.importer import read_source
    from aloe.personas.threshold import calibrate
    from aloe.protocols import Embedder
    from aloe.store.rundir import RunDir

    source = read_source(options.file)
    texts = {
        "profile": [*(t.text for t in source.texts if t.kind == "profile"), *(p.profile for p in source.pairs)],
        "personality": [
            *(t.text for t in source.texts if t.kind == "personality"),
            *(p.personality for p in source.pairs),
        ],
    }
    texts = {kind: own for kind, own in texts.items() if len(set(own)) >= 10}
    if not texts:
        raise DataError(
            f"{options.file} holds fewer than ten descriptions of one kind",
            "give at least ten profiles or personalities",
        )

    def show(model: Embedder) -> None:
        for kind, own in texts.items():
            print(f"{kind}\n{calibrate(own, model, options.keep).format()}\n")

    run = RunDir(options.run)
    config = config_of(run, Trust.of(options), overrides)
    if not options.embedder.startswith("openai:"):
        show(create_embedder(options.embedder, config))
        return 0

    async def paid() -> None:
        caller = Caller.open(config, run.journal_path, seed=config.seed)
        try:
            show(create_embedder(options.embedder, config, caller))
        finally:
            await caller.aclose()

    run.open(config, "pool calibrate")
    try:
        asyncio.run(paid())
    finally:
        run.close()
    return 0
