"""``aloe journal``: what a run asked of its models, what it cost, one call in full; prune and export."""

from __future__ import annotations

from pathlib import Path

from aloe.cli.parser import OneLineParser, existing_path
from aloe.errors import ConfigError, DataError

PLACES = "personas/, bench/, bench/PERSONA_ID, or a tree_id"


def journal_command(argv: list[str]) -> int:
    """``aloe journal stats|cost|show|prune|export RUN``."""
    parser = OneLineParser(prog="aloe journal", description="Look into the journal of all model calls.")
    actions = parser.add_subparsers(dest="action", required=True, metavar="stats|cost|show|prune|export")
    for name, text in (("stats", "counts, sizes, tokens by role and model"), ("cost", "USD by role and model")):
        action = actions.add_parser(name, help=text)
        action.add_argument("run", type=existing_path, help="run directory or journal file")
        action.add_argument("--json", action="store_true", help="print JSON")
    show = actions.add_parser("show", help="one call in full: request, reply, attempts")
    show.add_argument("run", type=existing_path, help="run directory or journal file")
    show.add_argument("call", help="call_key (or its beginning), or a path in the run")
    prune = actions.add_parser("prune", help="delete calls of a place in the run and texts that nothing holds")
    prune.add_argument("run", type=existing_path, help="run directory or journal file")
    prune.add_argument("--path", metavar="PREFIX", help=f"delete the calls whose path begins so: {PLACES}")
    prune.add_argument("--attempts", action="store_true", help="delete only the records of failed attempts")
    prune.add_argument("--dry", action="store_true", help="only say what would go")
    export = actions.add_parser("export", help="all calls in full as JSON lines")
    export.add_argument("run", type=existing_path, help="run directory or journal file")
    export.add_argument("--out", type=Path, metavar="FILE", default=Path("journal.jsonl"))
    export.add_argument("--path", metavar="PREFIX", default="", help=f"only calls whose path begins so: {PLACES}")
    arguments = parser.parse_args(argv)
    if arguments.action in ("stats", "cost"):
        return _summary(arguments.run, arguments.action, arguments.json)
    if arguments.action == "show":
        return _show(arguments.run, arguments.call)
    if arguments.action == "prune":
        return _prune(arguments.run, arguments.path, arguments.attempts, arguments.dry)
    from aloe.models.journal.inspect import export_calls

    n = export_calls(arguments.run, arguments.out, arguments.path)
    print(f"{n:,} calls -> {arguments.out}")
    if arguments.path and not n:
        print(f"no path begins with '{arguments.path}'; paths begin with {PLACES}")
    return 0


def _summary(run: Path, action: str, as_json: bool) -> int:
    from dataclasses import asdict

    import orjson

    from aloe.models.journal.inspect import Reader, format_cost, format_stats

    with Reader(run) as reader:
        if action == "cost":
            uses = reader.uses()
            text, data = format_cost(uses), [asdict(u) for u in uses]
        else:
            stats = reader.stats()
            text, data = format_stats(stats), [asdict(stats)]
    if as_json:
        print(orjson.dumps(data if action == "cost" else data[0], option=orjson.OPT_INDENT_2).decode())
    else:
        print(text)
    return 0


def _show(run: Path, call: str) -> int:
    from aloe.models.journal.inspect import Reader, format_call

    with Reader(run) as reader:
        found = reader.find(call)
    if not found:
        raise DataError(f"no call '{call}' in the journal of {run}", "give a call_key from the run's files, or a path")
    if len(found) == 1:
        print(format_call(found[0]))
    else:
        for item in found:
            print(f"{item['call_key']}  {item['role']:<9} {item['path']}")
        print(f"{len(found)} calls{' or more' if len(found) == 50 else ''}: give more of the key or path to see one")
    return 0


def _prune(run: Path, prefix: str | None, attempts: bool, dry: bool) -> int:
    from aloe.models.journal.inspect import prune

    if prefix == "":
        raise ConfigError("--path '' would delete every call", "delete journal.sqlite if that is what you want")
    done = prune(run, prefix, attempts, dry)
    verb = "would go" if dry else "deleted"
    print(f"{verb}: {done.n_calls:,} calls, {done.n_attempts:,} failed attempts, {done.n_texts:,} texts")
    if prefix is not None and not done.n_calls:
        print(f"no path begins with '{prefix}'; paths begin with {PLACES}")
    if not dry:
        print(f"{done.bytes_before / 2**20:.1f} MiB -> {done.bytes_after / 2**20:.1f} MiB")
    return 0
