"""Stage ``sft``: supervised fine-tuning on preferred replies (section 3.3), by TRL's SFTTrainer on packed trees.

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
from aloe.training.data import Lengths, TokenRows, chat_conversations, find_files, read_rows, sft_conversations
from aloe.training.fit import Job, Rows, fit, last_logged

TITLE = "A chat model fine-tuned on the preferred replies of simulated conversations (aloe, stage `sft`)."


def train_sft(
    config: SFTConfig,
    dataset: str | Path,
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
        dataset: a .parquet or .jsonl with a ``messages`` column, a run directory, or an exported data set.
        profiles: profile of each persona id, for an evaluation split by profile.

    Returns:
        Counts, tokens with and without packing, losses, seconds.

    Raises:
        DataError: no model, no dataset, a row or a tokenizer that can't be trained on, or the loss diverged.
        ConfigError: settings that exclude each other.
    """
    rows = [row for file in find_files(dataset, "sft") for row in read_rows(file, ["messages"])]
    held = None
    if config.eval_share:
        held = [row for file in find_files(dataset, "sft", "test") for row in read_rows(file, ["messages"])]

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
        profiles=profiles,
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
