"""A small run of the world with a checkpoint of random weights, and the studio as a program of its own on it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from aloe.__main__ import main
from aloe.config import TinyConfig
from helpers import world_personas

SIZES = (
    "--personas.n_profiles=16", "--personas.n_personalities=16", "--personas.n_personas=12",
    "--personas.n_bench_profiles=4", "--personas.n_bench_personalities=4", "--personas.n_bench=4",
    "--bench.n_turns=3", "--bench.n_personas=4", "--trees.n_turns=3", "--execution.replicas=1",
)  # fmt: skip


def save_tiny(folder: Path) -> None:
    """A Llama of random weights that speaks some words of the world, without meaning anything by them."""
    from aloe.models.local.checkpoint import model_card, save_checkpoint
    from aloe.training.tiny.model import create_model
    from aloe.training.tiny.tokenizer import SPECIAL, build_tokenizer

    tokenizer = build_tokenizer([f"{p.profile} {p.personality}" for p in world_personas(8)])
    model = create_model(TinyConfig(d_model=16, n_layers=1, n_heads=2, d_ffn=16), tokenizer, 0)
    model.get_input_embeddings().weight.data[: len(SPECIAL) + 256] = 0.0  # only words: never an empty reply
    save_checkpoint(model, tokenizer, folder, model_card("tiny", "a test", {}), {"seed": 0})


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("studio") / "spring"
    assert main(["run", "demo", "--out", str(run), "--skip", "base,sft,rollout,dpo", *SIZES]) == 0
    save_tiny(run / "checkpoints" / "dpo")
    return run


@pytest.fixture
def run(whole_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole_run, tmp_path / "spring"))


class Endpoint:
    """A chat endpoint on loopback that answers with ``text``, or fails with ``status``."""

    def __init__(self) -> None:
        self.text = "hello"
        self.status = 200
        self.fault = "out of order"
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                message = {"role": "assistant", "content": outer.text}
                good = {
                    "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
                }
                body = json.dumps(good if outer.status == 200 else {"error": {"message": outer.fault}}).encode()
                self.send_response(outer.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing: the test says what went wrong."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def option(self, *names: str) -> str:
        """The models of the benchmark, all of them here under these names."""
        base = f"http://127.0.0.1:{self._server.server_port}/v1"
        models = ", ".join(f'{{uri = "openai:{name}", base_url = "{base}", max_attempts = 1}}' for name in names)
        return f"--bench.models=[{models}]"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    endpoint = Endpoint()
    yield endpoint
    endpoint.close()


def environment() -> dict[str, str]:
    return os.environ | {"OPENAI_API_KEY": "not-needed", "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}


@contextmanager
def studio(run: Path, *options: str) -> Iterator[str]:
    """``aloe studio RUN`` on a free port; yields the address it prints."""
    command = [sys.executable, "-m", "aloe", "studio", str(run), "--port", "0", *options]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", env=environment()
    )
    try:
        said = []
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if "http://" in line and line.startswith("studio of"):
                yield next(word for word in line.split() if word.startswith("http://"))
                break
        else:
            pytest.fail("the studio did not start: " + "".join(said))
    finally:
        process.terminate()
        process.communicate(timeout=20)


@pytest.fixture
def serve() -> Callable[..., object]:
    return studio
