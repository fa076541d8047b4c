"""Metrics over packs of unequal sizes: exact means over all pairs or tokens of a step, in all processes.

TRL gathers one number a pair from every process, which needs equally many in each, and averages the means of forward
passes, which needs passes of equal sizes. Packs are neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True, slots=True)
class Counts:
    """What a forward pass was over, in all processes: pairs (SFT: rows), target tokens of the chosen and rejected."""

    items: float
    chosen: float
    rejected: float

    def weight(self, key: str) -> float:
        """How much a pass counts in the mean of the metric ``key``."""
        if key == "logits/rejected":
            return self.rejected
        if key in ("logits/chosen", "mean_token_accuracy"):
            return self.chosen
        return self.chosen + self.rejected if key == "entropy" else self.items


class UnequalGather:
    """An accelerator whose ``gather`` takes tensors that differ in length and leaves out processes that do not count.

    Args:
        counts: whether this process' pack is of the data, and not there to make up the number.
    """

    def __init__(self, accelerator: Any, counts: bool) -> None:
        self._accelerator = accelerator
        self._counts = counts

    def __getattr__(self, name: str) -> Any:
        return getattr(self._accelerator, name)

    def gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensors (scalars or vectors) of all processes that count, one after the other."""
        if self._accelerator.num_processes == 1:
            return tensor
        values = tensor.reshape(-1)
        size = torch.tensor([len(values) if self._counts else 0], device=values.device)
        sizes: list[int] = self._accelerator.gather(size).tolist()
        padded = values.new_zeros(max(sizes))
        padded[: int(size)] = values[: int(size)]
        parts = self._accelerator.gather(padded).split(max(sizes))
        return torch.cat([part[:n] for part, n in zip(parts, sizes, strict=True)])

    gather_for_metrics = gather


def exact_means(metrics: Mapping[str, Sequence[float]], passes: Sequence[Counts]) -> dict[str, list[float]]:
    """Each metric's means of forward passes as one mean over everything; what was not logged once a pass stays."""
    found: dict[str, list[float]] = {}
    for key, values in metrics.items():
        weights = [counts.weight(key) for counts in passes]
        total = sum(weights)
        if len(values) != len(passes) or not total:
            found[key] = list(values)
        else:
            found[key] = [sum(v * w for v, w in zip(values, weights, strict=True)) / total]
    return found
