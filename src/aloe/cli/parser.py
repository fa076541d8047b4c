"""What all commands share: a parser whose errors are one line, types of arguments, the stages by name."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from aloe.errors import ConfigError
from aloe.stages.table import stage_help

STAGE_HELP = {"run": "run every stage of a recipe and end with a report", **stage_help()}


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
    from aloe.models.registry import create_model
    from aloe.models.uri import split_uri, unwrap

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
