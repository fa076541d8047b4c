"""Scores conversations that were logged elsewhere (``bench/logged.py`` reads them).

Every reply is scored in its place, an empty one with the scale's lowest score; a conversation without persona is judged
by what the user's own messages show. Conversations may differ in length: AL(k) is the mean over those that have a k-th
reply.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from aloe.bench.gain import part_curves
from aloe.bench.ground_truth import TruthFigures
from aloe.bench.logged import Logged, by_model
from aloe.bench.metrics import measure, result_figures
from aloe.bench.runner import settle, usage_since
from aloe.bench.scales import SCALES
from aloe.bench.scoring import score_reply
from aloe.bench.setting import setting_of
from aloe.config import BenchConfig, Config, digest
from aloe.dialogue.judge import Candidate
from aloe.dialogue.state import PathState, content_id
from aloe.errors import ConfigError, EndpointError
from aloe.models.caller import Caller
from aloe.prompts import PromptSet
from aloe.prompts.suspicion import is_verdict_like
from aloe.seeding import derive_rng
from aloe.stats import Clusters
from aloe.store.records import write_json, write_jsonl
from aloe.store.rundir import read_result
from aloe.types import (
    AlignmentPoint,
    BenchmarkResult,
    BenchScore,
    ConversationTree,
    Judgement,
    Node,
    NodeError,
    Usage,
)


def name_results(talks: Sequence[Logged], name: str, bench: Path) -> dict[str, list[Logged]]:
    """Name of a result -> its conversations: one per model that the log tells apart.

    Raises:
        ConfigError: a benchmark's own result in the folder ``bench`` has that name.
    """
    groups = by_model(talks)
    targets: dict[str, list[Logged]] = {}
    for model, own in groups.items():
        suffix = re.sub(r"[^\w.+-]+", "-", model).strip("-.") or "unnamed"
        targets.setdefault(name if len(groups) == 1 else f"{name}-{suffix}", []).extend(own)
    for target in targets:
        before = read_result(bench / target / "result.json")
        if before is not None and before.user_model != "logged":
            raise ConfigError(
                f"{bench / target} is the result of a benchmark", "choose another --name or another --out"
            )
    return targets


async def score_conversations(
    caller: Caller,
    talks: Sequence[Logged],
    *,
    config: Config,
    out_dir: Path,
    name: str,
    progress: Callable[[int, int], None] | None = None,
) -> BenchmarkResult:
    """Score every reply; writes the same three files as a benchmark into ``out_dir``.

    A call that fails for good leaves its reply unscored and is counted; the other replies do not depend on it.

    Args:
        progress: called with the replies judged and their number in all, after each conversation.

    Raises:
        BudgetExceeded: nothing is written; what was paid for is in the journal.
    """
    gate = asyncio.Semaphore(config.execution.concurrency)
    trees = [_as_tree(talk, config.seed) for talk in talks]
    n_done, n_all = 0, sum(talk.n_replies for talk in talks)
    before = caller.stats["judge"].usage if "judge" in caller.stats else Usage()

    async def work(talk: Logged, tree: ConversationTree) -> None:
        nonlocal n_done
        async with gate:
            talk.judgements = await _score_one(caller, talk, tree, config.bench)
        n_done += talk.n_replies
        if progress is not None:
            progress(n_done, n_all)

    try:
        async with asyncio.TaskGroup() as group:
            for talk, tree in zip(talks, trees, strict=True):
                group.create_task(work(talk, tree))
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    result = _result(talks, config, caller.prompts, name)
    usage = {role: usage_since(stats.usage, before) for role, stats in caller.stats.items() if role == "judge"}
    result = settle(result.model_copy(update={"usage": usage}))
    told = [
        tree.model_copy(update={"errors": tuple(sorted(talk.errors, key=lambda e: e.turn))})
        for talk, tree in zip(talks, trees, strict=True)
    ]
    write_jsonl(out_dir / "conversations.jsonl", told)
    write_jsonl(out_dir / "scores.jsonl", (row for t, tree in zip(talks, trees, strict=True) for row in _rows(t, tree)))
    write_json(out_dir / "result.json", result.model_dump(mode="json"))
    return result


def _as_tree(talk: Logged, seed: int) -> ConversationTree:
    persona = talk.persona
    parent = tree_id = content_id("offline", persona.profile, persona.personality, str(talk.sample), persona.persona_id)
    nodes: list[Node] = []
    for place, message in enumerate(talk.messages):
        node_id = content_id(parent, message.role, message.content)
        nodes.append(
            Node(
                node_id=node_id,
                parent_id=parent if nodes else None,
                turn=place // 2 + 1,
                message=message,
                continued=place + 1 < len(talk.messages),
                kind="user" if message.role == "user" else "responder",
            )
        )
        parent = node_id
    return ConversationTree(tree_id=tree_id, persona_id=persona.persona_id, seed=seed, nodes=tuple(nodes))


async def _score_one(
    caller: Caller, talk: Logged, tree: ConversationTree, options: BenchConfig
) -> list[Judgement | None]:
    """Judgements of all replies, side by side: they do not depend on each other."""
    state = PathState(tree.tree_id)
    asked = []
    for user, reply in zip(tree.nodes[::2], tree.nodes[1::2], strict=True):
        state = state.with_user(user.node_id, user.message.content)
        candidate = Candidate(reply.node_id, reply.message.content)
        asked.append(_try(caller, talk, state, candidate, options))
        state = state.with_reply(reply.node_id, reply.message.content)
    return list(await asyncio.gather(*asked))


async def _try(
    caller: Caller, talk: Logged, state: PathState, reply: Candidate, options: BenchConfig
) -> Judgement | None:
    scale = SCALES[options.scale]
    if not reply.text:
        return Judgement(node_ids=(reply.node_id,), score=scale.low)
    try:
        return await score_reply(caller, talk.persona, state, reply, options.scope, scale, panel=options.panel)
    except EndpointError as error:
        talk.errors.append(NodeError(node_id=reply.node_id, turn=state.turn, role="judge", error=str(error)[:500]))
        return None


def _rows(talk: Logged, tree: ConversationTree) -> list[BenchScore]:
    return [
        BenchScore(
            tree_id=tree.tree_id,
            persona_id=talk.persona.persona_id,
            profile_id=talk.persona.profile_id,
            personality_id=talk.persona.personality_id,
            sample=talk.sample,
            turn=turn,
            node_id=node.node_id,
            score=judgement.score if judgement else None,
            outcome=_outcome(node.message.content, judgement),
            parts=judgement.parts if judgement else {},
            reason=judgement.reason if judgement else "",
            raw=judgement.raw if judgement else "",
            generation=judgement.generation if judgement else None,
        )
        for turn, (node, judgement) in enumerate(zip(tree.nodes[1::2], talk.judgements, strict=True), 1)
    ]


def _outcome(reply: str, judgement: Judgement | None) -> Literal["scored", "unparsed", "failed", "empty"]:
    if judgement is None:
        return "failed"
    return "unparsed" if judgement.score is None else "scored" if reply else "empty"


def _result(talks: Sequence[Logged], config: Config, prompts: PromptSet, name: str) -> BenchmarkResult:
    people = {talk.persona.persona_id: talk.persona for talk in talks}
    place = {persona_id: row for row, persona_id in enumerate(people)}
    n_turns, n_samples = max(t.n_replies for t in talks), 1 + max(t.sample for t in talks)
    scores = np.full((len(people), n_samples, n_turns), np.nan)
    missing: dict[int, int] = defaultdict(int)
    truth = TruthFigures(n_turns)
    for talk in talks:
        values = [j.score if j is not None else None for j in talk.judgements]
        for turn, value in enumerate(values):
            if value is None:
                missing[turn + 1] += 1
            else:
                scores[place[talk.persona.persona_id], talk.sample, turn] = value
        truth.add(talk.persona, talk.messages, values)
    clusters = Clusters([p.profile_id for p in people.values()], [p.personality_id for p in people.values()])
    measured = measure(scores, clusters, derive_rng(config.seed, "bench", "bootstrap"), config.bench.n_bootstrap)
    figures = result_figures(measured)
    figures["points"] = tuple(_without_absent(point, missing[point.k]) for point in measured.points)
    judges = [m.model_dump(mode="json") for m in config.roles.judge]
    texts = [[(m.role, m.content) for m in t.messages] for t in talks]
    settings = config.bench.model_dump(mode="json", exclude=config.bench.unset)
    return BenchmarkResult(
        model=name,
        uri="",
        judge_model=", ".join(m.uri for m in config.roles.judge),
        user_model="logged",
        config_digest=digest([config.seed, settings, judges, prompts.stamp(), texts]),
        setting=setting_of(config, prompts, tuple(people.values()), user="logged"),
        n_personas=len(people),
        n_samples=n_samples,
        n_failed=sum(None in t.judgements for t in talks),
        n_empty=sum(not m.content for t in talks for m in t.messages),
        n_verdict_like=sum(is_verdict_like(m.content) for t in talks for m in t.messages if m.role == "assistant"),
        scope=config.bench.scope,
        scale=config.bench.scale,
        parts=part_curves([t.judgements for t in talks], n_turns),
        truth=truth.figures(),
        truth_ci=truth.intervals({p.persona_id: (p.profile_id, p.personality_id) for p in people.values()}),
        fact_use_by_lag=truth.fact_use_by_lag(),
        facts_by_turn=truth.facts_by_turn(),
        **figures,
    )


def _without_absent(point: AlignmentPoint, n_unscored: int) -> AlignmentPoint:
    """A turn that a shorter conversation never had is not an unscored one."""
    return point.model_copy(update={"n_unscored": n_unscored})
