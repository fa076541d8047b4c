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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from aloe.bench.change_figures import ChangeFigures
from aloe.bench.controls import Responder, make_responder
from aloe.bench.gain import Extras, extra_figures, part_curves
from aloe.bench.ground_truth import TruthFigures
from aloe.bench.metrics import measure, result_figures
from aloe.bench.scales import EMPTY_REPLY, SCALES, Scale
from aloe.bench.scoring import score_reply
from aloe.bench.session_figures import session_figures
from aloe.bench.setting import setting_of
from aloe.config import Config, ModelConfig, Panel, digest
from aloe.dialogue.casting import Casting
from aloe.dialogue.judge import Candidate
from aloe.dialogue.state import PathState, content_id, make_tree_id
from aloe.dialogue.user import Steering, next_user_message
from aloe.errors import DataError, EndpointError
from aloe.models.caller import Caller
from aloe.models.uri import is_memory, plain_name, portable, split_wrapper
from aloe.personas.embedders import create_embedder
from aloe.prompts import PromptSet
from aloe.prompts.suspicion import is_verdict_like
from aloe.seeding import derive_rng
from aloe.stats import Clusters, Floats
from aloe.store.records import read_rows, round_all, write_json, write_jsonl
from aloe.types import (
    ActorRole,
    BenchmarkResult,
    BenchScore,
    ConversationTree,
    Judgement,
    Message,
    Node,
    NodeError,
    Persona,
    Usage,
)
from aloe.world.dialects.mood import has_walked_out
from aloe.world.timeline import with_timeline

ScoreOutcome = Literal["scored", "unparsed", "failed", "empty", "left"]
BenchProgress = Callable[[int, int], None]
ROLES: tuple[ActorRole, ...] = ("user", "responder", "judge")
WALKED_OUT = "the user had no patience left and walked out"
NO_MESSAGE = "no usable message, also when asked again"  # an answer, although one of no use
_DECIMALS = 9  # of a result's figures: what lies below differs from one CPU to the next


@dataclass(slots=True)
class SimulatedConversation:
    """One conversation as it grows. ``judgements`` may be one shorter than the replies if the judge failed."""

    persona: Persona
    sample: int
    tree_id: str
    nodes: list[Node] = field(default_factory=list)
    judgements: list[Judgement] = field(default_factory=list)
    others: list[dict[str, float | None]] = field(default_factory=list)
    session_turns: int = 0  # turns of each session; 0: there is only one
    error: NodeError | None = None
    left: tuple[float, ...] = ()  # scores of the turns that the model left without a reply; none where it went on

    @property
    def is_broken(self) -> bool:
        """Whether a failed call ended it."""
        return self.error is not None and not self.left

    @property
    def is_left_by_user(self) -> bool:
        """Whether the user walked out of it."""
        return self.error is not None and self.error.error == WALKED_OUT

    @property
    def messages(self) -> list[Message]:
        """What was said; an empty reply at the end where the model gave none."""
        said = [node.message for node in self.nodes]
        if self.left and not self.is_left_by_user:
            said.append(Message.model_construct(role="assistant", content=""))
        return said

    @property
    def scores(self) -> list[float | None]:
        """Of the turns that were judged (None where the judge's answer could not be read) or left without a reply."""
        return [*(judgement.score for judgement in self.judgements), *self.left]

    def as_tree(self, seed: int) -> ConversationTree:
        return ConversationTree.model_construct(
            schema_version=1,
            tree_id=self.tree_id,
            persona_id=self.persona.persona_id,
            seed=seed,
            nodes=tuple(
                node.model_copy(update={"continued": i + 1 < len(self.nodes)}) for i, node in enumerate(self.nodes)
            ),
            errors=(self.error,) if self.error is not None else (),
            timeline=self.persona.timeline,
            session_turns=self.session_turns,
        )

    def as_scores(self, n_turns: int) -> Iterator[BenchScore]:
        """A row for each of ``n_turns`` turns."""
        replies, scores = self.nodes[1::2], self.scores
        for turn in range(1, n_turns + 1):
            judgement = self.judgements[turn - 1] if turn <= len(self.judgements) else None
            score = scores[turn - 1] if turn <= len(scores) else None
            yield BenchScore.model_construct(
                tree_id=self.tree_id,
                persona_id=self.persona.persona_id,
                profile_id=self.persona.profile_id,
                personality_id=self.persona.personality_id,
                sample=self.sample,
                turn=turn,
                node_id=replies[turn - 1].node_id if turn <= len(replies) else "",
                score=score,
                outcome=_outcome(judgement, score, self.is_left_by_user),
                parts=judgement.parts if judgement else {},
                others=self.others[turn - 1] if turn <= len(self.others) else {},
                reason=judgement.reason if judgement else "",
                raw=judgement.raw if judgement else "",
                generation=judgement.generation if judgement else None,
            )


def _outcome(judgement: Judgement | None, score: float | None, is_left: bool) -> ScoreOutcome:
    if judgement is None:
        return "failed" if score is None else "left" if is_left else "empty"
    return "unparsed" if score is None else "scored"


@dataclass(frozen=True, slots=True)
class _Bench:
    """What all conversations of one model share."""

    caller: Caller
    respond: Responder
    n_turns: int  # in all sessions together
    n_sessions: int
    scope: str
    scale: Scale
    extras: Extras
    cards: int
    seed: int
    panel: Panel
    casting: Casting

    async def converse(self, persona: Persona, sample: int, tick: Callable[[int], None]) -> SimulatedConversation:
        """One whole conversation; a failed call ends it and is noted. ``tick`` is told the turns behind it."""
        talk = SimulatedConversation(persona, sample, make_tree_id(persona, sample, "bench"))
        state = PathState(talk.tree_id)
        each = self.n_turns // self.n_sessions
        talk.session_turns = each if self.n_sessions > 1 else 0
        for number in range(self.n_turns):
            role: ActorRole = "user"
            if number and number % each == 0:
                state = state.with_session()
            try:
                asked = await self._user(talk, state)
                if asked is None:
                    return self._end(talk, state, role, NO_MESSAGE)
                if has_walked_out(asked.messages[-1].content):
                    return self._leave(talk, asked, "user", WALKED_OUT)
                role, state = "responder", asked
                answered = await self._reply(talk, state)
                if answered is None:
                    return self._leave(talk, state, "responder", EMPTY_REPLY)
                role = "judge"
                judgement, others = await self._judge(talk, state)
                talk.judgements.append(judgement)
                talk.others.append(others)
                state = answered
                tick(1)
            except EndpointError as error:
                return self._end(talk, state, role, str(error))
        return talk

    async def _user(self, talk: SimulatedConversation, state: PathState) -> PathState | None:
        path = f"bench/{talk.persona.persona_id}/{talk.sample}/{state.node_id}"
        steering = Steering(
            cards=self.cards, seed=self.seed, tree_id=talk.tree_id, model=self.casting.user_of(talk.tree_id)
        )
        persona = talk.persona.as_of(state.turn + 1)
        text, reply = await next_user_message(self.caller, persona, state, path, steering)
        if text is None:
            return None
        after = state.with_user(content_id(state.node_id, "user", text), text)
        talk.nodes.append(
            Node.model_construct(
                node_id=after.node_id,
                parent_id=talk.nodes[-1].node_id if talk.nodes else None,
                turn=after.turn,
                message=after.messages[-1],
                continued=False,
                kind="user",
                generation=reply.generation,
            )
        )
        return after

    async def _reply(self, talk: SimulatedConversation, state: PathState) -> PathState | None:
        path = f"bench/{talk.persona.persona_id}/{talk.sample}/{state.node_id}/reply"
        text, reply = await self.respond(talk.persona, state, path)
        if text is None:
            return None
        after = state.with_reply(content_id(state.node_id, "assistant", text), text)
        talk.nodes.append(
            Node.model_construct(
                node_id=after.node_id,
                parent_id=state.node_id,
                turn=state.turn,
                message=after.messages[-1],
                continued=False,
                kind="responder",
                generation=reply.generation,
            )
        )
        return after

    async def _judge(self, talk: SimulatedConversation, state: PathState) -> tuple[Judgement, dict[str, float | None]]:
        """The judgement, and the scores of the same reply as the extras want it judged, side by side."""
        last = talk.nodes[-1]
        candidate = Candidate(last.node_id, last.message.content)
        now = talk.persona.as_of(state.turn)
        asked = {"": (now, self.scope), **self.extras.judged_as(now, self.scope)}
        answers = await asyncio.gather(
            *(
                score_reply(self.caller, persona, state, candidate, scope, self.scale, panel=self.panel)
                for persona, scope in asked.values()
            ),
            return_exceptions=True,
        )
        judgements = []
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
            judgements.append(answer)
        named = dict(zip(asked, judgements, strict=True))
        return named.pop(""), {name: judgement.score for name, judgement in named.items()}

    def _leave(self, talk: SimulatedConversation, state: PathState, role: ActorRole, why: str) -> SimulatedConversation:
        """The model has nothing to say, or has driven its user away: what is left of the conversation is as bad as a
        reply can be, for anybody."""
        turns = self.n_turns - len(talk.judgements)
        talk.left = (self.scale.low,) * turns
        talk.others += [dict.fromkeys(self.extras.judged_as(talk.persona, self.scope), self.scale.low)] * turns
        return self._end(talk, state, role, why)

    @staticmethod
    def _end(talk: SimulatedConversation, state: PathState, role: ActorRole, error: str) -> SimulatedConversation:
        turn = max(state.turn + (role == "user"), 1)
        talk.error = NodeError(node_id=state.node_id, turn=turn, role=role, error=error[:500])
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
    if not personas:
        raise DataError("there are no benchmark personas", "run the personas stage first, or give a persona file")
    if len({p.persona_id for p in personas}) != len(personas):
        raise DataError("two benchmark personas have the same persona_id", "give each its own")
    options = config.bench
    n_turns = options.n_turns * options.sessions
    personas = [with_timeline(p, options.drift, options.n_turns, options.sessions, config.seed) for p in personas]
    bench = _Bench(
        caller,
        make_responder(caller, model, personas, partial(create_embedder, config.personas.embedder, config, caller)),
        n_turns,
        options.sessions,
        config.bench.scope,
        SCALES[config.bench.scale],
        Extras.of(config.bench, personas),
        config.bench.cards,
        config.seed,
        config.bench.panel,
        Casting(config.roles.user, config.seed),
    )
    before = _usage(caller)
    talks = await _converse_all(bench, personas, config.bench.samples, config.execution.concurrency, progress)
    scores = score_array(talks, len(personas), config.bench.samples, n_turns)
    clusters = Clusters([p.profile_id for p in personas], [p.personality_id for p in personas])
    rng = derive_rng(config.seed, "bench", "bootstrap")
    measurement = measure(scores, clusters, rng, config.bench.n_bootstrap)
    used = {role: usage_since(usage, before.get(role, Usage())) for role, usage in _usage(caller).items()}
    result = BenchmarkResult(
        model=name or plain_name(model.uri),
        uri=portable(model.uri),
        judge_model=", ".join(m.uri for m in config.roles.judge),
        user_model=", ".join(m.uri for m in config.roles.user),
        config_digest=_digest(config, model, caller.prompts),
        setting=setting_of(config, caller.prompts, personas),
        n_personas=len(personas),
        n_samples=config.bench.samples,
        n_failed=sum(talk.is_broken for talk in talks),
        n_empty=sum(len(talk.left) for talk in talks if not talk.is_left_by_user),
        n_verdict_like=sum(is_verdict_like(reply.message.content) for talk in talks for reply in talk.nodes[1::2]),
        scope=config.bench.scope,
        scale=config.bench.scale,
        parts=part_curves([talk.judgements for talk in talks], n_turns),
        **extra_figures(talks, scores, clusters, config.bench, personas),
        **_exact_figures(talks, personas, n_turns),
        usage=used,
        sessions=session_figures(talks, scores, clusters, config.bench, used) if options.sessions > 1 else None,
        **result_figures(measurement),
    )
    result = settle(result)
    write_jsonl(out_dir / "conversations.jsonl", (talk.as_tree(config.seed) for talk in talks))
    write_jsonl(out_dir / "scores.jsonl", (row for talk in talks for row in talk.as_scores(n_turns)))
    write_json(out_dir / "result.json", result.model_dump(mode="json"))
    return result


def _exact_figures(talks: Sequence[SimulatedConversation], personas: Sequence[Persona], n_turns: int) -> dict[str, Any]:
    """The fields of a result that only ground truth can give."""
    truth, changes = TruthFigures(n_turns), ChangeFigures()
    for talk in talks:
        truth.add(talk.persona, talk.messages, talk.scores)
        changes.add(talk.persona, talk.messages)
    groups = {p.persona_id: (p.profile_id, p.personality_id) for p in personas}
    return {
        "truth": truth.figures() | changes.figures(),
        "truth_ci": truth.intervals(groups) | changes.intervals(groups),
        "fact_use_by_lag": truth.fact_use_by_lag(),
        "facts_by_turn": truth.facts_by_turn(),
    }


async def _converse_all(
    bench: _Bench,
    personas: Sequence[Persona],
    samples: int,
    concurrency: int,
    progress: BenchProgress | None,
) -> list[SimulatedConversation]:
    """All conversations, in order of persona and sample; at most ``concurrency`` are open at once."""
    jobs = [(persona, sample) for persona in personas for sample in range(samples)]
    done: dict[int, SimulatedConversation] = {}
    queue = iter(enumerate(jobs))
    n_done, n_all = 0, len(jobs) * bench.n_turns

    def tick(n_turns: int) -> None:
        nonlocal n_done
        n_done += n_turns
        if progress is not None:
            progress(n_done, n_all)

    async def work() -> None:
        for index, (persona, sample) in queue:
            talk = await bench.converse(persona, sample, tick)
            if talk.error is not None:
                tick(bench.n_turns - len(talk.judgements))
            done[index] = talk

    tick(0)
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, len(jobs))):
                group.create_task(work())
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [done[index] for index in range(len(jobs))]


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
