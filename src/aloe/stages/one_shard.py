"""Runs one shard of a stage by itself, as a scheduler's job does, and joins the shards where all are there.

The run must exist, with the stages that this one needs; any number of shards run at the same time, anywhere.
"""

from __future__ import annotations

from typing import Any

from aloe.config import Config
from aloe.errors import BusyError, ConfigError, DataError
from aloe.progress import stage_progress
from aloe.prompts import PromptSet
from aloe.stages.context import Context
from aloe.stages.done import is_done, read_inputs
from aloe.stages.failures import refuse_failed
from aloe.stages.pipeline import run_pipeline, stage_digests
from aloe.stages.precision import settle_precision
from aloe.stages.sharded import check_set, grow_shard, made_by, sharding_of
from aloe.stages.table import Stage, stage_by_name, stages_of
from aloe.store.rundir import RunDir
from aloe.store.shards import Shard, missing, shards_in


def run_shard(
    config: Config, run: RunDir, recipe: str, stage_name: str, shard: Shard, *, allow_failed: float = 0.0, say: Any
) -> None:
    """Do one shard of a stage; the last of them joins all.

    Args:
        allow_failed: share of the shard's parts that may lack a call.
        say: is given a line at the end; None: neither lines nor progress.

    Raises:
        ConfigError: the run lacks what the stage needs, or has another config.
        DataError: another process works on this shard.
        EndpointError: more calls failed than may.
    """
    stage = stage_by_name(stage_name, stages_of(config))
    sharding_of(stage)
    config = settle_precision(config, run, {stage.name}, set())
    prompts = PromptSet(config.prompts_dir, config.prompt_set).check()
    digest = _check_run(config, run, stage, prompts)
    if is_done(run, stage, digest, stages_of(config)) and not stage.keeps_count:
        if say is not None:
            say(f"{stage.name}: done before, by all shards")
        return
    run.share()
    try:
        by = _made_by(config, run, stage, prompts, digest)
        name = f"{stage.name} {shard}"
        with stage_progress(name, quiet=say is None) as progress:
            state = grow_shard(Context(stage.name, config, run, prompts, progress), stage, shard, by)
    finally:
        run.close()
    run.log("shard_finished", stage=stage.name, shard=str(shard), seconds=state.seconds, n_failed=state.n_failed)
    if say is not None:
        say(f"{name}: {state.seconds:.1f} s")
    failure = refuse_failed(state.failed, allow_failed)
    if failure is not None:
        failure.add_note(name)
        raise failure
    if not missing(shards_in(run.path, stage.name), shard.of, and_failed=True):
        _join(config, run, recipe, stage, say)


def merge_shards(config: Config, run: RunDir, recipe: str, stage_name: str, *, say: Any) -> None:
    """Join the shards of a stage.

    Raises:
        ConfigError: the run lacks what the stage needs.
        DataError: a shard is missing, damaged or foreign.
    """
    stage = stage_by_name(stage_name, stages_of(config))
    sharding_of(stage)
    prompts = PromptSet(config.prompts_dir, config.prompt_set).check()
    digest = _check_run(config, run, stage, prompts)
    check_set(run, stage, _made_by(config, run, stage, prompts, digest))
    run_pipeline(config, run, recipe, only=stage.name, say=say)


def _join(config: Config, run: RunDir, recipe: str, stage: Stage, say: Any) -> None:
    try:
        merge_shards(config, run, recipe, stage.name, say=say)
    except (BusyError, DataError) as error:  # two ended at once: the other one joins, or has joined already
        left = shards_in(run.path, stage.name)
        if isinstance(error, DataError) and left:
            raise
        if left and say is not None:
            say(f"all shards of {stage.name} are there, but {run.path} is in use: aloe merge {run.path} joins them")


def _made_by(config: Config, run: RunDir, stage: Stage, prompts: PromptSet, digest: str) -> dict[str, Any]:
    with stage_progress(stage.name, quiet=True) as progress:
        context = Context(stage.name, config, run, prompts, progress)
    return made_by(context, stage, digest, read_inputs(run, stage, stages_of(config)))


def _check_run(config: Config, run: RunDir, stage: Stage, prompts: PromptSet) -> str:
    """The stage's digest, where the run has its config and what it needs.

    Raises:
        ConfigError: it has not.
    """
    first = f"aloe {stage.needs[0]} RECIPE --out {run.path}" if stage.needs else "aloe run RECIPE"
    if not run.exists():
        raise ConfigError(f"{run.path} is not a run yet, and a shard does not begin one", f"first: {first}")
    digests = stage_digests(config, prompts)
    if stage_digests(run.load_config(), prompts)[stage.name] != digests[stage.name]:
        raise ConfigError(
            f"{run.path} has another config of stage {stage.name} than this shard",
            f"give the run instead of a recipe: aloe {stage.name} {run.path} --shard ...",
        )
    for other in stages_of(config):
        if other.name in stage.needs and not is_done(run, other, digests[other.name], stages_of(config)):
            raise ConfigError(
                f"stage {stage.name} of {run.path} needs stage {other.name}, which is not done",
                f"first: aloe {other.name} {run.path}",
            )
    return digests[stage.name]
