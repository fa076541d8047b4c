"""``aloe world serve``: the simulated world over HTTP."""

from __future__ import annotations

from argparse import Namespace

from aloe.cli.parser import Overrides, Parser
from aloe.cli.serve import add_server, serve_models

NAME = "world"
GROUP = "run"
HELP = "serve the simulated world as an OpenAI-compatible endpoint"


def add_arguments(parser: Parser) -> None:
    parser.add_argument("action", choices=("serve",), help="start the server")
    parser.add_argument(
        "--any-model", action="store_true",
        help="answer under every name, by what the prompt asks for: for recipes that name real models",
    )  # fmt: skip
    add_server(parser)


def run(options: Namespace, overrides: Overrides) -> int:
    from aloe.models.server import resolve_world

    names = "any model" if options.any_model else "any world:ACTOR"
    serve_models(resolve_world(any_model=options.any_model), options, names)
    return 0
