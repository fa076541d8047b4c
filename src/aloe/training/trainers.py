"""TRL's DPOTrainer and SFTTrainer over packs of conversation trees.

What is ours: the data set is packs that are tokenised already, the model takes ``tree=`` (``trees.model``), reference
log-probabilities are stored with the packs, and pairs weigh equally. What is TRL's: every loss, LoRA, metrics,
checkpoints, several processes.

Equal weight: with ``n`` pairs in a forward pass, ``N`` in the optimiser step over all processes and accumulated
passes, and ``W`` processes over which gradients are averaged, the pass's mean loss counts ``W n / N``. The likelihood
term is a mean over tokens, and counts by tokens likewise. TRL's SFT loss is divided by the step's tokens as it is.
An evaluation weighs its packs as if they were one step. Metrics: see ``gather``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from trl import DPOTrainer, SFTTrainer

from aloe.training.gather import Counts, UnequalGather, exact_means
from aloe.training.trees.model import add_trees, attention_of, set_attention
from aloe.training.trees.packs import Collator, Pack
from aloe.training.trees.rope import angle_bound, run_rows_apart
from aloe.training.trl_run import is_sharded


def pack_dataset(packs: Sequence[Pack], start: int = 0) -> Any:
    """The packs as a data set of their numbers, counted from ``start``."""
    return Dataset.from_dict({"pack": list(range(start, start + len(packs)))})


class _OnPacks:
    """What both trainers share. ``packs``: those of training, then those of evaluation."""

    model: Any
    accelerator: Any
    args: Any
    ref_model: Any
    _metrics: dict[str, Any]

    def _take(self, packs: Sequence[Pack], backend: str, reference: Path | None) -> None:
        self.packs = list(packs)
        self.backend = backend
        self._reference_file = reference
        self._has_trees = False
        self._step_items = self._step_tokens = 0.0
        self._evaluated = 0.0
        self._passes: dict[str, list[Counts]] = {"train": [], "eval": []}

    def collator(self, tokenizer: Any) -> Collator:
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        return Collator(self.packs, pad, self.backend != "rows")

    def add_trees(self) -> None:
        """After TRL has added its fused head, before the first forward pass."""
        if self._has_trees:
            return
        self._has_trees = True
        for model in (self.model, getattr(self, "ref_model", None)):
            if model is None:
                continue
            base = model.get_base_model() if hasattr(model, "get_base_model") else model
            bound = angle_bound(base.config)
            if self.backend != "rows":
                add_trees(base, self.backend)
                continue
            if self.args.bf16 and base.device.type == "cpu" and attention_of(base) == "sdpa":
                set_attention(base, "segments")  # for rows it is sdpa with a backward pass in float32
            if bound is not None and not is_sharded():  # sharded weights need equally many passes in all processes
                run_rows_apart(base, bound)

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        return dataset

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns = ["pack"]

    def _count(self, batch: dict[str, Any]) -> tuple[float, float, float]:
        """Pairs, chosen and rejected tokens of a batch, or rows and target tokens; nothing where the weight is 0."""
        if not float(batch["weight"].sum()):
            return 0.0, 0.0, 0.0
        if "labels" in batch:
            return float(len(batch["labels"])), float((batch["labels"][:, 1:] != -100).sum()), 0.0
        chosen, rejected = batch["completion_mask"][:, 1:].chunk(2)
        return float(len(chosen)), float(chosen.sum()), float(rejected.sum())

    def _summed(self, numbers: Any, device: Any) -> list[float]:
        """Sums over the processes."""
        mine = torch.tensor([numbers], dtype=torch.float64, device=device)
        found: list[float] = self.accelerator.gather(mine).sum(0).tolist()
        return found

    def get_batch_samples(self, epoch_iterator: Iterator[Any], num_batches: int, device: Any) -> Any:
        samples, n_items = super().get_batch_samples(epoch_iterator, num_batches, device)  # type: ignore[misc]
        counts = [self._count(batch) for batch in samples]
        totals = [sum(count[i] for count in counts) for i in (0, 1)]
        self._step_items, self._step_tokens = self._summed(totals, device)
        return samples, n_items

    @contextmanager
    def _exactly(self, batch: dict[str, Any]) -> Iterator[tuple[float, float]]:
        """Metrics are taken over pairs and tokens of all processes; yields what part of the step this batch is.

        The parts, by pairs and by (chosen) tokens, are those of the gradient, which is averaged over the processes; of
        an evaluation, which is summed, they are parts of the whole.
        """
        items, chosen, rejected = self._count(batch)
        del batch["weight"]
        mode = "train" if self.model.training else "eval"
        self._passes[mode].append(Counts(*self._summed([items, chosen, rejected], batch["input_ids"].device)))
        n = self.accelerator.num_processes if self.model.training else 1
        plain = self.accelerator
        self.accelerator = UnequalGather(plain, items > 0)
        try:
            yield n * items / max(1.0, self._step_items), n * chosen / max(1.0, self._step_tokens)
        finally:
            self.accelerator = plain

    def evaluation_loop(self, dataloader: Any, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> Any:
        """The trainer's own, with the loss over all of the set's pairs (SFT: target tokens)."""
        packs = [self.packs[number] for number in dataloader.dataset["pack"] if self.packs[number].weight]
        before = self._step_items, self._step_tokens
        self._step_items = sum(pack.n_items for pack in packs)
        self._step_tokens = sum(pack.n_targets for pack in packs)
        self._evaluated = 0.0
        kwargs["metric_key_prefix"] = metric_key_prefix
        output = super().evaluation_loop(dataloader, *args, **kwargs)  # type: ignore[misc]
        self._step_items, self._step_tokens = before
        output.metrics[f"{metric_key_prefix}_loss"] = self._summed([self._evaluated], self.accelerator.device)[0]
        return output

    def prediction_step(self, *args: Any, **kwargs: Any) -> Any:
        found = super().prediction_step(*args, **kwargs)  # type: ignore[misc]
        self._evaluated += float(found[0])
        return found

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        mode = "train" if self.model.training else "eval"
        self._metrics[mode].update(exact_means(self._metrics[mode], self._passes[mode]))
        self._passes[mode].clear()
        super().log(logs, *args, **kwargs)  # type: ignore[misc]


class TreeDPOTrainer(_OnPacks, DPOTrainer):  # type: ignore[misc]
    """DPO on packs.

    Args:
        packs: training packs, then evaluation packs. n_train: how many are for training.
        backend: form of attention, see ``trees.model.choose_backend``.
        reference: file in which reference log-probabilities are kept for a resumed run; None: nowhere.
    """

    def __init__(
        self, *, packs: Sequence[Pack], n_train: int, backend: str, reference: Path | None = None, **options: Any
    ) -> None:
        self._take(packs, backend, reference)
        tokenizer = options["processing_class"]
        if n_train < len(packs):
            options["eval_dataset"] = pack_dataset(packs[n_train:], n_train)
        super().__init__(train_dataset=pack_dataset(packs[:n_train]), data_collator=self.collator(tokenizer), **options)
        self.add_trees()
        self.loss_is_scaled_for_ga = True

    loss_weights: list[float]

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        weights: list[float] = self.loss_weights
        try:
            with self._exactly(inputs) as (share, token_share):
                ratio = token_share / share if share else 1.0
                self.loss_weights = [
                    weight * (ratio if kind == "sft" else 1.0)
                    for kind, weight in zip(self.loss_types, weights, strict=True)
                ]
                result = super().compute_loss(model, inputs, return_outputs)
        finally:
            self.loss_weights = weights
        return (result[0] * share, result[1]) if return_outputs else result * share

    def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
        """Reference log-probabilities, stored with the packs; each process computes its share of them."""
        self.add_trees()
        numbers = dataset["pack"]
        file = self._reference_file and self._reference_file.with_suffix(f".{name}.npz")
        rank, n = self.accelerator.process_index, self.accelerator.num_processes
        is_there = file is not None and file.is_file()
        if file is not None and self._summed([is_there], self.accelerator.device)[0] == n:  # on every machine
            with np.load(file) as kept:
                for number in numbers:
                    self.packs[number].reference = kept[str(number)]
            return dataset
        mine = {}
        model = self.ref_model or self.model
        was_training = model.training
        model.eval()
        for at in range(0, len(numbers), n):  # all processes go the same number of rounds, as sharded models need
            number = numbers[min(at + rank, len(numbers) - 1)]
            batch = self.data_collator([{"pack": number}])
            del batch["weight"]
            batch = {key: value.to(self.accelerator.device) for key, value in batch.items()}
            with self.accelerator.autocast():  # the model is not prepared yet, and must multiply as it will in training
                chosen, rejected = self.compute_ref_log_probs(model, batch)
            mine[number] = torch.stack([chosen, rejected]).float().cpu().numpy()
            if chosen.dtype == torch.float64:
                mine[number] = torch.stack([chosen, rejected]).cpu().numpy()
        model.train(was_training)
        found = mine
        if n > 1:
            from accelerate.utils import gather_object

            found = {number: array for part in gather_object([mine]) for number, array in part.items()}
        for number in numbers:
            self.packs[number].reference = found[number]
        if file is not None and self.accelerator.is_main_process:
            temporary = file.with_suffix(".tmp.npz")
            np.savez(temporary, **{str(number): found[number] for number in numbers})
            temporary.replace(file)
        return dataset


class TreeSFTTrainer(_OnPacks, SFTTrainer):  # type: ignore[misc]
    """SFT on packs: every row's reply is a target. Arguments as for ``TreeDPOTrainer``."""

    def __init__(self, *, packs: Sequence[Pack], n_train: int, backend: str, **options: Any) -> None:
        self._take(packs, backend, None)
        tokenizer = options["processing_class"]
        if n_train < len(packs):
            options["eval_dataset"] = pack_dataset(packs[n_train:], n_train)
        super().__init__(train_dataset=pack_dataset(packs[:n_train]), data_collator=self.collator(tokenizer), **options)
        self.add_trees()

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        with self._exactly(inputs) as (_, token_share):
            share = 1.0 if self.model.training else token_share
            result = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        return (result[0] * share, result[1]) if return_outputs else result * share
