"""peft's LoRA layers on a CPU in bfloat16: rounded once instead of twice, and faster.

peft adds what the adapter makes to a product that is already rounded to bfloat16. What is less than half of that
rounding is lost, and at the start of a training this is most of it: SmolLM2-135M learns visibly slower than in float32.
Here both are one product, over the inputs and, beside them, their ``rank`` narrow ones, so that the sum is rounded
once. This also saves peft's casts and its three passes over the output. One bfloat16 copy of an input is shared by the
layers that read it.
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

    Shapes: ``x`` (..., inputs), ``wide`` (rows of x, inputs + rank): ``x`` in bfloat16 and room for the narrow inputs,
    ``block`` (outputs, inputs + rank): ``weight`` in bfloat16 and room for ``scale * b``, ``a`` (rank, inputs), ``b``
    (outputs, rank). ``a`` and ``b`` are float32, and so are their gradients.
    """

    @staticmethod
    def forward(ctx: Any, x: Any, wide: Any, block: Any, bias: Any, a: Any, b: Any, scale: float) -> Any:
        n = x.shape[-1]
        inputs, weight, down = wide[:, :n], block[:, :n], a.to(SHORT)
        wide[:, n:] = inputs @ down.t()
        block[:, n:] = b * scale
        out = torch.nn.functional.linear(wide, block, bias)
        # The next layer overwrites the room beside the inputs, hence the copies; the inputs themselves stay.
        ctx.save_for_backward(wide[:, n:].clone(), down, block[:, n:].clone())
        ctx.inputs, ctx.weight, ctx.scale, ctx.kind = inputs, weight, scale, x.dtype
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        narrow, down, up = ctx.saved_tensors
        grad = grads[0].to(SHORT)
        flat = grad.reshape(-1, grad.shape[-1])
        back = flat @ up
        to_x = None
        if ctx.needs_input_grad[0]:
            to_x = torch.mm(flat, ctx.weight).addmm_(back, down).view(*grad.shape[:-1], -1).to(ctx.kind)
        to_a = torch.mm(back.t(), ctx.inputs).float()
        to_b = torch.mm(flat.t(), narrow).float() * ctx.scale
        return to_x, None, None, None, to_a, to_b, None


class _Shared:
    """The wide bfloat16 copy of the last input: queries, keys and values come from one tensor, and so do two gates."""

    def __init__(self) -> None:
        self._last: torch.Tensor | None = None
        self._wide = torch.empty(0)

    def wide(self, x: torch.Tensor, rank: int) -> torch.Tensor:
        """Rows of ``x`` in bfloat16 with room for ``rank`` more columns; the same one until another input comes."""
        n = x.shape[-1]
        if x is not self._last or self._wide.shape[1] != n + rank:
            self._wide = torch.empty(x.numel() // n, n + rank, dtype=SHORT, device=x.device)
            self._wide[:, :n] = x.detach().reshape(-1, n)
            self._last = x
        return self._wide

    def clear(self) -> None:
        self._last, self._wide = None, torch.empty(0)


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
        layer.forward = types.MethodType(_forward(layer.forward, shared, _blocked(layer)), layer)
    try:
        yield
    finally:
        shared.clear()
        for layer in changed:
            del layer.forward
            weight = layer.get_base_layer().weight
            weight.data = weight.data.contiguous()


def _blocked(layer: Any) -> torch.Tensor:
    """A matrix with room for the adapter's; the layer's weight becomes its first columns."""
    weight = layer.get_base_layer().weight
    (name,) = layer.active_adapters
    block = weight.data.new_empty(weight.shape[0], weight.shape[1] + layer.r[name])
    block[:, : weight.shape[1]] = weight.data
    weight.data = block[:, : weight.shape[1]]
    return block


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


def _forward(plain: Any, shared: _Shared, block: torch.Tensor) -> Any:
    def forward(self: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if args or kwargs or self.disable_adapters or self.merged or not torch.is_autocast_enabled("cpu"):
            return plain(x, *args, **kwargs)
        (name,) = self.active_adapters
        base = self.get_base_layer()
        bias = None if base.bias is None else base.bias.to(SHORT)
        a, b = self.lora_A[name].weight, self.lora_B[name].weight
        with torch.autocast("cpu", enabled=False):
            return AdaptedLinear.apply(x, shared.wide(x, self.r[name]), block, bias, a, b, self.scaling[name])

    return forward
