"""Sums and lists over the processes of a training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from aloe.training.trl_run import processes


def all_sums(values: Sequence[float], device: Any) -> list[float]:
    """Sums over the processes."""
    if processes().num_processes == 1:
        return [float(v) for v in values]
    together = torch.tensor(list(values), dtype=torch.float64, device=device)
    torch.distributed.all_reduce(together)
    found: list[float] = together.tolist()
    return found


def sum_gradients(parameters: Iterable[Any]) -> None:
    """Sum the gradients over the processes; a process without replies has zeros."""
    if processes().num_processes == 1:
        return
    for p in parameters:
        if p.grad is None:
            p.grad = torch.zeros_like(p)
        torch.distributed.all_reduce(p.grad)


def gathered(rows: list[Any]) -> list[Any]:
    """The rows of all processes, in the order of the processes."""
    if processes().num_processes == 1:
        return rows
    from accelerate.utils import gather_object

    found: list[Any] = gather_object(rows)
    return found
