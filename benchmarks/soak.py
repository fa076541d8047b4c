"""Does a long run stay small, and its event loop free?

``--calls`` calls (20,000), each answered after ``--latency`` seconds (1), up to ``--in-flight`` at a time (1,000), by
a server in another process; every answer is committed to a journal on disk. Figures:

- ``memory_growth``: resident memory at the end over that after the first quarter, less 1;
- ``most_blocked_ms``: longest time for which the event loop did not come round, by the clock;
- ``most_held_ms``: the same without the time for which the loop's thread was ready to run and waited for a core;
- ``most_busy_ms``: processor time of the loop's thread within such a time;
- ``control_blocked_ms``: as the first, of a bare event loop that does nothing, in a process beside this one;
- ``busy_control_blocked_ms``: as the first, of a bare event loop that computes for 10 ms a round, after the calls: how
  long the machine keeps a loop that works from its core;
- ``seconds``: ideally calls / in flight * latency.

Fails where calls failed, memory grew by more than a tenth, or a round was held up for more than 200 ms by more than
waiting for a core.
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
from aloe.models.http.loop import new_loop
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


def waited() -> float:
    """Seconds for which this thread was ready to run and waited for a core."""
    return int(Path("/proc/thread-self/schedstat").read_text("ascii").split()[1]) / 1e9


class Watch:
    """How long the event loop does not come round: by the clock, less waiting for a core, in processor time."""

    def __init__(self) -> None:
        self.blocked = self.held = self.busy = 0.0

    async def run(self) -> None:
        while True:
            at, used, queued = time.perf_counter(), time.thread_time(), waited()
            await asyncio.sleep(0)
            blocked = time.perf_counter() - at
            self.blocked = max(self.blocked, blocked)
            self.held = max(self.held, blocked - (waited() - queued))
            self.busy = max(self.busy, time.thread_time() - used)
            await asyncio.sleep(0.005)


def control(pipe: Connection) -> None:
    """A bare event loop until told to stop; sends back how long it did not come round."""

    async def watch() -> None:
        watch, loop = Watch(), asyncio.get_running_loop()
        watching = asyncio.create_task(watch.run())
        await loop.run_in_executor(None, pipe.recv)
        watching.cancel()
        pipe.send(watch.blocked)

    asyncio.run(watch())


async def compute(seconds: float) -> float:
    """How long a loop did not come round that computes for 10 ms in each round, half of the time."""
    watch = Watch()
    watching = asyncio.create_task(watch.run())
    ends = time.perf_counter() + seconds
    while time.perf_counter() < ends:
        until = time.thread_time() + 0.01
        while time.thread_time() < until:
            pass
        await asyncio.sleep(0.01)
    watching.cancel()
    return watch.blocked


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
        "most_blocked_ms": round(1000 * watch.blocked, 1), "most_held_ms": round(1000 * watch.held, 1),
        "most_busy_ms": round(1000 * watch.busy, 1),
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--latency", type=float, default=1.0, help="seconds")
    parser.add_argument("--in-flight", type=int, default=1_000)
    options = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    (ours, theirs), (here, there) = multiprocessing.Pipe(), multiprocessing.Pipe()
    server = spawn.Process(target=start, args=(theirs, options.latency), daemon=True)
    beside = spawn.Process(target=control, args=(there,), daemon=True)
    server.start()
    beside.start()
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner(loop_factory=new_loop) as runner:  # as stages have it
        figures = runner.run(soak(ours.recv(), Path(folder), options.calls, options.in_flight))
    here.send(None)
    figures["control_blocked_ms"] = round(1000 * here.recv(), 1)
    server.terminate()
    figures["busy_control_blocked_ms"] = round(1000 * asyncio.run(compute(min(20.0, figures["seconds"]))), 1)
    print(json.dumps({"benchmark": "soak", "figures": figures}))
    held = max(figures["most_busy_ms"], figures["most_held_ms"])
    return int(figures["failed"] > 0 or figures["memory_growth"] > 0.1 or held > 200)


if __name__ == "__main__":
    sys.exit(main())
