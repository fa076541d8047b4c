"""Starts a studio: the personas of a run, the talks with their journal, a server that listens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from aloe.config import Config
from aloe.errors import ConfigError, DataError
from aloe.models.caller import Caller
from aloe.models.guard import in_address
from aloe.personas.stage import read_bench_file
from aloe.prompts import PromptSet
from aloe.studio.choices import patient_roles
from aloe.studio.people import People
from aloe.studio.talk import Desk
from aloe.types import Persona

MANY = 1_000_000


def open_people(config: Config, run: Path | None) -> People:
    """The personas of a run and of its benchmark; without either the packaged benchmark's."""
    own = run / "personas" / "personas.jsonl" if run is not None else None
    source = config.bench.personas or (None if own is not None and own.is_file() else "packaged")

    def elsewhere() -> list[Persona]:
        return read_bench_file(source, MANY, config.seed) if source else []

    return People(own if own is not None else Path("personas.jsonl"), elsewhere)


def open_desk(config: Config, run: Path | None, people: People, patience: float) -> tuple[Desk, list[str]]:
    """Where talks of this run are held, and what there is to say about it.

    Calls go into ``RUN/studio/journal.sqlite``, never into the run's own journal, which may be in use. Where that
    can't be opened (another studio has it, the place is read-only) they are kept in memory.

    Raises:
        ConfigError: prompts or prices that are missing.
    """
    prompts, config = PromptSet(config.prompts_dir, config.prompt_set), patient_roles(config)
    notes: list[str] = []

    def others() -> list[Persona]:
        return [p for p in people.all().values() if p.split == "bench"]

    def caller(path: Path | None) -> Caller:
        return Caller.open(config, path, seed=config.seed, prompts=prompts)

    try:
        opened = caller(run / "studio" / "journal.sqlite" if run is not None else None)
    except (DataError, OSError) as error:
        notes.append(f"talks are not journaled: {error}")
        opened = caller(None)
    return Desk(opened, config, others, patience), notes


@asynccontextmanager
async def serving(app: web.Application, host: str, port: int, prefix: str) -> AsyncIterator[str]:
    """Listen while the block runs; gives the address to open.

    Args:
        port: 0 takes a free one.
        prefix: what the application's paths begin with.

    Raises:
        ConfigError: the address can't be listened on.
    """
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise ConfigError(
                f"can't listen on {host}:{port}: {error.strerror or error}", "choose another --port"
            ) from error
        yield f"http://{in_address(host)}:{runner.addresses[0][1]}{prefix}/"
    finally:
        await runner.cleanup()
