"""``aloe studio RUN``: look, chat and rate in a browser. ``aloe chat``: a talk in the terminal."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import webbrowser
from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from aloe.cli.parser import OneLineParser, existing_path, known_model, port_number
from aloe.config import Config, ModelConfig, load_config, merge, parse_overrides, read_recipe, validate
from aloe.errors import AloeError, ConfigError, DataError, nearest

if TYPE_CHECKING:
    from rich.console import Console

    from aloe.studio.talk import Talk, Turn
    from aloe.types import Disclosure, Persona

PATIENCE = 120.0
SECTIONS = ("seed", "roles", "trees", "bench")  # of a config: all that the studio goes by
CHAT_HELP = """Type a message. With a persona, an empty line lets the user simulator write it.
/again   ask again where a call failed        /back    take the last message back
/beliefs all that is believed of the user     /quit    end (or Ctrl-D)"""

COMMANDS = ("/again", "/back", "/beliefs", "/quit")


def studio_command(argv: list[str]) -> int:
    """``aloe studio RUN``: serve the studio until interrupted.

    Raises:
        ConfigError: a bad option, or a port that is taken. DataError: RUN is no directory.
    """
    parser = OneLineParser(
        prog="aloe studio",
        usage="aloe studio RUN [--port N] [--host ADDRESS] [--model URI ...] [--open] [--OPTION VALUE ...]",
        description="Look at a run while it grows, chat with its models, compare two of them blind.",
        epilog="Any option of the config may be given, e.g. --roles.judge openai:MODEL.",
        allow_abbrev=False,
    )
    parser.add_argument("run", type=existing_path, metavar="RUN", help="run directory, finished or not")
    parser.add_argument("--port", type=port_number, default=8780, help="0 = any free port (default: 8780)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: loopback only)")
    parser.add_argument("--model", action="append", default=[], metavar="URI", help="one more model to talk with")
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    parser.add_argument("--patience", type=float, default=PATIENCE, help="seconds to wait for a model")
    arguments, rest = parser.parse_known_args(argv)
    if not arguments.run.is_dir():
        raise DataError(f"{arguments.run} is no directory", "give the directory of an 'aloe run'")
    for uri in arguments.model:
        known_model(uri)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(arguments, rest))
    return 0


def _config(run: Path | None, rest: list[str]) -> tuple[Config, list[str]]:
    """The run's config with overrides and the benchmark's own judge and user; without one the defaults.

    A run of another version opens too: what its config says of stages that the studio never runs is left out
    where it can't be read, and said.

    Raises:
        ConfigError: a bad option, or roles or a benchmark that can't be read.
    """
    from aloe.stages.bench import with_bench_roles

    overrides = parse_overrides(rest)
    path = run / "config.toml" if run is not None else None
    if path is None or not path.is_file():
        notes = [] if run is None else [f"{run} has no config.toml: user, inducer and judge are the simulated world's"]
        return with_bench_roles(load_config(None, overrides)), notes
    try:
        return with_bench_roles(load_config(path, overrides)), []
    except ConfigError as error:
        table, where = read_recipe(path)
        known = {name: value for name, value in table.items() if name in SECTIONS}
        found = validate(merge(known, overrides), where)  # what is wrong in these, or in an option, is told as ever
        return with_bench_roles(found), [f"of the run's config only {', '.join(SECTIONS)} are read: {error.message}"]


async def _serve(arguments: Namespace, rest: list[str]) -> None:
    from aloe.studio.app import Studio, is_loopback, own_hosts
    from aloe.studio.choices import list_choices
    from aloe.studio.start import open_desk, open_people, serving

    config, notes = _config(arguments.run, rest)
    people = open_people(config, arguments.run)
    desk, more_notes = open_desk(config, arguments.run, people, arguments.patience)
    notes += more_notes
    given = [ModelConfig(uri=uri) for uri in arguments.model]
    studio = Studio(arguments.run, desk, people, partial(list_choices, config, arguments.run, given), notes)
    try:
        async with serving(studio.app(own_hosts(arguments.host)), arguments.host, arguments.port) as url:
            if not is_loopback(arguments.host):
                notes.append(
                    f"{arguments.host} is not loopback and there is no password: whoever reaches this address can "
                    "read the run and talk with its models at your cost"
                )
            for note in notes:
                print(f"note: {note}")
            print(f"studio of {arguments.run}: {url} (Ctrl-C stops)", flush=True)
            if arguments.open:
                webbrowser.open(url)
            await asyncio.Event().wait()
    finally:
        await desk.caller.aclose()


def chat_command(argv: list[str]) -> int:
    """``aloe chat --model URI``: talk with a model, with the inducer's beliefs after each turn.

    Raises:
        ConfigError: a bad option or URI. DataError: no such persona.
    """
    parser = OneLineParser(
        prog="aloe chat",
        usage="aloe chat --model URI [--run RUN] [--persona ID] [--turns N] [--OPTION VALUE ...]",
        description="Talk with a model in the terminal; after each turn you see what is believed of the user.",
        epilog="--model also takes the name of a model of the run, e.g. dpo.",
        allow_abbrev=False,
    )
    parser.add_argument("--model", required=True, metavar="URI", help="a model URI, or with --run a model's name")
    parser.add_argument("--run", type=existing_path, help="run whose user, inducer, judge and personas are used")
    parser.add_argument("--persona", metavar="ID", help="play this persona (an id, or 'any'); the judge scores replies")
    parser.add_argument("--turns", type=int, default=0, help="let the user simulator say this many messages, then end")
    parser.add_argument("--patience", type=float, default=PATIENCE, help="seconds to wait for a model")
    arguments, rest = parser.parse_known_args(argv)
    with contextlib.suppress(KeyboardInterrupt):
        return asyncio.run(_chat(arguments, rest))
    return 130


async def _chat(arguments: Namespace, rest: list[str]) -> int:
    from rich.console import Console

    from aloe.studio.choices import list_choices
    from aloe.studio.start import open_desk, open_people
    from aloe.studio.talk import Talk

    config, notes = _config(arguments.run, rest)
    people = open_people(config, arguments.run)
    persona = _find_persona(people.all(), arguments.persona, arguments.turns)
    named = {c.name: c for c in list_choices(config, arguments.run)}
    choice = named.get(arguments.model) if arguments.run is not None else None
    if choice is None:
        if ":" not in arguments.model:
            hint = (
                f"the models of {arguments.run}: {', '.join(named)}"
                if arguments.run
                else "add --run RUN for its models"
            )
            raise ConfigError(f"no model '{arguments.model}'{nearest(arguments.model, named)}", f"{hint}; or a URI")
        known_model(arguments.model)  # what can't answer is told before anybody types
        choice = list_choices(config, None, [ModelConfig(uri=arguments.model)])[0]
    desk, more_notes = open_desk(config, arguments.run, people, arguments.patience)
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    try:
        talk = Talk.begin("terminal", desk, [choice], persona)
        for note in [*notes, *more_notes]:
            console.print(f"note: {note}", markup=False)
        return await _converse(talk, console, arguments.turns)
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
