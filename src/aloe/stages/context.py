"""The context of a stage: config, caller, files of earlier stages."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import TypeVar

from aloe.config import Config
from aloe.errors import DataError, DegradedError
from aloe.models.caller import Caller
from aloe.models.quality import QualityGate
from aloe.progress import StageProgress
from aloe.prompts import PromptSet
from aloe.stages.interrupt import run_interruptible
from aloe.store.records import read_jsonl
from aloe.store.rundir import RunDir
from aloe.types import Persona

T = TypeVar("T")
REPLY_TOKENS = 96  # room for a reply of the tiny model; it ends by itself


@dataclass(frozen=True, slots=True)
class Context:
    """What a stage works with.

    Attributes:
        stage: its own name.
        redo: it was asked to do everything again.
        allow_failed: share of its parts that may lack a call.
    """

    stage: str
    config: Config
    run: RunDir
    prompts: PromptSet
    progress: StageProgress
    redo: bool = False
    allow_failed: float = 0.0


def with_caller(context: Context, work: Callable[[Caller], Awaitable[T]]) -> T:
    """Run async work with an open caller; call statistics go to the manifest whatever happens.

    Raises:
        DegradedError: most answers of a role are unusable, and ``execution.allow_degraded`` is off.
    """

    async def inner() -> T:
        journal = context.run.journal_in(context.config.execution.journal_dir)
        caller = Caller.open(context.config, journal, seed=context.config.seed, prompts=context.prompts)
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
                _record_calls(context.run, context.progress.name, caller, degraded)
            finally:
                await caller.aclose()

    try:
        return run_interruptible(inner)
    except sqlite3.Error as error:
        raise DataError(
            f"the journal {context.run.journal_path} can't be read or written: {error}",
            f"check the disk's space, and the file: aloe journal check {context.run.path}",
        ) from error


def _record_calls(run: RunDir, stage: str, caller: Caller, degraded: list[str]) -> None:
    manifest = run.manifest()
    told = {name: lines for name, lines in manifest.get("degraded", {}).items() if name != stage}
    if degraded or told or "degraded" in manifest:
        manifest["degraded"] = told | ({stage: degraded} if degraded else {})
    calls = manifest.setdefault("calls", {}).setdefault(stage, {})
    for role, stats in caller.stats.items():
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
