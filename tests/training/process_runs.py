"""Processes that have imported torch and TRL already, and one short training (SFT, DPO or the control) in some."""

from __future__ import annotations

import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from tree_models import conversations, make_model, make_tokenizer

from aloe.training.data import TokenRows
from aloe.training.trainers import TreeDPOTrainer, TreeSFTTrainer
from aloe.training.trees.packs import make_packs, pad_packs

PLAIN: dict[str, Any] = {
    "optim": "sgd", "learning_rate": 0.05, "lr_scheduler_type": "constant", "max_grad_norm": 1e9, "bf16": False,
    "use_cpu": True, "gradient_checkpointing": False, "report_to": "none", "save_strategy": "no", "max_length": None,
    "disable_tqdm": True, "logging_steps": 1, "dataloader_pin_memory": False, "seed": 0, "remove_unused_columns": False,
    "per_device_train_batch_size": 1, "per_device_eval_batch_size": 1, "max_steps": 2, "eval_strategy": "steps",
    "eval_steps": 1,
}  # fmt: skip
KINDS = ("sft", "dpo", "control")


def start_process(work: Callable[..., object], *arguments: Any) -> BaseProcess:
    """``work(*arguments)`` in a process of its own, a copy of one that has imported torch and TRL."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["process_runs", "trl.trainer.sft_trainer", "trl.trainer.dpo_trainer"])
    process = context.Process(target=_alone, args=(work, arguments))
    process.start()
    return process


def _alone(work: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(1)
    work(*arguments)


def data(kind: str) -> tuple[list[TokenRows], list[TokenRows]]:
    """Conversations for training and evaluation with unequal numbers of pairs."""
    train, held = conversations(3, n=5), conversations(9, n=4)
    for c in (*train, *held) if kind == "sft" else ():
        c.pairs = []
    return train, held


def train(kind: str, out: Path, backend: str = "segments", budget: int = 1) -> dict[str, Any]:
    """Two SGD steps over everything; the gradients of both are what the weights moved by.

    Args:
        budget: tokens of a pack; 1: each conversation is a pack.
    """
    from accelerate import PartialState

    n = PartialState(cpu=True).num_processes
    sets = []
    for some in data(kind):
        packs, _ = make_packs(some, seed=0, budget=budget, items=10**6, trees=backend != "rows")
        assert budget > 1 or len({p.n_items for p in packs}) > 1, "packs of equal sizes prove nothing"
        sets.append(pad_packs(packs, n))
    packs = [*sets[0], *sets[1]]
    shared = {"packs": packs, "n_train": len(sets[0]), "backend": backend, "model": make_model("llama")}
    options = {**PLAIN, "output_dir": str(out), "gradient_accumulation_steps": len(sets[0]) // n}
    trainer: Any
    if kind == "sft":
        from trl import SFTConfig

        trainer = TreeSFTTrainer(**shared, args=SFTConfig(**options), processing_class=make_tokenizer())
    else:
        from trl import DPOConfig

        losses: dict[str, Any] = {"loss_type": ["sft"], "loss_weights": [0.7]}
        if kind == "dpo":
            losses = {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.7]}
        arguments = DPOConfig(**options, **losses, beta=0.3, precompute_ref_log_probs=True)
        trainer = TreeDPOTrainer(**shared, args=arguments, processing_class=make_tokenizer())
    start = {key: p.detach().clone() for key, p in trainer.model.named_parameters()}
    trainer.train()
    moved = {key: p.detach() - start[key] for key, p in trainer.model.named_parameters()}
    return {"moved": moved, "history": trainer.state.log_history}


def _work(rank: int, n: int, port: int, folder: str, kinds: tuple[str, ...]) -> None:
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(n), LOCAL_WORLD_SIZE=str(n), MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )  # fmt: skip
    try:
        found = {kind: train(kind, Path(folder) / kind) for kind in kinds}
    except BaseException:
        Path(folder, f"fault-{rank}").write_text(traceback.format_exc(), "utf-8")
        raise
    if rank == 0:
        torch.save(found, Path(folder) / "found.pt")
    torch.distributed.destroy_process_group()


def train_in_processes(n: int, folder: Path, kinds: tuple[str, ...] = KINDS) -> dict[str, dict[str, Any]]:
    """The same trainings by ``n`` processes over gloo: by kind, what the first one found."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = [start_process(_work, rank, n, port, str(folder), kinds) for rank in range(n)]
    for process in started:
        process.join(120)
        if process.exitcode != 0:
            for other in started:
                other.kill()
    faults = "\n".join(p.read_text("utf-8") for p in sorted(folder.glob("fault-*")))
    assert not faults, faults
    found: dict[str, dict[str, Any]] = torch.load(folder / "found.pt", weights_only=True)
    return found
