"""A faster forward pass for peft's LoRA layers on a CPU in bfloat16.

peft casts the input twice and goes over the output three more times (product, scale, sum) in every layer, which is much
where bfloat16 makes the products themselves short. One bfloat16 copy of an input is saved for the backward pass, shared
by the layers that read it.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

SHORT = torch.bfloat16


class AdaptedLinear(torch.autograd.Function):
    """``x @ weight.T + bias + scale * (x @ a.T) @ b.T`` in bfloat16, with gradients for ``x``, ``a`` and ``b``.

    Shapes: ``x`` (..., inputs), ``short`` the same in bfloat16, ``weight`` (outputs, inputs), ``a`` (rank, inputs),
    ``b`` (outputs, rank). ``a`` and ``b`` are float32, and so are their gradients.
    """

    @staticmethod
    def forward(ctx: Any, x: Any, short: Any, weight: Any, bias: Any, a: Any, b: Any, scale: float) -> Any:
        inputs, down, up = short.reshape(-1, x.shape[-1]), a.to(SHORT), (b * scale).to(SHORT)
        narrow = inputs @ down.t()
        out = torch.nn.functional.linear(inputs, weight, bias).addmm_(narrow, up.t())
        ctx.save_for_backward(inputs, narrow, weight, down, up)
        ctx.scale, ctx.kind = scale, x.dtype
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        inputs, narrow, weight, down, up = ctx.saved_tensors
        grad = grads[0].to(SHORT)
        flat = grad.reshape(-1, grad.shape[-1])
        back = flat @ up
        to_x = None
        if ctx.needs_input_grad[0]:
            to_x = torch.mm(flat, weight).addmm_(back, down).view(*grad.shape[:-1], -1).to(ctx.kind)
        to_a = torch.mm(back.t(), inputs).float()
        to_b = torch.mm(flat.t(), narrow).float() * ctx.scale
        return to_x, None, None, None, to_a, to_b, None


class _Shared:
    """The bfloat16 copy of the last input: queries, keys and values are made from one tensor, and so are two gates."""

    def __init__(self) -> None:
        self._last: torch.Tensor | None = None
        self._short = torch.empty(0)

    def short(self, x: torch.Tensor) -> torch.Tensor:
        if x.dtype == SHORT:
            return x.detach()
        if x is not self._last:
            self._last, self._short = x, x.detach().to(SHORT)
        return self._short

    def clear(self) -> None:
        self._last = None


@contextmanager
def lean_adapters(model: Any) -> Iterator[None]:
    """Let the LoRA layers of ``model`` multiply as ``AdaptedLinear`` does, under autocast on a CPU.

    Layers with anything more (dropout, several adapters, weights that are trained themselves, variants such as DoRA)
    stay peft's.
    """
    from peft.tuners.lora import Linear

    shared = _Shared()
    changed = [layer for layer in model.modules() if isinstance(layer, Linear) and _is_plain(layer)]
    for layer in changed:
        layer.forward = types.MethodType(_forward(layer.forward, shared), layer)
    try:
        yield
    finally:
        shared.clear()
        for layer in changed:
            del layer.forward


def _is_plain(layer: Any) -> bool:
    base = layer.get_base_layer()
    names = list(layer.active_adapters)
    return (
        type(base) is torch.nn.Linear
        and base.weight.dtype == SHORT
        and not base.weight.requires_grad
        and (base.bias is None or not base.bias.requires_grad)
        and len(names) == 1
        and names[0] in layer.lora_A
        and names[0] not in layer.lora_variant
        and isinstance(layer.lora_dropout[names[0]], torch.nn.Identity)
        and layer.lora_A[names[0]].bias is None
        and layer.lora_B[names[0]].bias is None
        and not layer.merged
    )


def _forward(plain: Any, shared: _Shared) -> Any:
    def forward(self: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if args or kwargs or self.disable_adapters or self.merged or not torch.is_autocast_enabled("cpu"):
            return plain(x, *args, **kwargs)
        (name,) = self.active_adapters
        base = self.get_base_layer()
        bias = None if base.bias is None else base.bias.to(SHORT)
        a, b = self.lora_A[name].weight, self.lora_B[name].weight
        with torch.autocast("cpu", enabled=False):
            return AdaptedLinear.apply(x, shared.short(x), base.weight, bias, a, b, self.scaling[name])

    return forward
