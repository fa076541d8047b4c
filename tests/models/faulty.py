"""A server that misbehaves on purpose, over real sockets, and callers pointed at it.

A script decides per request what happens: it gets the request and how many came before, and returns a ``Fault``
(or an answer's text). Everything that arrives is kept in ``requests``.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from aloe.config import Config, ModelConfig
from aloe.models.caller import Caller
from aloe.models.server import read_request
from aloe.prompts import PromptSet
from aloe.protocols import PromptMessage
from aloe.world.model import WorldModel

PROMPTS = PromptSet()
HELLO = (PromptMessage("system", ("Be kind.",)), PromptMessage("user", ("Hello", " there")))


@dataclass(frozen=True)
class Fault:
    """What to do instead of answering.

    Attributes:
        cut: close the connection after this share of the body was written.
        hang: never answer.
        drip: seconds between single bytes of the body.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: float | None = None
    hang: bool = False
    drip: float = 0.0


Script = Callable[[dict[str, Any], int], Fault | str]
WorldScript = Callable[[dict[str, Any], int], Fault | None]  # None: the world answers


def answer(text: str, **more: Any) -> bytes:
    """The body of a good answer."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop", **more}
    usage = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}
    return orjson.dumps({"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage})


def refusal(message: str, status: int = 400, **headers: str) -> Fault:
    return Fault(status, orjson.dumps({"error": {"message": message, "type": "error"}}), headers)


class FaultyServer:
    """Use :func:`serving`. ``down`` and ``up`` close and open its port again."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.world_script: WorldScript = lambda body, n: None
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.n_open = self.max_open = 0
        self.port = 0
        self.delay = 0.0  # seconds before every answer, so that calls overlap
        self._server: asyncio.Server | None = None
        self._talks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def up(self) -> None:
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        assert self._server is not None
        self._server.close()
        talks = dict(self._talks)
        for task, writer in talks.items():
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(*talks, return_exceptions=True)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks[task] = writer
        try:
            while await self._answer_one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client hung up, which is its right
        finally:
            del self._talks[task]
            writer.close()

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode().split("\r\n")[1:-2]
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
        body = await reader.readexactly(int(headers["content-length"]))
        request, number = orjson.loads(body), len(self.requests)
        self.requests.append(request)
        self.headers.append(headers)
        self.n_open += 1
        self.max_open = max(self.max_open, self.n_open)
        try:
            await asyncio.sleep(self.delay)
            made = self.script(request, number)
            return await self._write(writer, Fault(body=answer(made)) if isinstance(made, str) else made)
        finally:
            self.n_open -= 1

    async def _write(self, writer: asyncio.StreamWriter, fault: Fault) -> bool:
        if fault.hang:
            await asyncio.sleep(3600)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(fault.body)), **fault.headers}
        lines = "".join(f"{k.replace('_', '-')}: {v}\r\n" for k, v in headers.items())
        writer.write(f"HTTP/1.1 {fault.status} X\r\n{lines}\r\n".encode())
        if fault.cut is not None:
            writer.write(fault.body[: int(len(fault.body) * fault.cut)])
            await writer.drain()
            return False
        if fault.drip:
            for byte in fault.body:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(fault.drip)
            return True
        writer.write(fault.body)
        await writer.drain()
        return True


@contextmanager
def faulty_world(script: WorldScript) -> Iterator[FaultyServer]:
    """The world over HTTP in a thread of its own; where ``script`` returns a fault, that comes instead."""
    actors: dict[str, WorldModel] = {}
    loop, ready = asyncio.new_event_loop(), threading.Event()

    def answer_or_fail(body: dict[str, Any], n: int) -> Fault | str:
        fault = server.world_script(body, n)
        if fault is not None:
            return fault
        request, name, _ = read_request(body)
        return actors.setdefault(name, WorldModel(name)).answer(request).text

    server = FaultyServer(answer_or_fail)
    server.world_script = script

    def work() -> None:
        loop.run_until_complete(server.up())
        ready.set()
        loop.run_forever()
        loop.run_until_complete(server.down())

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


@asynccontextmanager
async def serving(script: Script) -> AsyncIterator[FaultyServer]:
    server = FaultyServer(script)
    await server.up()
    try:
        yield server
    finally:
        await server.down()


def model_at(base_url: str, **fields: Any) -> ModelConfig:
    return ModelConfig.model_validate({"uri": "openai:made-up", "base_url": base_url, **fields})


@asynccontextmanager
async def calling(
    *models: ModelConfig, journal: Path | None = None, budget: dict[str, Any] | None = None, seed: int = 1,
    patience: float = 10.0,
) -> AsyncIterator[Caller]:  # fmt: skip
    """A caller whose role 'user' is played by ``models`` and that waits ``patience`` seconds for an endpoint."""
    config = Config.model_validate({"budget": budget or {}, "execution": {"outage_minutes": patience / 60}})
    caller = Caller.open(config, journal, seed=seed, prompts=PROMPTS, models={"user": models})
    try:
        yield caller
    finally:
        await caller.aclose()


def attempts(caller: Caller) -> list[tuple[int, int, str]]:
    """Failed attempts in the journal: status, whether billed, error."""
    caller.journal.flush()
    found = caller.journal._database.execute("SELECT status, billed, error FROM attempts ORDER BY id")
    return list(found)
