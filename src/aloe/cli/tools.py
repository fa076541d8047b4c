"""Tools of the command line: each takes files or a run directory and prints what it finds."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from aloe.cli.parser import OneLineParser, existing_path, known_model, port_number
from aloe.errors import ConfigError, DataError, nearest

if TYPE_CHECKING:
    from aloe.models.server import Running


def metrics_command(argv: list[str]) -> int:
    """``aloe metrics FILE``: AVG, IR, N-IR, N-R2."""
    from aloe.bench.metrics_file import format_metrics, metrics_table, read_curve

    parser = OneLineParser(prog="aloe metrics", description="AVG, IR, N-IR and N-R2 of per-turn values.")
    parser.add_argument(
        "file", type=existing_path, help="JSON or CSV: a list of values, per persona rows, or named curves"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args(argv)
    rows = metrics_table(read_curve(arguments.file))
    if arguments.json:
        import json

        print(json.dumps(rows, indent=2))
    else:
        print(format_metrics(rows))
    return 0


def compare_command(argv: list[str]) -> int:
    """``aloe compare RUN ...``: paired differences."""
    from aloe.bench.compare import compare, format_comparison

    parser = OneLineParser(prog="aloe compare", description="Paired differences between benchmarked models.")
    parser.add_argument("paths", nargs="+", type=existing_path, help="run directories or bench/MODEL directories")
    arguments = parser.parse_args(argv)
    print(format_comparison(compare(arguments.paths)))
    return 0


def validate_command(argv: list[str]) -> int:
    """``aloe validate RUN``: exit code 1 and a list of breaches where something is wrong.

    Raises:
        DataError: no run at all.
    """
    from aloe.store.validate import validate_run

    parser = OneLineParser(prog="aloe validate", description="Check a run's files against each other.")
    parser.add_argument("run", type=existing_path)
    arguments = parser.parse_args(argv)
    report = validate_run(arguments.run)
    if not report.counts and not report.breaches:
        raise DataError(f"{arguments.run} holds no files of a run", "give the directory of an 'aloe run'")
    for breach in report.breaches[:100]:
        print(breach)
    if len(report.breaches) > 100:
        print(f"... and {len(report.breaches) - 100} more")
    checked = ", ".join(f"{n:,} {what}" for what, n in report.counts.items())
    print(f"{len(report.breaches)} breaches in {checked}")
    return 1 if report.breaches else 0


def prompts_command(argv: list[str]) -> int:
    """``aloe prompts list|show NAME|eject DIR|check DIR``."""
    from aloe.prompts.catalog import CATALOG
    from aloe.prompts.render import PromptSet, packaged_source

    parser = OneLineParser(prog="aloe prompts", description="The prompt templates.")
    parser.add_argument("action", choices=("list", "show", "eject", "check"))
    parser.add_argument("target", nargs="?", help="show: a prompt's name; eject, check: a directory")
    arguments = parser.parse_args(argv)
    if arguments.action == "list":
        for name, digest in PromptSet().hashes.items():
            print(f"{name:<14} {digest}  sections: {' '.join(CATALOG[name].sections) or '(history only)'}")
        return 0
    if arguments.target is None:
        raise ConfigError(f"aloe prompts {arguments.action} needs a name or directory", "'aloe prompts --help'")
    if arguments.action == "show":
        if arguments.target not in CATALOG:
            hint = nearest(arguments.target, CATALOG)
            raise ConfigError(f"no prompt named '{arguments.target}'{hint}", f"use one of: {', '.join(CATALOG)}")
        print(packaged_source(arguments.target))
    elif arguments.action == "eject":
        folder = Path(arguments.target)
        folder.mkdir(parents=True, exist_ok=True)
        for name in CATALOG:
            path = folder / f"{name}.jinja"
            if path.exists():
                print(f"kept   {path}")
                continue
            path.write_text(packaged_source(name), "utf-8")
            print(f"wrote  {path}")
        print(f"use them with --prompts_dir {folder}")
    else:
        PromptSet(arguments.target)
        print(f"{arguments.target}: all prompts are usable")
    return 0


def world_command(argv: list[str]) -> int:
    """``aloe world serve``: the simulated world over HTTP."""
    from aloe.models.server import serve_world

    parser = OneLineParser(prog="aloe world", description="The simulated world as an OpenAI-compatible endpoint.")
    parser.add_argument("action", choices=("serve",), help="the one thing to do with it")
    _add_address(parser)
    arguments = parser.parse_args(argv)
    serve_world(arguments.port, arguments.host, _say_where("any world:ACTOR"))
    return 0


def serve_command(argv: list[str]) -> int:
    """``aloe serve URI ...``: models, for example local checkpoints, behind the OpenAI API."""
    from aloe.config import ModelConfig
    from aloe.models.registry import create_model
    from aloe.models.server import serve_forever

    parser = OneLineParser(prog="aloe serve", description="Serve models as an OpenAI-compatible endpoint.")
    parser.add_argument(
        "uris", nargs="+", metavar="URI", help="hf:PATH_OR_ID, world:ACTOR, ...; the URI is the model's name"
    )
    parser.add_argument("--batch-size", type=int, default=32, help="hf: prompts generated together")
    dtypes = get_args(ModelConfig.model_fields["dtype"].annotation)
    parser.add_argument("--dtype", choices=dtypes, default="auto", help="hf: of the weights")
    parser.add_argument("--replicas", type=int, default=1, help="hf: processes that decode side by side")
    _add_address(parser)
    arguments = parser.parse_args(argv)
    for uri in arguments.uris:
        known_model(uri)  # a path that is not there is told now, not to whoever calls
    shared = {"batch_size": arguments.batch_size, "dtype": arguments.dtype}
    models = {uri: create_model(ModelConfig(uri=uri, **shared), replicas=arguments.replicas) for uri in arguments.uris}
    serve_forever(models, arguments.host, arguments.port, _say_where(", ".join(models)))
    return 0


def _add_address(parser: OneLineParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: loopback only)")
    parser.add_argument("--port", type=port_number, default=8765, help="0 = any free port")


def _say_where(models: str) -> Callable[[Running], None]:
    def say(running: Running) -> None:
        print(f"serving {models} at http://{running.host}:{running.port}/v1 (Ctrl-C stops)", flush=True)

    return say


def config_command(argv: list[str]) -> int:
    """``aloe config RECIPE [--option value]``: the resolved config as TOML."""
    from aloe.config import dump_toml, load_config, parse_overrides

    if argv and argv[0] in ("-h", "--help"):
        print("usage: aloe config [RECIPE] [--OPTION VALUE ...]\n\nPrint the resolved config as TOML.")
        return 0
    recipe = argv.pop(0) if argv and not argv[0].startswith("-") else None
    sys.stdout.write(dump_toml(load_config(recipe, parse_overrides(argv))))
    return 0
