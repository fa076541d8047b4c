"""The command line: stages take a recipe and know the run; tools take files.

Every option of a stage is a field of the config (``--trees.n_turns 5``), so nothing is declared twice. Heavy
imports happen inside the commands: ``aloe --help`` answers at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module

from aloe import __version__
from aloe.cli.parser import STAGE_HELP
from aloe.errors import ConfigError, nearest

TOOL_HELP = {
    "metrics": "AVG, IR, N-IR, N-R2 of any JSON or CSV of per-turn values",
    "compare": "paired differences between the models of one or more runs",
    "relabel": "add another judge's labels, or look-ahead labels, to a run's trees",
    "import": "read conversations in the published format into trees",
    "validate": "check the files of a run against each other",
    "prompts": "list, show, eject or check the prompt templates",
    "pool": "look at, validate or calibrate a persona pool",
    "journal": "look into the journal of all model calls",
    "judge": "check a judge, write a blind rating sheet, calibrate the judge against people",
    "plan": "expected calls, tokens and cost of a recipe, before anything is sent",
    "studio": "look at a run while it grows, chat with its models, compare two blind, in a browser",
    "chat": "talk with a model in the terminal, with what is believed of the user after each turn",
    "serve": "serve checkpoints and other models as an OpenAI-compatible endpoint",
    "world": "serve the simulated world as an OpenAI-compatible endpoint",
    "config": "print the resolved config of a recipe",
}

# Where a tool's ``NAME_command`` stands if not in ``cli.tools``.
TOOL_MODULES = {
    "relabel": "data",
    "import": "data",
    "pool": "pool",
    "studio": "studio",
    "chat": "studio",
    "judge": "judge",
    "plan": "plan",
    "journal": "journal",
}


def _help() -> str:
    width = max(map(len, [*STAGE_HELP, *TOOL_HELP]))
    lines = ["usage: aloe COMMAND [ARGUMENTS]", "", "Models that interact to align.", "", "stages of a run:"]
    lines += [f"  {name:<{width}}  {text}" for name, text in STAGE_HELP.items()]
    lines += ["", "tools:"]
    lines += [f"  {name:<{width}}  {text}" for name, text in TOOL_HELP.items()]
    lines += [
        "",
        "Begin with:  aloe run demo --out runs/demo",
        "'aloe COMMAND --help' tells more; 'aloe run --help' lists every option of the config.",
    ]
    return "\n".join(lines)


def dispatch(argv: Sequence[str]) -> int:
    """Run one command.

    Raises:
        ConfigError: unknown command or option, and everything that the commands raise.
    """
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if argv[0] in ("-V", "--version"):
        print(f"aloe {__version__}")
        return 0
    command, rest = argv[0], list(argv[1:])
    if command == "export" and any(a == "--format" or a.startswith("--format=") for a in rest):
        from aloe.cli.data import export_command

        return export_command(rest)
    if command in STAGE_HELP:
        from aloe.cli.run import stage_command

        return stage_command(command, rest)
    if command in TOOL_HELP:
        module = import_module(f"aloe.cli.{TOOL_MODULES.get(command, 'tools')}")
        tool: Callable[[list[str]], int] = getattr(module, f"{command}_command")
        return tool(rest)
    names = [*STAGE_HELP, *TOOL_HELP]
    raise ConfigError(f"unknown command '{command}'{nearest(command, names)}", "'aloe --help' lists the commands")
