"""Stage ``rl``: reinforcement learning from the SFT or DPO checkpoint against the run's simulated users."""

from __future__ import annotations

from typing import Any

from aloe.stages.context import Context
from aloe.stages.train import need_training
from aloe.training.methods import method_by_name
from aloe.training.together import train_by


def run_rl(context: Context) -> dict[str, Any]:
    """Train with the run's own training personas, user and judge.

    Raises:
        ConfigError, DataError, EndpointError: see ``aloe.rl.train``.
    """
    config, run = context.config, context.run
    need_training(context.stage)
    return train_by(
        method_by_name(context.stage),
        config.rl,
        run.path,
        run.checkpoint_dir(config.rl.start),
        run.checkpoint_dir(context.stage),
        config=config,
        seed=config.seed,
        progress=context.progress.update,
        journal=run.journal_in(config.execution.journal_dir),
        allow_failed=context.allow_failed,
    )
