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
    add_server(parser)


def run(options: Namespace, overrides: Overrides) -> int:
    from aloe.models.server import resolve_world

    serve_models(resolve_world(), options, "any world:ACTOR")
    return 0
