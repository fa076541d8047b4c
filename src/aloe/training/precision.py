"""The number format of training: weights and optimiser in float32, matrix products possibly in bfloat16.

bfloat16 comes by autocast. On a CPU attention stays float32 (its kernels' backward pass is slower in bfloat16), and
frozen matrices are kept in bfloat16, which is what autocast would make of them at every use.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from aloe.config import ModelTraining
from aloe.models.local.processor import give_back_memory, pays_on_cpu
from aloe.training.adapters import lean_adapters
from aloe.training.memory import Shape, most_tokens

SHORT = "bfloat16"


def compute_dtype(section: ModelTraining, width: int | None) -> str:
    """The format of matrix products: as configured, else what makes a model of that hidden size faster here."""
    if section.compute_dtype != "auto":
        return section.compute_dtype
    if torch.cuda.is_available():
        return SHORT
    return SHORT if pays_on_cpu(width) else "float32"


def pass_tokens(section: ModelTraining, shape: Shape) -> int:
    """Most tokens of a pack on this machine: on a CPU as many as ``pass_gb`` allows."""
    if torch.cuda.is_available():
        return section.token_budget
    return most_tokens(section, shape, compute_dtype(section, shape.width))


@contextmanager
def economically(model: Any, kind: str) -> Iterator[None]:
    """On a CPU, save what bfloat16 products would cast in vain while ``model`` trains."""
    if kind != SHORT or torch.cuda.is_available():
        yield
        return
    shrink_frozen(model)
    give_back_memory()
    if not hasattr(model, "peft_config"):
        yield
        return
    with lean_adapters(model):
        yield


def shrink_frozen(model: Any) -> None:
    """Keep the matrices of linear layers that are not trained in bfloat16, but for the language-model head."""
    held = {id(model.get_output_embeddings().weight)}
    for module in model.modules():
        if isinstance(module, torch.nn.Linear) and not module.weight.requires_grad and id(module.weight) not in held:
            module.weight.data = module.weight.data.to(torch.bfloat16)
