"""``aloe run`` and one command per stage; all take the same recipe and write into the same run directory."""

from __future__ import annotations

import sys
from pathlib import Path

from aloe.cli.parser import STAGE_HELP, OneLineParser
from aloe.config import Config, fields, load_config, parse_overrides, recipe_names, type_name
from aloe.errors import ConfigError, DataError
from aloe.store.rundir import RunDir


def options_help() -> str:
    """Every option of the config with type, default and meaning, made from the config's own fields."""
    lines = ["every option of the config (TOML key and --option alike):"]
    for name, info in fields(Config):
        if info.is_required():
            default = "required"
        else:
            value = info.get_default(call_default_factory=True)
            if isinstance(value, tuple):
                default = ",".join(str(getattr(v, "uri", v)) for v in value)
            else:
                default = str(value)
        text = f"  --{name} {type_name(info.annotation)}"
        lines.append(f"{text:<52} {info.description or ''} [{default}]")
    return "\n".join(lines)


def _short_options(command: str) -> str:
    if command == "export":
        return "for other tools: aloe export RUN --format trl|sharegpt|openai|hub|published [--help]\n\n"
    if command in ("sft", "dpo"):
        from aloe.training.methods import method_by_name

        return (
            f"without a recipe, on data and a model of your own ('aloe {command} --data X --help'):\n"
            f"  {method_by_name(command).example}\n\n"
        )
    if command != "bench":
        return ""
    from aloe.cli.bench import SHORT_HELP

    return f"{SHORT_HELP}\n\n"


def _parser(command: str) -> OneLineParser:
    parser = OneLineParser(
        prog=f"aloe {command}",
        usage=f"aloe {command} [RECIPE] [--out DIR] [--from STAGE] [--OPTION VALUE ...]",
        description=f"{STAGE_HELP[command]}. RECIPE: a .toml file, a run directory, or {', '.join(recipe_names())}.",
        epilog=_short_options(command) + options_help(),
        formatter_class=lambda prog: __import__("argparse").RawDescriptionHelpFormatter(prog, width=110),
        add_help=False,
        allow_abbrev=False,
    )
    parser.add_argument("--out", metavar="DIR", help="run directory (default: runs/RECIPE)")
    parser.add_argument("--from", dest="redo_from", metavar="STAGE", help="do this stage and those after it again")
    parser.add_argument("--dry", action="store_true", help="only say what would be asked and what it would cost")
    parser.add_argument("-q", "--quiet", action="store_true", help="print errors only")
    parser.add_argument("-h", "--help", action="store_true", help="show this text")
    return parser


def stage_command(command: str, argv: list[str]) -> int:
    """Run a recipe up to a stage (or all of it) and say what came out."""
    if command == "bench":
        from aloe.cli.bench import friendly_options, is_offline, left_out, offline_command

        if is_offline(argv):
            return offline_command(argv)
        argv = friendly_options(argv)
    if command in ("sft", "dpo"):
        from aloe.cli.train import is_direct, train_command

        if is_direct(argv):
            return train_command(command, argv)
    if "--dry" in argv:
        from aloe.cli.plan import plan_command

        return plan_command(argv, None if command == "run" else command)
    parser = _parser(command)
    recipe = argv.pop(0) if argv and not argv[0].startswith("-") else None
    arguments, rest = parser.parse_known_args(argv)
    if arguments.help:
        print(parser.format_help())
        return 0
    config, run, recipe = _resolve(recipe, arguments.out, rest)

    if command == "report" and not run.exists():
        raise DataError(f"{run.path} is no run yet: nothing to report", "give the directory of an 'aloe run'")

    from aloe.stages.pipeline import run_pipeline

    say = None if arguments.quiet else print
    if say is not None:
        say(f"aloe: {recipe} -> {run.path} (seed {config.seed})")
        if command == "bench":
            for problem in left_out(config):
                say(f"personas: {problem}")
    only = None if command == "run" else command
    redo = arguments.redo_from
    if command == "report" and redo is None:
        redo = "report"  # asking for the report means a fresh one
    outcome = run_pipeline(config, run, recipe, only=only, redo_from=redo, say=say)
    if not arguments.quiet:
        from aloe.cli.tables import print_summary

        print_summary(run, outcome, command, sys.stdout)
    return 0


def _resolve(recipe: str | None, out: str | None, rest: list[str]) -> tuple[Config, RunDir, str]:
    """The config and directory meant: a recipe, a run directory in its place, or --out alone (an existing run)."""
    overrides = parse_overrides(rest)
    if recipe is not None and (Path(recipe) / "config.toml").is_file() and out is None:
        out, recipe = recipe, None
    if recipe is None:
        if out is None:
            raise ConfigError(
                "no recipe given", f"name one of: {', '.join(recipe_names())}, a .toml file, or a run directory"
            )
        run = RunDir(out)
        if not run.exists():
            raise ConfigError(f"{run.path} is no run yet and no recipe is given", f"aloe run demo --out {run.path}")
        config = load_config(run.config_path, overrides)
        return config, run, str(run.manifest().get("recipe", "run"))
    if Path(recipe).is_dir() or ("/" in recipe and not Path(recipe).exists() and not recipe.endswith(".toml")):
        raise ConfigError(
            f"{recipe} is no run directory (no config.toml)", "give a run, a .toml file, or RECIPE --out DIR"
        )
    config = load_config(recipe, overrides)
    name = Path(recipe).stem
    return config, RunDir(out or f"runs/{name}"), name
