"""The examples of the README, run as a user runs them: one endpoint for all roles, then TRL on what came out."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from aloe.models.server import start_server
from aloe.protocols import ChatRequest, Completion
from aloe.store.records import read_parquet
from aloe.store.validate import validate_run
from aloe.world.model import WorldModel
from helpers import aloe

EXAMPLES = Path(__file__).parents[2] / "examples"


class Everybody:
    """One model that plays every role, as a language model does: by what its prompt says."""

    name, revision = "mine", "1"
    signs = (
        ("<task kind=\"p", "persona-writer"), ("<reply id=", "judge"), ("<revealed>", "tailored"),
        ("<conversation>", "inducer"), ("<persona>", "user"), ("", "generic"),
    )  # fmt: skip

    async def complete(self, request: ChatRequest) -> Completion:
        text = "".join(m.content for m in request.messages)
        actor = next(actor for sign, actor in self.signs if sign in text)
        return await WorldModel(f"world:{actor}").complete(request)

    async def aclose(self) -> None:
        return None


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    loop, started, stop = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    address: list[str] = []

    async def serve() -> None:
        server = await start_server({"mine": Everybody()}, "127.0.0.1", 0)
        address.append(f"http://127.0.0.1:{server.port}/v1")
        started.set()
        await stop.wait()
        await server.aclose()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert started.wait(10)
    yield address[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)


def python(*arguments: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def run(endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("example") / "run"
    assert "pairs: aloe export" in python(EXAMPLES / "build_trees.py", endpoint, "openai:mine", out)
    return out


def test_trees_from_ones_own_endpoint(run: Path) -> None:
    assert validate_run(run).breaches == []
    assert len(read_parquet(run / "datasets" / "dpo.parquet")) > 20


@pytest.mark.slow
def test_trl_trains_from_the_exported_folder(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("trl")
    from aloe.config import TinyConfig
    from aloe.training.tiny.model import create_model
    from aloe.training.tiny.tokenizer import build_tokenizer

    assert aloe("export", run, "--format", "hub").returncode == 0
    (path,) = (run / "datasets" / "hub" / "data" / "preference").glob("train-*.parquet")
    rows = read_parquet(path)
    tokenizer = build_tokenizer(m["content"] for r in rows for m in (*r["prompt"], *r["chosen"], *r["rejected"]))
    tokenizer.save_pretrained(tmp_path / "tiny")
    create_model(TinyConfig(d_model=16, n_layers=1, n_heads=2, d_ffn=16), tokenizer, 0).save_pretrained(
        tmp_path / "tiny"
    )
    python(EXAMPLES / "train_dpo.py", run / "datasets" / "hub", tmp_path / "tiny", tmp_path / "out", "2")
    assert (tmp_path / "out" / "model.safetensors").is_file()


@pytest.mark.parametrize("name", ["build_trees.py", "train_dpo.py"])
def test_an_example_is_short(name: str) -> None:
    lines = (EXAMPLES / name).read_text().splitlines()
    assert sum(bool(line.strip()) and not line.startswith(('"""', "import", "from")) for line in lines) <= 12
