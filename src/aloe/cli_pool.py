"""``aloe pool``: look at a persona pool, validate anybody's personas, calibrate a novelty threshold."""

from __future__ import annotations

from pathlib import Path

from aloe.cli import OneLineParser, existing_path
from aloe.errors import DataError


def pool_command(argv: list[str]) -> int:
    """``aloe pool stats RUN | validate FILE | calibrate FILE``."""
    parser = OneLineParser(prog="aloe pool", description="Look at, validate or calibrate a persona pool.")
    actions = parser.add_subparsers(dest="action", required=True, metavar="stats|validate|calibrate")
    stats = actions.add_parser("stats", help="counts, acceptance by wave, nearest neighbours, coverage, nearest pairs")
    stats.add_argument("run", type=existing_path, help="a run directory, or its personas folder")
    validate = actions.add_parser("validate", help="the mechanical checks on any persona file")
    validate.add_argument("file", help="a persona file or directory, or 'packaged' for the hundred that ship")
    validate.add_argument("--language", default="en", help="language of the descriptions")
    calibrate = actions.add_parser("calibrate", help="the distribution of similarities, and a threshold")
    calibrate.add_argument("file", type=existing_path, help="descriptions: any file that personas.file reads")
    calibrate.add_argument("--embedder", default="lexical", help="lexical, world, st:NAME_OR_PATH, openai:MODEL")
    calibrate.add_argument("--keep", type=float, default=0.9, help="share of the texts that the filter should keep")
    arguments = parser.parse_args(argv)
    if arguments.action == "stats":
        return _stats(arguments.run)
    if arguments.action == "validate":
        return _validate(arguments.file, arguments.language)
    return _calibrate(arguments.file, arguments.embedder, arguments.keep)


def _stats(run: Path) -> int:
    from aloe.personas.stats import pool_stats

    folder = run if (run / "pool.jsonl").is_file() else run / "personas"
    if not (folder / "pool.jsonl").is_file():
        raise DataError(f"{run} holds no personas/pool.jsonl", "run 'aloe personas RECIPE' first")
    print(pool_stats(folder).format())
    return 0


def _validate(path: str, language: str) -> int:
    from aloe.personas.validate import validate_personas

    report = validate_personas(path, language)
    print(report.format())
    return 0 if report.is_clean else 1


def _calibrate(path: Path, embedder: str, keep: float) -> int:
    from aloe.models.embedding import create_embedder
    from aloe.personas.calibrate import calibrate
    from aloe.personas.importer import read_source

    source = read_source(path)
    texts = {
        "profile": [*(t.text for t in source.texts if t.kind == "profile"), *(p.profile for p in source.pairs)],
        "personality": [
            *(t.text for t in source.texts if t.kind == "personality"),
            *(p.personality for p in source.pairs),
        ],
    }
    model = create_embedder(embedder)
    shown = 0
    for kind, own in texts.items():
        if len(set(own)) >= 10:
            shown += 1
            print(f"{kind}\n{calibrate(own, model, keep).format()}\n")
    if not shown:
        raise DataError(
            f"{path} holds fewer than ten descriptions of one kind", "give at least ten profiles or personalities"
        )
    return 0
