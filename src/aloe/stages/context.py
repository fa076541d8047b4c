"""The context of a stage: config, caller, files of earlier stages."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from aloe.config import Config
from aloe.errors import DataError, DegradedError
from aloe.models.allowance import Allowance
from aloe.models.caller import Caller
from aloe.models.calls import RoleStats
from aloe.models.journal.layered import LayeredJournal
from aloe.models.quality import QualityGate
from aloe.progress import StageProgress
from aloe.prompts import PromptSet
from aloe.stages.interrupt import run_interruptible
from aloe.store.records import read_jsonl
from aloe.store.rundir import RunDir
from aloe.store.shards import Shard
from aloe.types import Persona

T = TypeVar("T")
REPLY_TOKENS = 96  # room for a reply of the tiny model; it ends by itself


@dataclass(frozen=True, slots=True)
class Part:
    """The shard of a stage that is run instead of all of it.

    Attributes:
        folder: of its files and its journal. allowance: what it may use of the run's limits.
        calls: filled with each role's counters, which the manifest would be given.
    """

    shard: Shard
    folder: Path
    allowance: Allowance
    calls: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FinishedShard:
    """What a shard has left: its folder and what its ``grow`` returned."""

    folder: Path
    counts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Context:
    """What a stage works with.

    Attributes:
        stage: its own name.
        redo: it was asked to do everything again.
        allow_failed: share of its parts that may lack a call.
        part: the shard that is wanted; None: all of the stage.
    """

    stage: str
    config: Config
    run: RunDir
    prompts: PromptSet
    progress: StageProgress
    redo: bool = False
    allow_failed: float = 0.0
    part: Part | None = None


@dataclass(frozen=True, slots=True)
class Sharding:
    """How a stage is done in shards.

    Attributes:
        grow: does the context's shard in its folder; returns what it counted, as JSON, and a summary that says what
            failed, as the stage's would.
        join: writes the stage's files from the finished shards; returns the stage's summary.
        made_by: what a shard's content depends on beside the stage's digest and the files that it reads.
    """

    grow: Callable[[Context], tuple[dict[str, Any], dict[str, Any]]]
    join: Callable[[Context, Sequence[FinishedShard]], dict[str, Any]]
    made_by: Callable[[Context], dict[str, Any]] = lambda _: {}


def with_caller(context: Context, work: Callable[[Caller], Awaitable[T]]) -> T:
    """Run async work with an open caller; call statistics go to the manifest whatever happens.

    Raises:
        DegradedError: most answers of a role are unusable, and ``execution.allow_degraded`` is off.
    """

    async def inner() -> T:
        caller = _open_caller(context)
        gate = QualityGate(context.config.execution.allow_degraded)
        caller.watch = gate.watch
        degraded: list[str] = []
        try:
            done = await work(caller)
            degraded = gate.finish(caller.stats)
            return done
        except DegradedError as error:
            degraded = [error.message]
            raise
        finally:
            try:
                if context.part is not None:
                    context.part.calls.update({role: asdict(stats) for role, stats in caller.stats.items()})
                    await context.part.allowance.flush()
                else:
                    record_calls(context.run, context.stage, caller.stats, degraded)
            finally:
                await caller.aclose()

    try:
        return run_interruptible(inner)
    except sqlite3.Error as error:
        raise DataError(
            f"the journal {_journal_path(context)} can't be read or written: {error}",
            f"check the disk's space, and the file: aloe journal check {context.run.path}",
        ) from error


def _journal_path(context: Context) -> Path:
    if context.part is not None:
        return context.part.folder / "journal.sqlite"
    return context.run.journal_in(context.config.execution.journal_dir)


def _open_caller(context: Context) -> Caller:
    """A shard writes into a journal of its own, and knows what is in the run's."""
    config, path = context.config, _journal_path(context)
    if context.part is None:
        return Caller.open(config, path, seed=config.seed, prompts=context.prompts)
    journal = LayeredJournal.over(path, context.run.journal_in(config.execution.journal_dir))
    allowance = context.part.allowance
    caller = Caller.open(config, journal, seed=config.seed, prompts=context.prompts, allowance=allowance)
    allowance.watch(caller.stats)
    return caller


def record_calls(run: RunDir, stage: str, roles: Mapping[str, RoleStats], degraded: list[str]) -> None:
    """Note in the manifest what a stage's calls came to."""
    manifest = run.manifest()
    told = {name: lines for name, lines in manifest.get("degraded", {}).items() if name != stage}
    if degraded or told or "degraded" in manifest:
        manifest["degraded"] = told | ({stage: degraded} if degraded else {})
    calls = manifest.setdefault("calls", {}).setdefault(stage, {})
    for role, stats in roles.items():
        row = asdict(stats)
        if row["n_calls"] or role not in calls:  # a replay does not wipe what the paid run counted
            calls[role] = row
    run.save_manifest(manifest)


def tokens_so_far(caller: Caller) -> str:
    n = sum(s.usage.prompt_tokens + s.usage.completion_tokens for s in caller.stats.values())
    return f"{n / 1e6:.2f}M tokens" if n >= 1e6 else f"{n / 1e3:.0f}k tokens"


def read_personas(run: RunDir, split: str) -> list[Persona]:
    """The run's personas of one split.

    Raises:
        DataError: the personas stage has not run.
    """
    found = [p for p in read_jsonl(run.stage_dir("personas") / "personas.jsonl", Persona) if p.split == split]
    if not found:
        raise DataError(
            f"{run.path}/personas/personas.jsonl has no {split} personas", "run the stage again: --from personas"
        )
    return found
