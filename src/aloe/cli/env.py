"""``aloe env serve``: simulated users as a Gymnasium-like HTTP server, for trainers and harnesses of others."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from argparse import Namespace
from pathlib import Path

from aloe.cli import completers
from aloe.cli.arguments import add_address, add_recipe, completed
from aloe.cli.bench_flags import add_flags, bench_overrides
from aloe.cli.parser import Overrides, Parser

NAME = "env"
GROUP = "run"
HELP = "serve simulated users as an environment: reset and step over HTTP, rewards by the judge"
PORT = 8790
FLAGS = ("--user", "--judge", "--personas", "--turns", "--scope", "--scale")


def add_arguments(parser: Parser) -> None:
    serve = parser.add_verb("serve", "serve until interrupted", _serve)
    serve.usage = "aloe env serve [RECIPE|RUN] [--user URI] [--judge URI] [--personas FILE] [--turns N] [--port N]"
    serve.description = (
        "Simulated users over HTTP: POST /reset, /step, /close as JSON. Messages and rewards are those of aloe bench "
        "with the same seed, user, judge and options."
    )
    add_recipe(serve, "a recipe's name, a .toml file, or a run directory, whose benchmark personas are used")
    add_flags(serve, FLAGS)
    add_address(serve, PORT)
    journal = serve.add_argument(
        "--journal", type=Path, metavar="FILE", help="keep every answered call here, so that none is paid for twice"
    )
    completed(journal, completers.paths)
    serve.accept_config(lambda: ("roles", "bench", "budget", "execution"))


def run(options: Namespace, overrides: Overrides) -> int:
    done: int = options.verb(options, overrides)
    return done


def _serve(options: Namespace, overrides: Overrides) -> int:
    """Serve until interrupted.

    Raises:
        ConfigError: a bad option, or an address that can't be listened on. DataError: no personas.
    """
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(options, overrides))
    return 0


async def _run(options: Namespace, overrides: Overrides) -> None:
    from aloe.bench.env_server import EnvServer
    from aloe.cli.places import Trust, bench_config, personas_of
    from aloe.errors import DataError
    from aloe.models.caller import Caller
    from aloe.models.guard import Guard, new_token, own_hosts, warn_outer
    from aloe.personas.stage import read_bench_file
    from aloe.store.rundir import RunDir
    from aloe.studio.start import serving

    changed = bench_overrides(options, overrides)
    config, run = bench_config(options.recipe or "bench", changed, Trust.of(options))
    if config.bench.personas is not None:
        personas = read_bench_file(config.bench.personas, 10**6, config.seed)
    elif run is not None:
        personas = [p for p in personas_of(RunDir(run)) if p.split == "bench"]
    else:
        personas = read_bench_file("packaged", 10**6, config.seed)
    if not personas:
        raise DataError(f"{run} has no benchmark personas", "give --personas FILE, or --personas packaged")
    caller = Caller.open(config, options.journal, seed=config.seed)
    try:
        guard = Guard(own_hosts(options.host, options.allow_host), new_token())
        app = EnvServer(caller, config, personas).app(guard)
        async with serving(app, options.host, options.port, guard.prefix) as url:
            if note := warn_outer(options.host):
                print(f"warning: {note}", file=sys.stderr)
            print(f"serving {len(personas)} users at {url} (the address is the secret; Ctrl-C stops)", flush=True)
            await asyncio.Event().wait()
    finally:
        await caller.aclose()
