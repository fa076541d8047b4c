"""A server that draws replies as vLLM's ``/v1/completions`` does, with plain forward passes of a small model."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from aiohttp import web
from transformers import AutoModelForCausalLM

LOAD = "import sys, urllib.request as u; u.urlopen(u.Request(sys.argv[1], data=sys.argv[2].encode()))"


class PolicyServer:
    """Use :func:`serving_policy`.

    Attributes:
        with_ids: tokens have their ids. loads: new weights are taken. requests: bodies that arrived. n_loads: of
            weights. status: of every completion.
    """

    def __init__(self, path: Path, dtype: str) -> None:
        self.dtype = getattr(torch, dtype)
        self.with_ids = self.loads = True
        self.status, self.n_loads, self.port = 200, 0, 0
        self.requests: list[dict[str, Any]] = []
        self.load(path)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def command(self) -> str:
        """As a recipe names it."""
        return f"{sys.executable} -S -c '{LOAD}' http://127.0.0.1:{self.port}/load {{path}}"

    def load(self, path: str | Path) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(str(path), dtype=self.dtype).eval()

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/completions", self._complete)
        app.router.add_post("/load", self._load)
        return app

    async def _models(self, http: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "trained"}]})

    async def _load(self, http: web.Request) -> web.Response:
        path = (await http.read()).decode()
        self.n_loads += 1
        if self.loads:
            self.load(path)
        return web.Response()

    async def _complete(self, http: web.Request) -> web.Response:
        body = await http.json()
        self.requests.append(body)
        if self.status != 200:
            return web.json_response({"error": {"message": "out of order"}}, status=self.status)
        generator = torch.Generator().manual_seed(body["seed"])
        return web.json_response({"choices": [self._choice(body, generator) for _ in range(body["n"])]})

    @torch.no_grad()
    def _choice(self, body: dict[str, Any], generator: torch.Generator) -> dict[str, Any]:
        row, logs, finish = list(body["prompt"]), [], "length"
        for _ in range(body["max_tokens"]):
            logits = self.model(input_ids=torch.tensor([row]), use_cache=False).logits[0, -1].float()
            found = torch.log_softmax(logits / body["temperature"], -1)
            row.append(int(torch.multinomial(found.exp(), 1, generator=generator)))
            logs.append(float(found[row[-1]]))
            if row[-1] == 0:
                finish = "stop"
                break
        ids = row[len(body["prompt"]) :]
        names = [f"token_id:{i}" if self.with_ids else "word" for i in ids]
        return {"text": "", "finish_reason": finish, "logprobs": {"tokens": names, "token_logprobs": logs}}


@contextmanager
def serving_policy(path: Path, dtype: str = "float32") -> Iterator[PolicyServer]:
    """A server with the model at ``path``, in a thread of its own, at a free port."""
    torch.set_num_threads(1)
    server, ready, over = PolicyServer(path, dtype), threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        runner = web.AppRunner(server.app(), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.port = runner.addresses[0][1]
        ready.set()
        await over.wait()
        await runner.cleanup()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    ready.wait()
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()
