"""SFT and DPO of the Python API: the trainings of ``aloe sft --data`` and ``aloe dpo --data``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from aloe.config import DPOConfig, SFTConfig
from aloe.errors import DataError
from aloe.types import PreferencePair, SFTExample

Progress = Callable[[float, float | None, str, str], None]
SFTRows = str | Path | Sequence[SFTExample] | Sequence[Mapping[str, Any]]
DPORows = str | Path | Sequence[PreferencePair] | Sequence[Mapping[str, Any]]


def train_sft(
    data: SFTRows,
    model: str | Path,
    out: str | Path,
    *,
    settings: SFTConfig | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Fine-tune a causal language model on replies, shared beginnings computed once.

    Args:
        data: rows with ``messages`` (the last one is the reply that is learnt), ``GrownTrees.examples``, a run
            directory, an exported folder, a .parquet or .jsonl.
        model: path or id of the model to start from.
        out: where the checkpoint goes, in Hugging Face layout; an interrupted training continues there.
        settings: options of the training; None: the defaults (docs/configuration.md, ``[sft]``).
        progress: told of (done, all, unit, details).

    Returns:
        Counts, tokens with and without packing, losses, seconds.

    Raises:
        DataError: data or model can't be trained on. ConfigError: settings that exclude each other.
    """
    return _train("sft", settings or SFTConfig(), data, (str(model), str(out)), seed, progress)


def train_dpo(
    data: DPORows,
    model: str | Path,
    out: str | Path,
    *,
    settings: DPOConfig | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Tune a causal language model on preference pairs (DPO), shared beginnings computed once.

    Args:
        data: rows with ``prompt``, ``chosen``, ``rejected``, ``GrownTrees.pairs``, a run directory, an exported
            folder, a .parquet or .jsonl. Rows without ``tree_id`` are put together by the tokens that they share.
        model, out, progress: as in ``train_sft``.
        settings: options of the training; None: the defaults (docs/configuration.md, ``[dpo]``).

    Returns:
        Counts, tokens with and without packing, margins, the drift of the chosen replies' log-probability, seconds.

    Raises:
        DataError: data or model can't be trained on. ConfigError: settings that exclude each other.
    """
    return _train("dpo", settings or DPOConfig(), data, (str(model), str(out)), seed, progress)


def _train(
    name: str,
    settings: SFTConfig | DPOConfig,
    data: SFTRows | DPORows,
    places: tuple[str, str],
    seed: int,
    progress: Progress | None,
) -> dict[str, Any]:
    from aloe.models.local.processor import wait_passively
    from aloe.stages.train import need_training
    from aloe.training.methods import method_by_name
    from aloe.training.together import train_by

    need_training(name)
    wait_passively()  # before torch is loaded
    rows = str(data) if isinstance(data, str | Path) else [_row(row, n) for n, row in enumerate(data, 1)]
    return train_by(method_by_name(name), settings, rows, *places, seed=seed, progress=progress)


def _row(row: object, number: int) -> dict[str, Any]:
    from aloe.dialogue.pairs import as_row

    if isinstance(row, SFTExample | PreferencePair):
        return as_row(row)
    if isinstance(row, Mapping):
        return dict(row)
    raise DataError(f"row {number} is {row!r:.60}", "give dicts, or the pairs and examples of aloe.grow_trees")
