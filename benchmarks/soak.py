"""Does a long run stay small, and its event loop free?

``--calls`` calls (20,000), each answered after ``--latency`` seconds (1), up to ``--in-flight`` at a time (1,000), by
a server in another process; every answer is committed to a journal on disk. Figures:

- ``memory_growth``: resident memory at the end over that after the first quarter, less 1;
- ``most_blocked_ms``: longest time for which the event loop did not come round, by the clock;
- ``most_busy_ms``: processor time of the loop's thread within such a time (where other work takes the cores, the clock
  also counts waiting for one);
- ``seconds``: ideally calls / in flight * latency.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

from aloe.config import ModelConfig, load_config
from aloe.models.caller import Caller
from aloe.prompts import PromptSet
from aloe.protocols import PromptMessage

ANSWER = json.dumps(
    {
        "choices": [{"message": {"role": "assistant", "content": "I see. " * 20}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 200, "completion_tokens": 40},
    }
).encode()
HEAD = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(ANSWER)}\r\n\r\n".encode()


async def serve(pipe: Connection, latency: float) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]
                await reader.readexactly(int(length))
                await asyncio.sleep(latency)
                writer.write(HEAD + ANSWER)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, backlog=4096)
    pipe.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def start(pipe: Connection, latency: float) -> None:
    from aloe.models.http.connection import allow_open_files

    allow_open_files(4096)
    asyncio.run(serve(pipe, latency))


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class Watch:
    """How long the event loop does not come round."""

    def __init__(self) -> None:
        self.blocked = self.busy = 0.0

    async def run(self) -> None:
        while True:
            at, used = time.perf_counter(), time.thread_time()
            await asyncio.sleep(0)
            self.blocked = max(self.blocked, time.perf_counter() - at)
            self.busy = max(self.busy, time.thread_time() - used)
            await asyncio.sleep(0.005)


async def soak(port: int, folder: Path, n_calls: int, in_flight: int) -> dict[str, float]:
    model = ModelConfig(uri="openai:soak", base_url=f"http://127.0.0.1:{port}/v1", max_concurrency=in_flight)
    caller = Caller.open(
        load_config(None), folder / "journal.sqlite", seed=1, prompts=PromptSet(), models={"user": [model]}
    )
    watch, memory = Watch(), list[float]()
    numbers = iter(range(n_calls))
    done = 0

    async def work() -> None:
        nonlocal done
        for i in numbers:
            said = (PromptMessage("system", ("Be kind. " * 50,)), PromptMessage("user", (f"Question {i}? " * 10,)))
            await caller.call("user", f"p/{i}", "user", said)
            done += 1
            if done % (n_calls // 40) == 0:
                memory.append(resident_mb())

    watching = asyncio.create_task(watch.run())
    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(in_flight)))
    seconds = time.perf_counter() - started
    watching.cancel()
    stats = caller.stats["user"]
    await caller.aclose()
    return {
        "calls": stats.n_calls, "failed": stats.n_failed, "seconds": round(seconds, 1),
        "memory_mb_first_quarter": round(memory[len(memory) // 4], 1), "memory_mb_end": round(memory[-1], 1),
        "memory_growth": round(memory[-1] / memory[len(memory) // 4] - 1, 4),
        "most_blocked_ms": round(1000 * watch.blocked, 1), "most_busy_ms": round(1000 * watch.busy, 1),
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--latency", type=float, default=1.0, help="seconds")
    parser.add_argument("--in-flight", type=int, default=1_000)
    options = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=start, args=(theirs, options.latency), daemon=True)
    server.start()
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(soak(ours.recv(), Path(folder), options.calls, options.in_flight))
    server.terminate()
    print(json.dumps({"benchmark": "soak", "figures": figures}))
    return int(figures["failed"] > 0 or figures["memory_growth"] > 0.1 or figures["most_busy_ms"] > 200)


if __name__ == "__main__":
    sys.exit(main())
