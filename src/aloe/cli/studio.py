"""``aloe studio RUN``: look at a run, chat and rate in a browser."""

from __future__ import annotations

import asyncio
import contextlib
import webbrowser
from argparse import Namespace
from functools import partial
from typing import TYPE_CHECKING

from aloe.cli import completers
from aloe.cli.arguments import add_address, add_run, completed, known_model
from aloe.cli.parser import Overrides, Parser
from aloe.errors import DataError

if TYPE_CHECKING:
    from aloe.config import ModelConfig

NAME = "studio"
GROUP = "look"
HELP = "look at a run, chat with its models and compare two of them blind, in a browser"
PORT = 8780
PATIENCE = 120.0  # seconds


def add_arguments(parser: Parser) -> None:
    parser.usage = "aloe studio RUN [--port N] [--host ADDRESS] [--model URI ...] [--open] [--SECTION.OPTION VALUE ...]"
    parser.description = "Look at a run, finished or not, chat with its models and compare two of them blind."
    add_run(parser, "run directory, finished or not")
    add_address(parser, PORT)
    model = parser.add_argument(
        "--model", action="append", default=[], metavar="URI", help="another model to chat with (repeat for more)"
    )
    completed(model, completers.models)
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    add_patience(parser)
    parser.accept_config(lambda: ("roles", "trees", "bench"))


def add_patience(parser: Parser) -> None:
    action = parser.add_argument(
        "--patience",
        type=float,
        default=PATIENCE,
        metavar="S",
        help=f"seconds to wait for a model (default: {PATIENCE:g})",
    )
    completed(action, completers.nothing)


def run(options: Namespace, overrides: Overrides) -> int:
    """Serve the studio until interrupted.

    Raises:
        ConfigError: a bad option, or a port that is taken. DataError: RUN is not a directory.
    """
    if not options.run.is_dir():
        raise DataError(f"{options.run} is not a directory", "give the directory of an 'aloe run'")
    given = [known_model(model) for model in options.model]
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(options, overrides, given))
    return 0


async def _serve(options: Namespace, overrides: Overrides, given: list[ModelConfig]) -> None:
    from aloe.cli.places import Trust, studio_config
    from aloe.models.guard import Guard, new_token, own_hosts, warn_outer
    from aloe.studio.app import Studio
    from aloe.studio.choices import list_choices
    from aloe.studio.start import open_desk, open_people, serving

    config, notes = studio_config(options.run, overrides, Trust.of(options))
    people = open_people(config, options.run)
    desk, more_notes = open_desk(config, options.run, people, options.patience)
    notes += more_notes
    studio = Studio(options.run, desk, people, partial(list_choices, config, options.run, given), notes)
    try:
        guard = Guard(own_hosts(options.host, options.allow_host), new_token())
        async with serving(studio.app(guard), options.host, options.port, guard.prefix) as url:
            if note := warn_outer(options.host):
                notes.append(note)
            for note in notes:
                print(f"note: {note}")
            print(f"studio of {options.run}: {url} (Ctrl-C stops)", flush=True)
            if options.open:
                webbrowser.open(url)
            await asyncio.Event().wait()
    finally:
        await desk.caller.aclose()
