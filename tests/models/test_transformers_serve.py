"""A server that this project did not write: ``transformers serve`` on a checkpoint made here, through ``openai:``.

Needs fastapi, uvicorn and openai beside transformers (extra ``test``); says so and is left out where they are missing.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from aloe.bench.runner import run_benchmark
from aloe.config import BaseConfig, Config, ModelConfig
from aloe.models.caller import Caller
from aloe.models.checkpoint import model_card, save_checkpoint
from aloe.prompts import PromptSet
from aloe.records import read_jsonl
from aloe.training.tiny import create_model
from aloe.training.tokenizer import build_tokenizer
from aloe.types import ConversationTree
from helpers import world_personas

COMMAND = Path(sys.executable).with_name("transformers")
SERVING = ("fastapi", "uvicorn", "openai")  # what it imports beside transformers
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not COMMAND.exists() or not all(find_spec(name) for name in SERVING),
        reason=f"transformers serve needs {', '.join(SERVING)}",
    ),
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny untrained model that answers in words."""
    words = [f"w{a}{b}" for a in "abcdefgh" for b in "abcdefgh"]
    tokenizer = build_tokenizer([" ".join(words)])
    model = create_model(BaseConfig(d_model=32, n_layers=2, n_heads=4, d_ffn=48), tokenizer, 0)
    with torch.no_grad():
        model.model.embed_tokens.weight[: len(tokenizer) - len(words)] *= 0.01
    folder = tmp_path_factory.mktemp("served") / "checkpoint"
    save_checkpoint(model, tokenizer, folder, model_card("tiny", "a test", {}), {})
    return folder


@pytest.fixture(scope="module")
def base_url(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("log") / "serve.log"
    command = [COMMAND, "serve", str(checkpoint), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu",
               "--continuous-batching", "--cb-num-blocks", "64", "--cb-max-batch-tokens", "512"]  # fmt: skip
    offline = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with open(log, "wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=offline)
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
                break
            except (urllib.error.URLError, OSError):
                assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(log.parent)


def test_a_benchmark_run_through_a_real_server(tmp_path: Path, checkpoint: Path, base_url: str) -> None:
    personas = world_personas(3)
    model = ModelConfig(
        uri=f"openai:{checkpoint}", base_url=base_url, max_tokens=12, temperature=0.7, max_concurrency=4,
        timeout_seconds=60,
    )  # fmt: skip
    config, prompts = Config.model_validate({"bench": {"n_turns": 3, "n_bootstrap": 100}}), PromptSet()

    async def work(out: Path) -> tuple[int, int]:
        caller = Caller.open(config, tmp_path / "journal.sqlite", seed=1, prompts=prompts)
        try:
            result = await run_benchmark(caller, prompts, personas, model, config=config, out_dir=out)
            assert result.n_failed == 0 and [p.n_scored for p in result.points] == [3, 3, 3]
            stats = caller.stats["responder"]
            assert stats.n_failed == 0 and stats.prompt_tokens > 0 and stats.completion_tokens > 0
            return stats.n_calls, stats.n_replayed
        finally:
            await caller.aclose()

    n_calls, n_replayed = asyncio.run(work(tmp_path / "one"))
    assert n_calls >= 9 and n_replayed == 0
    for tree in read_jsonl(tmp_path / "one" / "conversations.jsonl", ConversationTree):
        replies = [n for n in tree.nodes if n.message.role == "assistant"]
        assert len(replies) == 3 and all(n.message.content.strip() for n in replies)
        assert all(n.generation and n.generation.model == f"openai:{checkpoint}" for n in replies)
    assert asyncio.run(work(tmp_path / "two")) == (n_calls, n_calls)  # and the same from the journal
    names = [p.name for p in (tmp_path / "one").iterdir() if p.suffix == ".jsonl"]
    assert all((tmp_path / "one" / n).read_bytes() == (tmp_path / "two" / n).read_bytes() for n in names)
