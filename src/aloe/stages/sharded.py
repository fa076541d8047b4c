"""A stage in shards: does one shard, joins finished ones, keeps what unfinished ones have paid for.

Whatever becomes of shards, what is in their journals is never sent again: a shard that is run again has its own, and
looks into the run's; where the stage is run as a whole instead, the run's journal takes the shards' in first.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import fields, replace
from importlib import import_module
from typing import Any

from aloe.errors import ConfigError, DataError
from aloe.models.allowance import Allowance
from aloe.models.calls import RoleStats
from aloe.models.journal.absorb import absorb
from aloe.models.quality import QualityGate
from aloe.stages.context import Context, FinishedShard, Part, Sharding, record_calls
from aloe.stages.table import STAGES, Stage
from aloe.store.rundir import RunDir
from aloe.store.shards import Shard, ShardDir, ShardState, missing, shards_in

ORPHANS = 10.0  # seconds in which a process whose driver was killed lets go of its shard


def sharding_of(stage: Stage) -> Sharding:
    """How the stage is done in shards.

    Raises:
        ConfigError: it is done as a whole only.
    """
    if stage.sharding is None:
        able = ", ".join(s.name for s in STAGES if s.sharding is not None)
        raise ConfigError(f"stage {stage.name} is not done in shards", f"these are: {able}")
    module, _, name = stage.sharding.partition(":")
    found = getattr(import_module(module), name)
    assert isinstance(found, Sharding)
    return found


def made_by(context: Context, stage: Stage, digest: str, inputs: dict[str, str]) -> dict[str, Any]:
    """What the content of the stage's shards depends on, by names that an error can tell."""
    return {"config": digest, "input files": inputs, **sharding_of(stage).made_by(context)}


def grow_shard(
    context: Context, stage: Stage, shard: Shard, by: dict[str, Any], allowance: Allowance | None = None
) -> ShardState:
    """Do one shard of the stage, or find it done.

    Args:
        by: what its content depends on (:func:`made_by`).
        allowance: what it may use of the run's limits; default: its equal part.

    Raises:
        DataError: another process works on it.
    """
    folder = ShardDir(context.run.path, stage.name, shard)
    with folder.locked(0.0 if allowance is None else ORPHANS):
        found = finished_state(folder, by)
        if found is not None and not found.n_failed:
            return found
        folder.reopen()
        started = time.monotonic()
        part = Part(shard, folder.path, allowance or Allowance(shard.of))
        counts, summary = sharding_of(stage).grow(replace(context, part=part))
        failed = {"failed": summary["failed"]} if summary.get("failed") else {}
        state = ShardState(by, counts, part.calls, failed, round(time.monotonic() - started, 3))
        folder.finish(state)
        return state


def finished_state(folder: ShardDir, by: dict[str, Any]) -> ShardState | None:
    """The state of a shard that is finished and belongs to the run as it is now."""
    try:
        state = folder.state()
        if state is not None:
            folder.check(state, by)
        return state
    except DataError:
        return None


def finished_set(run: RunDir, stage: Stage, by: dict[str, Any]) -> list[ShardDir]:
    """All shards of the stage, where all are finished, whole and without failed calls; else none."""
    shards = shards_in(run.path, stage.name)
    for of in sorted({folder.shard.of for folder in shards}):
        same = [folder for folder in shards if folder.shard.of == of]
        states = [finished_state(folder, by) for folder in same] if len(same) == of else [None]
        if all(state is not None and not state.n_failed for state in states):
            return same
    return []


def check_set(run: RunDir, stage: Stage, by: dict[str, Any]) -> list[ShardDir]:
    """The shards to be joined.

    Raises:
        DataError: one is missing, damaged, of another version or config, or lacks calls; all of it in one line.
    """
    shards = shards_in(run.path, stage.name)
    if not shards:
        raise DataError(
            f"{run.path} has no shards of stage {stage.name}", f"aloe {stage.name} {run.path} --shard 1/16 makes one"
        )
    counts = sorted({folder.shard.of for folder in shards})
    lacking = {of: missing(shards, of) for of in counts}
    of = min(counts, key=lambda n: (len(lacking[n]) / n, n))
    if lacking[of]:
        names = ", ".join(map(str, lacking[of][:8])) + (" and more" if len(lacking[of]) > 8 else "")
        others = f" (there are shards of {', '.join(map(str, counts))})" if len(counts) > 1 else ""
        raise DataError(
            f"stage {stage.name} of {run.path} lacks {len(lacking[of])} of {of} shards: {names}{others}",
            f"run them: aloe {stage.name} {run.path} --shard {lacking[of][0]}",
        )
    chosen = [folder for folder in shards if folder.shard.of == of]
    failed = []
    for folder in chosen:
        state = folder.state()
        assert state is not None
        folder.check(state, by)
        failed += [str(folder.shard)] * bool(state.n_failed)
    if failed:
        raise DataError(
            f"calls failed in shards {', '.join(failed[:8])} of stage {stage.name}",
            "run these again, which sends the failed calls only",
        )
    return chosen


def join_stage(context: Context, stage: Stage, shards: Sequence[ShardDir]) -> dict[str, Any]:
    """Write the stage's files from its finished shards, and take their journals into the run's.

    Returns:
        The stage's summary, as the stage itself would have returned it.
    """
    run = context.run
    with ExitStack() as stack:
        for folder in shards:
            stack.enter_context(folder.locked(ORPHANS))
        states = [(folder, folder.state()) for folder in shards]
        absorb_shards(context, shards)
        finished = [FinishedShard(folder.path, state.counts) for folder, state in states if state is not None]
        assert len(finished) == len(shards)
        summary = sharding_of(stage).join(context, finished)
        stats = sum_calls([state.calls for _, state in states if state is not None])
        record_calls(run, stage.name, stats, QualityGate(allow=True).finish(stats))
    return summary


def absorb_shards(context: Context, shards: Sequence[ShardDir]) -> int:
    """Take what shards have paid for into the run's journal; returns the number of calls that are new there."""
    journal = context.run.journal_in(context.config.execution.journal_dir)
    return absorb(journal, [folder.journal_path for folder in shards])


def clear_shards(run: RunDir, stage: Stage) -> None:
    """Remove the stage's shards, whose journals the run's has taken in."""
    for folder in shards_in(run.path, stage.name):
        folder.remove()


def sum_calls(parts: Sequence[dict[str, Any]]) -> dict[str, RoleStats]:
    """The counters of all shards together; a cost is None once one was unknown."""
    total: dict[str, RoleStats] = {}
    for role, row in (item for part in parts for item in part.items()):
        stats = total.setdefault(role, RoleStats())
        for field in fields(RoleStats):
            before, more = getattr(stats, field.name), row[field.name]
            if isinstance(before, dict):
                for kind, n in more.items():
                    before[kind] = before.get(kind, 0) + n
            else:
                setattr(stats, field.name, None if before is None or more is None else before + more)
    return total
