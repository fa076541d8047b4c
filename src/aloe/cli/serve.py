"""``aloe serve URI ...``: serves models, for example local checkpoints, behind the OpenAI API."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from aloe.cli import completers
from aloe.cli.arguments import add_address, completed, known_model
from aloe.cli.parser import Overrides, Parser
from aloe.errors import ConfigError

if TYPE_CHECKING:
    from aloe.models.server import Resolver, Running
    from aloe.protocols import ChatModel

NAME = "serve"
GROUP = "run"
HELP = "serve checkpoints and other models as an OpenAI-compatible endpoint"
PORT = 8765
MIN_KEY = 16  # characters of a key of one's own


def add_arguments(parser: Parser) -> None:
    from typing import get_args

    from aloe.config import ModelConfig

    uris = parser.add_argument(
        "uris", nargs="+", metavar="URI", help="hf:PATH_OR_ID, world:ACTOR, ...; the URI is the model's name"
    )
    completed(uris, completers.models)
    parser.add_argument("--batch-size", type=int, default=32, help="hf: prompts generated together")
    dtypes = get_args(ModelConfig.model_fields["dtype"].annotation)
    parser.add_argument("--dtype", choices=dtypes, default="auto", help="hf: number format of the weights")
    parser.add_argument("--replicas", type=int, default=1, help="hf: processes that decode in parallel")
    add_server(parser)


def add_server(parser: Parser) -> None:
    """Address and key of an OpenAI-compatible server."""
    add_address(parser, PORT)
    key = parser.add_argument(
        "--key-env",
        metavar="NAME",
        help="environment variable with the key that clients must send (default: a new token in the printed address)",
    )
    completed(key, completers.nothing)


def run(options: Namespace, overrides: Overrides) -> int:
    from aloe.config import ModelConfig
    from aloe.models.registry import create_model
    from aloe.models.uri import is_in_process

    for uri in options.uris:
        known_model(uri)  # a path that is not there is told now, not to whoever calls
        if options.key_env is None and not is_in_process(ModelConfig(uri=uri)):
            raise ConfigError(
                f"{uri} is asked with your key, which this server would spend for others",
                "let clients send a key of their own: --key-env NAME",
            )
    shared = {"batch_size": options.batch_size, "dtype": options.dtype}
    models = {uri: create_model(ModelConfig(uri=uri, **shared), replicas=options.replicas) for uri in options.uris}
    serve_models(models, options, ", ".join(models))
    return 0


def serve_models(models: Mapping[str, ChatModel] | Resolver, options: Namespace, named: str) -> None:
    """Serve until interrupted, at the address and with the key that the options name.

    Args:
        named: what is served, in words.

    Raises:
        ConfigError: the key's variable is not set or holds no key, or the address can't be listened on.
    """
    from aloe.models.guard import Guard, new_token, own_hosts, warn_outer
    from aloe.models.server import serve_forever

    key = _key(options.key_env) if options.key_env else None
    guard = Guard(own_hosts(options.host, options.allow_host), key or new_token(), in_path=key is None)
    if note := warn_outer(options.host):
        print(f"warning: {note}", file=sys.stderr)
    serve_forever(models, (options.host, options.port), guard, say_where(named, options.key_env))


def _key(variable: str) -> str:
    key = os.environ.get(variable, "").strip()
    if len(key) < MIN_KEY or not key.isascii() or not key.isprintable():
        raise ConfigError(
            f"{variable} does not hold a key of at least {MIN_KEY} printable ASCII characters",
            f'export {variable}="$(openssl rand -hex 16)"',
        )
    return key


def say_where(models: str, key_env: str | None) -> Callable[[Running], None]:
    """What prints the address of a started server.

    Args:
        models: what is served, in words.
        key_env: the variable with the key that clients must send.
    """
    how = f"clients send the key in {key_env}" if key_env else "the address is the secret"

    def say(running: Running) -> None:
        print(f"serving {models} at {running.base_url} ({how}; Ctrl-C stops)", flush=True)

    return say
