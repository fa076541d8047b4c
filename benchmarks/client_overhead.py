"""CPU per call of aloe's whole path to a model, beside raw aiohttp and the usual clients; throughput at 1 s latency.

A mock server of negligible cost runs in a process of its own; what is measured is this process's CPU time. Our side
does everything that a stage does: render the prompt, key, journal on disk with commit, scheduler, HTTP, parse the
answer. The raw side is aiohttp + orjson with nothing around it: dump, post, load. Sides take turns within each round;
times are medians over the rounds, and ratios are medians of each round's own ratio, so that a machine that is busy now
and then weighs little. Throughput counts from the first call, slow start and opening of connections included; how long
that takes, and the share afterwards, are printed beside it. Peers (group ``peers``, in an environment of its own) that
are not installed are left out with a line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from aloe.config import Config, ModelConfig
from aloe.models.caller import Caller
from aloe.models.http.connection import allow_open_files
from aloe.prompts.catalog import TAILORED
from aloe.prompts.render import PromptSet
from aloe.protocols import PromptMessage

SENTENCE = "I have been thinking about what to cook on Saturday, when my sister and her two children come to visit. "
Call = Callable[[int], Awaitable[None]]


class Mock(asyncio.Protocol):
    """Answers any POST at once, or after a second where the path holds ``/slow/``."""

    count = 0

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        while (end := buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(buffer[:end])
            at = head.lower().find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r", 1)[0]) if at >= 0 else 0
            if len(buffer) < end + 4 + length:
                return
            del buffer[: end + 4 + length]
            Mock.count += 1
            reply = _answer(Mock.count)
            if b"/slow/" in head[:64]:
                asyncio.get_running_loop().call_later(1.0, self._write, reply)
            else:
                self._write(reply)

    def _write(self, reply: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(reply)


def _answer(i: int) -> bytes:
    body = orjson.dumps(
        {
            "id": "chatcmpl-mock", "object": "chat.completion", "created": 1, "model": "mock",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": f"{SENTENCE}Number {i}."},
                         "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 300, "completion_tokens": 30, "total_tokens": 330},
        }
    )  # fmt: skip
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


async def _serve() -> None:
    allow_open_files(4096)
    server = await asyncio.get_running_loop().create_server(Mock, "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def _history(n_messages: int) -> list[tuple[str, str]]:
    """The messages between the system message and the last one."""
    return [("user" if i % 2 == 0 else "assistant", f"{SENTENCE}Turn {i}.") for i in range(n_messages - 2)]


async def _drive(call: Call, n: int, concurrency: int) -> None:
    numbers = iter(range(n))

    async def work() -> None:
        for i in numbers:
            await call(i)

    await asyncio.gather(*(work() for _ in range(concurrency)))


class Side:
    """One client. ``start`` returns the function that makes call number i; ``stop`` closes it."""

    name = ""

    def __init__(self, base_url: str, n_messages: int, concurrency: int) -> None:
        self.base_url, self.n_messages, self.concurrency = base_url, n_messages, concurrency
        prompt = PromptSet().render("tailored", last="LAST", revealed=())
        self.system = prompt[0].content
        self.history = _history(n_messages)
        self.tail = prompt[-1].content

    def messages(self, i: int) -> list[dict[str, str]]:
        history = [{"role": role, "content": text} for role, text in self.history]
        last = self.tail.replace("LAST", f"{SENTENCE}{i}")
        return [{"role": "system", "content": self.system}, *history, {"role": "user", "content": last}]

    async def start(self) -> Call:
        raise NotImplementedError

    async def stop(self) -> None: ...


class Ours(Side):
    name = "aloe"

    async def start(self) -> Call:
        self._folder = tempfile.TemporaryDirectory()
        model = ModelConfig(
            uri="openai:mock", base_url=self.base_url, max_concurrency=self.concurrency, temperature=0.7, max_tokens=200
        )
        path = Path(self._folder.name) / "journal.sqlite"
        caller = self._caller = Caller.open(Config(), path, seed=1, models={"tailored": [model]})
        history = tuple(PromptMessage(role, (text,)) for role, text in self.history)

        async def call(i: int) -> None:
            place, last = f"trees/{i:032x}/0/t", f"{SENTENCE}{i}"
            answer, _ = await caller.ask(TAILORED, place, history=history, turn=1, last=last, revealed=())
            assert answer

        return call

    async def stop(self) -> None:
        await self._caller.aclose()
        self._folder.cleanup()


class Raw(Side):
    name = "raw aiohttp"

    async def start(self) -> Call:
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=self.concurrency))
        url = f"{self.base_url}/chat/completions"
        headers = {"Content-Type": "application/json"}

        async def call(i: int) -> None:
            body = {"model": "mock", "messages": self.messages(i), "temperature": 0.7, "max_tokens": 200, "seed": i}
            async with self._session.post(url, data=orjson.dumps(body), headers=headers) as response:
                data = orjson.loads(await response.read())
            assert data["choices"][0]["message"]["content"]

        return call

    async def stop(self) -> None:
        await self._session.close()


class OpenAIDefault(Side):
    name = "openai"

    def _client(self) -> Any:
        import openai

        limits = openai.DefaultAsyncHttpxClient(timeout=60)
        return openai.AsyncOpenAI(base_url=self.base_url, api_key="mock", http_client=limits)

    async def start(self) -> Call:
        client = self._made = self._client()

        async def call(i: int) -> None:
            done = await client.chat.completions.create(
                model="mock", messages=self.messages(i), temperature=0.7, max_tokens=200, seed=i
            )
            assert done.choices[0].message.content

        return call

    async def stop(self) -> None:
        await self._made.close()


class OpenAIAiohttp(OpenAIDefault):
    name = "openai+aiohttp"

    def _client(self) -> Any:
        import httpx_aiohttp  # noqa: F401 - needed by the client below; absent means: skip
        import openai

        return openai.AsyncOpenAI(
            base_url=self.base_url, api_key="mock", http_client=openai.DefaultAioHttpClient(timeout=60)
        )


class LiteLLM(Side):
    name = "litellm"

    async def start(self) -> Call:
        import litellm

        litellm.suppress_debug_info = True

        async def call(i: int) -> None:
            done = await litellm.acompletion(
                model="openai/mock", api_base=self.base_url, api_key="mock", messages=self.messages(i),
                temperature=0.7, max_tokens=200, seed=i,
            )  # fmt: skip
            assert done.choices[0].message.content

        return call


class Inspect(Side):
    name = "inspect_ai"

    async def start(self) -> Call:
        from inspect_ai.model import (
            ChatMessageAssistant,
            ChatMessageSystem,
            ChatMessageUser,
            GenerateConfig,
            get_model,
        )

        config = GenerateConfig(max_connections=self.concurrency, temperature=0.7, max_tokens=200)
        model = get_model("openai/mock", base_url=self.base_url, api_key="mock", config=config, responses_api=False)
        kinds = {"system": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant}

        async def call(i: int) -> None:
            messages = [kinds[m["role"]](content=m["content"]) for m in self.messages(i)]
            done = await model.generate(messages, config=GenerateConfig(seed=i))
            assert done.completion

        return call


PEERS: tuple[type[Side], ...] = (OpenAIDefault, OpenAIAiohttp, LiteLLM, Inspect)


async def _cpu_ms(kind: type[Side], base_url: str, n_messages: int, n: int) -> float:
    """Process CPU milliseconds per call at concurrency 64, connections warm."""
    side = kind(base_url, n_messages, 64)
    call = await side.start()
    await _drive(call, 64, 64)
    started = time.process_time()
    await _drive(lambda i: call(i + 64), n, 64)
    spent = time.process_time() - started
    await side.stop()
    return 1000 * spent / n


@dataclass(frozen=True, slots=True)
class Throughput:
    """Calls per second from the first call on, the same over the second half, and seconds until it was steady."""

    rate: float
    steady: float
    ramp: float


async def _throughput(kind: type[Side], base_url: str, concurrency: int, rounds: int) -> Throughput:
    # An address of its own, so that no side knows from an earlier part what the endpoint bears.
    side = kind(base_url.replace("/v1", f"/slow/{concurrency}/v1"), 4, concurrency)
    call = await side.start()
    done: list[float] = []
    started = time.perf_counter()

    async def timed(i: int) -> None:
        await call(i)
        done.append(time.perf_counter() - started)

    await _drive(timed, concurrency * rounds, concurrency)
    await side.stop()
    done.sort()
    half = len(done) // 2
    per_second = Counter(map(int, done))
    steady = (len(done) - concurrency - half) / (done[-1 - concurrency] - done[half])
    ramp = next((s for s in range(int(done[-1])) if per_second[s] >= 0.95 * concurrency), int(done[-1]))
    return Throughput(len(done) / done[-1], steady, ramp)


def _present(base_url: str) -> list[type[Side]]:
    found = []
    for kind in PEERS:
        try:
            asyncio.run(_cpu_ms(kind, base_url, 4, 64))
            found.append(kind)
        except Exception as error:  # peers say in their own types that something is missing; it is shown, not hidden
            print(f"left out: {kind.name} ({type(error).__name__}: {str(error).splitlines()[0][:100]})")
    return found


def _measure_cpu(base_url: str, peers: list[type[Side]], rounds: int, n: int) -> dict[str, float]:
    figures: dict[str, float] = {}
    ratios_raw, ratios_peer = [], []
    for size in (4, 24):
        taken: dict[str, list[float]] = {kind.name: [] for kind in (Ours, Raw, *peers)}
        for _ in range(rounds):
            for kind in (Raw, Ours, *peers):
                calls = n if kind in (Ours, Raw) else max(64, n // 8)
                taken[kind.name].append(asyncio.run(_cpu_ms(kind, base_url, size, calls)))
        ours = taken["aloe"]
        print(f"{size} messages, CPU ms per call (median of {rounds} rounds; lowest-highest; over aloe's):")
        for name, values in taken.items():
            middle = statistics.median(values)
            print(f"  {name:16} {middle:8.3f}   {min(values):.3f}-{max(values):.3f}   {_ratio(values, ours):6.2f}")
        figures[f"cpu_ms_per_call_{size}"] = statistics.median(ours)
        ratios_raw.append(_ratio(ours, taken["raw aiohttp"]))
        ratios_peer += [_ratio(taken[kind.name], ours) for kind in peers]
    figures["ratio_raw_aiohttp"] = max(ratios_raw)
    if ratios_peer:
        figures["ratio_best_peer"] = min(ratios_peer)
    return figures


def _ratio(these: list[float], those: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(these, those, strict=True))


def _measure_throughput(base_url: str, concurrency: int, seconds: int) -> float:
    raw, ours = (asyncio.run(_throughput(kind, base_url, concurrency, seconds)) for kind in (Raw, Ours))
    print(
        f"concurrency {concurrency} at 1 s, {seconds} calls each: aloe {ours.rate:.1f} calls/s, raw aiohttp "
        f"{raw.rate:.1f}; second half {ours.steady:.1f} and {raw.steady:.1f}; steady after {ours.ramp:.0f} and "
        f"{raw.ramp:.0f} s"
    )
    return ours.rate / raw.rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="rounds of the CPU part")
    parser.add_argument("--calls", type=int, default=2000, help="calls per side and round (peers: an eighth)")
    parser.add_argument("--seconds", type=int, default=40, help="rounds of 1 s of the throughput part; 0 leaves it out")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(_serve())
        return
    allow_open_files(4096)
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # no download at import
    server = subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        base_url = f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
        print(f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}")
        figures = _measure_cpu(base_url, _present(base_url), arguments.rounds, arguments.calls)
        for concurrency in (256, 1024) if arguments.seconds else ():
            figures[f"throughput_share_{concurrency}"] = _measure_throughput(base_url, concurrency, arguments.seconds)
    finally:
        server.terminate()
        server.wait()
    rounded = {name: round(value, 4) for name, value in figures.items()}
    print(json.dumps({"benchmark": "client_overhead", "figures": rounded}))


if __name__ == "__main__":
    main()
