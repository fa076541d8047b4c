"""Scores one reply: by a scale's prompt, or as the expected score over the judge's log-probabilities.

Where the endpoint gives log-probabilities (``extra = {logprobs = true, top_logprobs = 20}`` on the judge), the score
is the expectation over the alternatives at the token that holds the score; what the judge wrote is kept as the part
``written``. An answer that can't be read is unscored: None, never a default.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from aloe.bench.scales import Scale
from aloe.config import ModelConfig, Panel
from aloe.dialogue.judge import Candidate
from aloe.dialogue.panel import ask_panel
from aloe.dialogue.state import PathState
from aloe.models.caller import Caller
from aloe.prompts.alternatives import read_tokens, spread
from aloe.types import Judgement, Persona

_SCORE_AT = re.compile(r"score\W{1,12}", re.IGNORECASE)


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
        scale.prompt, path, turn=state.turn, sample=asked.sample, persona=persona, conversation=state.messages,
        reply=candidate.text, scope=asked.scope, model=asked.model,
    )  # fmt: skip
    score, parts, reason = answer if answer is not None else (None, {}, "")
    if score is not None and reply.logprobs:
        expected = expected_score(reply.logprobs, scale, score)
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


def expected_score(logprobs: Any, scale: Scale, written: float | None = None) -> float | None:
    """Sum of score times probability over the alternatives at the score's token, normalised over the scores.

    Args:
        logprobs: OpenAI's ``choices[0].logprobs.content``, whatever the endpoint made of it.
        written: the score that was read from the text. Alternatives at a place that says another one are not its.

    Returns:
        None where no token holds a whole score (a decimal, or a number of several tokens), where the alternatives
        that are scores hold less than ``alternatives.MIN_MASS`` of the probability, or where they are malformed.
    """
    tokens = read_tokens(logprobs)
    texts = [token.text for token in tokens]
    found = list(_SCORE_AT.finditer("".join(texts)))
    start, at = (found[-1].end() if found else 0), 0
    for place, (text, options) in enumerate(tokens):
        at += len(text)
        if at <= start or (value := _whole(text, scale)) is None:
            if at > start and any(c.isdigit() for c in text):
                return None  # a number that is not a score of this scale, or a part of one
            continue
        after = texts[place + 1] if place + 1 < len(texts) else ""
        if after[:1].isdigit() or re.match(r"\.\d", after + "".join(texts[place + 2 : place + 3])):
            return None
        shares = spread(options, lambda token: _whole(token, scale)) if written in (None, value) else {}
        return round(sum(value * p for value, p in shares.items()), 6) if shares else None
    return None


def _whole(token: str, scale: Scale) -> float | None:
    """The whole score that a token is, None where it is not one."""
    digits = token.strip(" \"'\n\t:*")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 3:
        return None
    return float(digits) if scale.low <= int(digits) <= scale.high else None
