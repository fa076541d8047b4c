"""The stages: each reads the files of the stages before it and writes its own (layer 6).

personas -> trees -> export -> base -> sft -> rollout -> dpo -> bench -> report
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from aloe.config import Config, ModelConfig, digest
from aloe.dialogue.forest import Job, grow_forest, plan_jobs
from aloe.dialogue.tree_builder import GrownTree, TreeBuilder, TreePlan
from aloe.errors import ConfigError, DataError
from aloe.execution import create_executor, make_shards
from aloe.models.caller import Caller
from aloe.models.registry import plain_name
from aloe.models.wrappers import unwrap
from aloe.preference import as_row, dpo_schema, labels_by_tree, sft_schema, tree_to_pairs
from aloe.progress import StageProgress
from aloe.prompts import PromptSet
from aloe.prompts.render import CONTRACT
from aloe.records import read_jsonl, write_json, write_parquet
from aloe.relabel import keep_other_labels, restore_labels
from aloe.rundir import RunDir
from aloe.seeding import derive_rng
from aloe.types import BenchmarkResult, ConversationTree, Label, Persona

T = TypeVar("T")
REPLY_TOKENS = 96  # room for a reply of the tiny model; it ends by itself
CHECKPOINTS = ("base", "sft", "dpo", "sft-control")  # in the order in which they are shown


@dataclass(frozen=True, slots=True)
class Context:
    """What a stage works with."""

    config: Config
    run: RunDir
    prompts: PromptSet
    progress: StageProgress
    redo: bool = False


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage and what its result depends on.

    Attributes:
        reads: config sections (and single fields, dotted) that shape its result.
        needs: stages whose files it reads.
        roles: roles whose models it calls (or, for ``base``, whose words it learns).
        prompts: prompts that it renders. Another role's model or prompt leaves its result as it is.
    """

    name: str
    run: Callable[[Context], dict[str, Any]]
    reads: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()


def _with_caller(context: Context, work: Callable[[Caller], Awaitable[T]]) -> T:
    """Run async work with an open caller; call statistics go to the manifest whatever happens."""

    async def inner() -> T:
        journal = context.run.journal_in(context.config.execution.journal_dir)
        caller = Caller.open(context.config, journal, seed=context.config.seed, prompts=context.prompts)
        try:
            return await work(caller)
        finally:
            _record_calls(context.run, context.progress.name, caller)
            await caller.aclose()

    return asyncio.run(inner())


def _record_calls(run: RunDir, stage: str, caller: Caller) -> None:
    manifest = run.manifest()
    calls = manifest.setdefault("calls", {}).setdefault(stage, {})
    for role, stats in caller.stats.items():
        row = asdict(stats)
        if row["n_calls"] or role not in calls:  # a replay does not wipe what the paid run counted
            calls[role] = row
    run.save_manifest(manifest)


def _tokens(caller: Caller) -> str:
    n = sum(s.usage.prompt_tokens + s.usage.completion_tokens for s in caller.stats.values())
    return f"{n / 1e6:.2f}M tokens" if n >= 1e6 else f"{n / 1e3:.0f}k tokens"


def run_personas(context: Context) -> dict[str, Any]:
    """Grow the pool, split it, pair it."""
    from aloe.personas.stage import run_personas as grow

    out = context.run.stage_dir("personas")

    def report(done: int, total: int, note: str = "") -> None:
        context.progress.update(done, total, "entries", note)

    return _with_caller(context, lambda caller: grow(caller, context.prompts, context.config, out, report))


def read_personas(run: RunDir, split: str) -> list[Persona]:
    """The run's personas of one split.

    Raises:
        DataError: the personas stage has not run.
    """
    found = [p for p in read_jsonl(run.stage_dir("personas") / "personas.jsonl", Persona) if p.split == split]
    if not found:
        raise DataError(f"{run.path}/personas/personas.jsonl has no {split} personas", "redo it: --from personas")
    return found


def _grow(
    context: Context, plan: TreePlan, out: Path, n_trees: int, replicates: int, personas: list[Persona]
) -> dict[str, Any]:
    config = context.config
    jobs = plan_jobs(personas, n_trees, replicates)

    async def work(caller: Caller, shard: list[Job]) -> dict[str, Any]:
        builder = TreeBuilder(caller, context.prompts, plan, config.seed)

        def report(done: int, _: GrownTree) -> None:
            context.progress.update(done, len(shard), "trees", _tokens(caller))

        summary = await grow_forest(builder, shard, out, config.execution.concurrency, report)
        return summary.as_dict()

    executor = create_executor(config.execution.executor)
    shards = make_shards(jobs, executor.n_shards)
    summaries = list(executor.map(lambda shard: _with_caller(context, lambda caller: work(caller, shard)), shards))
    return summaries[0]


def tree_plan(config: Config) -> TreePlan:
    """How the trees of stage ``trees`` grow."""
    trees = config.trees
    return TreePlan(
        n_turns=trees.n_turns,
        policy=trees.policy,
        p_preferred=trees.p_preferred,
        orders=trees.orders,
        scope=trees.scope,
        label=trees.label,
        min_margin=trees.min_margin,
        labeler=config.roles.judge[0].uri,
        n_tailored=trees.n_tailored,
        n_generic=trees.n_generic,
        release=trees.release,
        end_on_goodbye=trees.end_on_goodbye,
        tasks=trees.tasks,
    )


def run_trees(context: Context) -> dict[str, Any]:
    """Preference trees by collaboration of user, inducer, two responders and judge."""
    trees, plan = context.config.trees, tree_plan(context.config)
    personas, folder = read_personas(context.run, "train"), context.run.stage_dir("trees")
    kept = keep_other_labels(folder, plan.labeler)
    summary = _grow(context, plan, folder, trees.n_trees, trees.replicates, personas)
    if kept:
        restore_labels(folder, kept)
    return summary


def run_export(context: Context) -> dict[str, Any]:
    """Preference pairs and SFT conversations from trees and labels."""
    from aloe.export.select import Selection, length_report, read_data_set

    run, options = context.run, context.config.export
    source, out = run.stage_dir("trees"), run.stage_dir("datasets")
    margin = context.config.trees.min_margin if options.min_margin is None else options.min_margin
    wanted = Selection(
        options.labeler or context.config.roles.judge[0].uri, margin, options.max_length_ratio, options.evidenced
    )
    data = read_data_set(source, read_personas(run, "train"), wanted)
    pairs, examples = data.all_pairs, data.all_examples
    if not pairs:
        raise DataError(
            f"{source} holds no preference by {data.labeler} (left out: {dict(data.dropped)})",
            "look at labels.jsonl; check the judge and the filters of [export]",
        )
    write_parquet(out / "dpo.parquet", [as_row(p) for p in pairs], dpo_schema())
    write_parquet(out / "sft.parquet", [as_row(e) for e in examples], sft_schema())
    dropped = dict(sorted(data.dropped.items()))
    return {"n_pairs": len(pairs), "n_sft": len(examples), "dropped": dropped, "length": length_report(pairs)}


def _train_progress(context: Context) -> Callable[[float, float | None, str, str], None]:
    return context.progress.update


def need_training(stage: str) -> None:
    """Training needs the extra; say so before anything else does.

    Raises:
        ConfigError: torch or trl is not installed.
    """
    from importlib.util import find_spec

    missing = [name for name in ("torch", "transformers", "trl", "datasets") if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"stage {stage} needs {', '.join(missing)}",
            "pip install 'aloe-align[train]', or leave out the training: --skip base,sft,rollout,dpo",
        )


def run_base(context: Context) -> dict[str, Any]:
    """The tiny model from scratch; nothing to do where SFT starts from a given model."""
    if context.config.sft.model is not None:
        return {"skipped": f"sft.model is {context.config.sft.model}"}
    need_training("base")
    from aloe.training.stage import train_base_stage

    out = context.run.stage_dir("checkpoints") / "base"
    summary: dict[str, Any] = train_base_stage(context.config, context.run.path, out, progress=_train_progress(context))
    return summary


def run_sft(context: Context) -> dict[str, Any]:
    """Supervised fine-tuning on preferred replies."""
    need_training("sft")
    from aloe.training.sft import train_sft

    config, run = context.config, context.run
    base = config.sft.model or run.stage_dir("checkpoints") / "base"
    return train_sft(
        config.sft,
        run.stage_dir("datasets") / "sft.parquet",
        base,
        run.stage_dir("checkpoints") / "sft",
        seed=config.seed,
        progress=_train_progress(context),
        profiles=_profiles(run) if config.sft.eval_share else None,
    )


def _profiles(run: RunDir) -> dict[str, str]:
    """The profile of each training persona, for evaluation splits that share none."""
    return {persona.persona_id: persona.profile_id for persona in read_personas(run, "train")}


def rollout_personas(run: RunDir, seed: int) -> list[Persona]:
    """Training personas in an order of their own, so that a short rollout is no prefix of the trees."""
    personas = read_personas(run, "train")
    return [personas[i] for i in derive_rng(seed, "rollout", "personas").permutation(len(personas))]


def rollout_plan(config: Config, model: ModelConfig) -> TreePlan:
    """How the trees of stage ``rollout`` grow; ``model`` writes the replies."""
    from aloe.preference_select import closest_contrast

    options = config.rollout
    return TreePlan(
        n_turns=config.trees.n_turns,
        p_preferred=options.p_best,
        scope="revealed",
        label="score",
        min_margin=options.min_margin,
        labeler=config.roles.judge[0].uri,
        purpose="rollout",
        responder=model,
        n_candidates=options.n_candidates,
        pick=closest_contrast if options.select == "closest" else None,
    )


def run_rollout(context: Context) -> dict[str, Any]:
    """The on-policy pass: trees whose candidate replies are the SFT checkpoint's own, scored by the judge."""
    config, run = context.config, context.run
    options = config.rollout
    out = run.stage_dir("rollout")
    if options.n_trees == 0:
        return {"skipped": "rollout.n_trees is 0: DPO uses the pairs of stage trees"}
    need_training("rollout")
    model = ModelConfig(
        uri=f"hf:{run.stage_dir('checkpoints') / 'sft'}",
        temperature=options.temperature,
        max_tokens=REPLY_TOKENS,
        batch_size=64,
    )
    plan = rollout_plan(config, model)
    summary = _grow(context, plan, out, options.n_trees, 1, rollout_personas(run, config.seed))
    labels = labels_by_tree(read_jsonl(out / "labels.jsonl", Label))
    pairs = [
        as_row(p)
        for tree in read_jsonl(out / "trees.jsonl", ConversationTree)
        for p in tree_to_pairs(tree, labels.get(tree.tree_id, []), options.min_margin)
    ]
    if not pairs:
        raise DataError(f"{out}: no reply was {options.min_margin} better than another", "lower rollout.min_margin")
    write_parquet(run.stage_dir("datasets") / "rollout.parquet", pairs, dpo_schema())
    return {**summary, "n_pairs": len(pairs)}


def run_dpo(context: Context) -> dict[str, Any]:
    """DPO from the SFT checkpoint, and its control: the same steps with the preference term off."""
    need_training("dpo")
    from aloe.training.dpo import train_dpo

    config, run = context.config, context.run
    data = run.stage_dir("datasets") / ("rollout.parquet" if config.rollout.n_trees else "dpo.parquet")
    folder = run.stage_dir("checkpoints")
    shared = folder / "reference"  # both start from the same model on the same pairs
    summary: dict[str, Any] = {}
    for name, preference in (("dpo", True), ("sft-control", False)):
        if preference or config.dpo.control:
            summary[name] = train_dpo(
                config.dpo,
                data,
                folder / "sft",
                folder / name,
                seed=config.seed,
                progress=_train_progress(context),
                preference=preference,
                profiles=_profiles(run) if config.dpo.eval_share else None,
                reference_dir=shared,
            )
    shutil.rmtree(shared, ignore_errors=True)
    return {**summary["dpo"], "control": summary.get("sft-control")}


def checkpoints(run: RunDir) -> dict[str, Path]:
    """Finished checkpoints of a run by name, in the order in which they are shown."""
    folder = run.stage_dir("checkpoints")
    return {name: folder / name for name in CHECKPOINTS if (folder / name / "config.json").is_file()}


def bench_models(context: Context) -> dict[str, ModelConfig]:
    """Every model to benchmark by its plain name: the run's checkpoints, then the configured ones.

    A name under which the run already holds another model's result gets a number, unless the stage is done again.
    """

    def is_taken(name: str, uri: str) -> bool:
        known = [] if context.redo else read_result(context.run.stage_dir("bench") / name / "result.json")
        return name in models or any(result.uri != uri for result in known)

    models: dict[str, ModelConfig] = {}
    for name, path in checkpoints(context.run).items():
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


def run_bench(context: Context) -> dict[str, Any]:
    """AL(k) for every model under one user and one judge; models that are done are kept."""
    from aloe.bench.notes import refuse_nothing
    from aloe.bench.runner import run_benchmark

    config, run = with_bench_roles(context.config), context.run
    context = replace(context, config=config)
    personas = bench_sample(bench_personas(context), config.bench.n_personas, config.seed)
    models = bench_models(context)
    shared = digest([config.bench.model_dump(mode="json", exclude={"models"}), _roles(config), context.prompts.hashes])
    done: dict[str, str] = {} if context.redo else run.manifest().get("bench", {})
    summary: dict[str, Any] = {"n_personas": len(personas), "n_failed": 0, "models": {}}
    results: list[tuple[Path, BenchmarkResult]] = []

    async def work(caller: Caller) -> None:
        keys = {}
        for name, model in models.items():
            uri = unwrap(model)[0].uri
            weights = digest_folder(Path(uri[3:])) if uri.startswith("hf:") else ""
            keys[name] = digest([shared, model.model_dump(mode="json"), weights, [p.persona_id for p in personas]])

        def is_done(name: str) -> bool:
            return done.get(name) == keys[name] and (run.stage_dir("bench") / name / "result.json").is_file()

        todo = [name for name in models if not is_done(name)]

        def show(caller: Caller, n_before: int, n: int, of: int) -> None:
            context.progress.update(n_before * of + n, len(todo) * of, "turns", _tokens(caller))

        for name, model in models.items():
            out = run.stage_dir("bench") / name
            if name in todo:
                result = await run_benchmark(
                    caller,
                    context.prompts,
                    personas,
                    model,
                    config=config,
                    out_dir=out,
                    name=name,
                    progress=partial(show, caller, todo.index(name)),
                )
                manifest = run.manifest()
                manifest.setdefault("bench", {})[name] = keys[name] if result.n_failed == 0 else ""
                run.save_manifest(manifest)
            result = next(iter(read_result(out / "result.json")))
            summary["models"][name] = {"avg": result.avg, "ir": result.ir}
            summary["n_failed"] += result.n_failed
            results.append((out, result))

    _with_caller(context, work)
    refuse_nothing(results)
    return summary


def _roles(config: Config) -> Any:
    return [[m.uri, m.temperature, m.top_p, m.max_tokens] for m in (*config.roles.user, *config.roles.judge)]


def digest_folder(path: Path) -> str:
    """A cheap stamp of a checkpoint folder: names, sizes and times of its weight files."""
    if not path.is_dir():
        return ""
    stamps = [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in sorted(path.glob("*.safetensors"))]
    return digest(stamps)


def read_result(path: Path) -> list[BenchmarkResult]:
    """One result file as a list of one; empty where there is none."""
    if not path.is_file():
        return []
    return [BenchmarkResult.model_validate_json(path.read_bytes())]


def run_report(context: Context) -> dict[str, Any]:
    """The page one sends to a colleague."""
    from aloe.report.build import build_report

    path = build_report(context.run.path)
    return {"path": str(path.relative_to(context.run.path)), "bytes": path.stat().st_size}


COLLABORATORS = ("user", "inducer", "tailored", "generic", "judge")
COLLABORATION = ("user", "inducer", "tailored", "generic", "judge_compare", "judge_score")
ON_POLICY = ("user", "responder", "judge_score")
STAGES: tuple[Stage, ...] = (
    Stage("personas", run_personas, ("personas",), (), ("writer",), ("writer",)),
    Stage("trees", run_trees, ("trees",), ("personas",), COLLABORATORS, COLLABORATION),
    Stage("export", run_export, ("trees.min_margin", "export"), ("trees",)),
    Stage("base", run_base, ("base", "sft.model"), (), ("writer", *COLLABORATORS)),
    Stage("sft", run_sft, ("sft",), ("export", "base")),
    Stage("rollout", run_rollout, ("rollout", "trees.n_turns"), ("personas", "sft"), ("user", "judge"), ON_POLICY),
    Stage("dpo", run_dpo, ("dpo",), ("export", "sft", "rollout")),
    Stage("bench", run_bench, ("bench",), ("personas",), ("user", "judge"), tuple(CONTRACT)),
    Stage("report", run_report, (), ("personas", "trees", "export", "base", "sft", "rollout", "dpo", "bench")),
)


def stage_by_name(name: str) -> Stage:
    """The stage called ``name``.

    Raises:
        ConfigError: there is none.
    """
    from aloe.errors import nearest

    for stage in STAGES:
        if stage.name == name:
            return stage
    names = [s.name for s in STAGES]
    raise ConfigError(f"no stage named '{name}'{nearest(name, names)}", f"use one of: {', '.join(names)}")


__all__ = ["STAGES", "Context", "Stage", "bench_models", "checkpoints", "stage_by_name", "write_json"]
