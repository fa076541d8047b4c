"""``aloe bench``: short options beside the config's own, and the scoring of logged conversations (layer 6)."""

from __future__ import annotations

import asyncio
import itertools
import json
from pathlib import Path

from aloe.cli import OneLineParser, existing_path
from aloe.config import Config, load_config, parse_overrides
from aloe.errors import ConfigError

# short option -> option of the config; "*" = may be given several times
SHORT = {
    "model": "bench.models*",
    "judge": "bench.judge*",
    "user": "bench.user*",
    "personas": "bench.personas",
    "turns": "bench.n_turns",
    "samples": "bench.samples",
    "scale": "bench.scale",
    "scope": "bench.scope",
}
FLAGS = {"gain": "bench.gain", "full": "bench.full"}
SHORT_HELP = (
    "short options: --model URI (again for more; URI+inducer, +selfcritic, +persona, +reminder wrap any model), "
    "--judge URI, --user URI, --personas FILE, --turns N, --samples N, --scale 1-5|1-100|binary, "
    "--scope persona|revealed, --gain, --full; without RECIPE the packaged personas are used. "
    "--conversations FILE [--personas FILE] scores logged conversations instead."
)


def friendly_options(argv: list[str]) -> list[str]:
    """``argv`` of ``aloe bench`` with short options as options of the config.

    Where neither a recipe nor an existing run is named, the recipe ``bench`` (packaged personas) is put in.

    Raises:
        ConfigError: a short option without value.
    """
    lists: dict[str, list[str]] = {}
    rest: list[str] = []
    pending = list(argv)
    while pending:
        argument = pending.pop(0)
        name, equals, value = argument[2:].partition("=") if argument.startswith("--") else ("", "", "")
        if name in FLAGS:
            rest.append(f"--{FLAGS[name]}={value or 'true'}")
            continue
        if name not in SHORT:
            rest.append(argument)
            continue
        if not equals:
            if not pending or pending[0].startswith("--"):
                raise ConfigError(f"option --{name} has no value", f"write --{name} VALUE")
            value = pending.pop(0)
        option = SHORT[name]
        if option.endswith("*"):
            lists.setdefault(option[:-1], []).append(value)
        else:  # quoted where it would be read as something else than it says
            rest.append(f"--{option}={value if option.startswith('bench.n_') or name == 'samples' else _quote(value)}")
    rest += [f"--{option}={json.dumps(values, ensure_ascii=False)}" for option, values in lists.items()]
    return ["bench", *rest] if _needs_recipe(rest) else rest


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _needs_recipe(argv: list[str]) -> bool:
    if (argv and not argv[0].startswith("-")) or "-h" in argv or "--help" in argv:
        return False
    out = next((b for a, b in itertools.pairwise(argv) if a == "--out"), None)
    out = out or next((a[6:] for a in argv if a.startswith("--out=")), None)
    return out is None or not (Path(out) / "config.toml").is_file()


def is_offline(argv: list[str]) -> bool:
    """Whether logged conversations are to be scored."""
    return any(a == "--conversations" or a.startswith("--conversations=") for a in argv)


def offline_command(argv: list[str]) -> int:
    """``aloe bench --conversations FILE``: score what was logged elsewhere."""
    parser = OneLineParser(
        prog="aloe bench",
        usage="aloe bench [RECIPE|RUN] --conversations FILE [--personas FILE] [--out DIR] [--OPTION VALUE ...]",
        description="Score logged conversations: OpenAI messages as JSON lines, with or without personas.",
        allow_abbrev=False,
    )
    parser.add_argument("--conversations", type=existing_path, required=True, metavar="FILE")
    parser.add_argument("--personas", help="persona file that the lines' persona_id points into, or 'packaged'")
    parser.add_argument("--name", help="under which the result is listed (default: the file's name)")
    parser.add_argument("--out", metavar="DIR", help="run directory (default: runs/FILE)")
    parser.add_argument("-q", "--quiet", action="store_true", help="print errors only")
    recipe = argv.pop(0) if argv and not argv[0].startswith("-") else None  # whose judge and options are used
    arguments, rest = parser.parse_known_args(argv)
    name = arguments.name or arguments.conversations.stem
    overrides = parse_overrides([a for a in friendly_options(rest) if a != "bench"])
    out = arguments.out
    if recipe is not None and (Path(recipe) / "config.toml").is_file():
        out, recipe = out or recipe, str(Path(recipe) / "config.toml")
    config = load_config(recipe, overrides)
    _score_offline(config, arguments.conversations, arguments.personas, name, Path(out or f"runs/{name}"), arguments)
    return 0


def _score_offline(
    config: Config, conversations: Path, personas: str | None, name: str, out: Path, arguments: object
) -> None:
    from rich.console import Console

    from aloe.bench.offline import read_conversations, score_conversations
    from aloe.models.caller import Caller
    from aloe.personas.stage import read_bench_file
    from aloe.progress import stage_progress
    from aloe.prompts import PromptSet
    from aloe.rundir import RunDir
    from aloe.stages import with_bench_roles
    from aloe.summary import results_table
    from aloe.types import BenchmarkResult

    config, quiet = with_bench_roles(config), bool(getattr(arguments, "quiet", False))
    people = read_bench_file(personas, 10**6, config.seed) if personas else []
    talks = read_conversations(conversations, people)
    run, prompts = RunDir(out), PromptSet(config.prompts_dir)
    run.open(config, "bench --conversations")

    async def work() -> BenchmarkResult:
        caller = Caller.open(config, run.journal_path, seed=config.seed, prompts=prompts)
        try:
            with stage_progress("bench", quiet=quiet) as shown:
                return await score_conversations(
                    caller,
                    prompts,
                    talks,
                    config=config,
                    out_dir=run.stage_dir("bench") / name,
                    name=name,
                    progress=lambda n, of: shown.update(n, of, "replies"),
                )
        finally:
            await caller.aclose()

    try:
        result = asyncio.run(work())
    finally:
        run.close()
    if quiet:
        return
    n_known = sum(talk.is_known for talk in talks)
    console = Console(width=120, highlight=False)
    console.print(results_table([result]))
    n_replies = sum(talk.n_replies for talk in talks)
    console.print(
        f"\n{len(talks)} conversations ({n_known} with a persona), {n_replies} replies, "
        f"{sum(p.n_unscored for p in result.points)} unscored -> {run.stage_dir('bench') / name}",
        soft_wrap=True,
    )


__all__ = ["FLAGS", "SHORT", "SHORT_HELP", "friendly_options", "is_offline", "offline_command"]
