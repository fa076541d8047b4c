"""Stage ``sft``: supervised fine-tuning on preferred replies (section 3.3), by TRL's SFTTrainer.

Loss on the preferred replies only, under the histories that the user really answered. Works for any causal
language model in HF layout; LoRA where ``lora_rank`` is set.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from aloe.config import SFTConfig, digest
from aloe.models.checkpoint import load_model, load_tokenizer, model_card, save_checkpoint
from aloe.models.local import weight_digest
from aloe.training import trl_run
from aloe.training.data import TokenSequence, read_rows, sft_sequences
from aloe.training.packing import add_packing, can_pack

SUMMARY = "A chat model fine-tuned on the preferred replies of simulated conversations (aloe, stage `{stage}`)."


def train_sft(
    config: SFTConfig,
    dataset_path: str | Path,
    base_path: str | Path,
    out_dir: str | Path,
    *,
    seed: int = 0,
    progress: trl_run.Progress | None = None,
) -> dict[str, Any]:
    """Fine-tune the model at ``base_path`` on SFT rows and save it to ``out_dir``.

    Continues after an interruption; writes ``metrics.jsonl`` on the way. Returns counts, last loss, seconds.

    Raises:
        DataError: no model, no dataset, or the loss diverged.
    """
    rows = read_rows(dataset_path, ["messages"])
    tokenizer = load_tokenizer(base_path)
    sequences = sft_sequences(rows, tokenizer, config.trunk_only)
    return fit_sequences(
        config, sequences, base_path, Path(out_dir), tokenizer=tokenizer, seed=seed, progress=progress, stage="sft"
    )


def fit_sequences(
    config: Any,
    sequences: list[TokenSequence],
    base_path: str | Path,
    out_dir: Path,
    *,
    tokenizer: Any,
    seed: int,
    progress: trl_run.Progress | None,
    stage: str,
) -> dict[str, Any]:
    """Maximise the likelihood of the sequences' targets; ``config`` is an ``SFTConfig`` or a ``DPOConfig``."""
    from datasets import Dataset
    from trl import SFTConfig as Arguments
    from trl import SFTTrainer

    started = time.monotonic()
    source = weight_digest(base_path) if Path(base_path).is_dir() else str(base_path)
    trl_run.claim(out_dir, digest([stage, config.model_dump(mode="json"), seed, source, [s.ids for s in sequences]]))
    dataset = Dataset.from_dict(
        {
            "input_ids": [s.ids for s in sequences],
            "labels": [s.labels for s in sequences],
            "length": [len(s.ids) for s in sequences],
        }
    )
    with trl_run.quietly():
        arguments = Arguments(**trl_run.common_arguments(config, out_dir, seed, len(dataset)))
        trainer = SFTTrainer(
            model=load_model(base_path),
            args=arguments,
            train_dataset=dataset,
            processing_class=tokenizer,
            peft_config=trl_run.lora_config(config.lora_rank),
            callbacks=[trl_run.MetricsWriter(out_dir / "metrics.jsonl", progress)],
        )
        if can_pack(trl_run.plain_model(trainer)):
            add_packing(trl_run.plain_model(trainer))
        result = trl_run.train(trainer, out_dir)
    summary = {
        "n_sequences": len(sequences),
        "n_tokens": sum(len(s.ids) for s in sequences),
        "n_target_tokens": sum(sum(s.target) for s in sequences),
        "n_steps": trainer.state.global_step,
        "loss": _last(trainer.state.log_history, "loss"),
        "mean_loss": result.training_loss,
        "seconds": round(time.monotonic() - started, 2),
    }
    card = model_card(f"aloe {stage}", SUMMARY.format(stage=stage), {**config.model_dump(mode="json"), **summary})
    resolved = {"stage": stage, "seed": seed, "config": config.model_dump(mode="json"), "from": source}
    save_checkpoint(trainer.model, tokenizer, out_dir, card, resolved)
    trl_run.finish(out_dir, trainer)
    return summary


def _last(history: list[dict[str, Any]], key: str) -> float | None:
    return next((row[key] for row in reversed(history) if key in row), None)
