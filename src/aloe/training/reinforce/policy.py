"""A policy that is trained in place: model, reference, optimiser, and the steps on packs of replies with advantages."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from aloe.config import RLConfig
from aloe.errors import ConfigError, DataError
from aloe.models.local.checkpoint import load_model
from aloe.models.local.packaged import resolve
from aloe.models.local.processor import width_of
from aloe.seeding import derive_rng
from aloe.training import precision, trl_run
from aloe.training.data import TokenRows
from aloe.training.fit import open_tokenizer
from aloe.training.memory import Shape
from aloe.training.reinforce.loss import Objective, Tally, k3, policy_loss
from aloe.training.reinforce.together import all_sums, sum_gradients
from aloe.training.trees.drawn import log_probs_of
from aloe.training.trees.model import choose_backend, set_attention
from aloe.training.trees.packs import make_packs

NO_LIMIT = 1 << 30


@dataclass(slots=True)
class Drawn:
    """The replies of one conversation, drawn by the policy.

    Attributes:
        number: of the conversation in its iteration, over all processes.
        rows: token ids as they were decoded, with where each reply begins; the token that ended it is part of it.
        advantages: of each row. weights: of each row in the loss, such as one over the number of its siblings.
        sampled: log-probabilities of each row's reply by the model that drew it, None where that is the policy itself.
        penalties: filled in by ``Policy.measure``: KL to the reference, summed over a reply's tokens.
    """

    number: int
    rows: TokenRows
    advantages: list[float] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    sampled: list[list[float] | None] = field(default_factory=list)
    penalties: list[float] = field(default_factory=list)
    old: list[torch.Tensor] = field(default_factory=list)
    reference: list[torch.Tensor] = field(default_factory=list)


class Policy:
    """The model, trained in place: whoever holds ``model`` decodes with the newest weights.

    Args:
        section: settings. path: the model to start from, which is the reference too.

    Raises:
        DataError: no model or tokenizer there. ConfigError: settings that do not fit the model.
    """

    def __init__(self, section: RLConfig, path: str | Path) -> None:
        if section.lora_dropout:
            raise ConfigError("rl.lora_dropout: ratios of probabilities need a network without dropout", "set it to 0")
        path = resolve(path)
        self.section = section
        self.tokenizer = open_tokenizer(path)
        model = load_model(path, trl_run.weight_dtype(section), trainable=True)
        if section.freeze_embeddings:
            trl_run.freeze_embeddings(model)
        adapter = None if hasattr(model, "peft_config") else trl_run.lora_config(section)
        if adapter is not None:
            from peft import get_peft_model

            with torch.random.fork_rng():
                torch.manual_seed(0)  # the same adapter in all processes, and where a training continues
                model = get_peft_model(model, adapter)
        self.model = model.to(trl_run.device())
        self.plain = model.get_base_model() if hasattr(model, "peft_config") else model
        without_dropout(self.model, section.gradient_checkpointing)
        self.backend, self.reason = choose_backend(self.plain, section.packing)
        set_attention(self.plain, self.backend)
        self._short = precision.compute_dtype(section, width_of(path)) == precision.SHORT
        self._budget = precision.pass_tokens(section, Shape.of(self.plain.config))
        self._reference = self._make_reference()
        self.trained = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        matrices = [p for p in self.trained.values() if p.ndim > 1]
        others = [p for p in self.trained.values() if p.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": section.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW([g for g in groups if g["params"]], lr=section.learning_rate)
        self.n_steps = 0

    def _make_reference(self) -> Any:
        """The starting model: a copy, or with a new adapter the model without it (``None``)."""
        if hasattr(self.model, "peft_config") and self.section.lora_rank and not self._adapter_is_trained():
            return None
        return deepcopy(self.plain).requires_grad_(False)

    def _adapter_is_trained(self) -> bool:
        """Whether the adapter was there before: its second factors begin at 0 only where it is new."""
        return any(bool(p.any()) for name, p in self.model.named_parameters() if "lora_B" in name)

    @contextmanager
    def as_reference(self) -> Iterator[Any]:
        """The plain model with the weights that training started from."""
        if self._reference is not None:
            yield self._reference
            return
        with self.model.disable_adapter():
            yield self.plain

    def _autocast(self) -> Any:
        return torch.autocast(self.plain.device.type, dtype=torch.bfloat16) if self._short else nullcontext()

    def log_probs(self, model: Any, rows: Sequence[TokenRows]) -> tuple[Any, Any, Any]:
        """Of the replies' tokens: log-probabilities, entropies (no gradient), and which places hold one.

        Each has shape (replies, tokens); replies come conversation by conversation.
        """
        with self._autocast():
            return log_probs_of(model, self.backend, rows, self.section.temperature)

    def packs(self, drawn: Sequence[Drawn]) -> list[list[Drawn]]:
        """Conversations that go through the model together."""
        by_key = {d.rows.key: d for d in drawn}
        if len(by_key) != len(drawn):
            raise ValueError("two conversations have one key")
        trees = self.backend != "rows"
        made = make_packs([d.rows for d in drawn], seed=0, budget=self._budget, items=NO_LIMIT, trees=trees)[0]
        return [[by_key[c.key] for c in pack.conversations] for pack in made]

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def measure(self, drawn: Sequence[Drawn]) -> None:
        """Note the log-probabilities of all replies under the policy as it is, and under the reference."""
        for pack in self.packs(drawn) if drawn else ():
            rows = [d.rows for d in pack]
            old, _, mask = self.log_probs(self.plain, rows)
            with self.as_reference() as model:
                reference = self.log_probs(model, rows)[0]
            penalties = torch.where(mask, k3(old, reference), 0.0).sum(1).tolist()
            at = 0
            for d in pack:
                some = slice(at, at + len(d.rows.rows))
                d.old, d.reference, d.penalties = list(old[some]), list(reference[some]), penalties[some]
                at = some.stop

    def mismatch(self, drawn: Sequence[Drawn]) -> dict[str, float]:
        """How far the models that drew the replies are from the policy, over all processes; empty where it drew them.

        Returns:
            Per token: mean absolute gap of log-probabilities (nats), KL divergence (k3), and the share of tokens whose
            importance weight is cut.
        """
        cap, total = math.log(self.section.importance_cap), torch.zeros(4, dtype=torch.float64)
        for d in drawn:
            for old, sampled in zip(d.old, d.sampled, strict=False):
                if sampled is not None:
                    gap = old[: len(sampled)].double().cpu() - torch.tensor(sampled, dtype=torch.float64)
                    found = [len(gap), gap.abs().sum(), k3(-gap, torch.zeros_like(gap)).sum(), (gap > cap).sum()]
                    total += torch.tensor(found, dtype=torch.float64)
        n, size, divergence, cut = all_sums(total.tolist(), self.plain.device)
        return {"mismatch": size / n, "mismatch_kl": divergence / n, "mismatch_cut": cut / n} if n else {}

    def update(
        self, drawn: Sequence[Drawn], n_conversations: int, iteration: int, seed: int, rate: float = 1.0
    ) -> dict[str, float]:
        """Optimiser steps on an iteration's replies, whose ``measure`` and advantages are there.

        Args:
            drawn: this process's part. n_conversations: of all processes.
            rate: share of the learning rate, in (0, 1].

        Returns:
            Figures over all processes: loss, length of the gradient, entropy, ratios, share of clipped tokens; and the
            KL divergence from the reference (k3, per token) of the policy that drew the replies, since under another
            one the estimate is not bounded.

        Raises:
            DataError: the loss or its gradient is infinite or undefined.
        """
        counted = [sum(len(d.rows.rows) for d in drawn), sum(_n_tokens(d.rows) for d in drawn)]
        penalties = sum(sum(d.penalties) for d in drawn)
        n_rows, n_tokens, divergence = all_sums([*counted, penalties], self.plain.device)
        objective = Objective.of(self.section, n_tokens / max(1.0, n_rows))
        tally, losses, norms = Tally(), [], []
        for number in range(self.section.passes):
            order = derive_rng(seed, "rl", "minibatches", iteration, number).permutation(n_conversations)
            size = -(-n_conversations // self.section.minibatches)
            for start in range(0, n_conversations, size):
                part = set(order[start : start + size].tolist())
                mine = [d for d in drawn if d.number in part]
                loss, norm = self._step(mine, len(part), objective, tally, rate)
                losses.append(loss)
                norms.append(norm)
        figures = {"loss": sum(losses) / len(losses), "grad_norm": sum(norms) / len(norms), **_figures(tally)}
        return {**figures, "kl": divergence / max(1.0, n_tokens)}

    def _step(
        self, drawn: Sequence[Drawn], n: int, objective: Objective, tally: Tally, rate: float
    ) -> tuple[float, float]:
        """One optimiser step on the mean over ``n`` conversations; its loss and the length of its gradient."""
        for group in self.optimiser.param_groups:
            warm = min(1.0, (self.n_steps + 1) / max(1, self.section.warmup_steps))
            group["lr"] = self.section.learning_rate * warm * rate
        loss = self.gradient(drawn, n, objective, tally)
        norm = float(torch.nn.utils.clip_grad_norm_(list(self.trained.values()), self.section.max_grad_norm))
        if not all(torch.isfinite(torch.tensor([loss, norm]))):
            raise DataError(f"step {self.n_steps + 1} has loss {loss} and gradient {norm}", "lower rl.learning_rate")
        self.optimiser.step()
        self.n_steps += 1
        return loss, norm

    def gradient(self, drawn: Sequence[Drawn], n: int, objective: Objective, tally: Tally) -> float:
        """Leave the gradient of the mean loss over ``n`` conversations in the parameters, over all processes.

        Returns:
            That loss. ``tally`` gets what was seen on the way.
        """
        self.optimiser.zero_grad()
        total, mine = 0.0, Tally()
        for pack in self.packs(drawn) if drawn else ():
            log_probs, entropy, mask = self.log_probs(self.plain, [d.rows for d in pack])
            width = log_probs.shape[1]
            old, reference = (_stacked(pack, name, width, log_probs) for name in ("old", "reference"))
            gains = log_probs.new_tensor([a for d in pack for a in d.advantages])
            weights = log_probs.new_tensor([w for d in pack for w in d.weights])
            losses, ratio, clipped = policy_loss(
                log_probs, old, mask, gains, objective, reference=reference, drawn=_by_others(pack, old)
            )
            loss = (losses * weights).sum() / n
            loss.backward()
            total += float(loss.detach())
            _count(mine, mask, entropy, ratio, clipped)
        sum_gradients(self.trained.values())
        summed = all_sums([total, *mine.values()[:-1]], self.plain.device)
        tally.add([*summed[1:], mine.largest])
        return summed[0]


def without_dropout(model: Any, checkpointing: bool) -> None:
    """Switch all dropout off, also where recomputing activations needs the training mode."""
    model.eval()
    if not checkpointing:
        return
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.gradient_checkpointing_enable()
    model.train()


def _n_tokens(rows: TokenRows) -> int:
    return sum(len(row) - start for row, start in zip(rows.rows, rows.starts, strict=True))


def _stacked(pack: Sequence[Drawn], name: str, width: int, like: torch.Tensor) -> torch.Tensor:
    """What ``measure`` noted, one row per reply, cut or padded to ``width``."""
    rows = [row[:width] for d in pack for row in getattr(d, name)]
    found = like.new_zeros(len(rows), width)
    for i, row in enumerate(rows):
        found[i, : len(row)] = row
    return found


def _by_others(pack: Sequence[Drawn], like: torch.Tensor) -> torch.Tensor | None:
    """Log-probabilities by the models that drew the replies, NaN where that was the policy; None where it was all."""
    if not any(row is not None for d in pack for row in d.sampled):
        return None
    found = torch.full_like(like, math.nan)
    for i, row in enumerate(row for d in pack for row in d.sampled):
        if row is not None:
            found[i, : len(row)] = found.new_tensor(row)
    return found


def _count(tally: Tally, mask: Any, entropy: Any, ratio: Any, clipped: Any) -> None:
    def total(x: Any) -> float:
        return float(torch.where(mask, x, torch.zeros_like(x)).sum())

    largest = float(ratio[mask].max()) if bool(mask.any()) else 0.0
    tally.add([float(mask.sum()), total(entropy), total(ratio), total(ratio * ratio), float(clipped.sum()), largest])


def _figures(tally: Tally) -> dict[str, float]:
    n = max(1.0, tally.tokens)
    mean = tally.ratio / n
    spread = max(0.0, tally.ratio_squared / n - mean**2) ** 0.5
    return {
        "entropy": tally.entropy / n,
        "ratio_mean": mean,
        "ratio_std": spread,
        "ratio_max": tally.largest,
        "clipped": tally.clipped / n,
    }
