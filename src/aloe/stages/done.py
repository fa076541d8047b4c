"""Decides whether a stage is done: same settings, its files present, the files it was made from unchanged.

A stage's digest covers seed, settings, prompts and models. What it read is compared by content, so that whatever was
made from files that have changed since is made again, and nothing else is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aloe.stages.failures import has_failed_calls
from aloe.stages.table import Stage
from aloe.store.content import Stamps, digests_of, stamp_files
from aloe.store.rundir import RunDir


def stamp_outputs(run: RunDir, stage: Stage) -> Stamps:
    """What the stage has written and others read."""
    return stamp_files(run.path, stage.writes, (run.stage_state(stage.name) or {}).get("outputs"))


def read_inputs(run: RunDir, stage: Stage, stages: Sequence[Stage]) -> dict[str, str]:
    """Digests of the files that the stages before have left for this one."""
    found: dict[str, str] = {}
    for other in stages:
        if other.name in stage.needs:
            found |= digests_of(stamp_outputs(run, other))
    return found


def changed_outputs(run: RunDir, stage: Stage) -> list[str]:
    """Files of a stage that are not as it wrote them."""
    noted = digests_of((run.stage_state(stage.name) or {}).get("outputs", {}))
    found = digests_of(stamp_outputs(run, stage))
    return [name for name, digest in noted.items() if found.get(name) != digest]


def is_done(run: RunDir, stage: Stage, digest: str, stages: Sequence[Stage]) -> bool:
    """Whether the stage need not run: done with these settings, from these files, and without failed calls."""
    state = run.stage_state(stage.name)
    if state is None or state.get("digest") != digest or has_failed_calls(state):
        return False
    if "inputs" not in state:  # of a version that did not note them
        return not _is_older(run, state, stage)
    return all((run.path / name).is_file() for name in state.get("outputs", {})) and not is_stale(run, stage, stages)


def is_stale(run: RunDir, stage: Stage, stages: Sequence[Stage]) -> bool:
    """Whether a stage that is in the manifest was made from other files than those that are there now."""
    state = run.stage_state(stage.name) or {}
    return "inputs" in state and state["inputs"] != read_inputs(run, stage, stages)


def _is_older(run: RunDir, state: Mapping[str, Any], stage: Stage) -> bool:
    needed = (run.stage_state(name) or {} for name in stage.needs)
    return any(other.get("finished", 0) > state.get("finished", 0) for other in needed)


def drop_stale(run: RunDir, stages: Sequence[Stage]) -> list[str]:
    """Take stages that were made from other files out of the manifest, with the files that anybody can make again.

    Returns:
        Their names.
    """
    dropped: list[str] = []
    for stage in stages:
        if stage.keeps_count or stage.shows or not is_stale(run, stage, stages):
            continue
        dropped.append(stage.name)
        for name in (run.stage_state(stage.name) or {}).get("outputs", {}) if stage.is_cheap else ():
            (run.path / name).unlink(missing_ok=True)
    run.forget_stages(dropped)
    return dropped
