"""Stage ``base`` of a run: the curriculum from the run's own config, then the tiny model trained on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aloe.config import Config
from aloe.training.tiny.material import prepare
from aloe.training.tiny.train import train_base
from aloe.training.trl_run import Progress


def train_base_stage(
    config: Config, run_dir: str | Path, out_dir: str | Path, *, progress: Progress | None = None
) -> dict[str, Any]:
    """Train the run's base model into ``out_dir``. ``run_dir`` holds nothing that it reads: no persona of the run
    is in its documents, only the words that the config's world can say.

    Raises:
        ConfigError: a role is not played by the simulated world, whose words the base model learns.
    """
    writer, tokenizer = prepare(config)
    return train_base(config.base, writer, tokenizer, out_dir, seed=config.seed, progress=progress)
