"""Stage ``trees``: preference trees by collaboration of user, inducer, two responders and judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from aloe.config import Config
from aloe.dialogue.forest import ForestCounts, ForestSummary, Job, grow_forest, grow_jobs, join_forests, plan_jobs
from aloe.dialogue.panel import labeler_of
from aloe.dialogue.relabel import keep_other_labels, restore_labels
from aloe.dialogue.state import make_tree_id
from aloe.dialogue.tree_builder import GrownTree, TreeBuilder, TreePlan
from aloe.models.caller import Caller
from aloe.stages.context import Context, FinishedShard, Sharding, read_personas, tokens_so_far, with_caller
from aloe.stages.failures import failed_part
from aloe.world.timeline import scope_of


def grow_trees(context: Context, plan: TreePlan, jobs: Sequence[Job], out: Path) -> ForestCounts:
    """Grow the trees of ``jobs`` by ``plan`` into ``out``; of a shard, those that it holds."""
    config, part = context.config, context.part
    if part is not None:
        jobs = [job for job in jobs if part.shard.holds(make_tree_id(*job, plan.purpose))]
        out = part.folder

    async def work(caller: Caller) -> ForestCounts:
        builder = TreeBuilder(caller, plan, config.seed)

        def report(done: int, _: GrownTree) -> None:
            context.progress.update(done, len(jobs), "trees", tokens_so_far(caller))

        return await grow_jobs(builder, jobs, out, config.execution.concurrency, report)

    return with_caller(context, work)


async def grow_with(
    caller: Caller,
    config: Config,
    plan: TreePlan,
    jobs: Sequence[Job],
    out: Path,
    progress: Callable[[int, GrownTree], None] | None = None,
) -> ForestSummary:
    """Grow trees by ``plan`` into ``out`` with an open caller. See ``grow_forest``."""
    builder = TreeBuilder(caller, plan, config.seed)
    return await grow_forest(builder, jobs, out, config.execution.concurrency, progress)


def forest_summary(counts: ForestCounts) -> dict[str, Any]:
    """The summary of a stage that has grown trees."""
    summary = counts.summary()
    figures = summary.as_dict()
    n, why = figures.pop("n_incomplete"), figures.pop("first_failure")
    return {**figures, **failed_part(n, summary.n_trees, "trees", why)}


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
        labeler=labeler_of(config.roles.judge, trees.panel),
        n_tailored=trees.n_tailored,
        n_generic=trees.n_generic,
        release=trees.release,
        cards=trees.cards,
        end_on_goodbye=trees.end_on_goodbye,
        tasks=trees.tasks,
        panel=trees.panel,
        sessions=trees.sessions,
        drift=trees.drift,
        changes=scope_of(config.roles.writer[0].uri, config.roles.user[0].uri),
    )


def run_trees(context: Context) -> dict[str, Any]:
    """Preference trees by collaboration of user, inducer, two responders and judge."""
    return _with_other_labels(context, lambda out: _grow(context, out))


def _grow(context: Context, out: Path) -> ForestCounts:
    trees = context.config.trees
    jobs = plan_jobs(read_personas(context.run, "train"), trees.n_trees, trees.replicates)
    return grow_trees(context, tree_plan(context.config), jobs, out)


def _with_other_labels(context: Context, write: Callable[[Path], ForestCounts]) -> dict[str, Any]:
    """Write the stage's files and put the labels of other labelers back; the stage's summary."""
    folder = context.run.stage_dir("trees")
    kept = keep_other_labels(folder, tree_plan(context.config).labeler)
    counts = write(folder)
    if kept:
        restore_labels(folder, kept)
    return forest_summary(counts)


def _grow_shard(context: Context) -> tuple[dict[str, Any], dict[str, Any]]:
    counts = _grow(context, context.run.stage_dir("trees"))
    return counts.as_json(), forest_summary(counts)


def _join_shards(context: Context, shards: Sequence[FinishedShard]) -> dict[str, Any]:
    return _with_other_labels(context, partial(join_forests, [s.folder for s in shards], [s.counts for s in shards]))


SHARDING = Sharding(_grow_shard, _join_shards)
