"""Executors: what runs the shards of a stage side by side. This is the one seam that an engine plugs into.

An executor is a function that is given a ``ShardedWork`` and does every shard in it, wherever; limits are leased from
``work.office``. A shard whose worker dies is begun again from its journal, a few times. Whatever ends the driver ends
the workers, and loses nothing: the next run goes on from the shards' journals.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from aloe.errors import DataError
from aloe.models.budget import Budget
from aloe.models.journal.layered import spent_in
from aloe.models.office import Office
from aloe.stages.context import Context
from aloe.stages.interrupt import run_interruptible
from aloe.stages.sharded import absorb_shards, clear_shards, finished_state, join_stage
from aloe.stages.table import Stage
from aloe.store.shards import Shard, ShardDir, shards_in

log = logging.getLogger(__name__)
EXECUTORS = {
    "processes": "aloe.stages.processes:run_in_processes",
    "ray": "aloe.stages.ray_executor:run_on_ray",
}
MOST_DEATHS = 3  # of one shard's workers, before the stage ends
SHOW_EVERY = 0.5  # seconds


@dataclass(slots=True)
class ShardedWork:
    """What an executor is given.

    Attributes:
        todo: shards that nobody has begun yet, or whose worker has died.
        n_workers: how many may be at work at the same time.
    """

    context: Context
    stage: Stage
    todo: list[Shard]
    n_workers: int
    office: Office
    deaths: dict[Shard, int] = field(default_factory=dict)

    def died(self, shard: Shard, how: str) -> None:
        """Its worker has died over a shard, which is to be done by another one.

        Raises:
            DataError: not the first time.
        """
        self.deaths[shard] = self.deaths.get(shard, 0) + 1
        if self.deaths[shard] >= MOST_DEATHS:
            raise DataError(
                f"{MOST_DEATHS} workers in a row have died over shard {shard} of stage {self.stage.name}: {how}",
                "look at the memory of the machine; the same command goes on from there",
            )
        log.warning("the worker of shard %s of stage %s has died (%s): begun again", shard, self.stage.name, how)
        self.todo.append(shard)


Executor = Callable[[ShardedWork], Awaitable[None]]


def run_sharded(context: Context, stage: Stage, by: dict[str, Any]) -> dict[str, Any]:
    """Do a stage by the executor of the config, in shards; returns its summary.

    Args:
        by: what its shards depend on (``sharded.made_by``).

    Raises:
        AloeError: as the stage itself raises it.
    """
    execution, run = context.config.execution, context.run
    begun = shards_in(run.path, stage.name)
    if context.redo and begun:
        absorb_shards(context, begun)
        clear_shards(run, stage)
        begun = []
    n = max(({f.shard.of for f in begun}), key=lambda of: sum(f.shard.of == of for f in begun), default=0)
    n = n or execution.shards or execution.workers
    folders = [ShardDir(run.path, stage.name, Shard(n, number)) for number in range(1, n + 1)]
    states = {folder.shard: finished_state(folder, by) for folder in folders}
    todo = [shard for shard, state in states.items() if state is None or state.n_failed]
    if todo:
        module, _, name = EXECUTORS[execution.executor].partition(":")
        execute: Executor = getattr(import_module(module), name)
        run_interruptible(lambda: _execute(execute, context, stage, todo))
    summary = join_stage(context, stage, folders)
    absorb_shards(context, [folder for folder in begun if folder.shard.of != n])
    return summary


async def _execute(execute: Executor, context: Context, stage: Stage, todo: list[Shard]) -> None:
    config = context.config
    n_workers = min(config.execution.workers, len(todo))
    office = Office(Budget(config.budget.usd, config.budget.tokens, _spent(context, stage)), n_workers)
    work = ShardedWork(context, stage, list(todo), n_workers, office)
    showing = asyncio.get_running_loop().create_task(_show(context, office))
    try:
        await execute(work)
        _show_once(context, office)
    finally:
        showing.cancel()
        with suppress(asyncio.CancelledError):
            await showing


def _spent(context: Context, stage: Stage) -> tuple[int, float]:
    """What the run and the shards of this stage have spent so far."""
    if context.config.budget.usd is None and context.config.budget.tokens is None:
        return 0, 0.0
    paths = [context.run.journal_in(context.config.execution.journal_dir)]
    paths += [folder.journal_path for folder in shards_in(context.run.path, stage.name)]
    found = [spent_in(path) for path in paths]
    return sum(tokens for tokens, _ in found), sum(usd for _, usd in found)


async def _show(context: Context, office: Office) -> None:
    while True:
        _show_once(context, office)
        await asyncio.sleep(SHOW_EVERY)


def _show_once(context: Context, office: Office) -> None:
    """All shards in one bar."""
    reports = list(office.reports.values())
    if reports:
        done, total, tokens = (sum(r[name] for r in reports) for name in ("done", "total", "tokens"))
        unit = next((r["unit"] for r in reports if r["unit"]), "")  # who has only begun knows of none
        context.progress.update(done, total, unit, f"{tokens / 1e3:.0f}k tokens")
