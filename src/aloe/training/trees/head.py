"""Log-probabilities of target tokens from hidden states, without keeping large logits.

The language-model head sees only nodes that predict a target. Logits are made a slab of rows at a time; up to
``KEPT_LOGITS`` numbers their softmax is kept for the backward pass, beyond that it is made again.
"""

from __future__ import annotations

from typing import Any

import torch

KEPT_LOGITS = 1 << 22
SLAB = 1 << 23  # logits at a time


class TargetLogProbs(torch.autograd.Function):
    """``(log_probs, entropy, mean_logits, is_top1)``, each (targets,), for ``states @ weight.T + bias``.

    Shapes: ``states`` (targets, width), ``weight`` (vocabulary, width), ``labels`` (targets,). Only ``log_probs``
    has a gradient. Sums are in float32, in float64 for float64 states.
    """

    @staticmethod
    def forward(ctx: Any, states: Any, weight: Any, bias: Any, labels: Any) -> Any:
        n, vocabulary = len(states), len(weight)
        precise = torch.promote_types(states.dtype, torch.float32)
        log_probs, entropy, mean_logits, level = (torch.empty(n, dtype=precise) for _ in range(4))
        is_top1 = torch.empty(n, dtype=torch.bool)
        kept = []
        for at in _slabs(n, vocabulary):
            logits = torch.nn.functional.linear(states[at], weight, bias).to(precise)
            wanted = logits.gather(1, labels[at, None])[:, 0]
            highest = logits.amax(1)
            powers = (logits - highest[:, None]).exp_()
            total = powers.sum(1)
            level[at] = highest + total.log()
            log_probs[at] = wanted - level[at]
            entropy[at] = level[at] - torch.bmm(powers[:, None], logits[:, :, None])[:, 0, 0] / total
            mean_logits[at] = logits.mean(1)
            is_top1[at] = highest <= wanted
            if n * vocabulary <= KEPT_LOGITS:
                kept.append(powers.div_(total[:, None]))
        ctx.save_for_backward(states, weight, bias, labels, level, *kept)
        ctx.mark_non_differentiable(entropy, mean_logits, is_top1)
        return log_probs, entropy, mean_logits, is_top1

    @staticmethod
    def backward(ctx: Any, grad: Any, *_: Any) -> Any:
        states, weight, bias, labels, level, *kept = ctx.saved_tensors
        to_states, to_weight, to_bias = (
            torch.zeros_like(x) if need else None
            for x, need in zip((states, weight, bias), ctx.needs_input_grad[:3], strict=True)
        )
        for number, at in enumerate(_slabs(len(states), len(weight))):
            if kept:
                slope = kept[number]
            else:
                logits = torch.nn.functional.linear(states[at], weight, bias).to(level.dtype)
                slope = logits.sub_(level[at, None]).exp_()
            slope = slope * -grad[at, None]
            slope.scatter_add_(1, labels[at, None], grad[at, None])
            slope = slope.to(states.dtype)
            if to_states is not None:
                torch.mm(slope, weight, out=to_states[at])
            if to_weight is not None:
                to_weight.addmm_(slope.t(), states[at])
            if to_bias is not None:
                to_bias += slope.sum(0)
        return to_states, to_weight, to_bias, None


def _slabs(n: int, vocabulary: int) -> list[slice]:
    rows = max(1, SLAB // vocabulary)
    return [slice(start, min(n, start + rows)) for start in range(0, n, rows)]
