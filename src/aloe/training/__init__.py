"""Training: a tiny base model from scratch; SFT and DPO of any causal language model (section 3.3).

``from aloe.training import train_sft, train_dpo`` for whole trainings; ``TreeSFTTrainer``, ``TreeDPOTrainer``,
``make_packs`` and ``choose_backend`` for one's own. Torch and TRL are imported when one of them is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "train_sft": "sft",
    "train_dpo": "dpo",
    "TreeSFTTrainer": "trainers",
    "TreeDPOTrainer": "trainers",
    "make_packs": "trees.packs",
    "choose_backend": "trees.model",
    "build_trie": "trees.trie",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'aloe.training' has no attribute '{name}'")
    from aloe.models.local.processor import wait_passively

    wait_passively()  # before torch is loaded
    return getattr(import_module(f"aloe.training.{_HOMES[name]}"), name)
