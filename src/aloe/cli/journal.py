"""``aloe journal``: lists calls and cost, shows a call in full, prunes and exports."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from aloe.cli import completers
from aloe.cli.arguments import add_run, completed
from aloe.cli.parser import Overrides, Parser
from aloe.errors import ConfigError, DataError

if TYPE_CHECKING:
    from aloe.models.journal.check import Condition

NAME = "journal"
GROUP = "look"
HELP = "inspect the journal of all model calls"
PLACE = "run directory or journal file"
PLACES = "personas/, bench/, bench/PERSONA_ID, or a tree_id"


def add_arguments(parser: Parser) -> None:
    for name, text, verb in (
        ("stats", "counts, sizes, tokens by role and model", _stats),
        ("cost", "USD by role and model", _cost),
    ):
        action = parser.add_verb(name, text, verb)
        add_run(action, PLACE)
        action.add_argument("--json", action="store_true", help="print JSON")
    show = parser.add_verb("show", "print one call in full: request, reply, attempts", _show)
    add_run(show, PLACE)
    call = show.add_argument("call", metavar="CALL", help="a call_key (or the start of one), or a path in the run")
    completed(call, completers.nothing)
    prune = parser.add_verb("prune", "delete the calls of a place in the run, and unused texts", _prune)
    add_run(prune, PLACE)
    _add_path(prune, "delete the calls", None)
    prune.add_argument("--attempts", action="store_true", help="delete only the records of failed attempts")
    prune.add_argument("--dry", action="store_true", help="only print what would be deleted")
    check = parser.add_verb("check", "look for damaged calls; exit code 1 if there are any", _check)
    add_run(check, PLACE)
    repair = parser.add_verb("repair", "keep what is whole; the next run makes damaged calls anew", _repair)
    add_run(repair, PLACE)
    export = parser.add_verb("export", "write all calls in full as JSON lines", _export)
    add_run(export, PLACE)
    out = export.add_argument(
        "--out", type=Path, metavar="FILE", default=Path("journal.jsonl"), help="file to write (default: journal.jsonl)"
    )
    completed(out, completers.paths)
    _add_path(export, "only calls", "")


def _add_path(parser: Parser, which: str, default: str | None) -> None:
    action = parser.add_argument(
        "--path", metavar="PREFIX", default=default, help=f"{which} whose path starts with PREFIX: {PLACES}"
    )
    completed(action, lambda **_: ["personas/", "bench/"])


def run(options: Namespace, overrides: Overrides) -> int:
    return int(options.verb(options, overrides))


def _export(options: Namespace, overrides: Overrides) -> int:
    from aloe.models.journal.inspect import export_calls

    n = export_calls(options.run, options.out, options.path)
    print(f"{n:,} calls -> {options.out}")
    if options.path and not n:
        print(f"no path begins with '{options.path}'; paths begin with {PLACES}")
    return 0


def _stats(options: Namespace, overrides: Overrides) -> int:
    return _summary(options.run, "stats", options.json)


def _cost(options: Namespace, overrides: Overrides) -> int:
    return _summary(options.run, "cost", options.json)


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


def _show(options: Namespace, overrides: Overrides) -> int:
    from aloe.models.journal.inspect import Reader, format_call

    run, call = options.run, options.call
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


def _check(options: Namespace, overrides: Overrides) -> int:
    from aloe.models.journal.check import check_journal

    condition = check_journal(options.run)
    print(_told(condition))
    if not condition.is_whole:
        print(f"aloe journal repair {options.run} keeps what is whole")
    return 0 if condition.is_whole else 1


def _repair(options: Namespace, overrides: Overrides) -> int:
    from aloe.models.journal.check import check_journal, repair_journal

    if (condition := check_journal(options.run)).is_whole:
        print(f"{_told(condition)}: nothing to repair")
        return 0
    condition, kept = repair_journal(options.run)
    print(f"{_told(condition)}; the damaged file is kept as {kept}")
    return 0


def _told(condition: Condition) -> str:
    text = f"{condition.n_calls:,} calls, {len(condition.damaged):,} of them damaged"
    if condition.n_checked < condition.n_calls:
        text += f" ({condition.n_calls - condition.n_checked:,} of earlier versions have no digest of their answer)"
    return text + "".join(f"\nthe file: {line}" for line in condition.problems[:3])


def _prune(options: Namespace, overrides: Overrides) -> int:
    from aloe.models.journal.inspect import prune

    prefix = options.path
    if prefix == "":
        raise ConfigError("--path '' would delete every call", "to do that, delete journal.sqlite")
    done = prune(options.run, prefix, options.attempts, options.dry)
    verb = "would go" if options.dry else "deleted"
    print(f"{verb}: {done.n_calls:,} calls, {done.n_attempts:,} failed attempts, {done.n_texts:,} texts")
    if prefix is not None and not done.n_calls:
        print(f"no path begins with '{prefix}'; paths begin with {PLACES}")
    if not options.dry:
        print(f"{done.bytes_before / 2**20:.1f} MiB -> {done.bytes_after / 2**20:.1f} MiB")
    return 0
