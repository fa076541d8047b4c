"""Measures of the Python API: figures of scores, the benchmark of a model, scores of logged conversations."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Hashable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from aloe.api.running import run
from aloe.api.settings import Model, Models, People, config_for, one_model, people_of, result_name, tables_of
from aloe.bench.metrics import Measurement
from aloe.config import Config
from aloe.errors import DataError
from aloe.models.caller import Caller
from aloe.models.quality import QualityGate
from aloe.store.rundir import RunDir
from aloe.types import BenchmarkResult

Labels = Sequence[Hashable]


def measure(
    scores: ArrayLike,
    clusters: Labels | Mapping[str, Labels] | None = None,
    *,
    seed: int = 0,
    n_bootstrap: int = 2000,
) -> Measurement:
    """AL(k), AVG, late mean, IR, N-IR and N-R2 of scores, with 95% intervals over people.

    Args:
        scores: a row for each person and a column for each turn, or (persons, conversations, turns); None or NaN =
            unscored.
        clusters: what rows share, a label for each row: rows of one label are not independent. Several kinds of labels
            that cross (``{"profile": [...], "personality": [...]}``) go by name. None: all rows are independent.
        n_bootstrap: resamples, for the intervals of N-IR and N-R2 (all others need none).

    Raises:
        DataError: not a table of numbers, or not a label for each row.
    """
    from aloe.bench.metrics import measure as figures
    from aloe.seeding import derive_rng
    from aloe.stats import Clusters

    try:
        table = np.asarray(scores, dtype=float)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"scores are not a table of numbers: {error}", "give every row the same number of turns"
        ) from None
    if table.ndim not in (2, 3) or not table.size:
        raise DataError(
            f"scores have shape {table.shape}", "give (persons, turns) or (persons, conversations, turns), not empty"
        )
    if np.isinf(table).any():
        raise DataError("scores hold infinity", "give None or NaN for what is unscored")
    labels = {"clusters": clusters} if clusters is not None and not isinstance(clusters, Mapping) else clusters or {}
    for name, own in labels.items():
        if len(own) != len(table):
            raise DataError(f"{name}: {len(own)} labels for {len(table)} rows of scores", "give a label for each row")
    groups = Clusters(*labels.values()) if labels else Clusters.independent(len(table))
    return figures(table, groups, derive_rng(seed, "bench", "bootstrap"), n_bootstrap)


def benchmark(
    model: Model,
    personas: People = "packaged",
    *,
    judge: Models | None = None,
    user: Models | None = None,
    n_turns: int | None = None,
    samples: int | None = None,
    n_personas: int | None = None,
    name: str | None = None,
    out: str | Path | None = None,
    seed: int | None = None,
    recipe: str | Path = "bench",
    options: Mapping[str, Any] | None = None,
) -> BenchmarkResult:
    """The ALOE benchmark of one model, as ``aloe bench`` runs it.

    Args:
        model: a URI (``openai:NAME``, ``hf:PATH``, ``world:oracle``), a ``ModelConfig``, or an object of your own.
        personas: personas, a persona file, or ``packaged``.
        judge, user: who judges and who plays the user; None: the recipe's.
        n_personas: so many of them, drawn by seed; None or 0: all.
        name: of the result; default from the model's.
        out: a run directory for conversations, scores and the journal, so that nothing is paid for twice and
            ``aloe compare`` finds it; None: nothing is kept.
        recipe, options: further settings, as a recipe's name or file and as tables.

    Raises:
        ConfigError: a setting that is not valid. DataError: no personas.
        EndpointError: see ``aloe.errors``; calls that failed are counted in the result (``n_failed``).
    """
    from aloe.bench.runner import run_benchmark
    from aloe.models.uri import plain_name
    from aloe.stages.bench import bench_sample, with_bench_roles

    given = {
        "user": None if user is None else tables_of(user),
        "judge": None if judge is None else tables_of(judge),
        "n_turns": n_turns,
        "samples": samples,
        "n_personas": n_personas,
        "personas": str(personas) if isinstance(personas, str | Path) else None,
    }
    config = with_bench_roles(config_for(recipe, options, {"seed": seed, "bench": given}))
    if given["personas"] is None:  # they are of no file
        config = config.model_copy(update={"bench": config.bench.model_copy(update={"personas": None})})
    tested = one_model(model)
    people = bench_sample(people_of(personas, config.seed), config.bench.n_personas, config.seed)
    called = result_name(name or plain_name(tested.uri))

    async def work() -> BenchmarkResult:
        async with opened(config, out, "bench") as (caller, folder):
            place = folder / "bench" / called
            return await run_benchmark(caller, people, tested, config=config, out_dir=place, name=called)

    return run(work)


def score_conversations(
    rows: str | Path | Iterable[Mapping[str, Any]],
    judge: Models | None = None,
    *,
    personas: People = (),
    name: str = "logged",
    out: str | Path | None = None,
    seed: int | None = None,
    recipe: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
) -> dict[str, BenchmarkResult]:
    """Scores of conversations that were had elsewhere, as ``aloe bench --conversations`` gives them.

    Args:
        rows: ``{"messages": [...]}`` with, where known, ``persona``, ``persona_id``, ``user`` and ``model``; or a file
            in any of the formats of docs/benchmark.md.
        judge: who scores; None: the recipe's.
        personas: to whom ``persona_id`` refers.
        out: a run directory for scores and the journal; None: nothing is kept.

    Returns:
        A result by name: ``name`` alone, or ``name-MODEL`` for each model where the rows name several.

    Raises:
        DataError: a row that is not a conversation, or no reply in any. ConfigError: a setting that is not valid.
    """
    from aloe.bench.logged import conversations_of, read_conversations
    from aloe.bench.offline import name_results
    from aloe.bench.offline import score_conversations as score
    from aloe.stages.bench import with_bench_roles

    result_name(name)
    given = {"judge": None if judge is None else tables_of(judge)}
    config = with_bench_roles(config_for(recipe, options, {"seed": seed, "bench": given}))
    people = people_of(personas, config.seed)
    if isinstance(rows, str | Path):
        talks = read_conversations(rows, people)
    else:
        tables = (dict(row) if isinstance(row, Mapping) else row for row in rows)
        talks = conversations_of(((f"row {n}", row) for n, row in enumerate(tables, 1)), people, "rows")

    async def work() -> dict[str, BenchmarkResult]:
        async with opened(config, out, "bench --conversations", watched=False) as (caller, folder):
            bench = folder / "bench"
            return {
                target: await score(caller, own, config=config, out_dir=bench / target, name=target)
                for target, own in name_results(talks, name, bench).items()
            }

    return run(work)


@asynccontextmanager
async def opened(
    config: Config, out: str | Path | None, what: str, *, watched: bool = True
) -> AsyncIterator[tuple[Caller, Path]]:
    """A caller, and the folder for what comes of its calls: a run directory, or one that goes away.

    Args:
        watched: whether it stops where most answers of a role are unusable, as stages do.
    """
    with tempfile.TemporaryDirectory(prefix="aloe-") as passing:
        run_dir = RunDir(passing if out is None else out)
        if out is not None:
            run_dir.open(config, what)
        try:
            journal = run_dir.journal_in(config.execution.journal_dir) if out is not None else None
            caller = Caller.open(config, journal, seed=config.seed)
            try:
                gate = QualityGate(config.execution.allow_degraded)
                caller.watch = gate.watch if watched else None
                yield caller, run_dir.path
                if watched:
                    gate.finish(caller.stats)
            finally:
                await caller.aclose()
        finally:
            run_dir.close()
