"""The stages that grow personas and trees and make data sets of them: personas, trees, export, rollout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aloe.config import Config, ModelConfig
from aloe.dialogue.forest import Job, grow_forest, plan_jobs
from aloe.dialogue.pairs import as_row, dpo_schema, labels_by_tree, sft_schema, tree_to_pairs
from aloe.dialogue.relabel import keep_other_labels, restore_labels
from aloe.dialogue.tree_builder import GrownTree, TreeBuilder, TreePlan
from aloe.errors import DataError
from aloe.execution import create_executor, make_shards
from aloe.models.caller import Caller
from aloe.seeding import derive_rng
from aloe.stages.context import REPLY_TOKENS, Context, read_personas, tokens_so_far, with_caller
from aloe.stages.train import need_training
from aloe.store.records import read_jsonl, write_parquet
from aloe.store.rundir import RunDir
from aloe.types import ConversationTree, Label, Persona


def run_personas(context: Context) -> dict[str, Any]:
    """Grow the pool, split it, pair it."""
    from aloe.personas.stage import run_personas as grow

    out = context.run.stage_dir("personas")

    def report(done: int, total: int, note: str = "") -> None:
        context.progress.update(done, total, "entries", note)

    return with_caller(context, lambda caller: grow(caller, context.prompts, context.config, out, report))


def _grow(
    context: Context, plan: TreePlan, out: Path, n_trees: int, replicates: int, personas: list[Persona]
) -> dict[str, Any]:
    config = context.config
    jobs = plan_jobs(personas, n_trees, replicates)

    async def work(caller: Caller, shard: list[Job]) -> dict[str, Any]:
        builder = TreeBuilder(caller, context.prompts, plan, config.seed)

        def report(done: int, _: GrownTree) -> None:
            context.progress.update(done, len(shard), "trees", tokens_so_far(caller))

        summary = await grow_forest(builder, shard, out, config.execution.concurrency, report)
        return summary.as_dict()

    executor = create_executor(config.execution.executor)
    shards = make_shards(jobs, executor.n_shards)
    summaries = list(executor.map(lambda shard: with_caller(context, lambda caller: work(caller, shard)), shards))
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


def rollout_personas(run: RunDir, seed: int) -> list[Persona]:
    """Training personas in an order of their own, so that a short rollout is no prefix of the trees."""
    personas = read_personas(run, "train")
    return [personas[i] for i in derive_rng(seed, "rollout", "personas").permutation(len(personas))]


def rollout_plan(config: Config, model: ModelConfig) -> TreePlan:
    """How the trees of stage ``rollout`` grow; ``model`` writes the replies."""
    from aloe.dialogue.contrast import closest_contrast

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
