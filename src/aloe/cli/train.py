"""The commands of the training methods: as a stage of a run, or with ``--data`` on other data and models."""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aloe.cli import completers
from aloe.cli.arguments import completed, refuse_together
from aloe.cli.commands import find
from aloe.cli.options_help import Option
from aloe.cli.parser import Overrides, Parser
from aloe.cli.stage import add_run_arguments, run_stage
from aloe.errors import ConfigError
from aloe.training.methods import BASE, PEOPLE, Method, method_by_name

if TYPE_CHECKING:
    from aloe.config import Config
    from aloe.progress import StageProgress


TALKING = ("roles", "trees", "budget", "execution")  # sections by which a method that talks with users goes too


@dataclass(frozen=True, slots=True)
class TrainCommand:
    """The command of one training method."""

    NAME: str
    GROUP: str
    HELP: str
    method: Method

    def add_arguments(self, parser: Parser) -> None:
        section = self.NAME if self.method.is_built_in else f"methods.{self.NAME}"
        add_run_arguments(parser, self.NAME)
        talks = self.method.rows == PEOPLE
        parser.accept_config(lambda: (section, *(TALKING if talks else ())), self._more)
        parser.usage = (
            f"aloe {self.NAME} [RECIPE] [--out DIR] [--from STAGE] [--{section}.OPTION VALUE ...]\n"
            f"       aloe {self.NAME} --data PATH --model PATH_OR_ID --out DIR [--recipe RECIPE] "
            f"[--{section}.OPTION VALUE ...]"
        )
        example = [f"example: {self.method.example}"] if self.method.example else []
        parser.epilog = "\n".join([*example, "Several processes: see docs/training.md."])
        group = parser.add_argument_group("without a run, on data and a model of your own")
        what = "a run, or a file of personas" if talks else "a run, what 'aloe export' wrote, or one file"
        data = group.add_argument("--data", metavar="PATH", help=what)
        model = group.add_argument(
            "--model",
            metavar="PATH_OR_ID",
            help=f"model to start from (default, if --data is a run: its checkpoint '{self.method.start}')",
        )
        recipe = group.add_argument(
            "--recipe", dest="settings", metavar="RECIPE", help="take the settings from this recipe"
        )
        for action in (data, model):
            completed(action, completers.paths)
        completed(recipe, completers.recipes)

    def _more(self) -> list[Option]:
        """The settings of a plug-in's method, which the config holds as a plain table."""
        from aloe.config import fields

        return [] if self.method.is_built_in else fields(self.method.section_type(), f"methods.{self.NAME}.")

    def run(self, options: Namespace, overrides: Overrides) -> int:
        if options.data is not None:
            return train_direct(self.method, options, overrides)
        names = {"model": "--model", "settings": "--recipe"}
        refuse_together(options, names, f"{self.NAME} without --data", "add --data PATH, or set it in the recipe")
        return run_stage(self.NAME, options, overrides)


def command(name: str) -> TrainCommand:
    """The command of the training method ``name``."""
    row = find(name)
    return TrainCommand(row.name, row.group, row.help, method_by_name(name))


def train_direct(method: Method, options: Namespace, overrides: Overrides) -> int:
    """Train a checkpoint from ``--data`` and ``--model`` into ``--out`` and print the summary.

    Raises:
        ConfigError: an option is missing or unknown.
        DataError: what the data or the model lack.
    """
    from aloe.cli.places import Trust, source_config
    from aloe.cli.trust import ALL
    from aloe.progress import stage_progress

    if options.recipe is not None:
        raise ConfigError(
            f"{options.recipe} does not go with --data", "use --recipe to name the recipe of the settings"
        )
    names = {"redo_from": "--from", "allow_failed": "--allow-failed", "dry": "--dry", "json": "--json"}
    refuse_together(options, names, "--data", "it trains once, outside of a run")
    if options.out is None:
        raise ConfigError(f"aloe {method.name} --data: no --out", "say where the checkpoint goes: --out DIR")
    settings = options.settings
    kinds: tuple[str, ...] = ("plug-in",)
    if method.rows == PEOPLE:  # it talks as the run does whose personas these are
        settings = settings or (options.data if (Path(options.data) / "config.toml").is_file() else None)
        kinds = ALL
    config = source_config(settings, None, overrides, Trust.of(options, kinds))
    model = options.model or _default_model(method, Path(options.data), config)
    with stage_progress(method.name, quiet=options.quiet) as progress:
        summary = _train(method, config, options.data, model, options.out, progress)
    if not options.quiet and summary is not None:
        json.dump(summary, sys.stdout, indent=2)
        print(f"\n{method.name}: {options.out}")
    return 0


def _default_model(method: Method, data: Path, config: Config) -> str:
    from aloe.store.rundir import RunDir

    checkpoint = RunDir(data).checkpoint_dir(method.start)
    if checkpoint.is_dir():
        return str(checkpoint)
    if method.start == BASE and config.sft.model is not None:
        return config.sft.model
    raise ConfigError(
        f"aloe {method.name}: no --model, and {data} holds no checkpoint",
        f"for example: {method.example}" if method.example else "give --model PATH_OR_ID",
    )


def _train(
    method: Method, config: Config, data: str, model: str, out: str, progress: StageProgress
) -> dict[str, Any] | None:
    """The summary; None in the processes that are not the first of several."""
    from aloe.stages.train import need_training
    from aloe.training.split import find_profiles
    from aloe.training.together import train_by

    if method.is_built_in:
        need_training(method.name)
    section = method.settings(config)
    if method.rows == PEOPLE:
        summary = train_by(method, section, data, model, out, config=config, seed=config.seed, progress=progress.update)
        return summary if int(os.environ.get("RANK", "0")) == 0 else None
    profiles = (find_profiles(data) or None) if section.eval_share else None
    summary = train_by(method, section, data, model, out, seed=config.seed, progress=progress.update, profiles=profiles)
    return summary if int(os.environ.get("RANK", "0")) == 0 else None
