"""The training stages: base, and one for each training method (``training.methods``)."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from typing import Any

from aloe.config import Config
from aloe.errors import ConfigError
from aloe.stages.context import Context, read_personas
from aloe.store.rundir import RunDir
from aloe.training.methods import BASE, Method, method_by_name
from aloe.training.together import train_by

PACKAGES = ("torch", "transformers", "trl", "datasets")


def need_training(stage: str) -> None:
    """Training needs the extra; say so before anything else does.

    Raises:
        ConfigError: torch or trl is not installed.
    """
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"stage {stage} needs {', '.join(missing)}",
            "pip install 'aloe-align[train]', or skip training: --skip base,sft,rollout,dpo",
        )


def run_base(context: Context) -> dict[str, Any]:
    """The tiny model from scratch; nothing to do where SFT starts from a given model.

    Raises:
        ConfigError: a role is not played by the simulated world, whose words the base model learns.
    """
    config = context.config
    if config.sft.model is not None:
        return {"skipped": f"sft.model is {config.sft.model}"}
    need_training(BASE)
    from aloe.training.tiny.material import prepare
    from aloe.training.tiny.train import train_base

    writer, tokenizer = prepare(config)  # the words of the config's world: no persona of the run is in its documents
    out = context.run.checkpoint_dir(BASE)
    summary: dict[str, Any] = train_base(
        config.base, writer, tokenizer, out, seed=config.seed, progress=context.progress.update
    )
    return summary


def run_method(context: Context) -> dict[str, Any]:
    """Train the method that the stage is named after, and its control where it has one.

    Raises:
        ConfigError, DataError: what the method lacks.
    """
    method, config, run = method_by_name(context.stage), context.config, context.run
    if method.is_built_in:
        need_training(method.name)
    section = method.settings(config)
    arguments: dict[str, Any] = {
        "seed": config.seed,
        "progress": context.progress.update,
        "profiles": _profiles(run) if section.eval_share else None,
    }
    data, start = data_set(method, config, run), start_of(method, config, run)
    if not method.control:
        return train_by(method, section, data, start, run.checkpoint_dir(method.name), **arguments)
    arguments["reference_dir"] = run.stage_dir("checkpoints") / "reference"  # both start from one model on one data set
    summary = train_by(method, section, data, start, run.checkpoint_dir(method.name), **arguments)
    control = None
    if section.control:
        place = run.checkpoint_dir(method.control)
        control = train_by(method, section, data, start, place, preference=False, **arguments)
    shutil.rmtree(arguments["reference_dir"], ignore_errors=True)
    return {**summary, "control": control}


def data_set(method: Method, config: Config, run: RunDir) -> Any:
    """The run's file that a method learns from: on-policy pairs where there was a rollout."""
    on_policy = method.rows == "dpo" and "rollout" in method.needs and config.rollout.n_trees
    return run.stage_dir("datasets") / f"{'rollout' if on_policy else method.rows}.parquet"


def start_of(method: Method, config: Config, run: RunDir) -> Any:
    """The model that a method of a run starts from."""
    if method.start == BASE and config.sft.model is not None:
        return config.sft.model
    return run.checkpoint_dir(method.start)


def _profiles(run: RunDir) -> dict[str, str]:
    """The profile of each training persona, for evaluation splits that share none."""
    return {persona.persona_id: persona.profile_id for persona in read_personas(run, "train")}
