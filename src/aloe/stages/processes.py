"""The executor ``processes``: shards in processes of this machine, each started with ``python -m aloe.stages.worker``.

Worker and driver talk over a socket pair that the worker inherits, a JSON line for each request and answer. A worker
whose driver is gone notices the closed socket, and interrupts itself as Ctrl-C would.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from typing import Any

import orjson

from aloe import errors
from aloe.errors import AloeError
from aloe.stages.executor import ShardedWork
from aloe.store.shards import Shard

log = logging.getLogger(__name__)
LAST_WORDS = 10.0  # seconds in which an interrupted worker ends by itself
LONGEST_LINE = 1 << 24


async def run_in_processes(work: ShardedWork) -> None:
    """Do all shards, ``work.n_workers`` at a time.

    Raises:
        AloeError: what a shard has raised; the others are interrupted.
    """
    try:
        async with asyncio.TaskGroup() as group:
            for number in range(work.n_workers):
                group.create_task(_work(work, number))
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def _work(work: ShardedWork, number: int) -> None:
    """One place for a worker: shard after shard until none is left."""
    while work.todo:
        shard = work.todo.pop(0)
        died = await _ShardProcess(work, number, shard).run()
        work.office.lost(number)
        if died:
            work.died(shard, died)
    work.office.retire(number)


class _ShardProcess:
    """One process and one shard."""

    def __init__(self, work: ShardedWork, number: int, shard: Shard) -> None:
        self._work, self._number, self._shard = work, number, shard
        self._answering: set[asyncio.Task[None]] = set()
        self._result: dict[str, Any] | None = None
        self._is_ready = False  # before that it has nothing to lose, and an interrupt would hit it in its imports

    async def run(self) -> str:
        """Start the process and answer it until it ends; returns how it died, empty where it did not.

        Raises:
            AloeError: as the shard raised it.
        """
        ours, theirs = socket.socketpair()
        process = subprocess.Popen(
            [sys.executable, "-m", "aloe.stages.worker", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")},
            start_new_session=True,  # Ctrl-C is for the driver
        )
        theirs.close()
        reader, writer = await asyncio.open_connection(sock=ours, limit=LONGEST_LINE)
        try:
            self._send(writer, self._task())
            await self._listen(reader, writer)
            await asyncio.to_thread(process.wait)
        except BaseException:  # all workers are interrupted at once, and are answered until they have put things away
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGINT if self._is_ready else signal.SIGKILL)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._listen(reader, writer), LAST_WORDS)
            raise
        finally:
            for task in self._answering:
                task.cancel()
            writer.close()
            if process.poll() is None:
                try:
                    await asyncio.to_thread(process.wait, LAST_WORDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        return self._end(process.returncode)

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take what the process says until it is gone."""
        with suppress(ConnectionError):
            while line := await reader.readline():
                self._take(orjson.loads(line), writer)

    def _task(self) -> dict[str, Any]:
        context = self._work.context
        return {
            "run": str(context.run.path),
            "stage": self._work.stage.name,
            "shard": str(self._shard),
            "redo": context.redo,
            "place": self._number,
            "of": self._work.n_workers,
        }

    def _end(self, code: int) -> str:
        if self._result is None:
            return f"signal {-code}" if code < 0 else f"code {code}"
        if "error" in self._result:
            name, message, hint = self._result["error"]
            kind = getattr(errors, name, AloeError)
            error = (kind if isinstance(kind, type) and issubclass(kind, AloeError) else AloeError)(message, hint)
            error.add_note(f"{self._work.stage.name} {self._shard}")
            raise error
        return ""

    def _take(self, said: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        if "result" in said:
            self._result = said["result"]
        elif "ready" in said:
            self._is_ready = True
        elif "log" in said:
            name, level, text = said["log"]
            logging.getLogger(name).log(level, "shard %s: %s", self._shard, text)
        else:
            task = asyncio.get_running_loop().create_task(self._answer(said, writer))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)

    async def _answer(self, said: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        answer: dict[str, Any] = {"id": said["id"]}
        try:
            answer["value"] = await self._work.office.ask(self._number, said["method"], said["arguments"])
        except AloeError as error:
            answer["error"] = [type(error).__name__, error.message, error.hint]
        self._send(writer, answer)

    @staticmethod
    def _send(writer: asyncio.StreamWriter, what: dict[str, Any]) -> None:
        if not writer.is_closing():
            writer.write(orjson.dumps(what, option=orjson.OPT_APPEND_NEWLINE))
