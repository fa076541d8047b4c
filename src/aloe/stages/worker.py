"""A worker of a sharded stage: does one shard of a run as its driver says, and asks it for its limits.

    python -m aloe.stages.worker CONNECTION

CONNECTION is an inherited file descriptor of the executor ``processes``.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

import orjson

from aloe import errors
from aloe.errors import AloeError
from aloe.models.leased import Client, LeasedAllowance
from aloe.progress import StageProgress
from aloe.prompts import PromptSet
from aloe.stages.context import Context
from aloe.stages.done import read_inputs
from aloe.stages.pipeline import stage_digests
from aloe.stages.sharded import grow_shard, made_by
from aloe.stages.table import stage_by_name, stages_of
from aloe.store.rundir import RunDir
from aloe.store.shards import Shard


class _Reported(StageProgress):
    """Progress that the driver shows."""

    def __init__(self, name: str, allowance: LeasedAllowance) -> None:
        super().__init__(name, None, None)
        self._allowance = allowance

    def update(self, done: float, total: float | None, unit: str = "", note: str = "") -> None:
        self._allowance.note(done, total, unit)


def do_shard(task: Mapping[str, Any], client: Client) -> None:
    """Do one shard of a run that a driver holds.

    Args:
        task: ``run`` (path), ``stage``, ``shard``, ``redo``, and the worker's ``place`` among ``of`` workers.

    Raises:
        AloeError: as the stage raises it.
    """
    run, shard = RunDir(task["run"]), Shard.parse(task["shard"])
    config = run.load_config()
    stages = stages_of(config)
    stage = stage_by_name(task["stage"], stages)
    prompts = PromptSet(config.prompts_dir, config.prompt_set).check()
    allowance = LeasedAllowance(client, str(shard), task["place"], task["of"])
    context = Context(stage.name, config, run, prompts, _Reported(stage.name, allowance), task["redo"])
    by = made_by(context, stage, stage_digests(config, prompts)[stage.name], read_inputs(run, stage, stages))
    grow_shard(context, stage, shard, by, allowance)


class _DriverLine(logging.Handler):
    """The connection to the driver: requests of the event loop, and warnings, go out; a thread takes answers in."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(logging.WARNING)
        self._socket = connection
        self._answers: dict[int, Future[Any]] = {}
        self._n = 0
        self._guard = threading.Lock()
        self._lines = connection.makefile("rb")

    def say(self, what: Mapping[str, Any]) -> None:
        """Send one line."""
        with self._guard:
            self._socket.sendall(orjson.dumps(what, option=orjson.OPT_APPEND_NEWLINE))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.say({"log": [record.name, record.levelno, record.getMessage()]})
        except OSError:  # the driver is gone
            return

    async def ask(self, method: str, *arguments: Any) -> Any:
        self._n += 1
        future = self._answers[self._n] = Future()
        self.say({"id": self._n, "method": method, "arguments": arguments})
        return await asyncio.wrap_future(future)

    def first(self) -> dict[str, Any]:
        """The driver's first line.

        Raises:
            ConnectionError: the driver is gone.
        """
        said = self._lines.readline()
        if not said:
            raise ConnectionAbortedError
        task: dict[str, Any] = orjson.loads(said)
        return task

    def listen(self) -> None:
        """Take answers in until the driver is gone; then interrupt this process, as Ctrl-C would."""
        try:
            while line := self._lines.readline():
                said = orjson.loads(line)
                future = self._answers.pop(said["id"])
                if future.set_running_or_notify_cancel():
                    if "error" in said:
                        name, message, hint = said["error"]
                        future.set_exception(getattr(errors, name)(message, hint))
                    else:
                        future.set_result(said.get("value"))
        except OSError:
            pass
        os.kill(os.getpid(), signal.SIGINT)


def _serve(connection: socket.socket) -> int:
    line = _DriverLine(connection)
    logging.getLogger().addHandler(line)
    line.say({"ready": True})
    task = line.first()
    threading.Thread(target=line.listen, daemon=True).start()
    result: dict[str, Any] = {}
    try:
        do_shard(task, line)
    except AloeError as error:
        result = {"error": [type(error).__name__, error.message, error.hint]}
    except OSError as error:
        result = {"error": ["DataError", str(error), "free some space, or look at the place"]}
    line.say({"result": result})
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        sys.exit(_serve(socket.socket(fileno=int(sys.argv[1]))))
    except (KeyboardInterrupt, ConnectionError):  # told to end, or the driver is gone
        os._exit(130)
