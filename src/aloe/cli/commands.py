"""The table of commands: name, group, module and help text, without importing any of the modules.

A command is a module with NAME, GROUP, HELP, ``add_arguments(parser)`` and ``run(options, overrides) -> int``; the
stages and the training methods share a module each, whose ``command(name)`` makes the same.
"""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, cast

from aloe.cli.parser import Overrides, Parser
from aloe.errors import ConfigError, nearest
from aloe.stages.table import stage_help
from aloe.training.methods import METHODS, plug_ins

GROUPS = {
    "run": "run recipes, serve models",
    "look": "look at runs, chat with models",
    "measure": "evaluate models and judges",
    "train": "train models",
    "data": "create and check data",
}


class Command(Protocol):
    """What a command's module (or ``command(name)``) has."""

    @property
    def NAME(self) -> str: ...
    @property
    def GROUP(self) -> str: ...
    @property
    def HELP(self) -> str: ...
    def add_arguments(self, parser: Parser) -> None: ...
    def run(self, options: Namespace, overrides: Overrides) -> int: ...


@dataclass(frozen=True, slots=True)
class Row:
    """A command before it is imported."""

    name: str
    group: str
    module: str
    help: str


STAGE_GROUPS = {"personas": "data", "trees": "data", "export": "data", "base": "train", "rollout": "train"}
STAGE_GROUPS |= {"bench": "measure", "report": "look", **{method.name: "train" for method in METHODS}}
STAGE_MODULES = {
    "export": "export",
    "bench": "bench",
    "report": "report",
    **{method.name: "train" for method in METHODS},
}
TOOLS = (
    Row("run", "run", "stage", "run all stages of a recipe and write a report"),
    Row("plan", "run", "plan", "estimate the calls, tokens and cost of a recipe before anything is sent"),
    Row(
        "merge", "run", "merge",
        "join the shards of a stage that were run one by one (aloe trees RUN --shard K/N)",
    ),
    Row("config", "run", "config", "print the resolved config of a recipe"),
    Row("prompts", "run", "prompts", "list, show, eject or check the prompt templates, or test them with a model"),
    Row("serve", "run", "serve", "serve checkpoints and other models as an OpenAI-compatible endpoint"),
    Row("world", "run", "world", "serve the simulated world as an OpenAI-compatible endpoint"),
    Row(
        "env", "run", "env",
        "serve simulated users as an environment: reset and step over HTTP, rewards by the judge",
    ),
    Row("completion", "run", "completion", "print the completion script for bash, zsh or fish"),
    Row(
        "studio", "look", "studio",
        "look at a run, chat with its models and compare two of them blind, in a browser",
    ),
    Row(
        "chat", "look", "chat",
        "chat with a model in the terminal; shows what is inferred about the user after each turn",
    ),
    Row("journal", "look", "journal", "inspect the journal of all model calls"),
    Row("compare", "measure", "compare", "paired differences between the models of one or more runs"),
    Row(
        "probe", "measure", "probe",
        "measure what a local model would decide (which fact now, which value, which manner) without decoding",
    ),
    Row("board", "measure", "board", "a static leaderboard of benchmarked models; checks results against their files"),
    Row("metrics", "measure", "metrics", "compute AVG, late mean, IR, N-IR, N-R2 from per-turn values in JSON or CSV"),
    Row(
        "judge", "measure", "judge",
        "check a judge, measure how far judges agree, write a blind rating sheet, compare with human ratings",
    ),
    Row(
        "study", "measure", "study",
        "a blind study with people: how many are needed, a page for each rater, what their answers show",
    ),
    Row(
        "users", "measure", "users",
        "compare a user simulator's conversations with people's: a classifier's AUC and what gives the simulator away",
    ),
    Row(
        "transfer", "measure", "transfer",
        "train on each of several users, test on all under several judges: does what is learned carry over?",
    ),
    Row("import", "data", "import_", "import conversations in the published format as trees"),
    Row("relabel", "data", "relabel", "label a run's trees again, by another judge or by look-ahead"),
    Row("pool", "data", "pool", "inspect, validate or calibrate a persona pool; personas from chats; remove a person"),
    Row("validate", "data", "validate", "check the files of a run against each other"),
)  # fmt: skip
STAGES = tuple(  # every stage is a command; a new one stands under "run" unless it is named above
    Row(name, STAGE_GROUPS.get(name, "run"), STAGE_MODULES.get(name, "stage"), help)
    for name, help in stage_help().items()
)
ROWS = tuple(row for group in GROUPS for row in (*STAGES, *TOOLS) if row.group == group)
NAMES = tuple(row.name for row in ROWS)


def find(name: str) -> Row:
    """The row of a command; training methods that plug-ins bring have one too.

    Raises:
        ConfigError: there is none.
    """
    for row in ROWS:
        if row.name == name:
            return row
    method = plug_ins().get(name)
    if method is not None:
        return Row(name, "train", "train", method.help)
    raise ConfigError(f"unknown command '{name}'{nearest(name, NAMES)}", "'aloe --help' lists the commands")


def load(row: Row) -> Command:
    """The command itself; its module is imported."""
    module = import_module(f"aloe.cli.{row.module}")
    if hasattr(module, "command"):
        return cast(Command, module.command(row.name))
    return cast(Command, module)
