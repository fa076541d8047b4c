"""From rows of a data set to a trained checkpoint: the steps that ``aloe sft`` and ``aloe dpo`` share."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from aloe.config import TrainingSection, digest
from aloe.errors import DataError
from aloe.models.local.checkpoint import base_of, load_model, load_tokenizer, model_card, save_checkpoint
from aloe.models.local.model import weight_digest
from aloe.models.local.packaged import resolve
from aloe.models.local.processor import width_of
from aloe.training import precision, trl_run
from aloe.training.data import Lengths, TokenRows, check_tokenizer
from aloe.training.memory import Shape
from aloe.training.split import Rows, Split, split_rows
from aloe.training.trees.model import attention_of, choose_backend, guess_backend
from aloe.training.trees.packs import Pack, PackStatistics, make_packs, packs_per_step, pad_packs

log = logging.getLogger(__name__)
LATER = ("pass_gb", "processes")  # settings that fingerprints name only where they are not what they always were
SHORTER = "compute_dtype"  # a setting that is named in fingerprints only where it is not what it always was


@dataclass(slots=True)
class Job:
    """Everything a trainer is made of.

    Attributes:
        packs: of training, then of evaluation. n_train: how many are for training.
        accumulation: packs of a process in an optimiser step.
        key: names model, rows and packs: what reference log-probabilities depend on.
    """

    model: Any
    tokenizer: Any
    packs: list[Pack]
    n_train: int
    accumulation: int
    backend: str
    reason: str
    statistics: PackStatistics
    key: str = ""


def open_tokenizer(path: str | Path) -> Any:
    """The tokenizer of a model that is to be trained, checked."""
    tokenizer = load_tokenizer(path)
    check_tokenizer(tokenizer, str(path))
    return tokenizer


def lengths_for(section: TrainingSection, path: str | Path) -> Lengths:
    """The longest row allowed: as configured, else what the model's config says its context is."""
    limit: int | None = section.max_length or None
    if limit is None:
        from transformers import AutoConfig

        try:
            config = AutoConfig.from_pretrained(base_of(path), trust_remote_code=False).get_text_config()
            limit = int(getattr(config, "max_position_embeddings", 0) or 0) or None
        except (OSError, ValueError):
            limit = None  # there is no such model: loading it says so
    return Lengths(limit, section.too_long)


def prepare_job(
    section: Any, model: Any, tokenizer: Any, train: Sequence[TokenRows], evaluate: Sequence[TokenRows], seed: int
) -> Job:
    """Choose the form of attention and make the packs."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    longest = max(len(row) for c in (*train, *evaluate) for row in c.rows)
    if trl_run.is_sharded():
        backend, reason = guess_backend(base, section.packing, longest)
    else:
        base.to(trl_run.device())  # the trainer would do it later; the trial must see the kernels of training
        backend, reason = choose_backend(base, section.packing, longest)
    if backend == "rows" and section.packing != "rows":
        _say(f"trees go through this model as rows, each with its whole history: {reason}")
    n = trl_run.processes().num_processes
    trees = backend != "rows"
    budget = precision.pass_tokens(section, Shape.of(base.config))
    options = {"budget": budget, "items": section.batch_size, "trees": trees}
    packs, statistics = make_packs(train, seed=seed, **options)
    accumulation = packs_per_step(packs, section.batch_size, n)
    packs = pad_packs(packs, n)
    held: list[Pack] = []
    if evaluate:
        held = pad_packs(make_packs(evaluate, seed=seed, **options)[0], n)
    return Job(model, tokenizer, [*packs, *held], len(packs), accumulation, backend, reason, statistics)


def _say(line: str) -> None:
    """One line for people, by the first of several processes."""
    if trl_run.processes().is_main_process:
        log.warning("%s", line)


def source_of(path: str | Path) -> str:
    """What a checkpoint was made from: a digest of the weights, or the model's id."""
    return weight_digest(path) if Path(path).is_dir() else str(path)


def fit(
    section: Any,
    rows: Rows,
    model_path: str | Path,
    out_dir: Path,
    *,
    stage: str,
    title: str,
    seed: int,
    progress: trl_run.TrainingProgress | None,
    tokenize: Callable[[Rows, Any, Lengths], list[TokenRows]],
    make_trainer: Callable[[Job, dict[str, Any]], Any],
    tail: Callable[[Any], dict[str, Any]],
    profiles: Mapping[str, str] | None = None,
    held_rows: Rows | None = None,
    extra: Callable[[Sequence[TokenRows], Any, Lengths], list[TokenRows]] | None = None,
) -> dict[str, Any]:
    """Train and save. ``tokenize``, ``make_trainer`` and ``tail`` (figures for the summary) are what stages differ in.

    Args:
        held_rows: rows for evaluation; None: ``eval_share`` of ``rows``.
        extra: more training conversations, made after those of ``rows`` are known.

    Raises:
        DataError, ConfigError: see ``data``, ``trees.model`` and ``trl_run``.
    """
    started = time.monotonic()
    trl_run.check_section(section)
    model_path = resolve(model_path)
    tokenizer = open_tokenizer(model_path)
    lengths = lengths_for(section, model_path)
    split = Split(rows, held_rows, "given") if held_rows else split_rows(rows, section.eval_share, seed, profiles)
    if split.held:
        _say(f"{stage}: {split.say()}")
    train = tokenize(split.train, tokenizer, lengths)
    if not train:
        raise DataError(
            f"no row fits into {lengths.limit} tokens", "raise max_length or use a model with a longer context"
        )
    n_rows = sum(len(c.pairs) or len(c.rows) for c in train)
    if extra is not None:
        train = train + extra(train, tokenizer, lengths)
    evaluate = tokenize(split.held, tokenizer, lengths) if split.held else []
    if section.eval_share and not evaluate:
        raise DataError(f"eval_share: no row for evaluation fits into {lengths.limit} tokens", "raise max_length")
    if lengths.say():
        _say(f"{stage}: {lengths.say()}")
    source = source_of(model_path)
    shape = [[c.key, c.rows, c.starts, c.pairs] for c in (*train, *evaluate)]
    compute, settings = _settings(section, model_path)
    trl_run.claim(out_dir, digest([stage, settings, seed, source, shape]))
    with trl_run.quietly():
        model = _open_model(section, model_path, out_dir)
        before = attention_of(model)
        job = prepare_job(section, model, tokenizer, train, evaluate, seed)
        job.key = _key([source, shape, seed, job.backend], settings)
        arguments = trl_run.common_arguments(section, out_dir, seed, job.accumulation, compute)
        trainer = make_trainer(job, arguments)
        trl_run.set_lora_dropout(trainer.model, section)
        prepared = time.monotonic()
        with precision.economically(trainer.model, compute):
            result = trl_run.train(trainer, out_dir)
        trl_run.plain_model(trainer).set_attn_implementation(before)
    summary = {
        ("n_pairs" if any(c.pairs for c in train) else "n_replies"): n_rows,
        **({"n_mixed": job.statistics.n_items - n_rows} if extra is not None else {}),
        **job.statistics.as_dict(),
        "attention": job.backend,
        "n_steps": trainer.state.global_step,
        "mean_loss": result.training_loss,
        **tail(trainer),
        **_left_out(lengths),
        **split.as_dict(),
        **({"eval_loss": loss} if (loss := last_logged(trainer.state.log_history, "eval_loss")) is not None else {}),
        "seconds_preparing": round(prepared - started, 2),
        "seconds": round(time.monotonic() - started, 2),
    }
    made_by = {"stage": stage, "seed": seed, "config": settings | {SHORTER: compute}, "from": source}
    _save(trainer, tokenizer, out_dir, made_by, (title, summary))
    return summary


def _key(parts: list[Any], settings: dict[str, Any]) -> str:
    """What reference log-probabilities depend on, as one name."""
    shaped_by = [settings["token_budget"], settings["batch_size"], settings["dtype"]]
    shaped_by += [trl_run.processes().num_processes, *([settings[SHORTER]] if SHORTER in settings else [])]
    return digest([*parts, shaped_by])


def _settings(section: Any, model_path: str | Path) -> tuple[str, dict[str, Any]]:
    """The number format of products, and what shapes a training: that format too, unless it is what it always was."""
    compute = precision.compute_dtype(section, width_of(model_path))
    usual = "bfloat16" if torch.cuda.is_available() else "float32"
    fields = type(section).model_fields
    exclude = {SHORTER} | {name for name in LATER if getattr(section, name) == fields[name].default}
    found: dict[str, Any] = section.model_dump(mode="json", exclude=exclude)
    return compute, found if compute == usual else found | {SHORTER: compute}


def _open_model(section: Any, path: str | Path, out_dir: Path) -> Any:
    """The model that training starts from, and a disk that its checkpoints fit on.

    Raises:
        DataError, ConfigError: there is no such model, it has no adapter to drop out, or the disk is too small.
    """
    model = load_model(path, trl_run.weight_dtype(section), trainable=True)
    trl_run.check_adapter(section, model)
    if section.freeze_embeddings:
        trl_run.freeze_embeddings(model)
    trl_run.need_space(out_dir, model, section)
    return model


def _left_out(lengths: Lengths) -> dict[str, int]:
    """What did not fit, where anything did not."""
    found = {"n_cut": lengths.n_cut, "n_dropped": lengths.n_dropped} if lengths.say() else {}
    return found | ({"n_targets_lost": lengths.n_targets_lost} if lengths.n_targets_lost else {})


def _save(
    trainer: Any, tokenizer: Any, out_dir: Path, made_by: dict[str, Any], card: tuple[str, dict[str, Any]]
) -> None:
    """The checkpoint with its model card (title and summary), by the main process; the others wait for it."""
    if trl_run.processes().is_main_process:
        title, summary = card
        text = model_card(f"aloe {made_by['stage']}", title, {**made_by["config"], **summary})
        save_checkpoint(trainer.accelerator.unwrap_model(trainer.model), tokenizer, out_dir, text, made_by)
        trl_run.finish(out_dir, trainer)
    trl_run.processes().wait_for_everyone()


def last_logged(history: Sequence[dict[str, Any]], key: str) -> float | None:
    """The latest value of ``key`` in a trainer's history."""
    return next((row[key] for row in reversed(history) if key in row), None)
