"""Stage ``sft``: supervised fine-tuning on preferred replies (section 3.3), by TRL on trees.

Every preferred reply is a target under the history that the user really answered; only the reply's tokens count.
Works for any causal language model in HF layout; LoRA where ``lora_rank`` is set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aloe.config import SFTConfig
from aloe.seeding import derive_rng
from aloe.training import trl_run
from aloe.training.data import (
    Dataset,
    Lengths,
    TokenRows,
    chat_conversations,
    find_rows,
    read_rows,
    sft_conversations,
)
from aloe.training.fit import Job, fit, last_logged
from aloe.training.split import Rows, find_profiles

TITLE = "A chat model fine-tuned on the preferred replies of simulated conversations (aloe, stage `sft`)."


def train_sft(
    config: SFTConfig,
    dataset: Dataset,
    base_path: str | Path,
    out_dir: str | Path,
    *,
    seed: int = 0,
    progress: trl_run.TrainingProgress | None = None,
    profiles: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Fine-tune the model at ``base_path`` on SFT rows and save it to ``out_dir``.

    Continues after an interruption; writes ``metrics.jsonl`` on the way.

    Args:
        dataset: a .parquet or .jsonl with a ``messages`` column, a run directory, an exported data set, or rows with
            that column.
        profiles: profile of each persona id, for an evaluation split by profile; None: those of the run that
            ``dataset`` lies in.

    Returns:
        Counts, tokens with and without packing, losses, seconds.

    Raises:
        DataError: no model, no dataset, a row or a tokenizer that can't be trained on, or the loss diverged.
        ConfigError: settings that exclude each other.
    """
    rows = find_rows(dataset, "sft", ["messages"])
    held = find_rows(dataset, "sft", ["messages"], "test") if config.eval_share else None

    def tokenize(some: Rows, tokenizer: Any, lengths: Lengths) -> list[TokenRows]:
        return sft_conversations(some, tokenizer, lengths, history=config.history)

    def mixed(train: Sequence[TokenRows], tokenizer: Any, lengths: Lengths) -> list[TokenRows]:
        return _general(config, train, tokenizer, lengths, seed)

    def make_trainer(job: Job, arguments: dict[str, Any]) -> Any:
        from trl import SFTConfig as Arguments

        from aloe.training.trainers import TreeSFTTrainer

        return TreeSFTTrainer(
            packs=job.packs,
            n_train=job.n_train,
            backend=job.backend,
            model=job.model,
            args=Arguments(**arguments),
            processing_class=job.tokenizer,
            peft_config=None if hasattr(job.model, "peft_config") else trl_run.lora_config(config),
            callbacks=trl_run.callbacks(config, Path(out_dir), progress),
        )

    return fit(
        config,
        rows,
        base_path,
        Path(out_dir),
        stage="sft",
        title=TITLE,
        seed=seed,
        progress=progress,
        tokenize=tokenize,
        make_trainer=make_trainer,
        tail=lambda trainer: {"loss": last_logged(trainer.state.log_history, "loss")},
        profiles=profiles if profiles is not None or not config.eval_share else find_profiles(dataset),
        held_rows=held,
        extra=mixed if config.mix else None,
    )


def _general(
    config: SFTConfig, train: Sequence[TokenRows], tokenizer: Any, lengths: Lengths, seed: int
) -> list[TokenRows]:
    """General chats, drawn without repeats, until they make up ``mix_share`` of the replies or are used up."""
    assert config.mix is not None
    rows = read_rows(config.mix, ["messages"])
    wanted = sum(len(c.rows) for c in train) * config.mix_share / (1 - config.mix_share)
    found: list[TokenRows] = []
    count = 0
    for number in derive_rng(seed, "mix").permutation(len(rows)):
        if count >= wanted:
            break
        made = chat_conversations([rows[number]], tokenizer, lengths, f"mix-{number}")
        found += made
        count += sum(len(c.rows) for c in made)
    return found
