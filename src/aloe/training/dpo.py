"""Stage ``dpo``: direct preference optimisation from the SFT checkpoint (section 3.3), by TRL's DPOTrainer.

Loss: ``-log sigmoid(beta * margin) + sft_weight * NLL(chosen)``. Without the likelihood term the chosen replies
lose probability while pair accuracy still looks fine; the metrics show both. The reference is the SFT model, its
log-probabilities computed once. ``preference=False`` is the control: the same chosen replies in the same number
of steps and the same batches, preference term off.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from aloe.config import DPOConfig, digest
from aloe.models.checkpoint import load_model, load_tokenizer, model_card, save_checkpoint
from aloe.models.local import weight_digest
from aloe.training import trl_run
from aloe.training.data import pair_ids, read_rows
from aloe.training.packing import add_packing, can_pack

SUMMARY = "A chat model tuned on preference pairs of simulated conversations (aloe, stage `{stage}`)."


def train_dpo(
    config: DPOConfig,
    dataset_path: str | Path,
    model_path: str | Path,
    out_dir: str | Path,
    *,
    seed: int = 0,
    progress: trl_run.Progress | None = None,
    preference: bool = True,
) -> dict[str, Any]:
    """Tune the model at ``model_path`` on preference rows and save it to ``out_dir``.

    Continues after an interruption; writes ``metrics.jsonl`` on the way. Returns counts, margins, the drift of the
    chosen replies' log-probability against the reference in nats, and seconds.

    Raises:
        DataError: no model, no dataset, or the loss diverged.
    """
    started = time.monotonic()
    out_dir = Path(out_dir)
    stage = "dpo" if preference else "sft-control"
    rows = read_rows(dataset_path, ["prompt", "chosen", "rejected"])
    tokenizer = load_tokenizer(model_path)
    source = weight_digest(model_path) if Path(model_path).is_dir() else str(model_path)
    trl_run.claim(out_dir, digest([stage, config.model_dump(mode="json"), seed, source, rows]))
    with trl_run.quietly():
        trainer = _trainer(config, rows, tokenizer, model_path, out_dir, seed, progress, preference)
        result = trl_run.train(trainer, out_dir)
    summary = {
        "n_pairs": len(rows),
        "n_steps": trainer.state.global_step,
        "mean_loss": result.training_loss,
        **_tail(trainer.state.log_history, config.beta),
        "seconds": round(time.monotonic() - started, 2),
    }
    card = model_card(f"aloe {stage}", SUMMARY.format(stage=stage), {**config.model_dump(mode="json"), **summary})
    resolved = {"stage": stage, "seed": seed, "config": config.model_dump(mode="json"), "from": source}
    save_checkpoint(trainer.model, tokenizer, out_dir, card, resolved)
    trl_run.finish(out_dir, trainer)
    return summary


def _trainer(
    config: DPOConfig,
    rows: list[dict[str, Any]],
    tokenizer: Any,
    model_path: str | Path,
    out_dir: Path,
    seed: int,
    progress: trl_run.Progress | None,
    preference: bool,
) -> Any:
    from datasets import Dataset
    from trl import DPOConfig as Arguments
    from trl import DPOTrainer

    class BranchTrainer(DPOTrainer):  # type: ignore[misc]
        """Takes pairs that are tokenised already; what the pairs of a conversation share is computed once."""

        def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
            return dataset

        def _precompute_ref_logps(self, *args: Any, **kwargs: Any) -> Any:
            model = trl_run.plain_model(self)
            if can_pack(model):
                add_packing(model)
            return super()._precompute_ref_logps(*args, **kwargs)

        def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Any:
            return trl_run.BranchSampler(self.train_dataset["tree"], seed)

    trees: dict[str, int] = {}
    pairs = []
    for number, row in enumerate(rows):
        tree = trees.setdefault(str(row.get("tree_id") or number), len(trees))
        pairs.append({**pair_ids(row, tokenizer), "tree": tree})
    pairs.sort(key=lambda pair: (pair["tree"], pair["length"]))
    losses = ["sigmoid", "sft"] if config.sft_weight else ["sigmoid"]
    weights = [1.0, config.sft_weight] if config.sft_weight else [1.0]
    if not preference:
        losses, weights = ["sft"], [config.sft_weight or 1.0]
    arguments = Arguments(
        **trl_run.common_arguments(config, out_dir, seed, len(rows)),
        beta=config.beta,
        loss_type=losses,
        loss_weights=weights,
        precompute_ref_log_probs=True,
    )
    return BranchTrainer(
        model=load_model(model_path),
        args=arguments,
        train_dataset=Dataset.from_list(pairs),
        processing_class=tokenizer,
        peft_config=trl_run.lora_config(config.lora_rank),
        callbacks=[trl_run.MetricsWriter(out_dir / "metrics.jsonl", progress)],
    )


def _tail(history: list[dict[str, Any]], beta: float) -> dict[str, float]:
    """Means over the last quarter of the steps."""
    rows = [row for row in history if "rewards/chosen" in row]
    rows = rows[-max(1, len(rows) // 4) :]
    if not rows:
        return {}

    def mean(key: str) -> float:
        return float(sum(row[key] for row in rows) / len(rows))

    return {
        "pair_accuracy": mean("rewards/accuracies"),
        "margin": mean("rewards/margins"),
        "chosen_drift_nats": mean("rewards/chosen") / beta,
        "rejected_drift_nats": mean("rewards/rejected") / beta,
    }
