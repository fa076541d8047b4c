"""``aloe bench``: short options beside the config's own, and the scoring of logged conversations."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from aloe.cli.parser import OneLineParser, existing_path
from aloe.config import Config, load_config, parse_overrides
from aloe.errors import ConfigError

if TYPE_CHECKING:
    from aloe.bench.offline import Logged
    from aloe.progress import StageProgress
    from aloe.types import Persona

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

    Where neither a recipe nor an existing run is named, the recipe ``bench`` (packaged personas) is put in. A run named
    together with another ``--out`` is the recipe that it was made with.

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
    if rest and (Path(rest[0]) / "config.toml").is_file() and (out := _out(rest)) is not None:
        if Path(out).resolve() == Path(rest[0]).resolve():
            return rest[1:]
        rest[0] = str(Path(rest[0]) / "config.toml")
    return ["bench", *rest] if _needs_recipe(rest) else rest


def _out(argv: list[str]) -> str | None:
    """The value of ``--out``, None where it is not given."""
    after = next((b for a, b in itertools.pairwise(argv) if a == "--out"), None)
    return after or next((a[6:] for a in argv if a.startswith("--out=")), None)


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _needs_recipe(argv: list[str]) -> bool:
    if (argv and not argv[0].startswith("-")) or "-h" in argv or "--help" in argv:
        return False
    out = _out(argv)
    return out is None or not (Path(out) / "config.toml").is_file()


def left_out(config: Config) -> list[str]:
    """What is wrong with the benchmark's persona file, a line each: a benchmark must not shrink unnoticed.

    Raises:
        DataError: nothing in it is usable.
    """
    from aloe.personas.importer import read_source, summarize_problems

    source = config.bench.personas
    return [] if source in (None, "packaged") else summarize_problems(read_source(str(source)).problems, 5)


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
    parser.add_argument("--dry", action="store_true", help="only say how often the judge would be asked")
    parser.add_argument("-q", "--quiet", action="store_true", help="print errors only")
    recipe = argv.pop(0) if argv and not argv[0].startswith("-") else None  # whose judge and options are used
    arguments, rest = parser.parse_known_args(argv)
    _refuse(rest)
    name = arguments.name or arguments.conversations.stem
    if "/" in name or "\\" in name or name in (".", ".."):
        raise ConfigError(f"--name '{name}' is no name for a result", "write a plain name without slashes")
    overrides = parse_overrides([a for a in friendly_options(rest) if a != "bench"])
    out = arguments.out
    if recipe is not None and (Path(recipe) / "config.toml").is_file():
        out, recipe = out or recipe, str(Path(recipe) / "config.toml")
    config = load_config(recipe, overrides)
    _score_offline(config, arguments, name, Path(out or f"runs/{name}"))
    return 0


def _refuse(rest: list[str]) -> None:
    """Say which options mean nothing where conversations are there already, instead of passing over them."""
    for argument in rest:
        option = argument[2:].partition("=")[0] if argument.startswith("--") else ""
        short = option.removeprefix("bench.").replace("models", "model").replace("n_turns", "turns")
        if short in ("model", "user", "turns", "samples", "gain", "full"):
            raise ConfigError(
                f"--{option} does not go with --conversations", "logged replies are judged once each, as they are"
            )


def _personas_of(source: str | None, seed: int) -> list[Persona]:
    """The personas of a file, under the ids that a benchmark gives them and under the file's own where it has any."""
    from aloe.personas.importer import read_source
    from aloe.personas.stage import read_bench_file

    if source is None:
        return []
    people = read_bench_file(source, 10**6, seed)
    pairs = read_source(source).pairs if source != "packaged" else []
    own = [
        person.model_copy(update={"persona_id": pair.persona_id})
        for person, pair in zip(people, pairs, strict=False)
        if pair.persona_id
    ]
    return [*people, *own]


def _targets(talks: Sequence[Logged], name: str, bench: Path) -> dict[str, list[Logged]]:
    """Name of a result -> its conversations: one per model that the log tells apart.

    Raises:
        ConfigError: a benchmark's own result has that name.
    """
    from aloe.bench.offline import by_model
    from aloe.store.rundir import read_result

    groups = by_model(talks)
    targets: dict[str, list[Logged]] = {}
    for model, own in groups.items():
        suffix = re.sub(r"[^\w.+-]+", "-", model).strip("-.") or "unnamed"
        targets.setdefault(name if len(groups) == 1 else f"{name}-{suffix}", []).extend(own)
    for target in targets:
        before = read_result(bench / target / "result.json")
        if before is not None and before.user_model != "logged":
            raise ConfigError(f"{bench / target} is a benchmark's result", "give another --name, or another --out")
    return targets


def _score_offline(config: Config, arguments: argparse.Namespace, name: str, out: Path) -> None:
    from rich.console import Console

    from aloe.bench.compare import refuse_nothing
    from aloe.bench.offline import read_conversations, score_conversations
    from aloe.cli.tables import print_results
    from aloe.models.caller import Caller
    from aloe.progress import stage_progress
    from aloe.prompts import PromptSet
    from aloe.stages.bench import with_bench_roles
    from aloe.store.rundir import RunDir
    from aloe.types import BenchmarkResult

    config = with_bench_roles(config)
    talks = read_conversations(arguments.conversations, _personas_of(arguments.personas, config.seed))
    run, prompts = RunDir(out), PromptSet(config.prompts_dir)
    bench = run.stage_dir("bench")
    targets = _targets(talks, name, bench)
    n_known, n_replies = sum(talk.is_known for talk in talks), sum(talk.n_replies for talk in talks)
    what = f"{len(talks)} conversations ({n_known} with a persona), {n_replies} replies"
    if arguments.dry:
        print(f"{what}: {n_replies} calls of {', '.join(m.uri for m in config.roles.judge)}; nothing was sent")
        return
    run.open(config, "bench --conversations")

    def show(shown: StageProgress, n_before: int, n: int, _: int) -> None:
        shown.update(n_before + n, n_replies, "replies")

    async def work() -> list[tuple[Path, BenchmarkResult]]:
        caller = Caller.open(config, run.journal_path, seed=config.seed, prompts=prompts)
        results, n_before = [], 0
        try:
            with stage_progress("bench", quiet=arguments.quiet) as shown:
                for target, own in targets.items():
                    result = await score_conversations(
                        caller,
                        own,
                        config=config,
                        out_dir=bench / target,
                        name=target,
                        progress=partial(show, shown, n_before),
                    )
                    results.append((bench / target, result))
                    n_before += sum(talk.n_replies for talk in own)
            return results
        finally:
            await caller.aclose()

    try:
        results = asyncio.run(work())
    finally:
        run.close()
    refuse_nothing(results)
    if arguments.quiet:
        return
    console = Console(width=120, highlight=False)
    print_results(console, results)
    n_unscored = sum(p.n_unscored for _, result in results for p in result.points)
    folder = results[0][0] if len(results) == 1 else bench
    console.print(f"\n{what}, {n_unscored} unscored -> {folder}", soft_wrap=True, markup=False)


__all__ = ["FLAGS", "SHORT", "SHORT_HELP", "friendly_options", "is_offline", "left_out", "offline_command"]
