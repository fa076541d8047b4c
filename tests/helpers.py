"""What several tests need: commands, personas of the world, the world behind a real server."""

from __future__ import annotations

import asyncio
import io
import logging
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import lru_cache
from pathlib import Path
from subprocess import CompletedProcess
from typing import TypeAlias

import pytest

from aloe.__main__ import main
from aloe.config import Config, load_config, parse_overrides
from aloe.models.caller import Caller
from aloe.personas.stage import run_personas
from aloe.store.records import read_jsonl
from aloe.types import Persona

Done: TypeAlias = CompletedProcess[str]


def aloe(*arguments: str | Path, said: str = "", env: Mapping[str, str] | None = None) -> Done:
    """``aloe ARGUMENTS`` within this process, since a new one takes a second of CPU to import what is needed.

    Both streams hold what a process of its own would write: warnings and what is logged too, and the traceback of an
    error that the command line does not turn into a line.
    """
    out, err = io.StringIO(), io.StringIO()
    logged = logging.StreamHandler(err)
    logged.setLevel(logging.WARNING)
    with (
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.MonkeyPatch.context() as patched,
        warnings.catch_warnings(),
    ):
        patched.setattr(sys, "stdin", io.StringIO(said))
        for name, value in (env or {}).items():
            patched.setenv(name, value)
        warnings.showwarning = lambda *args, **_: print(warnings.formatwarning(*args[:4]), file=err)
        logging.getLogger().addHandler(logged)
        try:
            code = main([str(a) for a in arguments])
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(bool(stop.code))
        except Exception:
            traceback.print_exc()
            code = 1
        finally:
            logging.getLogger().removeHandler(logged)
    return Done(arguments, code, out.getvalue(), err.getvalue())


@lru_cache(maxsize=1)
def _pool() -> tuple[Persona, ...]:
    import tempfile

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


__all__ = ["Config", "Done", "aloe", "world_personas", "world_server"]
