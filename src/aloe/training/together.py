"""Several processes on one machine that share each step of a training, started and watched by the one that asked.

Each has the whole weights and a part of the step's packs; gradients are averaged (``torch.distributed``, gloo or NCCL).
They end with the process that started them, even if that is killed, because the connections close. What is done is in
the resumable states: the same command goes on from there.
"""

from __future__ import annotations

import gc
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from aloe.errors import AloeError, ConfigError, DataError
from aloe.models.local.processor import FEW_PROGRAMS, PASSIVE, cores, give_back_memory
from aloe.training.methods import Method

log = logging.getLogger(__name__)
Progress = Callable[[float, float | None, str, str], None]
LAST_WORDS = 3.0  # seconds in which a process that failed because of another may be explained by that other
QUIET = {"TORCH_CPP_LOG_LEVEL": "ERROR", "TRANSFORMERS_VERBOSITY": "error"}  # the command speaks for all of them
LOOPBACK = {"linux": "lo", "darwin": "lo0"}


def train_by(
    method: Method, section: Any, *arguments: Any, progress: Progress | None, **options: Any
) -> dict[str, Any]:
    """Train by ``method``: in this process, or in ``section.processes`` of them.

    Under ``torchrun`` this process is one of several already, and starts no more.

    Args:
        arguments, options: of the method's function after its section; they go to other processes by pickle.

    Returns:
        What the method's function returns.

    Raises:
        ConfigError: more processes than GPUs, or a method that no other process can load.
        DataError: a process was killed or ended without a word.
        AloeError: as the method raises it.
    """
    n = getattr(section, "processes", 1)
    if n == 1 or int(os.environ.get("WORLD_SIZE", "1")) > 1:
        try:
            return method.load()(section, *arguments, progress=progress, **options)
        finally:  # a trainer refers to itself, and would keep weights and optimiser while the next one has its own
            gc.collect()
            give_back_memory()
    _check(method, n)
    workers = _start(n)
    try:
        for worker in workers:
            worker.tell((method.name, section, arguments, options))
        return _watch(workers, progress)
    finally:
        for worker in workers:
            worker.end()


def _check(method: Method, n: int) -> None:
    import torch

    if torch.cuda.is_available() and n > torch.cuda.device_count():
        raise ConfigError(
            f"{method.name}.processes is {n}, but there are {torch.cuda.device_count()} GPUs", "use one for each GPU"
        )


class _Worker:
    """One of the processes and the connection to it."""

    def __init__(self, rank: int, n: int, port: int) -> None:
        ours, theirs = socket.socketpair()
        threads = int(os.environ.get("OMP_NUM_THREADS") or max(1, cores() // n))
        usual = PASSIVE | FEW_PROGRAMS | QUIET
        usual = {name: value for name, value in usual.items() if name not in os.environ}
        if sys.platform in LOOPBACK and "GLOO_SOCKET_IFNAME" not in os.environ:
            usual["GLOO_SOCKET_IFNAME"] = LOOPBACK[sys.platform]  # all are on this machine
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": n, "LOCAL_WORLD_SIZE": n, "MASTER_PORT": port}
        self.rank = rank
        self.process = subprocess.Popen(
            [sys.executable, "-m", "aloe.training.worker", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            env={
                **os.environ,
                **usual,
                **{name: str(value) for name, value in place.items()},
                "MASTER_ADDR": "127.0.0.1",
                "OMP_NUM_THREADS": str(threads),
            },
            start_new_session=True,  # Ctrl-C is for the process that asks
        )
        theirs.close()
        self.connection = Connection(ours.detach())

    def tell(self, work: Any) -> None:
        """What it shall do. One that is gone already is noticed when it is listened to."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send(work)

    def end(self) -> None:
        """Nothing of value is lost: a state that is not written to its end is passed over."""
        self.connection.close()
        if self.process.poll() is None:
            try:
                self.process.wait(LAST_WORDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()


def _start(n: int) -> list[_Worker]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return [_Worker(rank, n, port) for rank in range(n)]


def _watch(workers: list[_Worker], progress: Progress | None) -> dict[str, Any]:
    """Pass progress on until all are done; returns what the first process returns."""
    running = {worker.connection: worker for worker in workers}
    summary: dict[str, Any] = {}
    failed: list[Exception] = []
    until = float("inf")
    while running and time.monotonic() < until:
        for ready in wait(list(running), timeout=None if until == float("inf") else max(0.0, until - time.monotonic())):
            worker = running[ready]  # type: ignore[index]
            try:
                kind, value = worker.connection.recv()
            except (EOFError, OSError):
                kind, value = "error", _ended(worker, len(workers))
            if kind == "progress" and progress is not None:
                progress(*value)
            elif kind == "log":
                logging.getLogger(value[0]).log(value[1], "%s", value[2])
            elif kind in ("done", "error"):
                del running[worker.connection]
                if kind == "error":
                    failed.append(value)
                    until = min(until, time.monotonic() + LAST_WORDS)
                elif worker.rank == 0:
                    summary = value
    if failed:
        raise min(failed, key=_how_little_it_says)
    return summary


def _ended(worker: _Worker, n: int) -> AloeError:
    code = worker.process.wait()
    how = f"was killed (signal {-code})" if code < 0 else f"ended with exit status {code}"
    return _Ended(
        f"training process {worker.rank + 1} of {n} {how}",
        "if memory ran out, use fewer processes or a smaller token_budget; run the same command again, it continues",
    )


class _Ended(DataError):
    """A process is gone without a word."""


def _how_little_it_says(error: Exception) -> int:
    """A failure of ours says most; what others say after it is that their partner is gone."""
    return 1 if isinstance(error, _Ended) else 0 if isinstance(error, AloeError) else 2
