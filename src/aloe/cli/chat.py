"""``aloe chat``: chat with a model in the terminal; shows what is inferred about the user after each turn."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from argparse import Namespace
from typing import TYPE_CHECKING

from aloe.cli import completers
from aloe.cli.arguments import add_trust, completed, existing_path, known_model
from aloe.cli.chat_screen import converse
from aloe.cli.parser import Overrides, Parser
from aloe.cli.screen import printable
from aloe.cli.studio import add_patience
from aloe.errors import ConfigError, DataError, nearest

if TYPE_CHECKING:
    from aloe.types import Persona

NAME = "chat"
GROUP = "look"
HELP = "chat with a model in the terminal; shows what is inferred about the user after each turn"


def add_arguments(parser: Parser) -> None:
    parser.usage = "aloe chat --model URI [--run RUN] [--persona ID] [--turns N] [--SECTION.OPTION VALUE ...]"
    parser.description = "Chat with a model in the terminal. After each turn you see what is inferred about the user."
    model = parser.add_argument(
        "--model",
        required=True,
        metavar="URI",
        help="a model URI or, with --run, the name of a model of the run, e.g. dpo",
    )
    completed(model, completers.models)
    run = parser.add_argument(
        "--run", type=existing_path, metavar="RUN", help="use the user, inducer, judge and personas of this run"
    )
    completed(run, completers.paths)
    add_trust(parser)
    persona = parser.add_argument(
        "--persona", metavar="ID", help="play this persona (an id, or 'any'); the judge scores replies"
    )
    completed(persona, lambda **_: ["any"])
    turns = parser.add_argument(
        "--turns", type=int, default=0, metavar="N", help="let the user simulator write this many messages, then end"
    )
    completed(turns, completers.nothing)
    add_patience(parser)
    parser.accept_config(lambda: ("roles", "trees", "bench"))


def run(options: Namespace, overrides: Overrides) -> int:
    """Talk until the end, or let the user simulator talk.

    Raises:
        ConfigError: a bad option or URI. DataError: no such persona.
    """
    with contextlib.suppress(KeyboardInterrupt):
        return asyncio.run(_chat(options, overrides))
    return 130


async def _chat(options: Namespace, overrides: Overrides) -> int:
    from rich.console import Console

    from aloe.cli.places import Trust, studio_config
    from aloe.config.exposure import host_of, told
    from aloe.studio.choices import list_choices
    from aloe.studio.start import open_desk, open_people
    from aloe.studio.talk import Talk

    config, notes = studio_config(options.run, overrides, Trust.of(options))
    people = open_people(config, options.run)
    persona = _find_persona(people.all(), options.persona, options.turns)
    named = {c.name: c for c in list_choices(config, options.run)}
    choice = named.get(options.model) if options.run is not None else None
    if choice is None:
        if ":" not in options.model and not options.model.startswith("{"):
            hint = f"the models of {options.run}: {', '.join(named)}" if options.run else "add --run RUN for its models"
            raise ConfigError(f"no model '{options.model}'{nearest(options.model, named)}", f"{hint}; or a URI")
        given = known_model(options.model)  # what can't answer is told before anybody types
        choice = list_choices(config, None, [given])[0]
    desk, more_notes = open_desk(config, options.run, people, options.patience)
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    try:
        talk = Talk.begin("terminal", desk, [choice], persona)
        if host_of(choice.model):
            more_notes.append(f"what you write goes to {told(choice.model)}")
        for note in [*notes, *more_notes]:
            console.print(f"note: {printable(note)}", markup=False)
        return await converse(talk, console, options.turns)
    finally:
        await desk.caller.aclose()


def _find_persona(people: dict[str, Persona], wanted: str | None, turns: int) -> Persona | None:
    if wanted is None and not turns:
        return None
    if not people:
        raise DataError("there are no personas", "give a --run that has some")
    if wanted in (None, "any"):
        return next((p for p in people.values() if p.split == "bench"), next(iter(people.values())))
    found = [p for persona_id, p in people.items() if persona_id.startswith(wanted or "")]
    if len(found) != 1:
        raise DataError(
            f"{len(found) or 'no'} personas have an id that starts with '{wanted}'", "give the whole id, or 'any'"
        )
    return found[0]
