"""Grows the pool by asking a writer for more descriptions (paper section 3.1).

In waves: every call of a wave shows a few members, sampled from the pool as it stood when the wave began, and asks
for new descriptions. Candidates are judged in the order (call, position), never in the order of arrival, so the
same seed gives the same pool at any concurrency, and a resumed run replays the journal into the same pool. A wave
counts only when all of its calls are answered: a failed call, or a budget that ends, ends the stage, and the next run
goes on from there.
Every candidate becomes a record: a member, or a rejection with its reason, nearest member and similarity.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from aloe.config import Config, PersonasConfig
from aloe.errors import EndpointError
from aloe.models.caller import Caller
from aloe.models.calls import Reply
from aloe.personas.checks import Kind, tidy
from aloe.personas.language import language_name
from aloe.personas.pool import Pool, open_pool
from aloe.prompts.catalog import WRITER
from aloe.protocols import Embedder
from aloe.seeding import derive_rng
from aloe.types import PoolEntry

PoolProgress = Callable[[int, int, str], None]  # members so far, target, a note
StopReason = Literal["target", "saturated", "max_waves"]
SAY_EVERY = 10.0  # seconds between words while a wave's calls are under way
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wave:
    """What one wave brought."""

    index: int
    n_calls: int
    n_failed: int  # calls without a usable answer
    n_candidates: int
    n_accepted: int
    reasons: dict[str, int]  # rejections by the part of their reason before the colon
    n_lost: int = 0  # of the failed calls, those that no endpoint answered


@dataclass(frozen=True, slots=True)
class PoolResult:
    """A grown pool of one kind, in order of arrival. ``failures``: what was wrong with failed calls, a line each."""

    members: tuple[PoolEntry, ...]
    rejected: tuple[PoolEntry, ...]
    waves: tuple[Wave, ...]
    stop_reason: StopReason
    failures: tuple[str, ...] = ()


async def grow_pool(
    caller: Caller,
    config: Config,
    embedder: Embedder,
    kind: Kind,
    seeds: Sequence[str],
    target: int,
    progress: PoolProgress | None = None,
    *,
    examples: Sequence[str] = (),
    source: str = "seeds",
    allow_failed: float = 0.0,
) -> PoolResult:
    """Grow a pool from ``seeds`` to ``target`` members, or to saturation, or the last wave.

    Args:
        seeds: descriptions that enter first (near-duplicates among them are rejected like any other).
        examples: shown while the pool has fewer members than a call shows; they show the form and do not enter.
        source: where the seeds come from, for their provenance.
        allow_failed: share of the calls so far that may fail, in [0, 1].

    Raises:
        EndpointError: more calls failed than may, or a whole wave.
        BudgetExceeded: the next wave might pass the budget; a pool that is cut short would be another one.
    """
    options = config.personas
    pool = open_pool(options, embedder, kind)
    tidied = [t for t in map(tidy, seeds) if t]
    if tidied:
        vectors = await _embed_aside(embedder, tidied)
        pool.judge(tidied, vectors, provenance={"source": source}, trusted=True, target=target)
    waves: list[Wave] = []
    failures: list[str] = []
    stop: StopReason | None = None
    while stop is None:
        if progress:
            progress(len(pool.members), target, describe_waves(kind, waves))
        stop = _reason_to_stop(options, len(pool.members), target, waves)
        if stop is None:
            asked = _run_wave(caller, config, pool, target, waves, examples, failures, allow_failed)
            waves.append(await _said_meanwhile(asked, pool, target, waves, progress))
    return PoolResult(tuple(pool.members), tuple(pool.rejected), tuple(waves), stop, tuple(failures))


def describe_waves(kind: str, waves: Sequence[Wave]) -> str:
    """What the writer has brought so far: acceptance, and refusals by reason, the most frequent first."""
    if not waves:
        return kind
    reasons: Counter[str] = Counter()
    for wave in waves:
        reasons.update(wave.reasons)
    refused = ", ".join(f"{reason} {n:,}" for reason, n in sorted(reasons.items(), key=lambda r: (-r[1], r[0])))
    n_accepted, n_candidates = sum(w.n_accepted for w in waves), sum(w.n_candidates for w in waves)
    n_failed = sum(w.n_failed for w in waves)
    parts = [f"{kind}, wave {len(waves)}: {n_accepted:,} of {n_candidates:,} accepted"]
    parts += [f"refused: {refused}"] if refused else []
    parts += [f"{n_failed:,} calls without a usable answer"] if n_failed else []
    return "; ".join(parts)


async def _said_meanwhile(
    asked: Coroutine[Any, Any, Wave], pool: Pool, target: int, waves: Sequence[Wave], progress: PoolProgress | None
) -> Wave:
    """The wave; while its calls are under way, what is waited for is said again and again."""
    task = asyncio.ensure_future(asked)
    seconds = 0.0
    try:
        while not (await asyncio.wait({task}, timeout=SAY_EVERY))[0]:
            seconds += SAY_EVERY
            if progress:
                waiting = f"waiting for the writer for {seconds:,.0f} s"
                progress(len(pool.members), target, f"{describe_waves(pool.kind, waves)}; {waiting}")
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    return task.result()


async def _embed_aside(embedder: Embedder, texts: Sequence[str]) -> NDArray[np.float32]:
    """Unit vectors, made while the event loop goes on; a run that is interrupted does not wait for an answer."""
    try:
        return await asyncio.to_thread(embedder.embed, texts)
    except asyncio.CancelledError:
        cancel = getattr(embedder, "cancel", None)
        if cancel is not None:
            cancel()
        raise


def _reason_to_stop(options: PersonasConfig, n_members: int, target: int, waves: list[Wave]) -> StopReason | None:
    if n_members >= target:
        return "target"
    window = waves[-options.saturation_window :]
    n_candidates = sum(w.n_candidates for w in window)
    rate = sum(w.n_accepted for w in window) / n_candidates if n_candidates else 0.0
    if len(window) == options.saturation_window and rate < options.min_acceptance:
        return "saturated"
    return "max_waves" if len(waves) >= options.max_waves else None


async def _run_wave(
    caller: Caller,
    config: Config,
    pool: Pool,
    target: int,
    before: Sequence[Wave],
    examples: Sequence[str],
    failures: list[str],
    allow_failed: float,
) -> Wave:
    options, index = config.personas, len(before) + 1
    shown = [_pick_examples(config.seed, pool, options.n_examples, examples, index, c) for c in range(options.wave)]
    words = options.profile_words if pool.kind == "profile" else options.personality_words
    population = describe_population(options)

    async def ask(call: int) -> tuple[tuple[str, ...] | None, Reply]:
        return await caller.ask(
            WRITER,
            f"personas/{pool.kind}/{index}/{call}",
            examples=[text for _, text in shown[call]],
            kind=pool.kind,
            n=options.n_new,
            words=words,
            population=population,
        )

    answers = await asyncio.gather(*(ask(c) for c in range(options.wave)), return_exceptions=True)
    may_fail = allow_failed * options.wave * index - sum(wave.n_lost for wave in before)
    n_failed, n_lost = _count_failures(answers, index, pool.kind, failures, may_fail)
    texts: list[str] = []
    origins: list[tuple[int, Reply]] = []
    for call, answer in enumerate(answers):
        if isinstance(answer, BaseException) or answer[0] is None:
            continue
        fresh = [t for t in map(tidy, answer[0]) if t]
        texts.extend(fresh)
        origins.extend((call, answer[1]) for _ in fresh)
    vectors = await _embed_aside(pool.embedder, texts) if texts else None
    n_before, n_rejected = len(pool.members), len(pool.rejected)
    for i, text in enumerate(texts):
        assert vectors is not None
        call, reply = origins[i]
        generation = reply.generation
        pool.judge(
            [text],
            vectors[i : i + 1],
            target=target,
            round_index=index,
            example_ids=tuple(e for e, _ in shown[call] if e),
            provenance={
                "source": "writer",
                "call": call,
                "model": generation.model,
                "prompt_hash": generation.prompt_hash,
                "call_key": generation.call_key,
            },
        )
    reasons = Counter(r.reason.partition(":")[0] for r in pool.rejected[n_rejected:])
    n_accepted = len(pool.members) - n_before
    return Wave(index, options.wave, n_failed, len(texts), n_accepted, dict(sorted(reasons.items())), n_lost)


def _count_failures(
    answers: Sequence[Any], index: int, kind: str, failures: list[str], may_fail: float
) -> tuple[int, int]:
    """Note the calls without a usable answer; returns how many, and how many of them no endpoint answered.

    Raises:
        EndpointError: more than ``may_fail`` were not answered, or none of the wave brought anything.
    """
    lost: list[EndpointError] = []
    n_failed = 0
    for error in answers:
        if isinstance(error, BaseException) and not isinstance(error, EndpointError):
            raise error
    for call, answer in enumerate(answers):
        if isinstance(answer, EndpointError):
            lost.append(answer)
            n_failed += 1
            failures.append(f"{kind} wave {index} call {call}: {answer.message}")
        elif answer[0] is None:
            n_failed += 1
            failures.append(f"{kind} wave {index} call {call}: no descriptions in the answer")
    if lost and (len(lost) > may_fail or n_failed == len(answers)):
        first = lost[0]
        raise EndpointError(
            f"{len(lost)} of {len(answers)} writer calls failed in wave {index} ({kind}); the first: {first.message}",
            first.hint or "run the same command again, which sends the failed calls only",
            status=first.status,
        ) from None
    if n_failed:
        logger.warning("%d of %d writer calls failed in wave %d (%s)", n_failed, len(answers), index, kind)
    return n_failed, len(lost)


def _pick_examples(
    seed: int, pool: Pool, n: int, examples: Sequence[str], wave: int, call: int
) -> list[tuple[str, str]]:
    """(entry id, text) of the examples of one call; the id is empty for those that are not members."""
    members = [(m.entry_id, m.text) for m in pool.members]
    choice = members if len(members) >= n or not examples else members + [("", t) for t in examples]
    rng = derive_rng(seed, "personas", pool.kind, wave, call)
    return [choice[int(i)] for i in rng.permutation(len(choice))[:n]]


def describe_population(options: PersonasConfig) -> str:
    """What the writer is told about the people wanted: the population, and the language unless it is English."""
    if options.language.lower().startswith("en"):
        return options.population
    asked = f"Write every description in {language_name(options.language)}."
    return f"{options.population.rstrip('.')}. {asked}" if options.population else asked
