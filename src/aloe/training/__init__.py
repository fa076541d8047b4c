"""Training: a tiny base model from scratch; SFT and DPO of any causal language model (section 3.3).

``from aloe.training import train_sft, train_dpo`` for whole trainings; ``TreeSFTTrainer``, ``TreeDPOTrainer``,
``make_packs`` and ``choose_backend`` for one's own. Torch and TRL are imported when one of them is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what type checkers see; at run time __getattr__ finds it
    from aloe.training.dpo import train_dpo as train_dpo
    from aloe.training.sft import train_sft as train_sft
    from aloe.training.trainers import TreeDPOTrainer as TreeDPOTrainer
    from aloe.training.trainers import TreeSFTTrainer as TreeSFTTrainer
    from aloe.training.trees.model import choose_backend as choose_backend
    from aloe.training.trees.packs import make_packs as make_packs
    from aloe.training.trees.trie import build_trie as build_trie

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
