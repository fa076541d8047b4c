"""Stage ``dpo``: direct preference optimisation from the SFT checkpoint (section 3.3), by TRL on trees.

Loss: ``-log sigmoid(beta * margin) + sft_weight * NLL(chosen)``, or TRL's other losses in place of the first term.
Without the likelihood term the chosen replies can lose probability although pair accuracy rises; the metrics show
both. The reference is the model that training starts from: its log-probabilities computed once (full
fine-tuning) or the adapter switched off (LoRA). ``preference=False`` is the control: the same chosen replies in the
same number of steps and the same batches, preference term off.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aloe.config import DPOConfig
from aloe.errors import ConfigError, DataError
from aloe.training import trl_run
from aloe.training.data import Dataset, dpo_conversations, find_rows
from aloe.training.fit import Job, fit
from aloe.training.split import Rows, find_profiles

TITLE = "A chat model tuned on preference pairs of simulated conversations (aloe, stage `{stage}`)."
COLUMNS = ["prompt", "chosen", "rejected"]
SMOOTHED = {"robust", "exo_pair"}
LOSSES = {"sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "apo_zero", "apo_down"}
LOSSES |= {"discopop", "sigmoid_norm", "sft"}
SORTED = {"aot", "aot_unpaired"}  # no mean over pairs, but a loss of all of a step's pairs together


def train_dpo(
    config: DPOConfig,
    dataset: Dataset,
    model_path: str | Path,
    out_dir: str | Path,
    *,
    seed: int = 0,
    progress: trl_run.TrainingProgress | None = None,
    preference: bool = True,
    profiles: Mapping[str, str] | None = None,
    reference_dir: str | Path | None = None,
) -> dict[str, Any]:
    """Tune the model at ``model_path`` on preference rows and save it to ``out_dir``.

    Continues after an interruption; writes ``metrics.jsonl`` on the way.

    Args:
        dataset: a .parquet or .jsonl with ``prompt``, ``chosen``, ``rejected``, a run directory, an exported set, or
            rows with these columns.
        profiles: profile of each persona id, for an evaluation split by profile; None: those of the run that
            ``dataset`` lies in.
        reference_dir: where reference log-probabilities are kept for another training on the same model and rows;
            None: among the resumable states, which go when training ends.

    Returns:
        Counts, tokens with and without packing, margins, the drift of the chosen replies' log-probability against
        the reference in nats, seconds.

    Raises:
        DataError: no model, no dataset, a pair or a tokenizer that can't be trained on, or the loss diverged.
        ConfigError: an unknown loss, or settings that exclude each other.
    """
    stage = "dpo" if preference else "sft-control"
    check_losses(config)
    rows = _rows(config, dataset, "train")
    held = _rows(config, dataset, "test") if config.eval_share else None

    def make_trainer(job: Job, arguments: dict[str, Any]) -> Any:
        kept = Path(reference_dir or Path(out_dir) / trl_run.WORK)
        kept.mkdir(parents=True, exist_ok=True)
        reference = kept / f"reference-{job.key}"
        return _trainer(config, job, arguments, Path(out_dir), reference, progress, preference)

    return fit(
        config,
        rows,
        model_path,
        Path(out_dir),
        stage=stage,
        title=TITLE.format(stage=stage),
        seed=seed,
        progress=progress,
        tokenize=dpo_conversations,
        make_trainer=make_trainer,
        tail=lambda trainer: _tail(trainer.state.log_history, config.beta),
        profiles=profiles if profiles is not None or not config.eval_share else find_profiles(dataset),
        held_rows=held,
    )


def check_losses(config: DPOConfig) -> None:
    """Whether the losses are means over pairs that TRL knows, with the settings that they need.

    Raises:
        ConfigError: one is not, or label smoothing would not be used or is lacking.
    """
    known = ", ".join(sorted(LOSSES))
    for name in config.loss:
        if name in SORTED:
            why = f"'{name}' sorts all pairs of a step together, and a pack holds a part of them"
            raise ConfigError(f"dpo.loss: {why}", f"one of {known}")
        if name not in LOSSES:
            raise ConfigError(f"dpo.loss: '{name}' is not a known loss", f"one of {known}")
    if config.label_smoothing and not SMOOTHED & set(config.loss):
        raise ConfigError("dpo.label_smoothing applies only to the losses robust and exo_pair", "set dpo.loss = robust")
    if "exo_pair" in config.loss and not config.label_smoothing:
        raise ConfigError("dpo.loss: exo_pair needs dpo.label_smoothing above 0", "for example 1e-3")


def _rows(config: DPOConfig, dataset: Dataset, split: str) -> Rows:
    return select_pairs(config, find_rows(dataset, "dpo", COLUMNS, split))


def select_pairs(config: DPOConfig, rows: Rows) -> Rows:
    """The preference rows that ``config.labeler`` and ``config.siblings`` leave.

    Raises:
        DataError: no row was labelled by that labeler.
    """
    if config.labeler is not None and rows:
        names = sorted({str(row.get("labeler")) for row in rows})
        rows = [row for row in rows if row.get("labeler") == config.labeler]
        if not rows:
            raise DataError(f"no pair was labelled by '{config.labeler}'", f"labelers: {', '.join(names)}")
    if config.siblings == "widest":
        widest: dict[str, dict[str, Any]] = {}
        for row in rows:
            key = repr((row.get("tree_id"), row["prompt"], row["chosen"]))
            if key not in widest or (row.get("margin") or 0.0) > (widest[key].get("margin") or 0.0):
                widest[key] = row
        rows = list(widest.values())
    return rows


def _trainer(
    config: DPOConfig,
    job: Job,
    arguments: dict[str, Any],
    out_dir: Path,
    reference: Path,
    progress: Any,
    preference: bool,
) -> Any:
    from trl import DPOConfig as Arguments

    from aloe.training.trainers import TreeDPOTrainer

    losses, weights = list(config.loss), [1.0] * len(config.loss)
    if config.sft_weight:
        losses, weights = [*losses, "sft"], [*weights, config.sft_weight]
    if not preference:
        losses, weights = ["sft"], [config.sft_weight or 1.0]
    smoothing = {"label_smoothing": config.label_smoothing} if SMOOTHED & set(losses) else {}
    has_adapter = hasattr(job.model, "peft_config")  # an adapter that SFT made is trained further
    adapter = None if has_adapter else trl_run.lora_config(config)
    return TreeDPOTrainer(
        packs=job.packs,
        n_train=job.n_train,
        backend=job.backend,
        reference=reference,
        model=job.model,
        args=Arguments(
            **arguments,
            **smoothing,
            beta=config.beta,
            loss_type=losses,
            loss_weights=weights,
            precompute_ref_log_probs=adapter is None and not has_adapter,
        ),
        processing_class=job.tokenizer,
        peft_config=adapter,
        callbacks=trl_run.callbacks(config, out_dir, progress),
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
