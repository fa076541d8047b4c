"""Stage ``rollout``: trees whose replies are the SFT checkpoint's own, scored by the judge, and their pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aloe.config import Config, ModelConfig
from aloe.dialogue.contrast import closest_contrast
from aloe.dialogue.forest import ForestCounts, join_forests, plan_jobs
from aloe.dialogue.pairs import as_row, dpo_schema, labels_by_tree, tree_to_pairs
from aloe.dialogue.panel import labeler_of
from aloe.dialogue.tree_builder import TreePlan
from aloe.errors import DataError
from aloe.seeding import derive_rng
from aloe.stages.context import REPLY_TOKENS, Context, FinishedShard, Sharding, read_personas
from aloe.stages.failures import refuse_failed
from aloe.stages.train import need_training
from aloe.stages.trees import forest_summary, grow_trees
from aloe.store.records import read_jsonl, write_parquet
from aloe.store.rundir import RunDir
from aloe.training.methods import ROLLOUT_FROM
from aloe.types import ConversationTree, Label, Persona
from aloe.world.timeline import scope_of

NO_TREES = {"skipped": "rollout.n_trees is 0: DPO uses the pairs of stage trees"}


def rollout_personas(run: RunDir, seed: int) -> list[Persona]:
    """Training personas in an order of their own, so that a short rollout is not a prefix of the trees."""
    personas = read_personas(run, "train")
    return [personas[i] for i in derive_rng(seed, "rollout", "personas").permutation(len(personas))]


def rollout_plan(config: Config, model: ModelConfig) -> TreePlan:
    """How the trees of stage ``rollout`` grow; ``model`` writes the replies."""
    options = config.rollout
    return TreePlan(
        n_turns=config.trees.n_turns,
        cards=config.trees.cards,
        sessions=config.trees.sessions,
        drift=config.trees.drift,
        changes=scope_of(config.roles.writer[0].uri, config.roles.user[0].uri),
        p_preferred=options.p_best,
        scope="revealed",
        label="score",
        min_margin=options.min_margin,
        labeler=labeler_of(config.roles.judge, config.trees.panel),
        panel=config.trees.panel,
        purpose="rollout",
        responder=model,
        n_candidates=options.n_candidates,
        pick=closest_contrast if options.select == "closest" else None,
    )


def run_rollout(context: Context) -> dict[str, Any]:
    """The on-policy pass: trees whose candidate replies are the SFT checkpoint's own, scored by the judge."""
    if context.config.rollout.n_trees == 0:
        return dict(NO_TREES)
    return _with_pairs(context, forest_summary(_grow(context)))


def _grow(context: Context) -> ForestCounts:
    config, run = context.config, context.run
    options = config.rollout
    need_training("rollout")
    model = ModelConfig(
        uri=f"hf:{run.checkpoint_dir(ROLLOUT_FROM)}",
        temperature=options.temperature,
        max_tokens=REPLY_TOKENS,
        batch_size=64,
    )
    jobs = plan_jobs(rollout_personas(run, config.seed), options.n_trees, 1)
    return grow_trees(context, rollout_plan(config, model), jobs, run.stage_dir("rollout"))


def _with_pairs(context: Context, summary: dict[str, Any]) -> dict[str, Any]:
    """Derive the pairs from the trees that have been written; the stage's summary."""
    run, options = context.run, context.config.rollout
    out = run.stage_dir("rollout")
    pairs_path = run.stage_dir("datasets") / "rollout.parquet"
    if refuse_failed(summary, context.allow_failed) is not None:  # nothing is trained on a part of the trees
        pairs_path.unlink(missing_ok=True)
        return summary
    labels = labels_by_tree(read_jsonl(out / "labels.jsonl", Label))
    pairs = [
        as_row(p)
        for tree in read_jsonl(out / "trees.jsonl", ConversationTree)
        for p in tree_to_pairs(tree, labels.get(tree.tree_id, []), options.min_margin)
    ]
    if not pairs:
        raise DataError(
            f"{out}: no reply scored at least {options.min_margin} more than another", "lower rollout.min_margin"
        )
    write_parquet(pairs_path, pairs, dpo_schema())
    return {**summary, "n_pairs": len(pairs)}


def _grow_shard(context: Context) -> tuple[dict[str, Any], dict[str, Any]]:
    if context.config.rollout.n_trees == 0:
        return {}, {}
    counts = _grow(context)
    return counts.as_json(), forest_summary(counts)


def _join_shards(context: Context, shards: Sequence[FinishedShard]) -> dict[str, Any]:
    if context.config.rollout.n_trees == 0:
        return dict(NO_TREES)
    out = context.run.stage_dir("rollout")
    counts = join_forests([s.folder for s in shards], [s.counts for s in shards], out)
    return _with_pairs(context, forest_summary(counts))


SHARDING = Sharding(_grow_shard, _join_shards)
