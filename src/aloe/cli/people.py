"""``aloe pool from-chats`` and ``aloe pool forget``: personas from chat logs, and removing a person."""

from __future__ import annotations

import asyncio
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from aloe.cli import completers
from aloe.cli.arguments import add_trust, completed, existing_path, model_table
from aloe.cli.parser import Overrides, Parser

if TYPE_CHECKING:
    from aloe.config import Config
    from aloe.privacy.forget import Forgotten
    from aloe.privacy.from_chats import ChatsResult
    from aloe.privacy.pii import Scrubber

N_PROBLEMS = 20  # problems of a file that are printed


def add_from_chats(parser: Parser) -> None:
    chats = parser.add_verb("from-chats", "make personas from chat logs, after removing personal data", _from_chats)
    file = chats.add_argument(
        "file",
        type=existing_path,
        help='{"messages": [...], "user": "id"} a line, or another tool\'s log',
    )
    out = chats.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="the persona file to write, for personas.file"
    )
    field = chats.add_argument("--user-field", default="user", help="the field with the user's id (default: user)")
    model = chats.add_argument(
        "--model",
        metavar="URI",
        help="model that writes the descriptions (default: the run's inducer, or world:inducer)",
    )
    run = chats.add_argument(
        "--run",
        type=Path,
        metavar="RUN",
        help="keep calls and the salt in this run, so that 'aloe pool forget' finds them",
    )
    for action in (file, out, run):
        completed(action, completers.paths)
    add_trust(chats)
    completed(field, completers.nothing)
    completed(model, completers.models)
    chats.accept_config(lambda: ("roles", "personas", "budget", "execution"))


def add_forget(parser: Parser) -> None:
    forget = parser.add_verb("forget", "remove everything that came from one user from every file of a run", _forget)
    user = forget.add_argument("user", nargs="?", metavar="USER", help="the user's id in the chats")
    by_hash = forget.add_argument("--hash", help="the user's hash, if you do not have the id")
    run = forget.add_argument(
        "--run", type=existing_path, required=True, metavar="RUN", help="the run directory to remove it from"
    )
    completed(run, completers.paths)
    for action in (user, by_hash):
        completed(action, completers.nothing)


def _from_chats(options: Namespace, overrides: Overrides) -> int:
    from aloe.cli.places import Trust, config_of
    from aloe.config import load_config, merge
    from aloe.privacy.pii import open_scrubber
    from aloe.store.rundir import RunDir

    if options.model:
        overrides = merge(overrides, {"roles": {"inducer": model_table(options.model)}})
    run = RunDir(options.run) if options.run else None
    config = config_of(run, Trust.of(options), overrides) if run is not None else load_config(None, overrides)
    scrubber = open_scrubber()
    print(scrubber.note)
    if run is None:
        result = asyncio.run(_ask_for_personas(config, scrubber, options, None, options.out.parent))
    else:
        run.open(config, "from-chats")
        try:
            result = asyncio.run(_ask_for_personas(config, scrubber, options, run.journal_path, run.path))
        finally:
            run.close()
    print(format_chats(result, options.out))
    return 0 if result.personas else 1


async def _ask_for_personas(
    config: Config, scrubber: Scrubber, options: Namespace, journal: Path | None, salt_folder: Path
) -> ChatsResult:
    from aloe.models.caller import Caller
    from aloe.privacy.from_chats import personas_from_chats

    caller = Caller.open(config, journal, seed=config.seed)
    try:
        return await personas_from_chats(
            caller,
            config,
            scrubber,
            options.file,
            options.out,
            salt_folder=salt_folder,
            user_field=options.user_field,
        )
    finally:
        await caller.aclose()


def format_chats(result: ChatsResult, out: Path) -> str:
    """What was made of a chat log, as text."""
    removed = ", ".join(f"{n} {kind}" for kind, n in sorted(result.removed.items()) if n)
    lines = [f"{p}" for p in result.problems[:N_PROBLEMS]]
    if len(result.problems) > N_PROBLEMS:
        lines.append(f"... and {len(result.problems) - N_PROBLEMS} more")
    lines += [
        f"{result.n_chats} chats of {result.n_users} users -> {len(result.personas)} personas in {out}",
        f"removed before any call: {removed or 'nothing'}",
    ]
    if result.n_left_out:
        lines.append(f"{result.n_left_out} chats left out: enough text of their users was read")
    lines += [f"no persona of {e.provenance['user_hash'][:12]}: {e.reason}" for e in result.rejected[:N_PROBLEMS]]
    lines.append("read a sample before use: the remaining facts can still identify a person")
    if result.personas:
        lines.append(f"next: aloe personas RECIPE --out RUN --personas.file {out}")
    return "\n".join(lines)


def _forget(options: Namespace, overrides: Overrides) -> int:
    from aloe.privacy.forget import forget_user
    from aloe.store.rundir import RunDir

    done = forget_user(RunDir(options.run), options.user, options.hash)
    print(format_forgotten(done, options.run))
    return 1 if done.leftovers else 0


def format_forgotten(done: Forgotten, run: Path) -> str:
    """What was deleted, what must be retrained, and whether anything is left, as text."""
    who = ", ".join(done.user_hashes)
    if done.is_empty and not done.leftovers:
        return f"nothing in {run} came from the user with the hash {who}"
    calls = done.calls
    lines = [f"user {who}: {done.n_personas} personas, {sum(done.rows.values())} rows, {calls.n_calls} calls"]
    lines += [f"  {n:6d} rows of {name}" for name, n in done.rows.items()]
    lines.append(f"  {calls.n_calls:6d} calls, {calls.n_attempts} attempts and {calls.n_texts} texts of the journal")
    lines += [f"  deleted: {name}" for name in done.deleted]
    if done.n_shown:
        lines.append(f"{done.n_shown} other descriptions referred to it; they stay, without the references")
    for name in done.checkpoints:
        lines.append(f"must be retrained: checkpoints/{name} (trained on the data of this user)")
    if done.checkpoints:
        lines.append(f"  'aloe run {run}' trains them again; copies elsewhere must be deleted by hand")
    if done.leftovers:
        lines += ["STILL FOUND:", *(f"  {left}" for left in done.leftovers)]
    else:
        lines.append(
            "searched every file again: nothing of this user is left "
            "(the chat log itself and copies elsewhere are yours to delete)"
        )
    return "\n".join(lines)
