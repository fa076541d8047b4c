"""``aloe bench --conversations FILE``: scores conversations that were logged elsewhere."""

from __future__ import annotations

import asyncio
from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from aloe.cli.arguments import refuse_together
from aloe.cli.parser import Overrides
from aloe.errors import ConfigError

if TYPE_CHECKING:
    from aloe.config import Config
    from aloe.progress import StageProgress
    from aloe.types import Persona

MEANINGLESS = ("models", "user", "n_turns", "samples", "gain", "full")  # options of [bench] where replies are there


def score_logged(options: Namespace, overrides: Overrides) -> int:
    """Score logged conversations: OpenAI messages as JSON lines, with or without personas.

    Args:
        options: as ``aloe bench`` declares them; ``conversations`` is set.

    Raises:
        ConfigError: options that mean nothing here, or a name that is taken.
    """
    from aloe.cli.bench_flags import FLAGS, bench_overrides
    from aloe.cli.places import Trust, means_run, source_config

    why = "logged replies are judged once each, as they are"
    names = {flag.name: flag.option for flag in FLAGS if flag.key in MEANINGLESS}
    refuse_together(options, {**names, "redo_from": "--from"}, "--conversations", why)
    given = [f"--bench.{key}" for key in MEANINGLESS if key in overrides.get("bench", {})]
    if given:
        raise ConfigError(f"{', '.join(given)} does not go with --conversations", why)
    name = options.name or options.conversations.stem
    if "/" in name or "\\" in name or name in (".", ".."):
        raise ConfigError(f"--name '{name}' is not a valid name for a result", "write a plain name without slashes")
    out = options.out
    if means_run(options.recipe, out):
        out = out or options.recipe
    overrides = bench_overrides(options, overrides, without=("personas",))
    config = source_config(options.recipe, options.out, overrides, Trust.of(options))
    _score(config, options, name, Path(out or f"runs/{name}"))
    return 0


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


def _score(config: Config, options: Namespace, name: str, out: Path) -> None:
    from rich.console import Console

    from aloe.bench.compare import refuse_nothing
    from aloe.bench.logged import read_conversations
    from aloe.bench.offline import name_results, score_conversations
    from aloe.cli.tables import print_results
    from aloe.models.caller import Caller
    from aloe.progress import stage_progress
    from aloe.stages.bench import with_bench_roles
    from aloe.store.rundir import RunDir
    from aloe.types import BenchmarkResult

    config = with_bench_roles(config)
    talks = read_conversations(options.conversations, _personas_of(options.personas, config.seed))
    run = RunDir(out)
    bench = run.stage_dir("bench")
    targets = name_results(talks, name, bench)
    n_known, n_replies = sum(talk.is_known for talk in talks), sum(talk.n_replies for talk in talks)
    what = f"{len(talks)} conversations ({n_known} with a persona), {n_replies} replies"
    if options.dry:
        print(f"{what}: {n_replies} calls of {', '.join(m.uri for m in config.roles.judge)}; nothing was sent")
        return
    run.open(config, "bench --conversations")

    def show(shown: StageProgress, n_before: int, n: int, _: int) -> None:
        shown.update(n_before + n, n_replies, "replies")

    async def work() -> list[tuple[Path, BenchmarkResult]]:
        caller = Caller.open(config, run.journal_path, seed=config.seed)
        results, n_before = [], 0
        try:
            with stage_progress("bench", quiet=options.quiet) as shown:
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
    if options.quiet:
        return
    console = Console(width=120, highlight=False)
    print_results(console, results)
    n_unscored = sum(p.n_unscored for _, result in results for p in result.points)
    folder = results[0][0] if len(results) == 1 else bench
    console.print(f"\n{what}, {n_unscored} unscored -> {folder}", soft_wrap=True, markup=False)
