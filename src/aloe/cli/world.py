"""``aloe world serve``: the simulated world over HTTP."""

from __future__ import annotations

from argparse import Namespace

from aloe.cli.arguments import add_address
from aloe.cli.parser import Overrides, Parser
from aloe.cli.serve import PORT, say_where

NAME = "world"
GROUP = "run"
HELP = "serve the simulated world as an OpenAI-compatible endpoint"


def add_arguments(parser: Parser) -> None:
    parser.add_argument("action", choices=("serve",), help="start the server")
    add_address(parser, PORT)


def run(options: Namespace, overrides: Overrides) -> int:
    from aloe.models.server import serve_world

    serve_world(options.port, options.host, say_where("any world:ACTOR"))
    return 0
