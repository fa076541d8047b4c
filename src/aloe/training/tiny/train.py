"""Stage ``base``: trains a tiny model from scratch on the curriculum.

It can chat as a generic assistant does and knows how to copy a stated fact and to read a manner; it has never
seen a reply that adapts. Training ends when held-out copying passes a gate, not after a number of steps; then
the learning rate is lowered to zero. The whole state is saved about every ten seconds, so that a killed run continues.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch.nn import functional as F

from aloe.config import TinyConfig, digest
from aloe.models.local.checkpoint import model_card, save_checkpoint
from aloe.seeding import derive_seed
from aloe.training.tiny.curriculum import DECISION, Difficulty, Document, Writer
from aloe.training.tiny.model import create_model
from aloe.training.trl_run import TrainingProgress, write_metrics

SHARES = (("notes", 0.22), ("diary", 0.42), ("manner", 0.16), ("dialogue", 0.2))  # of the documents of a step
WARMUP = 40
MATRIX_RATE = (
    10 / 3
)  # learning rate of the matrices' orthogonal steps (Muon), over that of embeddings and norms (AdamW)
EVALUATE_EVERY = 20
LEVEL_STEP = 0.25
LEVEL_GATE = 0.85  # accuracy at a level that opens the next one
N_PARTS = 6  # of a step's documents, by length: fewer only add padding, more leave threads idle
STATE = "training.pt"
SUMMARY = (
    "A tiny Llama trained from scratch on the words of a simulated world: generic dialogues for fluency, plain "
    "documents for copying stated facts and reading a manner. It has never seen an assistant that adapts to its "
    "user; it is the starting point from which that is learned, and useful for nothing else."
)


Optimizers = dict[float, torch.optim.Optimizer]  # what the learning rate is multiplied by -> optimiser


@dataclass(slots=True)
class State:
    """Where training stands; with the weights and the optimisers, all that a resumed run needs."""

    step: int = 0
    level: float = 0.0
    passed_at: int = 0  # the step at which the gate was passed, 0 = not yet
    seconds: float = 0.0
    n_tokens: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


def train_base(
    config: TinyConfig,
    writer: Writer,
    tokenizer: Any,
    out_dir: str | Path,
    *,
    seed: int = 0,
    progress: TrainingProgress | None = None,
) -> dict[str, Any]:
    """Train the tiny model until it copies, and save it to ``out_dir`` in HF layout.

    Returns copy accuracy, steps, tokens and seconds; ``metrics.jsonl`` holds the curves.
    """
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    fingerprint = digest([config.model_dump(mode="json"), seed, sorted(tokenizer.get_vocab())])
    model = create_model(config, tokenizer, derive_seed(seed, "base", "init"))
    optimizers = create_optimizers(model)
    state = _resume(out_dir, fingerprint, model, optimizers)
    trial = Trial(writer, seed)
    n_parameters = sum(p.numel() for p in model.parameters())
    saved = clock = time.monotonic()
    while not _is_done(config, state):
        row = _step(config, state, model, optimizers, writer, seed)
        if state.step % EVALUATE_EVERY == 0:
            row |= _advance(config, state, model, trial)
        state.history.append(row)
        state.seconds += time.monotonic() - clock
        clock = time.monotonic()
        if progress is not None:
            note = f"loss {row['loss']:.2f}, copy {_latest(state, 'copy_accuracy'):.0%}"
            progress(state.step, None, "steps", note)
        if clock - saved >= config.checkpoint_seconds:
            _save(out_dir, fingerprint, model, optimizers, state)
            saved = time.monotonic()
    tips, decisions = trial.accuracies(model, "diary", 1.0, (1.0, DECISION))
    summary = {
        "copy_accuracy": trial.accuracy(model, "notes", 1.0),
        "tip_accuracy": tips,
        "decision_accuracy": decisions,
        "passed_gate": bool(state.passed_at),
        "n_steps": state.step,
        "n_tokens": state.n_tokens,
        "n_parameters": n_parameters,
        "vocabulary": len(tokenizer),
        "seconds": round(state.seconds, 2),
    }
    write_metrics(out_dir / "metrics.jsonl", state.history)
    card = model_card("aloe base", SUMMARY, {**config.model_dump(mode="json"), **summary})
    save_checkpoint(model, tokenizer, out_dir, card, {"stage": "base", "seed": seed, "config": config.model_dump()})
    (out_dir / STATE).unlink(missing_ok=True)
    return summary


def create_optimizers(model: Any) -> Optimizers:
    """Muon for the layers' matrices, which learn to copy in a fifth fewer steps so; AdamW for embeddings and norms."""
    matrices: list[torch.nn.Parameter] = []
    rest: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (matrices if parameter.ndim == 2 and "embed" not in name else rest).append(parameter)
    return {
        MATRIX_RATE: torch.optim.Muon(matrices, momentum=0.95, weight_decay=0.01),
        1.0: torch.optim.AdamW(rest, betas=(0.9, 0.98), weight_decay=0.01),
    }


def _is_done(config: TinyConfig, state: State) -> bool:
    if state.step >= config.max_steps:
        return True
    return bool(state.passed_at) and state.step >= state.passed_at + config.cooldown_steps


def _rate(config: TinyConfig, state: State) -> float:
    """Warm-up, plateau, and a linear descent to a tenth once the gate was passed."""
    rate = config.learning_rate * min(1.0, (state.step + 1) / WARMUP)
    left = config.max_steps - state.step
    if state.passed_at:
        left = min(left, state.passed_at + config.cooldown_steps - state.step)
    return rate * max(0.1, min(1.0, left / max(config.cooldown_steps, 1)))


def _step(
    config: TinyConfig, state: State, model: Any, optimizers: Optimizers, writer: Writer, seed: int
) -> dict[str, float]:
    rng = Random(derive_seed(seed, "base", "documents", state.step))
    difficulty = Difficulty(state.level)
    batches = {}
    for kind, share in SHARES:
        n = max(1, round(config.batch_size * share))
        batches[kind] = [getattr(writer, kind)(rng, difficulty) for _ in range(n)]
    rate = _rate(config, state)
    for factor, optimizer in optimizers.items():
        for group in optimizer.param_groups:
            group["lr"] = rate * factor
    losses = backward(model, list(batches.values()), [share for _, share in SHARES])
    row: dict[str, float] = {"step": state.step + 1, "learning_rate": rate, "level": state.level}
    row |= {f"loss/{kind}": loss for kind, loss in zip(batches, losses, strict=True)}
    row["loss"] = sum(share * loss for (_, share), loss in zip(SHARES, losses, strict=True))
    state.n_tokens += sum(len(d.ids) for documents in batches.values() for d in documents)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers.values():
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    state.step += 1
    return row


def _pad(documents: Sequence[Document]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and weights, padded on the right (a causal model needs no mask then)."""
    width = max(len(d.ids) for d in documents)
    ids = torch.zeros(len(documents), width, dtype=torch.long)
    weights = torch.zeros(len(documents), width)
    for i, document in enumerate(documents):
        ids[i, : len(document.ids)] = torch.tensor(document.ids)
        weights[i, : len(document.ids)] = torch.tensor(document.weights)
    return ids, weights


def _logits(model: Any, documents: Sequence[Document]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits, targets, weights and document numbers of the tokens that count; the head sees only those."""
    ids, weights = _pad(documents)
    hidden = model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
    weights = weights[:, 1:]
    counted = weights > 0
    return model.lm_head(hidden[counted]), ids[:, 1:][counted], weights[counted], counted.nonzero()[:, 0]


def by_length(documents: Sequence[Document], n_parts: int = N_PARTS) -> list[list[int]]:
    """The documents' numbers in at most ``n_parts`` equal parts of similar length, so that little is padding."""
    ordered = sorted(range(len(documents)), key=lambda i: len(documents[i].ids))
    size = -(-len(ordered) // n_parts)
    return [ordered[i : i + size] for i in range(0, len(ordered), size)]


def backward(model: Any, kinds: Sequence[Sequence[Document]], shares: Sequence[float]) -> list[float]:
    """Weighted mean cross-entropy of each kind's counted tokens; the gradient of their sum by ``shares`` is added.

    Documents of all kinds go through the model together, those of similar length side by side.
    """
    documents = [document for kind in kinds for document in kind]
    numbers = torch.tensor([number for number, kind in enumerate(kinds) for _ in kind])
    counts = torch.tensor([sum(sum(d.weights[1:]) for d in kind) for kind in kinds])
    scale = torch.tensor(shares) / counts
    totals = torch.zeros(len(kinds))
    for part in by_length(documents):
        logits, targets, weights, rows = _logits(model, [documents[i] for i in part])
        kind = numbers[part][rows]
        losses = F.cross_entropy(logits, targets, reduction="none") * weights
        (losses * scale[kind]).sum().backward()
        totals.index_add_(0, kind, losses.detach())
    return [float(loss) for loss in totals / counts]


class Trial:
    """Held-out documents on which copying is measured: their seeds are used for nothing else."""

    def __init__(self, writer: Writer, seed: int, n_documents: int = 48) -> None:
        self._writer = writer
        self._seed = seed
        self._n = n_documents

    def accuracy(self, model: Any, kind: str, level: float) -> float:
        """Share of the values that greedy decoding gets right in documents of this kind."""
        return self.accuracies(model, kind, level, (1.0,))[0]

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def accuracies(self, model: Any, kind: str, level: float, weights: Sequence[float]) -> list[float]:
        """For each weight (1: the values; ``DECISION``): share of its tokens that greedy decoding gets right."""
        documents = self._documents(kind, level)
        model.eval()
        right, counted = [0] * len(weights), [0] * len(weights)
        for part in by_length(documents):
            logits, targets, found, _ = _logits(model, [documents[i] for i in part])
            hits = logits.argmax(-1) == targets
            for number, weight in enumerate(weights):
                mine = torch.isclose(found, torch.tensor(weight))
                right[number] += int(hits[mine].sum())
                counted[number] += int(mine.sum())
        model.train()
        return [n / of for n, of in zip(right, counted, strict=True)]

    def _documents(self, kind: str, level: float) -> list[Document]:
        rng = Random(derive_seed(self._seed, "base", "trial", kind))
        return [getattr(self._writer, kind)(rng, Difficulty(level)) for _ in range(self._n)]


def _advance(config: TinyConfig, state: State, model: Any, trial: Trial) -> dict[str, float]:
    """Measure copying at this level; open the next level, or note that the gate was passed."""
    accuracy = trial.accuracy(model, "notes", state.level)
    tips, decisions = trial.accuracies(model, "diary", 1.0, (1.0, DECISION))
    if state.level < 1.0 and accuracy >= LEVEL_GATE:
        state.level = min(1.0, state.level + LEVEL_STEP)
    elif state.level >= 1.0 and not state.passed_at and state.step >= config.min_steps:
        state.passed_at = state.step if min(accuracy, tips) >= config.copy_gate else 0
    return {"copy_accuracy": accuracy, "decision_accuracy": decisions}


def _latest(state: State, key: str) -> float:
    return next((row[key] for row in reversed(state.history) if key in row), 0.0)


def _save(out_dir: Path, fingerprint: str, model: Any, optimizers: Optimizers, state: State) -> None:
    """The resumable state, atomically."""
    temporary = out_dir / (STATE + ".tmp")
    torch.save(
        {
            "fingerprint": fingerprint,
            "model": model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in optimizers.values()],
            "state": json.dumps(asdict(state)),
        },
        temporary,
    )
    os.replace(temporary, out_dir / STATE)
    write_metrics(out_dir / "metrics.jsonl", state.history)


def _resume(out_dir: Path, fingerprint: str, model: Any, optimizers: Optimizers) -> State:
    """Load an interrupted run's state into model and optimisers; a fresh one where there is none that fits."""
    file = out_dir / STATE
    if not file.is_file():
        return State()
    saved = torch.load(file, weights_only=True)
    if saved["fingerprint"] != fingerprint:
        file.unlink()
        return State()
    model.load_state_dict(saved["model"])
    for optimizer, held in zip(optimizers.values(), saved["optimizers"], strict=True):
        optimizer.load_state_dict(held)
    return State(**json.loads(saved["state"]))
