"""Log-probabilities and entropies of drawn replies, packed or as rows, at the temperature that they were drawn with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from aloe.training.data import TokenRows
from aloe.training.trees.head import TargetLogProbs
from aloe.training.trees.model import has_special_head, pack_inputs, tree_inputs
from aloe.training.trees.trie import build_trie


def log_probs_of(
    model: Any, backend: str, conversations: Sequence[TokenRows], temperature: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """``(log_probs, entropy, mask)`` of the replies' tokens, each (rows, longest reply); rows in the order given.

    Only ``log_probs`` has a gradient. ``backend`` ``rows``: every row with its whole history, padded on the right.

    Args:
        model: a causal language model whose attention is set for ``backend``; adapters in place.
        temperature: logits are divided by it.
    """
    if backend == "rows":
        return _of_rows(model, conversations, temperature)
    tries = [build_trie(c.rows) for c in conversations]
    tree = tree_inputs(tries, [c.starts for c in conversations]).to(model.device)
    inputs = pack_inputs(model, backend, tree)
    found = _of_targets(model, inputs, tree.predictors, tree.labels, temperature)
    mask = tree.scatter >= 0
    at = tree.scatter.clamp(min=0)
    log_probs, entropy = (torch.where(mask, x[at], torch.zeros((), dtype=x.dtype, device=x.device)) for x in found)
    return log_probs, entropy, mask


def _of_targets(
    model: Any, inputs: dict[str, Any], predictors: torch.Tensor, labels: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability and entropy at each of ``predictors``, numbers of places among all rows' columns."""
    if inputs["input_ids"].device.type == "cpu" and not has_special_head(model):
        states = model.base_model(**inputs).last_hidden_state.flatten(0, 1).index_select(0, predictors)
        head = model.get_output_embeddings()
        bias = None if head.bias is None else head.bias / temperature
        short = torch.is_autocast_enabled("cpu")
        log_probs, entropy, _, _ = TargetLogProbs.apply(states / temperature, head.weight, bias, labels, short)
        return log_probs, entropy
    logits = model(**inputs).logits.flatten(0, 1).index_select(0, predictors).float() / temperature
    logs = torch.log_softmax(logits, -1)
    with torch.no_grad():
        entropy = -(logs.exp() * logs).sum(-1)
    return logs.gather(1, labels[:, None])[:, 0], entropy


def _of_rows(
    model: Any, conversations: Sequence[TokenRows], temperature: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rows = [row for c in conversations for row in c.rows]
    starts = [start for c in conversations for start in c.starts]
    width, longest = max(map(len, rows)), max(len(row) - s for row, s in zip(rows, starts, strict=True))
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    seen = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros(len(rows), longest, dtype=torch.bool)
    predictors: list[torch.Tensor] = []
    labels: list[int] = []
    for i, (row, start) in enumerate(zip(rows, starts, strict=True)):
        ids[i, : len(row)] = torch.tensor(row)
        seen[i, : len(row)] = 1
        mask[i, : len(row) - start] = True
        predictors.append(torch.arange(start - 1, len(row) - 1) + i * width)
        labels += row[start:]
    device = model.device
    inputs = {"input_ids": ids.to(device), "attention_mask": seen.to(device), "use_cache": False}
    mask = mask.to(device)
    targets = torch.tensor(labels, device=device)
    found = _of_targets(model, inputs, torch.cat(predictors).to(device), targets, temperature)
    log_probs, entropy = (x.new_zeros(mask.shape).masked_scatter(mask, x) for x in found)
    return log_probs, entropy, mask
