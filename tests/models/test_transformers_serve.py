"""A server that this project did not write: ``transformers serve`` on a checkpoint made here, through ``openai:``.

Needs fastapi, uvicorn and openai beside transformers (extra ``test``); says so and is left out where they are missing.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
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
from aloe.config import Config, ModelConfig, TinyConfig
from aloe.models.caller import Caller
from aloe.models.local.checkpoint import load_model, load_tokenizer, model_card, save_checkpoint
from aloe.store.records import read_jsonl
from aloe.training.tiny.model import create_model
from aloe.training.tiny.tokenizer import build_tokenizer
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
    model = create_model(TinyConfig(d_model=32, n_layers=2, n_heads=4, d_ffn=48), tokenizer, 0)
    with torch.no_grad():  # lively: what it says depends on what was said
        for parameter in model.model.layers.parameters():
            parameter.mul_(4.0)
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
    config = Config.model_validate({"bench": {"n_turns": 3, "n_bootstrap": 100}})

    async def work(out: Path) -> tuple[int, int]:
        caller = Caller.open(config, tmp_path / "journal.sqlite", seed=1)
        try:
            result = await run_benchmark(caller, personas, model, config=config, out_dir=out)
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
        assert all(n.generation and n.generation.model == f"openai:{Path(checkpoint).name}" for n in replies)
    assert asyncio.run(work(tmp_path / "two")) == (n_calls, n_calls)  # and the same from the journal
    names = [p.name for p in (tmp_path / "one").iterdir() if p.suffix == ".jsonl"]
    assert all((tmp_path / "one" / n).read_bytes() == (tmp_path / "two" / n).read_bytes() for n in names)


def logit_gap(checkpoint: Path, history: list[dict[str, str]], one: str, other: str) -> float:
    """How far apart the model's two best tokens are where two replies to ``history`` first differ."""
    model, tokenizer = load_model(checkpoint).eval(), load_tokenizer(checkpoint)
    prompt = tokenizer.apply_chat_template(history, add_generation_prompt=True, return_dict=True)["input_ids"]
    replies = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in (one, other)]
    place = next((i for i, (a, b) in enumerate(zip(*replies, strict=False)) if a != b), min(map(len, replies)))
    with torch.inference_mode():
        top = model(input_ids=torch.tensor([[*prompt, *replies[0][:place]]])).logits[0, -1].topk(2).values
    return float(top[0] - top[1])


@pytest.fixture(scope="module")
def own_url(checkpoint: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "aloe", "serve", f"hf:{checkpoint}", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if found := re.search(r"http://\S+", line):
                break
        else:
            raise AssertionError("".join(said))
        yield found[0].rstrip("/").removesuffix("/v1") + "/v1"
    finally:
        process.terminate()
        process.wait(30)


def test_one_checkpoint_says_the_same_three_ways(tmp_path: Path, checkpoint: Path, base_url: str, own_url: str) -> None:
    """In process, behind our server, behind theirs: greedy replies differ only where the two best tokens tie."""
    personas = world_personas(4)
    config = Config.model_validate({"bench": {"n_turns": 3, "n_bootstrap": 100}})
    with urllib.request.urlopen(f"{own_url}/models", timeout=30) as answer:
        listed = answer.read()
    common = {"max_tokens": 12, "temperature": 0.0, "max_concurrency": 4, "timeout_seconds": 60}
    ways = {
        "process": ModelConfig(uri=f"hf:{checkpoint}", **common),
        "own": ModelConfig(uri=f"openai:{json.loads(listed)['data'][0]['id']}", base_url=own_url, **common),
        "theirs": ModelConfig(uri=f"openai:{checkpoint}", base_url=base_url, **common),
    }

    async def work(name: str) -> None:
        caller = Caller.open(config, None, seed=1)
        try:
            await run_benchmark(caller, personas, ways[name], config=config, out_dir=tmp_path / name)
        finally:
            await caller.aclose()

    talks: dict[str, dict[str, list[str]]] = {}
    for name in ways:
        asyncio.run(work(name))
        trees = read_jsonl(tmp_path / name / "conversations.jsonl", ConversationTree)
        talks[name] = {t.persona_id: [n.message.content for n in t.nodes] for t in trees}
    for persona, said in talks["process"].items():
        assert len(said) == 6 and len(set(said[1::2])) > 1
        for name in ("own", "theirs"):
            other = talks[name][persona]
            assert len(said) == len(other), (name, said, other)
            first = next((i for i, (a, b) in enumerate(zip(said, other, strict=True)) if a != b), None)
            if first is None:
                continue
            assert first % 2 == 1, "the user spoke otherwise after the same replies"
            history = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(said[:first])]
            assert logit_gap(checkpoint, history, said[first], other[first]) < 1e-3, (name, said[first], other[first])
