"""Replicas answer as one process does; a killed one is replaced, and none outlives the process that started it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import test_local as local

from aloe.config import ModelConfig
from aloe.errors import ConfigError, DataError, EndpointError
from aloe.models.local.model import LocalModel, create_local_model
from aloe.models.local.pool import start_workers, stop_workers
from aloe.protocols import ChatRequest, Completion, PromptMessage
from helpers import aloe

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks processes up as Linux shows them")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield local.save_tiny(tmp_path_factory.mktemp("checkpoint"), 0)
    stop_workers()


def workers_of(parent: int) -> list[int]:
    """Process ids of the workers that ``parent`` has started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            command = (folder / "cmdline").read_bytes()
        except (OSError, ValueError):
            continue
        if parents == parent and b"aloe.models.local.worker" in command:
            found.append(int(folder.name))
    return found


def conversations(n: int, temperature: float | None, logprobs: int | None = None) -> list[ChatRequest]:
    """Two turns each, so that later requests find what earlier ones left."""
    rng = Random(7)
    found = []
    for seed in range(n):
        said = [" ".join(rng.choices(local.WORDS, k=rng.randint(2, 9))) for _ in range(3)]
        whole = [PromptMessage(role, (text,)) for role, text in zip(("user", "assistant", "user"), said, strict=True)]
        for messages in (whole[:1], whole):
            found.append(
                ChatRequest(tuple(messages), temperature=temperature, seed=seed, max_tokens=12, logprobs=logprobs)
            )
    return found


async def ask(model: LocalModel, asked: list[ChatRequest]) -> list[Completion]:
    return list(await asyncio.gather(*(model.complete(request) for request in asked)))


def answers(checkpoint: Path, asked: list[ChatRequest], replicas: int, **options: Any) -> list[Completion]:
    async def run() -> list[Completion]:
        model = create_local_model(ModelConfig(uri=f"hf:{checkpoint}", **options), replicas)
        try:
            return await ask(model, asked)
        finally:
            await model.aclose()

    return asyncio.run(run())


@pytest.mark.parametrize("temperature", [None, 1.0])
def test_replicas_answer_as_one_process_does(checkpoint: Path, temperature: float | None) -> None:
    asked = conversations(12, temperature)
    assert answers(checkpoint, asked, 2) == answers(checkpoint, asked, 1)
    assert len(workers_of(os.getpid())) == 2


def test_log_probabilities_come_back_too(checkpoint: Path) -> None:
    asked = conversations(4, None, logprobs=3)
    for mine, other in zip(answers(checkpoint, asked, 1), answers(checkpoint, asked, 2), strict=True):
        assert mine.logprobs is not None and other.logprobs is not None
        assert [token["token"] for token in mine.logprobs] == [token["token"] for token in other.logprobs]
        told = [[token["logprob"] for token in reply.logprobs or ()] for reply in (mine, other)]
        assert told[0] == pytest.approx(told[1], abs=1e-4)


def first_logprobs(found: list[Completion]) -> list[float]:
    return [token["logprob"] for reply in found for token in (reply.logprobs or ())[:1]]


@pytest.mark.parametrize("replicas", [1, 2])
def test_weights_in_half_the_bytes_answer_nearly_the_same(checkpoint: Path, replicas: int) -> None:
    asked = conversations(4, None, logprobs=1)
    whole, half = (first_logprobs(answers(checkpoint, asked, replicas, dtype=d)) for d in ("float32", "bfloat16"))
    assert len(half) == len(asked) and half == pytest.approx(whole, abs=0.1) and half != whole
    kept = [create_local_model(ModelConfig(uri=f"hf:{checkpoint}", dtype=d)).revision for d in ("auto", "bfloat16")]
    assert kept[0] != kept[1], "the journal would take one's replies for the other's"


def test_workers_are_kept_for_the_next_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    start_workers(2)
    before = workers_of(os.getpid())
    another = local.save_tiny(tmp_path / "another", 1)
    asked = conversations(6, None)
    assert answers(another, asked, 2) == answers(another, asked, 1) != answers(checkpoint, asked, 2)
    assert workers_of(os.getpid()) == before


def test_errors_of_a_worker_are_told_as_without_one(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(EndpointError, match=r"a prompt has \d+ tokens, but the context length is 2048"):
        answers(checkpoint, [ChatRequest((PromptMessage("user", ("waa " * 3000,)),), max_tokens=2)], 2)
    empty, half = local.save_tiny(tmp_path / "empty", 2), local.save_tiny(tmp_path / "half", 3)
    (empty / "config.json").unlink()
    os.truncate(half / "model.safetensors", 9000)
    for replicas in (1, 2):
        for broken in (empty, half):
            with pytest.raises(DataError, match="no model at"):
                answers(broken, conversations(2, None), replicas)
    with pytest.raises(ConfigError, match="replicas is 0"):
        create_local_model(ModelConfig(uri=f"hf:{checkpoint}"), 0)


def test_a_worker_that_is_killed_in_a_batch_is_replaced(checkpoint: Path) -> None:
    asked = conversations(40, 1.0)
    expected = answers(checkpoint, asked, 1)

    async def run() -> list[Completion]:
        model = create_local_model(ModelConfig(uri=f"hf:{checkpoint}"), 2)
        await ask(model, asked[:4])
        victims = workers_of(os.getpid())
        assert len(victims) == 2
        os.kill(victims[0], signal.SIGSTOP)  # it takes its batch and does not answer until it is killed
        waiting = asyncio.create_task(ask(model, asked))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        os.kill(victims[0], signal.SIGKILL)
        return await waiting

    assert asyncio.run(run()) == expected
    assert len(workers_of(os.getpid())) == 2


def test_workers_that_are_killed_again_and_again_are_an_error_and_not_an_endless_wait(checkpoint: Path) -> None:
    """And between batches, when all of them are dead, the next batch finds new ones."""
    asked = conversations(40, 1.0)
    expected = answers(checkpoint, asked, 1)

    async def kill() -> None:
        while True:
            for victim in workers_of(os.getpid()):
                os.kill(victim, signal.SIGKILL)
            await asyncio.sleep(0.01)

    async def run() -> list[Completion]:
        model = create_local_model(ModelConfig(uri=f"hf:{checkpoint}"), 2)
        await ask(model, asked[:4])
        killer = asyncio.create_task(kill())
        with pytest.raises(EndpointError, match=r"decoding failed: .* has ended with exit status -9"):
            await asyncio.wait_for(ask(model, asked[:8]), 60)
        killer.cancel()
        found = await ask(model, asked)
        await model.aclose()
        return found

    assert asyncio.run(run()) == expected
    assert len(workers_of(os.getpid())) == 2


FRESH = """
import asyncio, sys, time
from aloe.config import ModelConfig
from aloe.models.local.model import create_local_model
from aloe.models.local.pool import start_workers
from aloe.protocols import ChatRequest, PromptMessage

async def main():
    model = create_local_model(ModelConfig(uri="hf:" + sys.argv[1]), 2)
    asked = [ChatRequest((PromptMessage("user", (f"waa {i}",)),), max_tokens=2) for i in range(16)]
    print(len(await asyncio.gather(*(model.complete(request) for request in asked))), flush=True)
    await model.aclose()

asyncio.run(main())
start_workers(1)  # one more, which is still loading its libraries when this process is killed
print("started", flush=True)
time.sleep(600)
"""


def test_lanes_load_at_once_in_a_process_that_has_loaded_nothing_and_workers_end_with_it(checkpoint: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", FRESH, str(checkpoint)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert [parent.stdout.readline(), parent.stdout.readline()] == ["16\n", "started\n"]
        workers = workers_of(parent.pid)
        assert len(workers) == 3
        parent.kill()
    deadline = time.monotonic() + 240  # one may still be loading its libraries
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < deadline, "a worker has outlived its parent"
        time.sleep(0.1)


def test_execution_replicas_decode_a_benchmark_and_end_with_it(checkpoint: Path, tmp_path: Path) -> None:
    def bench(replicas: int) -> tuple[bytes, int]:
        out, seen, ended = tmp_path / f"replicas{replicas}", [0], threading.Event()

        def look() -> None:
            while not ended.wait(0.05):
                seen.append(len(workers_of(os.getpid())))

        looking = threading.Thread(target=look)
        looking.start()
        done = aloe("bench", "bench", "--out", out, "--model", f"hf:{checkpoint}", "--turns", "2",
                    "--bench.n_personas", "16", "--execution.replicas", str(replicas))  # fmt: skip
        assert done.returncode == 0 and workers_of(os.getpid()) == [], done.stderr
        ended.set()
        looking.join()
        (result,) = out.glob("bench/*/conversations.jsonl")
        return result.read_bytes(), max(seen)

    stop_workers()  # those of the tests before
    alone, together = bench(1), bench(2)
    assert alone[0] == together[0]
    assert (alone[1], together[1]) == (0, 2)
