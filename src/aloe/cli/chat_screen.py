"""The screen of ``aloe chat``: reads a line, shows the reply, its score and what is inferred about the user."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from aloe.cli.screen import printable
from aloe.errors import AloeError, nearest

if TYPE_CHECKING:
    from rich.console import Console

    from aloe.studio.talk import Talk, Turn
    from aloe.types import Disclosure

CHAT_HELP = """Type a message. With a persona, an empty line lets the user simulator write it.
/again   ask again where a call failed        /back    take the last message back
/beliefs all that is believed of the user     /quit    end (or Ctrl-D)"""
COMMANDS = ("/again", "/back", "/beliefs", "/quit")


async def converse(talk: Talk, console: Console, turns: int) -> int:
    """Read, answer, show, until the end; the exit code is 4 where the last call failed."""
    if talk.persona is not None:
        console.print(printable(f"persona {talk.persona.persona_id}"), style="bold", markup=False)
        console.print(printable(f"{talk.persona.profile}\n{talk.persona.personality}"), style="dim", markup=False)
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
                console.print(f"unknown command {line}{nearest(line, COMMANDS)}", style="red", markup=False)
                continue
            if line == "/back":
                console.print(printable(f"taken back: {talk.take_back()}"), markup=False)
                continue
            failed = not await _turn(talk, console, line)
        except (AloeError, TimeoutError) as error:
            console.print(printable(f"error: {error or 'no answer in time'}"), style="red", markup=False)
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
        console.print(printable(text), markup=False)
        await talk.say(text, simulated=True)
    turn = talk.turns[-1]
    spoken = turn.spoken[0]
    if spoken.text is None:
        console.print(printable(f"error: {spoken.error}; /again asks once more"), style="red", markup=False)
        return False
    console.print(printable(f"{talk.choices[0].name}> "), style="bold green", end="", markup=False)
    console.print(printable(spoken.text), markup=False)
    await talk.observe()
    _show_score(turn, console)
    _show_beliefs(talk, console, [d for d in talk.beliefs if d.item not in before])
    return True


def _show_score(turn: Turn, console: Console) -> None:
    spoken = turn.spoken[0]
    for error in (turn.belief_error, spoken.judge_error):
        if error:
            console.print(printable(f"  {error}"), style="red", markup=False)
    judgement = spoken.judgement
    if judgement is not None:
        score = "unscored" if judgement.score is None else f"{judgement.score:.2f}"
        console.print(
            f"  turn {turn.state.turn}, judge {score}: {printable(judgement.reason)}", style="cyan", markup=False
        )


def _show_beliefs(talk: Talk, console: Console, beliefs: list[Disclosure]) -> None:
    for belief in beliefs:
        said = f"  {belief.status} {belief.kind}: {belief.item} (“{belief.evidence}”)"
        console.print(printable(said), style="yellow" if belief.status == "stated" else "blue", markup=False)
    if not beliefs and talk.turns and talk.turns[-1].believed:
        console.print("  nothing new is inferred", style="dim")


async def _read_line(console: Console) -> str:
    prompt = "you> " if sys.stdin.isatty() else ""
    return (await asyncio.to_thread(console.input, prompt, markup=False)).strip()
