"""Memory of a training: estimated for ``aloe plan``, and limited by the size of packs on a CPU.

The parts are those of a Llama block; what other architectures keep differs by little. Numbers are bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aloe.config import ModelTraining

LIBRARIES = 800e6  # torch, transformers, trl, datasets, the data in Python's objects, and holes in the heap
SLABS = 14 << 23  # a slab of logits, its exponentials, and both in bfloat16 (``trees.head``)
SHORTEST = 512  # tokens that a pack may always have


@dataclass(frozen=True, slots=True)
class Shape:
    """Widths of a model: hidden, feed-forward, of all queries, of all keys; layers and vocabulary."""

    width: int
    ffn: int
    layers: int
    queries: int
    keys: int
    vocabulary: int

    @classmethod
    def of(cls, config: Any) -> Shape:
        """From a config of transformers."""
        text = config.get_text_config()
        width = int(text.hidden_size)
        heads = int(getattr(text, "num_attention_heads", 0) or 1)
        size = int(getattr(text, "head_dim", None) or width // heads)
        keys = int(getattr(text, "num_key_value_heads", None) or heads)
        ffn = int(getattr(text, "intermediate_size", None) or 4 * width)
        return cls(width, ffn, int(text.num_hidden_layers), heads * size, keys * size, int(text.vocab_size))


def token_bytes(section: ModelTraining, shape: Shape, compute: str) -> float:
    """What the forward pass keeps of one token for the backward pass, with what that makes on its way.

    In each layer: inputs and outputs of two norms, queries, keys, values and the output of attention, three times the
    feed-forward width and what the products are made from. With bfloat16 products attention and norms stay float32.
    """
    norms, ffn = (4, 4) if section.lora_rank else (6, 4)
    w, q, k, f = shape.width, shape.queries, shape.keys, shape.ffn
    if section.dtype == "bfloat16":
        block = 2 * (norms * w + 3 * q + 2 * k + ffn * f)
    elif compute == "bfloat16":
        block = (12 if section.lora_rank else 26) * w + 10 * q + 8 * k + 2 * ffn * f
    else:
        block = 4 * (norms * w + 3 * q + 2 * k + ffn * f)
    layers = 1 if section.gradient_checkpointing else shape.layers
    return layers * block + (shape.layers * w * 4 if section.gradient_checkpointing else 0) + block


def most_tokens(section: ModelTraining, shape: Shape, compute: str) -> int:
    """Tokens of a pack on a CPU: ``token_budget``, or fewer so that their pass stays within ``pass_gb``."""
    bound = int(section.pass_gb * 1e9 / token_bytes(section, shape, compute))
    return min(section.token_budget, max(SHORTEST, bound))


def process_bytes(
    section: ModelTraining, shape: Shape, compute: str, n_parameters: int, n_adapter: int, n_tokens: int
) -> float:
    """The most that a training process holds at once: libraries, weights, optimiser, and a pack of ``n_tokens``.

    Args:
        n_adapter: parameters of the adapter, if one is trained.
    """
    embedding = shape.vocabulary * shape.width
    weight = 2 if section.dtype == "bfloat16" else 4
    read = n_parameters * (weight + 2)  # while the file is still mapped
    if section.lora_rank:
        frozen = 2 if compute == "bfloat16" else weight
        held = (n_parameters - embedding) * frozen + embedding * weight + 16 * n_adapter
    else:
        held = n_parameters * (2 * weight + 8) + (2 * n_parameters if compute == "bfloat16" and weight == 4 else 0)
    head = SLABS if n_tokens * shape.vocabulary > SLABS // 14 else 14 * n_tokens * shape.vocabulary
    head += 2 * embedding if compute == "bfloat16" else 0
    return LIBRARIES + max(read, held + head + n_tokens * token_bytes(section, shape, compute))
