"""What SFT and DPO share: TRL arguments with the traps disarmed, resume after a kill, metrics, final save.

Traps of TRL 1.16: ``max_length`` defaults to 1024 and drops long histories silently; bf16 is the default even on
a CPU; gradient checkpointing is on. A checkpoint that a kill cut short is passed over on resume.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Sampler
from transformers import PrinterCallback, TrainerCallback

from aloe.errors import DataError
from aloe.seeding import derive_rng

log = logging.getLogger(__name__)
Progress = Callable[[float, float | None, str, str], None]
WORK = "trainer"  # folder of resumable states inside a checkpoint's directory


def common_arguments(section: Any, out_dir: Path, seed: int, n_rows: int) -> dict[str, Any]:
    """Training arguments for a config section (``SFTConfig`` or ``DPOConfig``) over ``n_rows`` rows."""
    on_gpu = torch.cuda.is_available()
    micro = min(section.micro_batch_size or section.batch_size, section.batch_size, n_rows)
    return {
        "output_dir": str(out_dir / WORK),
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": max(1, section.batch_size // micro),
        "learning_rate": section.learning_rate,
        "lr_scheduler_type": section.schedule,
        "warmup_steps": section.warmup_steps,
        "num_train_epochs": section.epochs,
        "max_steps": getattr(section, "max_steps", 0) or -1,
        "weight_decay": 0.0,
        "max_length": None,
        "bf16": on_gpu,
        "use_cpu": not on_gpu,
        "gradient_checkpointing": section.gradient_checkpointing,
        "logging_steps": 1,
        "save_strategy": "steps",
        "save_steps": section.checkpoint_steps,
        "save_total_limit": 2,
        "report_to": "none",
        "disable_tqdm": True,
        "seed": seed,
        "data_seed": seed,
        "train_sampling_strategy": "group_by_length",
        "dataloader_pin_memory": on_gpu,
        "remove_unused_columns": False,  # the collators pick what they need; the sampler needs the length
    }


def lora_config(rank: int) -> Any:
    """A peft config for ``rank`` > 0, None for full fine-tuning."""
    if not rank:
        return None
    from peft import LoraConfig

    return LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")


def last_complete_state(folder: Path) -> Path | None:
    """The newest resumable state that was written to its end: the trainer writes its own state last."""
    found = []
    for state in folder.glob("checkpoint-*"):
        try:
            json.loads((state / "trainer_state.json").read_text("utf-8"))
            found.append((int(state.name.rpartition("-")[2]), state))
        except (OSError, ValueError):
            log.warning("%s is incomplete and is passed over", state)
    return max(found)[1] if found else None


def claim(out_dir: Path, fingerprint: str) -> None:
    """Make ``out_dir`` ready; states left there by another dataset or other settings are removed."""
    work = out_dir / WORK
    mark = work / "fingerprint"
    if work.is_dir() and (not mark.is_file() or mark.read_text("utf-8") != fingerprint):
        shutil.rmtree(work)
    work.mkdir(parents=True, exist_ok=True)
    mark.write_text(fingerprint, "utf-8")


class BranchSampler(Sampler[int]):  # type: ignore[misc]
    """Rows group by group (the pairs of one conversation), the groups in an order of (seed, epoch)."""

    def __init__(self, groups: Sequence[int], seed: int) -> None:
        members: dict[int, list[int]] = {}
        for row, group in enumerate(groups):
            members.setdefault(group, []).append(row)
        self._members = list(members.values())
        self._n_rows = len(groups)
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        order = derive_rng(self._seed, "branch-sampler", self._epoch).permutation(len(self._members))
        return iter([row for number in order for row in self._members[number]])

    def __len__(self) -> int:
        return self._n_rows


def plain_model(trainer: Any) -> Any:
    """The causal language model under a trainer, adapters left aside."""
    return trainer.model.get_base_model() if hasattr(trainer.model, "get_base_model") else trainer.model


class MetricsWriter(TrainerCallback):  # type: ignore[misc]
    """Writes every logged row to ``metrics.jsonl`` as it comes, and reports progress.

    On resume the file is rewritten from the trainer's own history, so that no step is there twice.
    """

    def __init__(self, path: Path, progress: Progress | None) -> None:
        self._path = path
        self._progress = progress

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        write_metrics(self._path, state.log_history)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        row = {"step": state.global_step, **(logs or {})}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        if self._progress is not None and "loss" in row:
            self._progress(state.global_step, state.max_steps, "steps", f"loss {row['loss']:.3f}")


def write_metrics(path: Path, rows: list[dict[str, Any]]) -> None:
    """The whole metrics file at once, atomically."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    os.replace(temporary, path)


@contextmanager
def quietly() -> Iterator[None]:
    """No bars and notices of the libraries underneath: progress is ours, metrics go to their file."""
    from datasets.utils.logging import disable_progress_bar

    disable_progress_bar()
    before = os.environ.get("TQDM_DISABLE")
    os.environ["TQDM_DISABLE"] = "1"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        if before is None:
            del os.environ["TQDM_DISABLE"]
        else:
            os.environ["TQDM_DISABLE"] = before


def train(trainer: Any, out_dir: Path) -> Any:
    """Run a trainer to its end, from where an interrupted run left off.

    Raises:
        DataError: the loss became infinite or undefined.
    """
    trainer.remove_callback(PrinterCallback)
    state = last_complete_state(out_dir / WORK)
    result = trainer.train(resume_from_checkpoint=str(state) if state else None)
    if not torch.isfinite(torch.tensor(result.training_loss)):
        raise DataError(f"the loss of {out_dir.name} is {result.training_loss}", "lower the learning rate")
    return result


def finish(out_dir: Path, trainer: Any) -> None:
    """Last metrics; then the resumable states, several times the model's size, are not needed any more."""
    write_metrics(out_dir / "metrics.jsonl", trainer.state.log_history)
    shutil.rmtree(out_dir / WORK, ignore_errors=True)
