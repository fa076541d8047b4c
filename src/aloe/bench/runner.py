"""Runs the benchmark of one model: conversations with simulated users, every reply scored (paper section 4).

Per turn k = 1..K: the user (plays the whole persona, sees its own messages as the assistant's), the model under
test, the judge. Paired by design: a user call is named by the content of the conversation so far and not by the
model under test, so every model gets the same opening message, and the same next one wherever it answers alike.

Invariants: a failed call ends its conversation, which is counted and whose later turns are unscored; a model that
gives no reply ends it too, and this turn and the later ones have the scale's lowest score; files are in the order of
the personas and do not depend on concurrency; nothing final is written by a run that was stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from aloe.bench.change_figures import ChangeFigures
from aloe.bench.consistency import ConsistencyFigures
from aloe.bench.controls import Responder, make_responder
from aloe.bench.conversation import NO_MESSAGE, WALKED_OUT, Partner, SimulatedConversation
from aloe.bench.gain import Extras, extra_figures, part_curves
from aloe.bench.ground_truth import TruthFigures
from aloe.bench.metrics import measure, result_figures
from aloe.bench.scales import EMPTY_REPLY
from aloe.bench.session_figures import session_figures
from aloe.bench.setting import setting_of
from aloe.config import Config, ModelConfig, digest
from aloe.config.options import BenchConfig
from aloe.dialogue.state import make_tree_id
from aloe.errors import DataError, EndpointError
from aloe.models.caller import Caller
from aloe.models.uri import is_memory, plain_name, portable, split_wrapper
from aloe.personas.embedders import create_embedder
from aloe.prompts import PromptSet
from aloe.prompts.suspicion import is_verdict_like
from aloe.seeding import derive_rng
from aloe.stats import Clusters, Floats
from aloe.store.records import read_rows, round_all, write_json, write_jsonl
from aloe.types import ActorRole, BenchmarkResult, Persona, Usage
from aloe.world.timeline import scope_of, with_timeline

BenchProgress = Callable[[int, int], None]
ROLES: tuple[ActorRole, ...] = ("user", "responder", "judge")
_DECIMALS = 9  # of a result's figures: what lies below differs from one CPU to the next


@dataclass(frozen=True, slots=True)
class _Bench:
    """One model and those who talk with it."""

    partner: Partner
    respond: Responder

    async def converse(self, persona: Persona, sample: int, tick: Callable[[int], None]) -> SimulatedConversation:
        """One whole conversation; a failed call ends it and is noted. ``tick`` is told the turns behind it."""
        talk = self.partner.begin(persona, sample)
        role: ActorRole = "user"
        try:
            while not self.partner.is_over(talk):
                role = "user"
                if not await self.partner.speak(talk):
                    break
                role = "responder"
                path = f"bench/{persona.persona_id}/{sample}/{talk.state.node_id}/reply"
                text, reply = await self.respond(persona, talk.state, path)
                role = "judge"
                if await self.partner.hear(talk, text or "", reply.generation) is not None:
                    tick(1)
        except EndpointError as error:
            talk.end(role, str(error))
        return talk


def failed_calls(folder: Path) -> list[str]:
    """Why conversations of a benchmarked model lack a call, a line each; answers without use are not among them."""
    path = folder / "conversations.jsonl"
    errors = (e["error"] for _, row in (read_rows(path) if path.is_file() else ()) for e in row.get("errors") or ())
    return [error for error in errors if error not in (NO_MESSAGE, EMPTY_REPLY, WALKED_OUT)]


async def run_benchmark(
    caller: Caller,
    personas: Sequence[Persona],
    model: ModelConfig,
    *,
    config: Config,
    out_dir: Path,
    name: str | None = None,
    progress: BenchProgress | None = None,
) -> BenchmarkResult:
    """AL(k) of ``model``; writes ``conversations.jsonl``, ``scores.jsonl`` and ``result.json`` into ``out_dir``.

    Args:
        name: under which the result is listed, unique among the models compared; default from the model's URI.
        progress: called with the turns done and their number in all, at the start and after each turn; the turns
            that a failed conversation has left count as done.

    Raises:
        DataError: no personas, or two with one id.
        BudgetExceeded: nothing final is written; what was paid for is in the journal.
    """
    talks, used = await converse(caller, personas, model, config=config, progress=progress)
    ordered = [talks[at] for at in range(len(talks))]
    return write_benchmark(
        ordered, used, personas, model, config=config, prompts=caller.prompts, out_dir=out_dir, name=name
    )


async def converse(
    caller: Caller,
    personas: Sequence[Persona],
    model: ModelConfig,
    *,
    config: Config,
    holds: Callable[[str], bool] | None = None,
    progress: BenchProgress | None = None,
) -> tuple[dict[int, SimulatedConversation], dict[str, Usage]]:
    """Conversations of ``model`` by their place among all of the benchmark, and what each role used.

    Args:
        holds: whether a conversation, by its id, is wanted; default: all are.
        progress: as in :func:`run_benchmark`.

    Raises:
        DataError, BudgetExceeded: as :func:`run_benchmark` does.
    """
    if not personas:
        raise DataError("there are no benchmark personas", "run the personas stage first, or give a persona file")
    if len({p.persona_id for p in personas}) != len(personas):
        raise DataError("two benchmark personas have the same persona_id", "give each its own")
    options = config.bench
    personas = with_timelines(personas, config)
    bench = _Bench(
        Partner.of(caller, config, Extras.of(options, personas)),
        make_responder(caller, model, personas, partial(create_embedder, config.personas.embedder, config, caller)),
    )
    before = _usage(caller)
    jobs = enumerate((persona, sample) for persona in personas for sample in range(options.samples))
    wanted = {at: job for at, job in jobs if holds is None or holds(make_tree_id(*job, "bench"))}
    talks = await _converse_all(bench, wanted, config.execution.concurrency, progress)
    return talks, {role: usage_since(usage, before.get(role, Usage())) for role, usage in _usage(caller).items()}


def write_benchmark(
    talks: Sequence[SimulatedConversation],
    used: Mapping[str, Usage],
    personas: Sequence[Persona],
    model: ModelConfig,
    *,
    config: Config,
    prompts: PromptSet,
    out_dir: Path,
    name: str | None = None,
) -> BenchmarkResult:
    """The figures of all conversations of a benchmark, in order of persona and sample, and its files."""
    options = config.bench
    n_turns = options.n_turns * options.sessions
    personas = with_timelines(personas, config)
    scores = score_array(talks, len(personas), config.bench.samples, n_turns)
    clusters = Clusters([p.profile_id for p in personas], [p.personality_id for p in personas])
    rng = derive_rng(config.seed, "bench", "bootstrap")
    measurement = measure(scores, clusters, rng, config.bench.n_bootstrap)
    result = BenchmarkResult(
        model=name or plain_name(model.uri),
        uri=portable(model.uri),
        judge_model=", ".join(m.uri for m in config.roles.judge),
        user_model=", ".join(m.uri for m in config.roles.user),
        config_digest=_digest(config, model, prompts),
        setting=setting_of(config, prompts, personas),
        n_personas=len(personas),
        n_samples=config.bench.samples,
        n_failed=sum(talk.is_broken for talk in talks),
        n_empty=sum(len(talk.left) for talk in talks if not talk.is_left_by_user),
        n_verdict_like=sum(is_verdict_like(reply.message.content) for talk in talks for reply in talk.nodes[1::2]),
        scope=config.bench.scope,
        scale=config.bench.scale,
        parts=part_curves([talk.judgements for talk in talks], n_turns),
        **extra_figures(talks, scores, clusters, config.bench, personas),
        **_exact_figures(talks, personas, options),
        usage=dict(used),
        sessions=session_figures(talks, scores, clusters, config.bench, used) if options.sessions > 1 else None,
        **result_figures(measurement),
    )
    result = settle(result)
    write_jsonl(out_dir / "conversations.jsonl", (talk.as_tree(config.seed) for talk in talks))
    write_jsonl(out_dir / "scores.jsonl", (row for talk in talks for row in talk.as_scores(n_turns)))
    write_json(out_dir / "result.json", result.model_dump(mode="json"))
    return result


def with_timelines(personas: Sequence[Persona], config: Config) -> list[Persona]:
    """The personas as the benchmark's conversations change them."""
    options = config.bench
    scope = scope_of(config.roles.writer[0].uri, config.roles.user[0].uri)
    each = options.n_turns
    return [with_timeline(p, options.drift, each, options.sessions, config.seed, scope) for p in personas]


def _exact_figures(
    talks: Sequence[SimulatedConversation], personas: Sequence[Persona], options: BenchConfig
) -> dict[str, Any]:
    """The fields of a result that only ground truth can give."""
    truth = TruthFigures(options.n_turns * options.sessions)
    changes, consistency = ChangeFigures(), ConsistencyFigures()
    for talk in talks:
        truth.add(talk.persona, talk.messages, talk.scores)
        changes.add(talk.persona, talk.messages)
        if options.drift or options.sessions > 1 or talk.persona.timeline:
            consistency.add(talk.persona, talk.messages)
    groups = {p.persona_id: (p.profile_id, p.personality_id) for p in personas}
    return {
        "truth": truth.figures() | changes.figures() | consistency.figures(),
        "truth_ci": truth.intervals(groups) | changes.intervals(groups) | consistency.intervals(groups),
        "fact_use_by_lag": truth.fact_use_by_lag(),
        "facts_by_turn": truth.facts_by_turn(),
    }


async def _converse_all(
    bench: _Bench, jobs: Mapping[int, tuple[Persona, int]], concurrency: int, progress: BenchProgress | None
) -> dict[int, SimulatedConversation]:
    """All conversations by their place; at most ``concurrency`` are open at once."""
    done: dict[int, SimulatedConversation] = {}
    queue = iter(jobs.items())
    n_done, n_all = 0, len(jobs) * bench.partner.n_turns

    def tick(n_turns: int) -> None:
        nonlocal n_done
        n_done += n_turns
        if progress is not None:
            progress(n_done, n_all)

    async def work() -> None:
        for index, (persona, sample) in queue:
            talk = await bench.converse(persona, sample, tick)
            if talk.error is not None:
                tick(bench.partner.n_turns - len(talk.judgements))
            done[index] = talk

    tick(0)
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, len(jobs))):
                group.create_task(work())
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return done


def score_array(talks: Sequence[SimulatedConversation], n_personas: int, n_samples: int, n_turns: int) -> Floats:
    """Scores, shape (n_personas, n_samples, n_turns), NaN = unscored; ``talks`` in order of persona and sample."""
    scores = np.full((n_personas * n_samples, n_turns), np.nan)
    for row, talk in zip(scores, talks, strict=True):
        for turn, score in enumerate(talk.scores):
            if score is not None:
                row[turn] = score
    return scores.reshape(n_personas, n_samples, n_turns)


def settle(result: BenchmarkResult) -> BenchmarkResult:
    """The result with its figures rounded, the same on every machine."""
    return BenchmarkResult.model_validate(round_all(result.model_dump(mode="json"), _DECIMALS))


def _digest(config: Config, model: ModelConfig, prompts: PromptSet) -> str:
    """What the figures depend on: settings, actors, prompts, the model."""
    roles = [m.model_dump(mode="json") for m in (*config.roles.user, *config.roles.judge)]
    bench = config.bench.model_dump(mode="json", exclude={"models", *config.bench.unset})
    memory = ("memory", "remembered") if is_memory(split_wrapper(model.uri)[1]) else ()
    asked = prompts.stamp((*config.bench.later_prompts, *memory))
    return digest([config.seed, bench, roles, asked, model.model_dump(mode="json") | {"uri": portable(model.uri)}])


def _usage(caller: Caller) -> Mapping[str, Usage]:
    return {role: caller.stats[role].usage for role in ROLES if role in caller.stats}


def usage_since(after: Usage, before: Usage) -> Usage:
    """What was used between two readings of one role's counters."""
    return Usage(**{name: getattr(after, name) - getattr(before, name) for name in Usage.model_fields})
