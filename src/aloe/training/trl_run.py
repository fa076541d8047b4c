"""What SFT and DPO share: TRL's arguments, resuming after a kill, metrics, the final save.

Defaults of TRL 1.16 that are overridden: ``max_length`` defaults to 1024 and drops long histories silently; bf16 is the
default even on a CPU; gradient checkpointing is on. On resuming, an incomplete checkpoint is skipped.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from transformers import EarlyStoppingCallback, PrinterCallback, TrainerCallback

from aloe.config import ModelTraining, TrainingSection
from aloe.errors import ConfigError, DataError
from aloe.models.local.processor import give_back_memory, resident_memory

log = logging.getLogger(__name__)
TrainingProgress = Callable[[float, float | None, str, str], None]
WORK = "trainer"  # folder of resumable states inside a checkpoint's directory


def processes() -> PartialState:
    """This process among those of ``torchrun`` or ``accelerate launch``; one alone without them."""
    return PartialState(cpu=not torch.cuda.is_available())


def device() -> torch.device:
    """Where this process trains."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", processes().local_process_index)


def is_sharded() -> bool:
    """Whether ``accelerate launch`` was told to spread the weights over processes (FSDP, DeepSpeed)."""
    names = ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED")
    return any(os.environ.get(name, "").lower() in ("1", "true", "yes") for name in names)


def common_arguments(
    section: TrainingSection, out_dir: Path, seed: int, accumulation: int, compute: str
) -> dict[str, Any]:
    """Training arguments for a config section; one pack is one batch of a process.

    Args:
        compute: number format of matrix products, see ``precision``.
    """
    on_gpu = torch.cuda.is_available()
    evaluates = section.eval_share > 0
    return {
        "output_dir": str(out_dir / WORK),
        "per_device_train_batch_size": 1,
        "per_device_eval_batch_size": 1,
        "gradient_accumulation_steps": accumulation,
        "learning_rate": section.learning_rate,
        "lr_scheduler_type": section.schedule,
        "warmup_steps": section.warmup_steps,
        "num_train_epochs": section.epochs,
        "max_steps": section.max_steps or -1,
        "weight_decay": section.weight_decay,
        "max_length": None,
        "bf16": compute == "bfloat16",
        "use_cpu": not on_gpu,
        "gradient_checkpointing": section.gradient_checkpointing,
        "logging_steps": 1,
        "save_strategy": "steps",
        "save_steps": section.eval_steps if section.patience else section.checkpoint_steps,
        "save_total_limit": 2,
        "eval_strategy": "steps" if evaluates else "no",
        "eval_steps": section.eval_steps,
        "load_best_model_at_end": bool(section.patience and evaluates),
        "metric_for_best_model": "eval_loss" if section.patience else None,
        "report_to": list(section.report_to) or "none",
        "disable_tqdm": True,
        "seed": seed,
        "data_seed": seed,
        "dataloader_pin_memory": False,  # a tree is not a plain tensor
        "remove_unused_columns": False,  # the collator looks the packs up
    }


def check_section(section: TrainingSection) -> None:
    """Settings that exclude each other, in one line.

    Raises:
        ConfigError: early stopping without evaluation.
    """
    if section.patience and not section.eval_share:
        raise ConfigError("patience needs an evaluation split", "set eval_share, for example to 0.1")


def check_adapter(section: TrainingSection, model: Any) -> None:
    """Raises ConfigError for dropout of adapters where there are none."""
    if section.lora_dropout and not section.lora_rank and not hasattr(model, "peft_config"):
        raise ConfigError("lora_dropout needs an adapter, but all weights are trained", "set lora_rank = 16")


def freeze_embeddings(model: Any) -> None:
    """Take the vectors of tokens out of training; a head that shares them with the input goes with them.

    A shared vector of a token that is not a target of the data is pushed away at every step, although the model reads
    with it: what fine-tuning never shows it then unlearns to read.
    """
    model.get_input_embeddings().requires_grad_(False)


def lora_config(section: ModelTraining) -> Any:
    """A peft config for ``lora_rank`` > 0, None for full fine-tuning."""
    if not section.lora_rank:
        return None
    from peft import LoraConfig

    targets: Any = list(section.lora_targets)
    return LoraConfig(
        r=section.lora_rank,
        lora_alpha=section.lora_alpha or 2 * section.lora_rank,
        lora_dropout=section.lora_dropout,
        target_modules="all-linear" if targets == ["all-linear"] else targets,
        task_type="CAUSAL_LM",
    )


def set_lora_dropout(model: Any, section: TrainingSection) -> None:
    """The section's dropout for the trained adapter: TRL's DPO switches all dropout off, a saved one has its own."""
    adapters = getattr(model, "peft_config", None)
    if not adapters:
        return
    adapters["default"].lora_dropout = section.lora_dropout
    for module in model.modules():
        layers = getattr(module, "lora_dropout", None)
        if layers is not None and "default" in layers:
            layers["default"] = torch.nn.Dropout(section.lora_dropout) if section.lora_dropout else torch.nn.Identity()


def weight_dtype(section: ModelTraining) -> str:
    """Frozen weights need no more than bfloat16 on a GPU; trained ones keep float32 beside bf16 arithmetic."""
    if section.dtype != "auto":
        return section.dtype
    return "bfloat16" if torch.cuda.is_available() and section.lora_rank else "float32"


def need_space(out_dir: Path, model: Any, section: TrainingSection) -> None:
    """Say beforehand that the disk is too small for what training will write.

    Raises:
        DataError: not enough room for the weights and two resumable states.
    """
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    trained = size if not section.lora_rank else size // 50
    need = 3 * trained + 2 * 2 * trained  # the result, two states, each with two moments of the optimiser
    out_dir.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(out_dir).free
    if free < need:
        raise DataError(
            f"{out_dir} has {free / 1e9:.2f} GB free, training writes up to {need / 1e9:.2f} GB",
            "free some space, choose another --out, or train an adapter: lora_rank 16",
        )


def last_complete_state(folder: Path) -> Path | None:
    """The newest resumable state that was written to its end: the trainer writes its own state last."""
    found = []
    for state in folder.glob("checkpoint-*"):
        try:
            json.loads((state / "trainer_state.json").read_text("utf-8"))
            found.append((int(state.name.rpartition("-")[2]), state))
        except (OSError, ValueError):
            log.warning("%s is incomplete and is ignored", state)
    return max(found)[1] if found else None


def claim(out_dir: Path, fingerprint: str) -> None:
    """Make ``out_dir`` ready; states left there by another dataset or other settings are removed."""
    state = processes()
    if state.is_main_process:
        work = out_dir / WORK
        mark = work / "fingerprint"
        if work.is_dir() and (not mark.is_file() or mark.read_text("utf-8") != fingerprint):
            shutil.rmtree(work)
        work.mkdir(parents=True, exist_ok=True)
        mark.write_text(fingerprint, "utf-8")
    state.wait_for_everyone()


def plain_model(trainer: Any) -> Any:
    """The causal language model under a trainer, adapters left aside."""
    return trainer.model.get_base_model() if hasattr(trainer.model, "get_base_model") else trainer.model


class MetricsWriter(TrainerCallback):  # type: ignore[misc]
    """Writes every logged row to ``metrics.jsonl`` as it comes, and reports progress.

    On resume the file is rewritten from the trainer's own history, so that no step is there twice.
    """

    def __init__(self, path: Path, progress: TrainingProgress | None) -> None:
        self._path = path
        self._progress = progress

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            write_metrics(self._path, state.log_history)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if not state.is_world_process_zero:
            return
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


class GiveBack(TrainerCallback):  # type: ignore[misc]
    """On a CPU, memory that was freed goes back to the system once the process has grown.

    Packs differ in length, so that freed places seldom fit the next ones: a training of 135M parameters grew from 3.9
    to 8.4 GB within 470 steps. Where nothing has grown, giving back costs more than it saves: the pages come anew.
    """

    EVERY = 10  # steps between two looks
    GROWN = 512 << 20  # bytes above the size at the first look

    def __init__(self) -> None:
        self._usual = 0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step % self.EVERY or torch.cuda.is_available():
            return
        size = resident_memory()
        self._usual = self._usual or size
        if size > self._usual + self.GROWN:
            give_back_memory()


def callbacks(section: TrainingSection, out_dir: Path, progress: TrainingProgress | None) -> list[Any]:
    """Metrics and progress, and early stopping where asked for."""
    found: list[Any] = [MetricsWriter(out_dir / "metrics.jsonl", progress), GiveBack()]
    if section.patience:
        found.append(EarlyStoppingCallback(early_stopping_patience=section.patience))
    return found


def train(trainer: Any, out_dir: Path) -> Any:
    """Run a trainer to its end, from where an interrupted run left off.

    Raises:
        DataError: the loss became infinite or undefined, or the disk is full.
    """
    trainer.remove_callback(PrinterCallback)
    state = last_complete_state(out_dir / WORK)
    try:
        result = trainer.train(resume_from_checkpoint=str(state) if state else None)
    except OSError as error:
        if error.errno != 28:
            raise
        raise DataError(
            f"no space left for a checkpoint in {out_dir}", "free some space, then run the command again"
        ) from error
    if not torch.isfinite(torch.tensor(result.training_loss)):
        raise DataError(f"the loss of {out_dir.name} is {result.training_loss}", "lower the learning rate")
    return result


def finish(out_dir: Path, trainer: Any) -> None:
    """Last metrics; then the resumable states, several times the model's size, are not needed any more."""
    write_metrics(out_dir / "metrics.jsonl", trainer.state.log_history)
    shutil.rmtree(out_dir / WORK, ignore_errors=True)
