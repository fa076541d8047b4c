"""What several tests need: personas of the world, the world behind a real server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from aloe.config import Config, load_config, parse_overrides
from aloe.models.caller import Caller
from aloe.personas.stage import run_personas
from aloe.store.records import read_jsonl
from aloe.types import Persona


@lru_cache(maxsize=1)
def _pool() -> tuple[Persona, ...]:
    import tempfile
    from pathlib import Path

    sizes = ["--personas.n_profiles=24", "--personas.n_personalities=16", "--personas.n_personas=20"]
    bench = ["--personas.n_bench_profiles=4", "--personas.n_bench_personalities=4", "--personas.n_bench=4"]
    config = load_config("demo", parse_overrides([*sizes, *bench]))

    async def work(folder: Path) -> None:
        caller = Caller.open(config, None, seed=0)
        try:
            await run_personas(caller, config, folder)
        finally:
            await caller.aclose()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(work(Path(folder)))
        return tuple(read_jsonl(Path(folder) / "personas.jsonl", Persona))


def world_personas(n: int) -> list[Persona]:
    """``n`` training personas in the world's language (at most 20)."""
    return [p for p in _pool() if p.split == "train"][:n]


@contextmanager
def world_server() -> Iterator[str]:
    """The world behind HTTP on a free port, in a thread of its own; yields the base URL."""
    from aloe.models.registry import create_model
    from aloe.models.server import start_server

    ready: list[str] = []
    started = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        from aloe.config import ModelConfig

        server = await start_server(lambda name: create_model(ModelConfig(uri=name)), "127.0.0.1", 0)
        ready.append(f"http://127.0.0.1:{server.port}/v1")
        started.set()
        await stop.wait()
        await server.aclose()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    if not started.wait(10):
        raise RuntimeError("the world's server did not start within 10 s")
    try:
        yield ready[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)


__all__ = ["Config", "world_personas", "world_server"]
