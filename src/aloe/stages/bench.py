"""Stage ``bench``: selects models and personas, and skips what is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from aloe.config import Config, ModelConfig, digest
from aloe.models.caller import Caller
from aloe.models.local.model import weight_digest
from aloe.models.uri import is_memory, plain_name, portable, unwrap
from aloe.seeding import derive_rng
from aloe.stages.context import (
    REPLY_TOKENS,
    Context,
    FinishedShard,
    Sharding,
    read_personas,
    tokens_so_far,
    with_caller,
)
from aloe.stages.failures import failed_part
from aloe.store.rundir import read_result
from aloe.training.methods import CHECKPOINTS
from aloe.types import BenchmarkResult, Persona, Usage


def bench_models(context: Context) -> dict[str, ModelConfig]:
    """Every model to benchmark by its plain name: the run's checkpoints, then the configured ones.

    A name under which the run already holds another model's result gets a number, unless the stage is done again.
    """

    def is_taken(name: str, uri: str) -> bool:
        known = None if context.redo else read_result(context.run.stage_dir("bench") / name / "result.json")
        return name in models or (known is not None and portable(known.uri) != portable(uri))

    models: dict[str, ModelConfig] = {}
    for name, path in context.run.checkpoints(CHECKPOINTS).items():
        models[name] = ModelConfig(uri=f"hf:{path}", temperature=0.0, max_tokens=REPLY_TOKENS, batch_size=128)
    for model in context.config.bench.models:
        name = base = plain_name(model.uri)
        number = 2
        while is_taken(name, model.uri):
            name, number = f"{base}-{number}", number + 1
        models[name] = model
    return models


def bench_sample(personas: list[Persona], n: int, seed: int) -> list[Persona]:
    """``n`` of the benchmark personas (0 = all), drawn by seed, in their stored order."""
    if n == 0 or n >= len(personas):
        return personas
    picks = sorted(derive_rng(seed, "bench", "personas").permutation(len(personas))[:n].tolist())
    return [personas[i] for i in picks]


def bench_personas(context: Context) -> list[Persona]:
    """Those of ``bench.personas`` where that is set, else the run's own."""
    source = context.config.bench.personas
    if source is None:
        return read_personas(context.run, "bench")
    from aloe.personas.stage import read_bench_file

    return read_bench_file(source, 10**6, context.config.seed)


def with_bench_roles(config: Config) -> Config:
    """The config with the benchmark's own judge and user in their roles, where it has any."""
    own = {role: models for role in ("judge", "user") if (models := getattr(config.bench, role)) is not None}
    return config.model_copy(update={"roles": config.roles.model_copy(update=own)}) if own else config


@dataclass(frozen=True, slots=True)
class _BenchStage:
    """What a benchmark is made of.

    Attributes:
        keys: what each model's result depends on, as a digest. todo: models whose result is not there yet.
    """

    context: Context
    personas: list[Persona]
    models: dict[str, ModelConfig]
    keys: dict[str, str]
    todo: list[str]

    @classmethod
    def of(cls, context: Context) -> _BenchStage:
        config, run = with_bench_roles(context.config), context.run
        context = replace(context, config=config)
        personas = bench_sample(bench_personas(context), config.bench.n_personas, config.seed)
        models = bench_models(context)
        bench = config.bench.model_dump(mode="json", exclude={"models", *config.bench.unset})
        shared = digest([bench, _roles(config), context.prompts.stamp(config.bench.later_prompts)])
        done: dict[str, str] = {} if context.redo else run.manifest().get("bench", {})
        keys = {}
        for name, model in models.items():
            memory = memory_prompts(model, context)
            keys[name] = digest([shared, *identity_of(model), [p.persona_id for p in personas], *memory])

        def is_done(name: str) -> bool:
            return done.get(name) == keys[name] and (run.stage_dir("bench") / name / "result.json").is_file()

        return cls(context, personas, models, keys, [name for name in models if not is_done(name)])

    def note(self, name: str, result: BenchmarkResult) -> None:
        """Keep in the manifest which result is there; one that lacks calls is made again."""
        run = self.context.run
        manifest = run.manifest()
        manifest.setdefault("bench", {})[name] = self.keys[name] if result.n_failed == 0 else ""
        run.save_manifest(manifest)

    def show(self, caller: Caller, n_before: int, n: int, of: int) -> None:
        """Progress in one model of those that are to do."""
        note = tokens_so_far(caller)
        self.context.progress.update(n_before * of + n, len(self.todo) * of, "turns", note)

    def summary(self) -> dict[str, Any]:
        """The stage's summary, from the results that are there now."""
        from aloe.bench.compare import refuse_nothing
        from aloe.bench.runner import failed_calls

        summary: dict[str, Any] = {"n_personas": len(self.personas), "n_failed": 0, "models": {}}
        results: list[tuple[Path, BenchmarkResult]] = []
        failures: list[str] = []
        for name in self.models:
            out = self.context.run.stage_dir("bench") / name
            found = read_result(out / "result.json")
            assert found is not None
            summary["models"][name] = {"avg": found.avg, "late": found.late_mean, "gain": found.gain, "ir": found.ir}
            summary["n_failed"] += found.n_failed
            failures.extend(failed_calls(out) if found.n_failed else ())
            results.append((out, found))
        refuse_nothing(results)
        n_talks = sum(found.n_personas * found.n_samples for _, found in results)
        return summary | failed_part(len(failures), n_talks, "conversations", failures[0] if failures else "")


def run_bench(context: Context) -> dict[str, Any]:
    """AL(k) for every model under one user and one judge; models that are done are kept."""
    from aloe.bench.runner import run_benchmark

    bench = _BenchStage.of(context)
    context = bench.context

    async def work(caller: Caller) -> None:
        for at, name in enumerate(bench.todo):
            result = await run_benchmark(
                caller,
                bench.personas,
                bench.models[name],
                config=context.config,
                out_dir=context.run.stage_dir("bench") / name,
                name=name,
                progress=partial(bench.show, caller, at),
            )
            bench.note(name, result)

    with_caller(context, work)
    return bench.summary()


def _grow_shard(context: Context) -> tuple[dict[str, Any], dict[str, Any]]:
    from aloe.bench.parts import write_part
    from aloe.bench.runner import converse

    bench, part = _BenchStage.of(context), context.part
    assert part is not None
    used: dict[str, Any] = {}
    failures: list[str] = []
    n_talks = 0

    async def work(caller: Caller) -> None:
        nonlocal n_talks
        for at, name in enumerate(bench.todo):
            talks, usage = await converse(
                caller, bench.personas, bench.models[name], config=bench.context.config, holds=part.shard.holds,
                progress=partial(bench.show, caller, at),
            )  # fmt: skip
            write_part(part.folder / "bench" / f"{name}.jsonl", talks.items())
            used[name] = {role: use.model_dump(mode="json") for role, use in usage.items()}
            failures.extend(why for _, talk in sorted(talks.items()) if (why := talk.failure) is not None)
            n_talks += len(talks)

    with_caller(bench.context, work)
    failed = failed_part(len(failures), n_talks, "conversations", failures[0] if failures else "")
    return {"used": used}, failed


def _join_shards(context: Context, shards: Sequence[FinishedShard]) -> dict[str, Any]:
    from aloe.bench.parts import read_parts
    from aloe.bench.runner import ROLES, with_timelines, write_benchmark

    bench = _BenchStage.of(context)
    config = bench.context.config
    people = with_timelines(bench.personas, config)
    for name in bench.todo:
        talks = read_parts([s.folder / "bench" / f"{name}.jsonl" for s in shards], people, config.bench.samples)
        parts = [s.counts["used"][name] for s in shards]
        rows = {str(role): [p[role] for p in parts if role in p] for role in ROLES}
        used = {role: _total(some) for role, some in rows.items() if some}
        result = write_benchmark(
            talks, used, bench.personas, bench.models[name], config=config, prompts=context.prompts,
            out_dir=context.run.stage_dir("bench") / name, name=name,
        )  # fmt: skip
        bench.note(name, result)
    return bench.summary()


def _total(rows: Sequence[dict[str, int]]) -> Usage:
    return Usage(**{name: sum(row[name] for row in rows) for name in Usage.model_fields})


def _made_by(context: Context) -> dict[str, Any]:
    bench = _BenchStage.of(context)
    return {"models": {name: bench.keys[name] for name in bench.todo}}


SHARDING = Sharding(_grow_shard, _join_shards, _made_by)


def memory_prompts(model: ModelConfig, context: Context) -> list[str]:
    """The digests of what a memory asks with, for a model that has one."""
    return [context.prompts.hashes[n] for n in ("memory", "remembered")] if is_memory(unwrap(model)[1]) else []


def _roles(config: Config) -> Any:
    return [[m.uri, m.temperature, m.top_p, m.max_tokens] for m in (*config.roles.user, *config.roles.judge)]


def identity_of(model: ModelConfig) -> tuple[dict[str, Any], str]:
    """A model's settings without its checkpoint's place, and the digest of its weights (empty without a folder)."""
    inner = unwrap(model)[0].uri
    folder = Path(inner[3:]) if inner.startswith("hf:") else None
    settings = model.model_dump(mode="json") | {"uri": portable(model.uri)}
    return settings, weight_digest(folder) if folder is not None and folder.is_dir() else ""
