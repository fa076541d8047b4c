"""Short trainings by reinforcement, in this process or in another, and what they leave."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from process_runs import start_process
from safetensors.torch import load_file

from aloe.config import Config, load_config
from aloe.rl.train import train_rl

TIMES = ("seconds", "per_second")


def rl_config(**options: Any) -> Config:
    """Short conversations and few of them; a brief reply is a good one."""
    usual: dict[str, Any] = {
        "iterations": 2, "conversations": 3, "siblings": 3, "n_turns": 3, "max_new_tokens": 8, "rewards": "brevity",
        "eval_personas": 2, "eval_every": 2, "checkpoint_every": 1, "warmup_steps": 1, "learning_rate": 1e-3,
    }  # fmt: skip
    return load_config(None, {"rl": usual | options})


def train(start: Path, people: Path, out: Path, **options: Any) -> dict[str, Any]:
    """Train from ``start`` against the personas of the file ``people``; the summary."""
    torch.set_num_threads(1)
    config = rl_config(**options)
    return train_rl(config.rl, people, start, out, config=config, seed=0)


def _train(start: Path, people: Path, out: Path, options: dict[str, Any]) -> None:
    train(start, people, out, **options)


def start_training(start: Path, people: Path, out: Path, options: dict[str, Any]) -> BaseProcess:
    """The same in a process of its own."""
    return start_process(_train, start, people, out, options)


def rows(out: Path, name: str = "metrics") -> list[dict[str, Any]]:
    """The rows of a file of records, without times."""
    found = [json.loads(line) for line in (out / f"{name}.jsonl").read_text("utf-8").splitlines()]
    return [{k: v for k, v in row.items() if not any(t in k for t in TIMES)} for row in found]


def weights(folder: Path) -> torch.Tensor:
    """All weights of a checkpoint, end to end."""
    found = load_file(folder / "model.safetensors")
    return torch.cat([found[name].flatten() for name in sorted(found)])


def _one_of(rank: int, n: int, port: int, start: Path, people: Path, out: Path, options: dict[str, Any]) -> None:
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(n), LOCAL_WORLD_SIZE=str(n), MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )  # fmt: skip
    train(start, people, out, **options)
    torch.distributed.destroy_process_group()


def train_in_processes(n: int, start: Path, people: Path, out: Path, **options: Any) -> None:
    """The same training by ``n`` processes over gloo."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    started = [context.Process(target=_one_of, args=(rank, n, port, start, people, out, options)) for rank in range(n)]
    for process in started:
        process.start()
    for process in started:
        process.join(240)
    codes = [process.exitcode for process in started]
    for process in started:
        process.kill()
    assert codes == [0] * n
