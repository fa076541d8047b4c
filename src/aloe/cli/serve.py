"""``aloe serve URI ...``: serves models, for example local checkpoints, behind the OpenAI API."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING

from aloe.cli import completers
from aloe.cli.arguments import add_address, completed, known_model
from aloe.cli.parser import Overrides, Parser

if TYPE_CHECKING:
    from aloe.models.server import Running

NAME = "serve"
GROUP = "run"
HELP = "serve checkpoints and other models as an OpenAI-compatible endpoint"
PORT = 8765


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
    add_address(parser, PORT)


def run(options: Namespace, overrides: Overrides) -> int:
    from aloe.config import ModelConfig
    from aloe.models.registry import create_model
    from aloe.models.server import serve_forever

    for uri in options.uris:
        known_model(uri)  # a path that is not there is told now, not to whoever calls
    shared = {"batch_size": options.batch_size, "dtype": options.dtype}
    models = {uri: create_model(ModelConfig(uri=uri, **shared), replicas=options.replicas) for uri in options.uris}
    serve_forever(models, options.host, options.port, say_where(", ".join(models)))
    return 0


def say_where(models: str) -> Callable[[Running], None]:
    """What prints the address of a started server.

    Args:
        models: what is served, in words.
    """

    def say(running: Running) -> None:
        print(f"serving {models} at http://{running.host}:{running.port}/v1 (Ctrl-C stops)", flush=True)

    return say
