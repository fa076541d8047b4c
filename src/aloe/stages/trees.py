"""Stage ``trees``: preference trees by collaboration of user, inducer, two responders and judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from aloe.config import Config
from aloe.dialogue.forest import ForestSummary, Job, grow_forest, plan_jobs
from aloe.dialogue.panel import labeler_of
from aloe.dialogue.relabel import keep_other_labels, restore_labels
from aloe.dialogue.tree_builder import GrownTree, TreeBuilder, TreePlan
from aloe.models.caller import Caller
from aloe.stages.context import Context, read_personas, tokens_so_far, with_caller
from aloe.stages.failures import failed_part
from aloe.types import Persona
from aloe.world.timeline import scope_of


def grow_trees(
    context: Context, plan: TreePlan, out: Path, n_trees: int, replicates: int, personas: list[Persona]
) -> dict[str, Any]:
    """Grow ``n_trees`` trees by ``plan`` into ``out``; returns the forest's summary."""
    jobs = plan_jobs(personas, n_trees, replicates)

    async def work(caller: Caller) -> dict[str, Any]:
        def report(done: int, _: GrownTree) -> None:
            context.progress.update(done, len(jobs), "trees", tokens_so_far(caller))

        summary = await grow_with(caller, context.config, plan, jobs, out, report)
        figures = summary.as_dict()
        n, why = figures.pop("n_incomplete"), figures.pop("first_failure")
        return {**figures, **failed_part(n, summary.n_trees, "trees", why)}

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
    trees, plan = context.config.trees, tree_plan(context.config)
    personas, folder = read_personas(context.run, "train"), context.run.stage_dir("trees")
    kept = keep_other_labels(folder, plan.labeler)
    summary = grow_trees(context, plan, folder, trees.n_trees, trees.replicates, personas)
    if kept:
        restore_labels(folder, kept)
    return summary
