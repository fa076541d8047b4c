"""What training tests compare with: rows one by one, stock TRL on expanded rows, and the same trainings on packs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from tree_models import flat_pairs, make_model, make_tokenizer
from trl import DPOConfig, DPOTrainer

from aloe.training.data import TokenRows
from aloe.training.trainers import TreeDPOTrainer
from aloe.training.trees.model import add_trees, choose_backend
from aloe.training.trees.packs import Collator, Pack, make_packs, packs_per_step

PLAIN: dict[str, Any] = {
    "optim": "sgd", "learning_rate": 0.05, "lr_scheduler_type": "constant", "max_grad_norm": 1e9, "bf16": False,
    "use_cpu": True, "gradient_checkpointing": False, "report_to": "none", "save_strategy": "no", "max_length": None,
    "disable_tqdm": True, "logging_steps": 1, "dataloader_pin_memory": False, "seed": 0,
}  # fmt: skip


def row_logps(model: Any, c: TokenRows, number: int) -> torch.Tensor:
    ids, start = torch.tensor(c.rows[number])[None], c.starts[number]
    logs = torch.log_softmax(model(input_ids=ids).logits[0, start - 1 : -1], -1)
    return logs.gather(1, ids[0, start:, None])[:, 0]


def packed_output(model: Any, found: list[TokenRows], backend: str) -> Any:
    """The fused forward as a trainer calls it, and the numbers of its rows' conversations."""
    from trl.trainer.utils import add_fused_lm_head

    add_fused_lm_head(model, outputs=("log_probs", "entropy", "mean_logits", "is_top1"))
    add_trees(model, backend)
    batch = Collator([Pack(found, 0)], 0, True)([{"pack": 0}])
    return model(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        labels=batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100),
        tree=batch["tree"],
        fused_lm_head=True,
    )


class StockDPO(DPOTrainer):  # type: ignore[misc]
    """TRL's trainer, given token ids instead of text."""

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        return dataset


def stock_dpo(name: str, found: list[TokenRows], out: Path, peft: Any = None, **options: Any) -> Any:
    rows = flat_pairs(found)
    arguments = {**PLAIN, "per_device_train_batch_size": len(rows), "precompute_ref_log_probs": peft is None}
    return StockDPO(
        model=make_model(name),
        args=DPOConfig(output_dir=str(out), **{**arguments, **options}),
        train_dataset=Dataset.from_list(rows),
        processing_class=make_tokenizer(),
        peft_config=peft,
    )


def tree_dpo(name: str, found: list[TokenRows], out: Path, backend: str, budget: int = 10**6, peft: Any = None,
             **options: Any) -> Any:  # fmt: skip
    model = make_model(name)
    if backend == "auto":
        backend = choose_backend(model)[0]
    n = sum(len(c.pairs) for c in found)
    packs, _ = make_packs(found, seed=0, budget=budget, items=n, trees=backend != "rows")
    arguments = {
        **PLAIN, "per_device_train_batch_size": 1, "precompute_ref_log_probs": peft is None,
        "gradient_accumulation_steps": len(packs), "remove_unused_columns": False,
    }  # fmt: skip
    assert packs_per_step(packs, n) == len(packs)
    return TreeDPOTrainer(
        packs=packs,
        n_train=len(packs),
        backend=backend,
        model=model,
        args=DPOConfig(output_dir=str(out), **{**arguments, **options}),
        processing_class=make_tokenizer(),
        peft_config=peft,
    )


def weights(trainer: Any) -> dict[str, torch.Tensor]:
    return {key: p.detach().clone() for key, p in trainer.model.named_parameters() if p.requires_grad}


def assert_same_step(start: dict[str, Any], one: dict[str, Any], two: dict[str, Any], tolerance: float) -> None:
    """What training did to the weights is the same, in relative L2 norm over all of them."""
    assert one.keys() == two.keys()
    moved = torch.cat([(one[k] - start[k]).flatten() for k in one])
    other = torch.cat([(two[k] - start[k]).flatten() for k in one])
    assert moved.norm() > 1e-3
    assert (moved - other).norm() <= tolerance * moved.norm()
