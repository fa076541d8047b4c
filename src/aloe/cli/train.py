"""``aloe sft`` and ``aloe dpo`` on a data set and a model of one's own, without a run around them."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from aloe.cli.parser import OneLineParser
from aloe.config import Config, fields, load_config, parse_overrides, type_name
from aloe.errors import ConfigError
from aloe.progress import StageProgress, stage_progress
from aloe.store.rundir import RunDir
from aloe.training.methods import BASE, Method, method_by_name


def is_direct(argv: list[str]) -> bool:
    """Whether the command names its data itself, instead of a run's recipe."""
    return any(a == "--data" or a.startswith("--data=") for a in argv)


def train_command(command: str, argv: list[str]) -> int:
    """Train a checkpoint from ``--data`` and ``--model`` into ``--out`` and print what came out.

    Raises:
        ConfigError: an option is missing or unknown.
        DataError: what the data or the model lack.
    """
    method = method_by_name(command)
    prefix = command if method.is_built_in else f"methods.{command}"
    lines = [f"options (also in a recipe, section {prefix}):"]
    for name, info in fields(method.section_type(), f"{prefix}."):
        if name.removeprefix(f"{prefix}.") not in ("model", "control"):
            default = info.get_default(call_default_factory=True)
            text = f"  --{name} {type_name(info.annotation)}"
            lines.append(f"{text:<46} {info.description or ''} [{default}]")
    parser = OneLineParser(
        prog=f"aloe {command}",
        usage=f"aloe {command} --data PATH --model PATH_OR_ID --out DIR [--recipe RECIPE] [--OPTION VALUE ...]",
        epilog="\n".join([*lines, "", f"example: {method.example}", "Several processes: see docs/training.md."]),
        formatter_class=lambda prog: __import__("argparse").RawDescriptionHelpFormatter(prog, width=110),
        add_help=False,
        allow_abbrev=False,
    )
    parser.add_argument("--data", metavar="PATH", required=True, help="a run, what 'aloe export' wrote, or one file")
    parser.add_argument("--model", metavar="PATH_OR_ID", help="model to start from (dpo on a run: its SFT checkpoint)")
    parser.add_argument("--out", metavar="DIR", required=True, help="where the checkpoint goes")
    parser.add_argument("--recipe", metavar="RECIPE", help="take the section's settings from this recipe")
    parser.add_argument("-q", "--quiet", action="store_true", help="print errors only")
    parser.add_argument("-h", "--help", action="store_true", help="show this text")
    if "-h" in argv or "--help" in argv:
        print(parser.format_help())
        return 0
    arguments, rest = parser.parse_known_args(argv)
    config = load_config(arguments.recipe, parse_overrides(rest))
    model = arguments.model or _default_model(method, Path(arguments.data), config)
    with stage_progress(command, quiet=arguments.quiet) as progress:
        summary = _train(method, config, arguments.data, model, arguments.out, progress)
    if not arguments.quiet and summary is not None:
        json.dump(summary, sys.stdout, indent=2)
        print(f"\n{command}: {arguments.out}")
    return 0


def _default_model(method: Method, data: Path, config: Config) -> str:
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

    if method.is_built_in:
        need_training(method.name)
    section = method.settings(config)
    summary = method.load()(section, data, model, out, seed=config.seed, progress=progress.update, profiles=None)
    return summary if int(os.environ.get("RANK", "0")) == 0 else None
