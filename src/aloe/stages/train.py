"""The stages that train: base, sft, dpo with its control."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

from aloe.errors import ConfigError
from aloe.stages.context import Context, read_personas
from aloe.store.rundir import RunDir


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
    from aloe.training.tiny.material import prepare
    from aloe.training.tiny.train import train_base

    config, out = context.config, context.run.stage_dir("checkpoints") / "base"
    writer, tokenizer = prepare(config)  # the words of the config's world: no persona of the run is in its documents
    return train_base(config.base, writer, tokenizer, out, seed=config.seed, progress=_train_progress(context))


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
