"""``aloe pool``: look at a persona pool, validate, calibrate; personas from chat logs, and forgetting people."""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

from aloe.cli.parser import OneLineParser, existing_path, share
from aloe.errors import DataError

if TYPE_CHECKING:
    from aloe.config import Config
    from aloe.privacy.forget import Forgotten
    from aloe.privacy.from_chats import ChatsResult
    from aloe.privacy.pii import Scrubber

N_PROBLEMS = 20  # problems of a file that are printed


def pool_command(argv: list[str]) -> int:
    """``aloe pool stats RUN | validate FILE | calibrate FILE | from-chats FILE | forget USER``."""
    parser = OneLineParser(
        prog="aloe pool", description="Look at persona pools; make personas from chats; forget people."
    )
    names = "stats|validate|calibrate|from-chats|forget"
    actions = parser.add_subparsers(dest="action", required=True, metavar=names)
    stats = actions.add_parser("stats", help="counts, acceptance by wave, nearest neighbours, coverage, nearest pairs")
    stats.add_argument("run", type=existing_path, help="a run directory, or its personas folder")
    validate = actions.add_parser("validate", help="the mechanical checks on any persona file")
    validate.add_argument("file", help="a persona file or directory, or 'packaged' for the hundred that ship")
    validate.add_argument("--language", default="en", help="language of the descriptions")
    calibrate = actions.add_parser("calibrate", help="the distribution of similarities, and a threshold")
    calibrate.add_argument("file", type=existing_path, help="descriptions: any file that personas.file reads")
    calibrate.add_argument("--embedder", default="lexical", help="lexical, world, st:NAME_OR_PATH, openai:MODEL")
    calibrate.add_argument("--keep", type=share, default=0.9, help="share of the texts that the filter should keep")
    calibrate.add_argument(
        "--run",
        type=Path,
        default=Path("runs/calibrate"),
        help="whose writer's address and key an openai: embedder uses, and whose journal keeps its answers (default: "
        "runs/calibrate)",
    )
    _add_chat_actions(actions)
    arguments, rest = parser.parse_known_args(argv)
    if arguments.action == "from-chats":
        return _from_chats(arguments, rest)
    if arguments.action == "calibrate":
        return _calibrate(arguments.file, arguments.embedder, arguments.keep, arguments.run, rest)
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if arguments.action == "forget":
        return _forget(arguments.run, arguments.user, arguments.hash)
    if arguments.action == "stats":
        return _stats(arguments.run)
    return _validate(arguments.file, arguments.language)


def _add_chat_actions(actions: argparse._SubParsersAction[OneLineParser]) -> None:
    chats = actions.add_parser(
        "from-chats",
        help="personas from chat logs, personal data removed first",
        description="Any option of the config can follow, for instance --roles.inducer and --execution.concurrency.",
        allow_abbrev=False,
    )
    chats.add_argument("file", type=existing_path, help='JSON Lines: {"messages": [...], "user": "id"}')
    chats.add_argument("--out", type=Path, required=True, help="the persona file to write, for personas.file")
    chats.add_argument("--user-field", default="user", help="the field that tells who it is")
    chats.add_argument("--model", help="who describes (default: the inducer of the run, or world:inducer)")
    chats.add_argument("--run", type=Path, help="keep calls and salt in this run, so that forget finds them")
    forget = actions.add_parser("forget", help="remove all that came from one user from every file of a run")
    forget.add_argument("user", nargs="?", help="the id as it stood in the chats")
    forget.add_argument("--hash", help="the user's hash, where the id is not at hand")
    forget.add_argument("--run", type=existing_path, required=True, help="the run directory to remove it from")


def _from_chats(arguments: argparse.Namespace, rest: list[str]) -> int:
    from aloe.config import load_config, parse_overrides
    from aloe.privacy.pii import open_scrubber
    from aloe.store.rundir import RunDir

    model = ["--roles.inducer", json.dumps(arguments.model)] if arguments.model else []
    run = RunDir(arguments.run) if arguments.run else None
    source = run.config_path if run is not None and run.exists() else None
    config = load_config(source, parse_overrides([*rest, *model]))
    scrubber = open_scrubber()
    print(scrubber.note)
    if run is None:
        result = asyncio.run(_ask_for_personas(config, scrubber, arguments, None, arguments.out.parent))
    else:
        run.open(config, "from-chats")
        try:
            result = asyncio.run(_ask_for_personas(config, scrubber, arguments, run.journal_path, run.path))
        finally:
            run.close()
    print(format_chats(result, arguments.out))
    return 0 if result.personas else 1


async def _ask_for_personas(
    config: Config, scrubber: Scrubber, arguments: argparse.Namespace, journal: Path | None, salt_folder: Path
) -> ChatsResult:
    from aloe.models.caller import Caller
    from aloe.privacy.from_chats import personas_from_chats

    caller = Caller.open(config, journal, seed=config.seed)
    try:
        return await personas_from_chats(
            caller,
            config,
            scrubber,
            arguments.file,
            arguments.out,
            salt_folder=salt_folder,
            user_field=arguments.user_field,
        )
    finally:
        await caller.aclose()


def format_chats(result: ChatsResult, out: Path) -> str:
    """What came of a chat log, as text."""
    removed = ", ".join(f"{n} {kind}" for kind, n in sorted(result.removed.items()) if n)
    lines = [f"{p}" for p in result.problems[:N_PROBLEMS]]
    if len(result.problems) > N_PROBLEMS:
        lines.append(f"... and {len(result.problems) - N_PROBLEMS} more")
    lines += [
        f"{result.n_chats} chats of {result.n_users} users -> {len(result.personas)} personas in {out}",
        f"removed before any call: {removed or 'nothing'}",
    ]
    if result.n_left_out:
        lines.append(f"{result.n_left_out} chats left out: their users had said enough")
    lines += [f"no persona of {e.provenance['user_hash'][:12]}: {e.reason}" for e in result.rejected[:N_PROBLEMS]]
    lines.append("read some of them before use: what is left of a life can still point to somebody")
    if result.personas:
        lines.append(f"next: aloe personas RECIPE --out RUN --personas.file {out}")
    return "\n".join(lines)


def _forget(path: Path, user: str | None, user_hash: str | None) -> int:
    from aloe.privacy.forget import forget_user
    from aloe.store.rundir import RunDir

    done = forget_user(RunDir(path), user, user_hash)
    print(format_forgotten(done, path))
    return 1 if done.leftovers else 0


def format_forgotten(done: Forgotten, run: Path) -> str:
    """What was forgotten, what must be retrained, and whether anything is left, as text."""
    who = ", ".join(done.user_hashes)
    if done.is_empty and not done.leftovers:
        return f"nothing in {run} came from the user with the hash {who}"
    calls = done.calls
    lines = [f"user {who}: {done.n_personas} personas, {sum(done.rows.values())} rows, {calls.n_calls} calls"]
    lines += [f"  {n:6d} rows of {name}" for name, n in done.rows.items()]
    lines.append(f"  {calls.n_calls:6d} calls, {calls.n_attempts} attempts and {calls.n_texts} texts of the journal")
    lines += [f"  deleted: {name}" for name in done.deleted]
    if done.n_shown:
        lines.append(f"{done.n_shown} other descriptions had referred to it; they stay, the references are cut")
    for name in done.checkpoints:
        lines.append(f"must be retrained: checkpoints/{name} (learned from it)")
    if done.checkpoints:
        lines.append(f"  'aloe run {run}' trains them anew; copies of them elsewhere have to be deleted by hand")
    if done.leftovers:
        lines += ["STILL FOUND:", *(f"  {left}" for left in done.leftovers)]
    else:
        lines.append(
            "looked through every file once more: nothing of it is left "
            "(the chat log itself and copies elsewhere are yours to delete)"
        )
    return "\n".join(lines)


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


def _calibrate(path: Path, embedder: str, keep: float, folder: Path, rest: list[str]) -> int:
    from aloe.config import load_config, parse_overrides
    from aloe.models.caller import Caller
    from aloe.personas.embedders import create_embedder
    from aloe.personas.importer import read_source
    from aloe.personas.threshold import calibrate
    from aloe.protocols import Embedder
    from aloe.store.rundir import RunDir

    source = read_source(path)
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
            f"{path} holds fewer than ten descriptions of one kind", "give at least ten profiles or personalities"
        )

    def show(model: Embedder) -> None:
        for kind, own in texts.items():
            print(f"{kind}\n{calibrate(own, model, keep).format()}\n")

    run = RunDir(folder)
    config = load_config(run.config_path if run.exists() else None, parse_overrides(rest))
    if not embedder.startswith("openai:"):
        show(create_embedder(embedder, config))
        return 0

    async def paid() -> None:
        caller = Caller.open(config, run.journal_path, seed=config.seed)
        try:
            show(create_embedder(embedder, config, caller))
        finally:
            await caller.aclose()

    run.open(config, "pool calibrate")
    try:
        asyncio.run(paid())
    finally:
        run.close()
    return 0
