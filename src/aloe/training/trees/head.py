"""Log-probabilities of target tokens from hidden states, without keeping logits where they would be large.

The language-model head sees only nodes that predict a target. Logits are made a slab of rows at a time. Up to
``KEPT_LOGITS`` numbers their softmax is kept for the backward pass. Beyond that the forward pass makes the slope of
each log-probability towards its hidden state while the softmax is there; only a head that is trained itself needs the
logits a second time.
"""

from __future__ import annotations

from typing import Any

import torch

KEPT_LOGITS = 1 << 22
SLAB = 1 << 23  # logits at a time


class TargetLogProbs(torch.autograd.Function):
    """``(log_probs, entropy, mean_logits, is_top1)``, each (targets,), for ``states @ weight.T + bias``.

    Shapes: ``states`` (targets, width), ``weight`` (vocabulary, width), ``labels`` (targets,). Only ``log_probs``
    has a gradient. Sums are in float32, in float64 for float64 states. ``short``: multiply in bfloat16.
    """

    @staticmethod
    def forward(ctx: Any, states: Any, weight: Any, bias: Any, labels: Any, short: bool = False) -> Any:
        with torch.autocast(states.device.type, enabled=False):
            return _forward(ctx, states, weight, bias, labels, torch.bfloat16 if short else states.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Any, *_: Any) -> Any:
        states, weight, bias, labels, level, slopes, *kept = ctx.saved_tensors
        needs = (ctx.needs_input_grad[0] and slopes is None, *ctx.needs_input_grad[1:3])
        to_states, to_weight, to_bias = (
            torch.zeros_like(x) if need else None for x, need in zip((states, weight, bias), needs, strict=True)
        )
        slabs = enumerate(_slabs(len(states), len(weight))) if any(needs) else ()
        kind = ctx.kind
        inputs, matrix = states.to(kind), weight.to(kind) if any(needs) else None
        for number, at in slabs:
            slope = (
                kept[number] if kept else _logits(inputs[at], matrix, bias, level.dtype).sub_(level[at, None]).exp_()
            )
            slope = slope * -grad[at, None] if kept else slope.mul_(-grad[at, None])
            slope.scatter_add_(1, labels[at, None], grad[at, None])
            slope = slope.to(kind)
            if to_states is not None:
                to_states[at] = torch.mm(slope, matrix)
            if to_weight is not None and kind == to_weight.dtype:
                to_weight.addmm_(slope.t(), inputs[at])
            elif to_weight is not None:
                to_weight += torch.mm(slope.t(), inputs[at])
            if to_bias is not None:
                to_bias += slope.sum(0, dtype=to_bias.dtype)
        if slopes is not None:
            to_states = (slopes * grad[:, None]).to(states.dtype)
        return to_states, to_weight, to_bias, None, None


def _forward(ctx: Any, states: Any, weight: Any, bias: Any, labels: Any, kind: torch.dtype) -> Any:
    n, vocabulary = len(states), len(weight)
    precise = torch.promote_types(states.dtype, torch.float32)
    log_probs, entropy, mean_logits, level = (torch.empty(n, dtype=precise) for _ in range(4))
    is_top1 = torch.empty(n, dtype=torch.bool)
    inputs, matrix = states.to(kind), weight.to(kind)
    keeps = n * vocabulary <= KEPT_LOGITS
    slopes = None if keeps or not ctx.needs_input_grad[0] else torch.empty(states.shape, dtype=precise)
    kept = []
    for at in _slabs(n, vocabulary):
        logits = _logits(inputs[at], matrix, bias, precise)
        wanted = logits.gather(1, labels[at, None])[:, 0]
        highest = logits.amax(1)
        powers = (logits - highest[:, None]).exp_()
        total = powers.sum(1)
        level[at] = highest + total.log()
        log_probs[at] = wanted - level[at]
        entropy[at] = level[at] - torch.bmm(powers[:, None], logits[:, :, None])[:, 0, 0] / total
        mean_logits[at] = logits.mean(1)
        is_top1[at] = highest <= wanted
        if keeps:
            kept.append(powers.div_(total[:, None]))
        elif slopes is not None:
            expected = torch.mm(powers.div_(total[:, None]).to(kind), matrix)
            slopes[at] = weight[labels[at]].to(precise) - expected.to(precise)
    ctx.kind = kind
    ctx.save_for_backward(states, weight, bias, labels, level, slopes, *kept)
    ctx.mark_non_differentiable(entropy, mean_logits, is_top1)
    return log_probs, entropy, mean_logits, is_top1


def _logits(states: Any, weight: Any, bias: Any, precise: torch.dtype) -> Any:
    return torch.nn.functional.linear(states, weight, None if bias is None else bias.to(states.dtype)).to(precise)


def _slabs(n: int, vocabulary: int) -> list[slice]:
    rows = max(1, SLAB // vocabulary)
    return [slice(start, min(n, start + rows)) for start in range(0, n, rows)]
