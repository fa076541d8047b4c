"""Models whose rotary angles depend on the sequence length, which conversation trees cannot share.

Longrope and dynamic NTK are such methods. Up to a bound (in the model's config) these models are like any other. Beyond
it the angles of a row follow its own length, or that of the longest row of its batch: neither a packed tree nor a
padded batch gives the numbers of the single row.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator
from typing import Any

import torch


def angle_bound(config: Any) -> int | None:
    """Tokens up to which a model's rotary angles are the same for sequences of all lengths; None: they always are.

    Args:
        config: a configuration of transformers, old (``rope_scaling``) or new (``rope_parameters``).
    """
    text = config.get_text_config()
    context = int(getattr(text, "max_position_embeddings", 0) or 0)
    bounds = []
    for rope in _ropes(text):
        kind = str(rope.get("rope_type") or rope.get("type") or "default")
        if kind in ("longrope", "su"):
            trained = rope.get("original_max_position_embeddings")
            bounds.append(int(trained or getattr(text, "original_max_position_embeddings", None) or context))
        elif "dynamic" in kind:
            bounds.append(context)
    return min(bounds, default=None)


def _ropes(text: Any) -> Iterator[dict[str, Any]]:
    """The model's one set of rotary parameters, or those of each kind of layer."""
    found = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None) or {}
    if any(isinstance(value, dict) for value in found.values()):
        yield from (value for value in found.values() if isinstance(value, dict))
    else:
        yield found


def say_bound(config: Any, longest: int | None) -> str:
    """Why rows of up to ``longest`` tokens (None: unknown) can't share angles; empty where they can."""
    bound = angle_bound(config)
    if bound is None or (longest is not None and longest <= bound):
        return ""
    rows = "" if longest is None else f", and the longest row has {longest:,}"
    return f"its rotary angles depend on a row's length beyond {bound:,} tokens{rows}"


def run_rows_apart(model: Any, bound: int) -> None:
    """Let the fused forward of ``model`` (whose head TRL has added) give each row of a batch its own angles.

    Batches no wider than ``bound`` go through the model at once.
    """
    plain_forward = model.forward

    def forward(self: Any, *args: Any, fused_lm_head: bool = False, **kwargs: Any) -> Any:
        if not fused_lm_head or args or kwargs.get("attention_mask") is None:
            return plain_forward(*args, **({"fused_lm_head": True} if fused_lm_head else {}), **kwargs)
        width = kwargs["input_ids"].shape[1]
        if width <= bound:
            _forget_length(self, width)
            return plain_forward(fused_lm_head=True, **kwargs)
        return _one_by_one(self, plain_forward, kwargs)

    # generate() and the trainer look at the signature
    forward.__signature__ = inspect.signature(plain_forward)  # type: ignore[attr-defined]
    model.forward = types.MethodType(forward, model)


def _forget_length(model: Any, n: int) -> None:
    """Have dynamic angles made anew for ``n`` tokens: the model would keep those of a longer row that it has seen."""
    for module in model.modules():
        for name in [key for key in vars(module) if key.endswith("max_seq_len_cached")]:
            setattr(module, name, n - 1)


def _one_by_one(model: Any, plain_forward: Any, inputs: dict[str, Any]) -> Any:
    from trl.trainer.utils import FusedCausalLMOutput

    shared = {key: value for key, value in inputs.items() if key not in ("input_ids", "attention_mask", "labels")}
    n_items = shared.pop("num_items_in_batch", None)
    width = inputs["input_ids"].shape[1]
    found: dict[str, list[torch.Tensor]] = {}
    for number, n in enumerate(inputs["attention_mask"].sum(1).tolist()):
        own = {key: inputs[key][number : number + 1, :n] for key in ("input_ids", "attention_mask", "labels")}
        _forget_length(model, n)
        output = plain_forward(**own, **shared, fused_lm_head=True)
        for name in ("log_probs", "entropy", "mean_logits", "is_top1", "label_mask"):
            value = getattr(output, name)
            if value is not None:
                found.setdefault(name, []).append(torch.nn.functional.pad(value, (0, width - n)))
    merged = {name: torch.cat(parts) for name, parts in found.items()}
    total = merged["label_mask"].sum().clamp(min=1) if n_items is None else n_items
    return FusedCausalLMOutput(loss=-merged["log_probs"].sum() / total, **merged)
