"""The command line: stages take a recipe and know the run; tools take files (layer 6).

Every option of a stage is a field of the config (``--trees.n_turns 5``), so nothing is declared twice. Heavy
imports happen inside the commands: ``aloe --help`` answers at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from aloe import __version__
from aloe.errors import ConfigError, nearest

STAGE_HELP = {
    "run": "run every stage of a recipe and end with a report",
    "personas": "grow the persona pool and pair profiles with personalities",
    "trees": "grow preference trees",
    "export": "turn trees into pairs and SFT conversations; --format trl|sharegpt|openai|hub|published for other tools",
    "base": "train the tiny model from scratch",
    "sft": "supervised fine-tuning on preferred replies",
    "rollout": "grow trees from the SFT checkpoint's own replies",
    "dpo": "preference optimisation from the SFT checkpoint",
    "bench": "benchmark models: AL(k), IR, N-IR, N-R2",
    "report": "write report/index.html",
}
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

# Where a tool's ``NAME_command`` stands if not in cli_tools.
TOOL_MODULES = {
    "relabel": "cli_data",
    "import": "cli_data",
    "pool": "cli_pool",
    "studio": "cli_studio",
    "chat": "cli_studio",
    "judge": "cli_judge",
    "plan": "cli_plan",
    "journal": "cli_journal",
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
        from aloe.cli_data import export_command

        return export_command(rest)
    if command in STAGE_HELP:
        from aloe.cli_stages import stage_command

        return stage_command(command, rest)
    if command in TOOL_HELP:
        module = import_module(f"aloe.{TOOL_MODULES.get(command, 'cli_tools')}")
        tool: Callable[[list[str]], int] = getattr(module, f"{command}_command")
        return tool(rest)
    names = [*STAGE_HELP, *TOOL_HELP]
    raise ConfigError(f"unknown command '{command}'{nearest(command, names)}", "'aloe --help' lists the commands")


class OneLineParser(argparse.ArgumentParser):
    """argparse whose errors are ConfigErrors (one line, our exit code)."""

    def error(self, message: str) -> None:  # type: ignore[override]
        raise ConfigError(f"{self.prog}: {message}", f"'{self.prog} --help' shows the usage")


def existing_path(text: str) -> Path:
    """argparse type: a path that exists."""
    path = Path(text)
    if not path.exists():
        raise argparse.ArgumentTypeError(f"{path} does not exist")
    return path


def port_number(text: str) -> int:
    """argparse type: a TCP port, 0 for any free one."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"'{text}' is no port (0 to 65535, 0 = any free one)")
    return int(text)


def share(text: str) -> float:
    """argparse type: a number above 0 and up to 1."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no share (above 0, at most 1)")
    return value


def known_model(uri: str) -> str:
    """A model's URI, checked as far as that costs nothing: scheme, actor, key, and whether a local path is there.

    Raises:
        ConfigError: it can't be a model that answers.
    """
    from aloe.config import ModelConfig
    from aloe.models.registry import create_model, split_uri
    from aloe.models.wrappers import unwrap

    model = unwrap(ModelConfig(uri=uri))[0]
    scheme, name = split_uri(model.uri)[:2]
    is_path = name.count("/") != 1 or name.startswith((".", "/", "~"))  # one slash may be a model id of the hub
    if scheme == "hf" and "/" in name and is_path and not Path(name).expanduser().exists():
        raise ConfigError(f"{uri}: {name} does not exist", "give a checkpoint's directory or a model id like ORG/NAME")
    if scheme != "hf":
        create_model(model)
    return uri


def is_terminal() -> bool:
    return sys.stdout.isatty()
