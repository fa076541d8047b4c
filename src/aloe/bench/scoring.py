"""Scores one reply: by a scale's prompt, or as the expected score over the judge's log-probabilities.

Where the endpoint gives log-probabilities (``extra = {logprobs = true, top_logprobs = 20}`` on the judge), the score
is the expectation over the alternatives at the token that holds the score; what the judge wrote is kept as the part
``written``. An answer that can't be read is unscored: None, never a default.
"""

from __future__ import annotations

from typing import NamedTuple

from aloe.bench.scales import Scale
from aloe.config import ModelConfig, Panel
from aloe.dialogue.judge import Candidate
from aloe.dialogue.panel import ask_panel
from aloe.dialogue.state import PathState
from aloe.models.caller import Caller
from aloe.prompts.alternatives import expected_score
from aloe.types import Judgement, Persona


async def score_reply(
    caller: Caller,
    persona: Persona,
    state: PathState,
    candidate: Candidate,
    scope: str,
    scale: Scale,
    sample: int = 0,
    panel: Panel = "pick",
) -> Judgement:
    """Score one reply to ``state``, which ends with the user's message; ``score`` is None where unparsed.

    Args:
        panel: how several judges score together.

    Raises:
        EndpointError: the call failed for good.
    """

    async def ask(model: ModelConfig | None) -> Judgement:
        return await _score_once(caller, persona, state, candidate, _Asked(scope, scale, sample, model))

    return await ask_panel(caller.models.get("judge", ()), panel, ask)


class _Asked(NamedTuple):
    """How a judge is asked, and which (None: one of the role's)."""

    scope: str
    scale: Scale
    sample: int
    model: ModelConfig | None


async def _score_once(
    caller: Caller, persona: Persona, state: PathState, candidate: Candidate, asked: _Asked
) -> Judgement:
    scale = asked.scale
    path = f"{state.node_id}/{candidate.node_id}"
    answer, reply = await caller.ask(
        scale.prompt, path, turn=state.turn, sample=asked.sample, persona=persona, conversation=state.shown,
        reply=candidate.text, scope=asked.scope, model=asked.model,
    )  # fmt: skip
    score, parts, reason = answer if answer is not None else (None, {}, "")
    if score is not None and reply.logprobs:
        expected = expected_score(reply.logprobs, (scale.low, scale.high), score)
        if expected is not None:
            parts, score = {**parts, "written": score}, expected
    return Judgement.model_construct(
        node_ids=(candidate.node_id,),
        verdict=None,
        score=score,
        parts=parts,
        reason=reason,
        raw="" if answer is not None else reply.text[:2000],
        generation=reply.generation,
    )
