"""Arguments that several commands share: their types, completions, and which exclude each other."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aloe.cli import completers
from aloe.cli.parser import Parser
from aloe.errors import ConfigError, need_packages

if TYPE_CHECKING:
    from aloe.config import ModelConfig

Completer = Callable[..., Iterable[str]]


def completed(action: argparse.Action, completer: Completer) -> argparse.Action:
    """The action, with what a shell offers for its value."""
    action.completer = completer  # type: ignore[attr-defined]
    return action


def existing_path(text: str) -> Path:
    """argparse type: a path that exists."""
    path = Path(text)
    if not path.exists():
        raise argparse.ArgumentTypeError(f"{path} does not exist")
    return path


def port_number(text: str) -> int:
    """argparse type: a TCP port, 0 for any free one."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"'{text}' is not a valid port (0 to 65535, 0 = any free one)")
    return int(text)


def share(text: str) -> float:
    """argparse type: a number above 0 and up to 1."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a valid share (above 0, at most 1)")
    return value


def model_table(text: str) -> dict[str, Any]:
    """A model of the command line: a URI, or a table like ``{uri = "openai:MODEL", temperature = 0}``.

    Raises:
        ConfigError: it looks like a table and is not valid TOML.
    """
    from aloe.config import parse_overrides

    table: dict[str, Any] = parse_overrides([f"--model={text}"])["model"] if text.startswith("{") else {"uri": text}
    return table


def known_model(text: str) -> ModelConfig:
    """A model (see :func:`model_table`), checked as far as that costs nothing: scheme, actor, key, a local path.

    Raises:
        ConfigError: it can't be a model that answers.
    """
    from aloe.config.load import make_model
    from aloe.models.local.packaged import check_packaged
    from aloe.models.registry import create_model
    from aloe.models.uri import split_uri, unwrap

    whole = make_model(**model_table(text))
    uri, model = whole.uri, unwrap(whole)[0]
    scheme, name = split_uri(model.uri)[:2]
    is_path = name.count("/") != 1 or name.startswith((".", "/", "~"))  # one slash may be a model id of the hub
    if scheme == "hf" and "/" in name and is_path and not Path(name).expanduser().exists():
        raise ConfigError(f"{uri}: {name} does not exist", "give a checkpoint's directory or a model id like ORG/NAME")
    if scheme == "hf":
        need_packages(f"'{uri}'", ("torch", "transformers"), "train")
        check_packaged(name)
    if scheme != "hf":
        create_model(model)
    return whole


def add_recipe(parser: Parser, help: str = "a recipe's name, a .toml file, or a run directory") -> None:
    """``[RECIPE]``, which may also be a run directory: see :mod:`aloe.cli.places`."""
    completed(parser.add_argument("recipe", nargs="?", metavar="RECIPE", help=help), completers.recipes)
    add_trust(parser)


def add_run(parser: Parser, help: str = "a run directory") -> None:
    completed(parser.add_argument("run", type=existing_path, metavar="RUN", help=help), completers.paths)
    add_trust(parser)


def add_trust(parser: Parser) -> None:
    """``--trust-run``: see :mod:`aloe.cli.trust`."""
    parser.add_argument(
        "--trust-run",
        action="store_true",
        help="use the hosts, keys, prompt files and plug-ins that the run's config names without asking",
    )


def add_address(parser: Parser, port: int) -> None:
    """``--host``, ``--port`` and ``--allow-host`` of a server.

    Args:
        port: the port where none is given.
    """
    host = parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: loopback only)")
    completed(host, completers.nothing)
    number = parser.add_argument("--port", type=port_number, default=port, help=f"0 = any free port (default: {port})")
    completed(number, completers.nothing)
    names = parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="another name under which the server is reached, for example through a proxy (repeat for more)",
    )
    completed(names, completers.nothing)


def refuse_together(options: argparse.Namespace, names: dict[str, str], with_what: str, why: str) -> None:
    """Say which of the given options mean nothing together, instead of passing over them.

    Args:
        names: name of the attribute of ``options`` -> the option as it is written.
        with_what: what they do not go with, e.g. ``--conversations``.
        why: the next step, or the reason.

    Raises:
        ConfigError: one of them was given.
    """
    values = ((written, getattr(options, name)) for name, written in names.items())
    given = [written for written, value in values if value is not None and value is not False and value != []]
    if given:
        verb = "does" if len(given) == 1 else "do"
        raise ConfigError(f"{', '.join(given)} {verb} not go with {with_what}", why)
