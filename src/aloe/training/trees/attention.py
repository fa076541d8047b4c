"""Attention along the branches of packed tries, in three forms that give the same numbers.

- ``segments`` (CPU): one flash-attention call per chain over its own tokens and one per slice of its ancestors,
  merged by their log-sum-exps. Keys and values are read as views; nothing of size nodes x nodes is made.
- ``flex`` (CUDA): FlexAttention with a block mask.
- ``dense``: the model's own attention with a (nodes, nodes) mask, for whatever the other two do not cover.

Registered with transformers under ``aloe_tree``: a forward without a tree is plain scaled-dot-product attention.
Sliding windows go by depth in the tree, not by place in the pack.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from aloe.training.trees.trie import Chain

NAME = "aloe_tree"
_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


@dataclass(slots=True)
class Branches:
    """Which nodes of a pack see which: ``positions`` and ``end`` have shape (nodes,); see ``trie``."""

    positions: torch.Tensor
    end: torch.Tensor
    chains: Sequence[Chain]

    def to(self, device: Any, non_blocking: bool = False) -> Branches:
        return Branches(
            self.positions.to(device, non_blocking=non_blocking),
            self.end.to(device, non_blocking=non_blocking),
            self.chains,
        )

    def dense_mask(self, window: int | None) -> torch.Tensor:
        """Bool (1, 1, nodes, nodes), True where the row's node attends to the column's."""
        at = torch.arange(len(self.end), device=self.end.device)
        mask = (at[None] <= at[:, None]) & (at[:, None] < self.end[None])
        if window:
            mask &= self.positions[None] > self.positions[:, None] - window
        return mask[None, None]

    def block_mask(self, window: int | None) -> Any:
        """The same as a FlexAttention block mask."""
        from torch.nn.attention.flex_attention import create_block_mask

        end, positions, n = self.end, self.positions, len(self.end)

        def visible(_batch: Any, _head: Any, q: Any, k: Any) -> Any:
            seen = (k <= q) & (q < end[k])
            return seen & (positions[k] > positions[q] - window) if window else seen

        return create_block_mask(visible, B=None, H=None, Q_LEN=n, KV_LEN=n, device=str(end.device))


class SegmentAttention(torch.autograd.Function):
    """Softmax attention of each node over its ancestors and itself.

    Shapes: ``query`` (1, heads, nodes, size), ``key`` and ``value`` (1, key heads, nodes, size), heads being a
    multiple of the key heads. Exact: partial results are merged by their log-sum-exps, and the backward pass of
    each part uses the merged ones.
    """

    @staticmethod
    def forward(ctx: Any, query: Any, key: Any, value: Any, branches: Branches, scale: float, window: int) -> Any:
        out = torch.empty_like(query)
        lse = query.new_empty(query.shape[:-1], dtype=torch.promote_types(query.dtype, torch.float32))
        for chain in branches.chains:
            own = slice(chain.start, chain.stop)
            q = query[:, :, own]
            o, level = None, None
            for columns, causal, mask in _parts(chain, branches, window, query.dtype):
                k, v = _columns(key, columns), _columns(value, columns)
                part, part_level = _flash(q, k, v, 0.0, causal, attn_mask=mask, scale=scale)
                if o is None:
                    o, level = part, part_level
                    continue
                merged = torch.logaddexp(level, part_level)
                o = o * (level - merged).exp()[..., None].to(o.dtype)
                o = o + part * (part_level - merged).exp()[..., None].to(o.dtype)
                level = merged
            out[:, :, own] = o
            lse[:, :, own] = level
        ctx.save_for_backward(query, key, value, out, lse)
        ctx.branches, ctx.scale, ctx.window = branches, scale, window
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        query, key, value, out, lse = ctx.saved_tensors
        grad = grads[0].contiguous()
        to_query, to_key, to_value = torch.zeros_like(query), torch.zeros_like(key), torch.zeros_like(value)
        groups = query.shape[1] // key.shape[1]
        for chain in ctx.branches.chains:
            own = slice(chain.start, chain.stop)
            q, o, level, g = query[:, :, own], out[:, :, own], lse[:, :, own], grad[:, :, own]
            for columns, causal, mask in _parts(chain, ctx.branches, ctx.window, query.dtype):
                k, v = _columns(key, columns), _columns(value, columns)
                if groups > 1:
                    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
                dq, dk, dv = _flash_backward(g, q, k, v, o, level, 0.0, causal, attn_mask=mask, scale=ctx.scale)
                to_query[:, :, own] += dq
                if groups > 1:
                    dk, dv = (x.unflatten(1, (-1, groups)).sum(2) for x in (dk, dv))
                _add(to_key, columns, dk)
                _add(to_value, columns, dv)
        return to_query, to_key, to_value, None, None, None


def _columns(x: torch.Tensor, columns: slice | torch.Tensor) -> torch.Tensor:
    return x[:, :, columns] if isinstance(columns, slice) else x.index_select(2, columns)


def _add(total: torch.Tensor, columns: slice | torch.Tensor, part: torch.Tensor) -> None:
    if isinstance(columns, slice):
        total[:, :, columns] += part
    else:
        total.index_add_(2, columns, part)


def _parts(chain: Chain, branches: Branches, window: int, dtype: torch.dtype) -> Any:
    """What a chain attends to: ``(columns, causal, mask)`` for each flash-attention call.

    Where the window cuts something off there is one call with a mask over all that is left, so that no node is
    without anything to attend to.
    """
    positions = branches.positions
    depth = int(positions[chain.start]) if window else 0
    if not window or depth + chain.stop - chain.start <= window:
        yield slice(chain.start, chain.stop), True, None
        for a, b in chain.spans:
            yield slice(a, b), False, None
        return
    spans = [torch.arange(a, b) for a, b in (*chain.spans, (chain.start, chain.stop))]
    columns = torch.cat(spans)
    columns = columns[positions[columns] > depth - window]
    q, k = positions[chain.start : chain.stop, None], positions[columns][None]
    seen = (k <= q) & (k > q - window)
    yield columns, False, torch.zeros(seen.shape, dtype=dtype).masked_fill_(~seen, float("-inf"))[None, None]


def attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: Any,
    dropout: float = 0.0,
    scaling: float | None = None,
    branches: Branches | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """The registered function. ``branches``: argument of the model's forward, handed through by every layer.

    Raises:
        ValueError: attention dropout, soft-capping or sinks, none of which this form can do.
    """
    if branches is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        is_short = query.device.type == "cpu" and torch.is_autocast_enabled("cpu")
        if is_short:  # the backward pass of PyTorch's kernel is slower in bfloat16
            query, key, value = query.float(), key.float(), value.float()
        with torch.autocast("cpu", enabled=False) if is_short else nullcontext():
            out: tuple[torch.Tensor, None] = sdpa_attention_forward(
                module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
            )
        return out
    if dropout or kwargs.get("softcap") or kwargs.get("s_aux") is not None:
        raise ValueError("attention along branches has no dropout, soft-capping or sinks")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    window = kwargs.get("sliding_window") or 0
    if query.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        query = query.float()
    # a model whose layers differ in dtype (LoRA in float32 over bfloat16) hands in mixed queries and keys
    key, value = key.to(query.dtype), value.to(query.dtype)
    result = SegmentAttention.apply(query, key, value, branches, scale, window)
    return result.transpose(1, 2).contiguous(), None


def register() -> None:
    """Make ``aloe_tree`` known to transformers (again and again is fine)."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
