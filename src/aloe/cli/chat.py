"""``aloe chat``: a conversation with a model in the terminal, with what is believed of the user after each turn."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from argparse import Namespace
from typing import TYPE_CHECKING

from aloe.cli import completers
from aloe.cli.arguments import completed, existing_path, known_model
from aloe.cli.parser import Overrides, Parser
from aloe.cli.studio import add_patience
from aloe.errors import AloeError, ConfigError, DataError, nearest

if TYPE_CHECKING:
    from rich.console import Console

    from aloe.studio.talk import Talk, Turn
    from aloe.types import Disclosure, Persona

NAME = "chat"
GROUP = "look"
HELP = "talk with a model in the terminal, with what is believed of the user after each turn"
CHAT_HELP = """Type a message. With a persona, an empty line lets the user simulator write it.
/again   ask again where a call failed        /back    take the last message back
/beliefs all that is believed of the user     /quit    end (or Ctrl-D)"""
COMMANDS = ("/again", "/back", "/beliefs", "/quit")


def add_arguments(parser: Parser) -> None:
    parser.usage = "aloe chat --model URI [--run RUN] [--persona ID] [--turns N] [--SECTION.OPTION VALUE ...]"
    parser.description = "Talk with a model in the terminal; after each turn you see what is believed of the user."
    model = parser.add_argument(
        "--model",
        required=True,
        metavar="URI",
        help="a model URI, or with --run the name of a model of the run, e.g. dpo",
    )
    completed(model, completers.models)
    run = parser.add_argument(
        "--run", type=existing_path, metavar="RUN", help="run whose user, inducer, judge and personas are used"
    )
    completed(run, completers.paths)
    persona = parser.add_argument(
        "--persona", metavar="ID", help="play this persona (an id, or 'any'); the judge scores replies"
    )
    completed(persona, lambda **_: ["any"])
    turns = parser.add_argument(
        "--turns", type=int, default=0, metavar="N", help="let the user simulator say this many messages, then end"
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

    from aloe.cli.places import studio_config
    from aloe.config import ModelConfig
    from aloe.studio.choices import list_choices
    from aloe.studio.start import open_desk, open_people
    from aloe.studio.talk import Talk

    config, notes = studio_config(options.run, overrides)
    people = open_people(config, options.run)
    persona = _find_persona(people.all(), options.persona, options.turns)
    named = {c.name: c for c in list_choices(config, options.run)}
    choice = named.get(options.model) if options.run is not None else None
    if choice is None:
        if ":" not in options.model:
            hint = f"the models of {options.run}: {', '.join(named)}" if options.run else "add --run RUN for its models"
            raise ConfigError(f"no model '{options.model}'{nearest(options.model, named)}", f"{hint}; or a URI")
        known_model(options.model)  # what can't answer is told before anybody types
        choice = list_choices(config, None, [ModelConfig(uri=options.model)])[0]
    desk, more_notes = open_desk(config, options.run, people, options.patience)
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    try:
        talk = Talk.begin("terminal", desk, [choice], persona)
        for note in [*notes, *more_notes]:
            console.print(f"note: {note}", markup=False)
        return await _converse(talk, console, options.turns)
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
        raise DataError(f"{len(found) or 'no'} personas whose id begins with '{wanted}'", "give the whole id, or 'any'")
    return found[0]


async def _converse(talk: Talk, console: Console, turns: int) -> int:
    """Read, answer, show, until the end; the exit code is 4 where the last call failed."""
    if talk.persona is not None:
        console.print(f"persona {talk.persona.persona_id}", style="bold", markup=False)
        console.print(f"{talk.persona.profile}\n{talk.persona.personality}", style="dim", markup=False)
    if not turns:
        console.print(CHAT_HELP, style="dim", markup=False)
    failed = False
    while not turns or len(talk.turns) < turns:
        try:
            line = "" if turns else await _read_line(console)
        except EOFError:
            break
        try:
            if line == "/quit":
                break
            if line == "/beliefs":
                _show_beliefs(talk, console, list(talk.beliefs))
                continue
            if line.startswith("/") and line[1:].isalpha() and line not in COMMANDS:
                console.print(f"no command {line}{nearest(line, COMMANDS)}", style="red", markup=False)
                continue
            if line == "/back":
                console.print(f"taken back: {talk.take_back()}", markup=False)
                continue
            failed = not await _turn(talk, console, line)
        except (AloeError, TimeoutError) as error:
            console.print(f"error: {error or 'no answer in time'}", style="red", markup=False)
            failed = True
        if failed and turns:
            break
    return 4 if failed else 0


async def _turn(talk: Talk, console: Console, line: str) -> bool:
    """One message and what comes of it; False where the model did not answer."""
    before = {d.item for d in talk.beliefs}
    if line == "/again":
        await talk.answer()
    elif line:
        await talk.say(line)
    else:
        text = await talk.propose()
        console.print("user> ", style="bold", end="")
        console.print(text, markup=False)
        await talk.say(text, simulated=True)
    turn = talk.turns[-1]
    spoken = turn.spoken[0]
    if spoken.text is None:
        console.print(f"error: {spoken.error}; /again asks once more", style="red", markup=False)
        return False
    console.print(f"{talk.choices[0].name}> ", style="bold green", end="", markup=False)
    console.print(spoken.text, markup=False)
    await talk.observe()
    _show_score(turn, console)
    _show_beliefs(talk, console, [d for d in talk.beliefs if d.item not in before])
    return True


def _show_score(turn: Turn, console: Console) -> None:
    spoken = turn.spoken[0]
    for error in (turn.belief_error, spoken.judge_error):
        if error:
            console.print(f"  {error}", style="red", markup=False)
    judgement = spoken.judgement
    if judgement is not None:
        score = "unscored" if judgement.score is None else f"{judgement.score:.2f}"
        console.print(f"  turn {turn.state.turn}, judge {score}: {judgement.reason}", style="cyan", markup=False)


def _show_beliefs(talk: Talk, console: Console, beliefs: list[Disclosure]) -> None:
    for belief in beliefs:
        said = f"  {belief.status} {belief.kind}: {belief.item} (“{belief.evidence}”)"
        console.print(said, style="yellow" if belief.status == "stated" else "blue", markup=False)
    if not beliefs and talk.turns and talk.turns[-1].believed:
        console.print("  nothing new is believed", style="dim")


async def _read_line(console: Console) -> str:
    prompt = "you> " if sys.stdin.isatty() else ""
    return (await asyncio.to_thread(console.input, prompt, markup=False)).strip()
