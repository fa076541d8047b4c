"""Worker processes that decode in parallel, so that several cores or GPUs serve one checkpoint.

A worker is started once and serves one checkpoint after another, because importing torch takes longer than loading many
models. It ends with the process that started it, even if that is killed, because the connection closes.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

from aloe.models.local.batch import Codec, DecodedRow
from aloe.models.local.checkpoint import load_tokenizer
from aloe.models.local.processor import PASSIVE, cores

_lock = threading.Lock()
_workers: dict[tuple[int, int], Worker] = {}  # (number, of how many) -> the one at work


class Worker:
    """One process and the connection to it. Threads take turns."""

    def __init__(self, number: int, n: int) -> None:
        ours, theirs = socket.socketpair()
        threads = int(os.environ.get("OMP_NUM_THREADS") or cores()) // n
        idle = {name: value for name, value in PASSIVE.items() if name not in os.environ}
        command = [sys.executable, "-m", "aloe.models.local.worker", str(theirs.fileno()), str(number)]
        self._process = subprocess.Popen(
            command,
            pass_fds=[theirs.fileno()],
            env={**os.environ, **idle, "OMP_NUM_THREADS": str(max(1, threads))},
            start_new_session=True,  # Ctrl-C is for the process that asks
        )
        theirs.close()
        self._connection = Connection(ours.detach())
        self._busy = threading.Lock()

    def ask(self, operation: str, *arguments: Any) -> Any:
        """What the worker answers.

        Raises:
            AloeError: as it was raised there.
            MemoryError: memory ran out there, or the process was killed.
            RuntimeError: anything else that went wrong there, or the process has ended otherwise.
        """
        with self._busy:
            try:
                self._connection.send((operation, *arguments))
                answer = self._connection.recv()
            except (EOFError, OSError):
                code = self._process.wait()
                kind = MemoryError if code == -signal.SIGKILL else RuntimeError  # what a system short of memory does
                raise kind(f"the process that decodes has ended with exit status {code}") from None
        if isinstance(answer, BaseException):
            raise answer
        return answer

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def get_worker(number: int, n: int) -> Worker:
    """Worker ``number`` of ``n``, started if it is not running."""
    with _lock:
        worker = _workers.get((number, n))
        if worker is None or not worker.is_alive:
            worker = _workers[number, n] = Worker(number, n)
        return worker


def start_workers(n: int) -> None:
    """Let ``n`` workers load their libraries while something else is going on."""
    for number in range(n):
        get_worker(number, n)


@atexit.register
def stop_workers() -> None:
    """End all of them."""
    with _lock:
        while _workers:
            _workers.popitem()[1].close()


class WorkerDecoder:
    """A ``Decoder`` in another process. A worker that has died is replaced at the next batch.

    Args:
        dtype: of the weights. most_cached: bytes of keys and values kept from turn to turn. number, n: which worker of
            how many.
    """

    def __init__(self, path: str, dtype: str, most_cached: int, number: int, n: int) -> None:
        self._wanted = (path, dtype, most_cached)
        self._place = (number, n)
        self.codec = Codec(load_tokenizer(path), self._ask("open"))

    def _ask(self, operation: str, *arguments: Any) -> Any:
        return get_worker(*self._place).ask(operation, *self._wanted, *arguments)

    def decode(self, rows: Sequence[DecodedRow]) -> None:
        for row, came in zip(rows, self._ask("decode", list(rows)), strict=True):
            row.take(*came)

    def forget(self) -> None:
        self._ask_if_alive("forget")

    def close(self) -> None:
        self._ask_if_alive("close")

    def _ask_if_alive(self, operation: str) -> None:
        worker = _workers.get(self._place)  # a new one would hold nothing to free
        if worker is not None and worker.is_alive:
            worker.ask(operation, *self._wanted)
