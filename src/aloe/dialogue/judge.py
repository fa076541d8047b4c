"""The judge: compares two replies in one or both orders, or scores one; ties and unparsed are values.

Margins: the score difference where replies are scored; for a comparison P(chosen) - P(rejected) at the verdict's token,
where the endpoint gives log-probabilities (averaged over the orders), else 1.0, because a verdict alone has no scale.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from aloe.config import ModelConfig, Panel
from aloe.dialogue.panel import ask_panel
from aloe.dialogue.state import PathState
from aloe.models.caller import Caller
from aloe.prompts.alternatives import expected_score, read_tokens, spread
from aloe.prompts.catalog import JUDGE_COMPARE, JUDGE_SCORE
from aloe.prompts.render import FIRST
from aloe.seeding import derive_seed
from aloe.types import Judgement, Label, Persona

Pick = Callable[[Sequence[tuple[str, float]], float], tuple[int, int] | None]
_VERDICTS = ("first", "second", "tie")
_VERDICT_AT = re.compile(r"verdict\W{1,12}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A reply that may be judged."""

    node_id: str
    text: str


async def compare_once(
    caller: Caller,
    persona: Persona,
    state: PathState,
    shown: tuple[Candidate, Candidate],
    scope: str,
    model: ModelConfig | None = None,
) -> Judgement:
    """One comparison, in the order given; ``model``: instead of the role's."""
    path = f"{state.node_id}/{shown[0].node_id}/{shown[1].node_id}"
    answer, reply = await caller.ask(
        JUDGE_COMPARE, path, turn=state.turn, persona=persona, conversation=state.shown,
        first=shown[0].text, second=shown[1].text, scope=scope, model=model,
    )  # fmt: skip
    verdict, reason = answer if answer is not None else (None, "")
    return Judgement.model_construct(
        node_ids=(shown[0].node_id, shown[1].node_id),
        verdict=verdict,
        score=None,
        parts=verdict_probabilities(reply.logprobs, verdict) if verdict is not None and reply.logprobs else {},
        reason=reason,
        raw="" if answer is not None else reply.text[:2000],
        generation=reply.generation,
    )


def verdict_probabilities(logprobs: Any, given: str | None = None) -> dict[str, float]:
    """P(first), P(second), P(tie) at the token where the verdict begins, normalised over the three.

    Args:
        logprobs: OpenAI's ``choices[0].logprobs.content``, whatever the endpoint made of it.
        given: the verdict that was read from the text. Alternatives at a place that says another one are not its.

    Returns:
        The three probabilities; empty where no verdict's token is found, the alternatives hold less than
        ``alternatives.MIN_MASS`` of the probability, or they are malformed.
    """
    tokens = read_tokens(logprobs)
    found = list(_VERDICT_AT.finditer("".join(token.text for token in tokens)))
    start, at = (found[-1].end() if found else 0), 0
    for token in tokens:
        at += len(token.text)
        meant = _verdict_of(token.text)
        if at <= start or meant is None:
            continue
        spread_out = spread(token.options, _verdict_of) if given in (None, meant) else {}
        return {name: round(spread_out.get(name, 0.0), 6) for name in _VERDICTS} if spread_out else {}
    return {}


def _verdict_of(token: str) -> str | None:
    """The verdict that a token begins, None where it begins none."""
    word = token.strip(" \"'*`\n\t:").lower()
    return next((v for v in _VERDICTS if word and v.startswith(word)), None)


def comparison_margin(judgements: Sequence[Judgement], chosen: str) -> float:
    """Mean of P(chosen) - P(other) over the orders; 1.0 where a judgement came without probabilities."""
    gaps = []
    for judgement in judgements:
        if not judgement.parts:
            return 1.0
        gap = judgement.parts["first"] - judgement.parts["second"]
        gaps.append(gap if judgement.node_ids[0] == chosen else -gap)
    return round(sum(gaps) / len(gaps), 6)


def preferred(judgement: Judgement) -> str | None:
    """The node that a comparison prefers, ``"tie"``, or None where it is unparsed."""
    if judgement.verdict == "tie":
        return "tie"
    if judgement.verdict is None:
        return None
    return judgement.node_ids[0 if judgement.verdict == "first" else 1]


def label_from_comparisons(
    tree_id: str, pair: tuple[Candidate, Candidate], judgements: Sequence[Judgement], labeler: str
) -> Label:
    """Agreeing verdicts make a preference; different ones a disagreement, which is kept but makes no pair."""
    wanted = [preferred(j) for j in judgements]
    ids = (pair[0].node_id, pair[1].node_id)
    chosen = rejected = None
    margin: float | None = None
    if None in wanted:
        outcome = "unparsed"
    elif len(set(wanted)) > 1:
        outcome = "disagreement"
    elif wanted[0] == "tie":
        outcome = "tie"
    else:
        outcome = "preferred"
        chosen = wanted[0]
        rejected = ids[1] if chosen == ids[0] else ids[0]
        assert chosen is not None
        margin = comparison_margin(judgements, chosen)
    return Label(
        tree_id=tree_id,
        node_ids=ids,
        chosen=chosen,
        rejected=rejected,
        margin=margin,
        labeler=labeler,
        outcome=outcome,  # type: ignore[arg-type]
        judgements=tuple(judgements),
    )


async def compare(
    caller: Caller,
    persona: Persona,
    state: PathState,
    pair: tuple[Candidate, Candidate],
    *,
    tree_id: str,
    seed: int,
    orders: int,
    scope: str,
    labeler: str,
    panel: Panel = "pick",
) -> Label:
    """Label a pair; which reply is shown first is drawn from the seed, so that position carries no information."""
    shown = pair if derive_seed(seed, "order", state.node_id) % 2 == 0 else (pair[1], pair[0])
    judgements = []
    for ordered in (shown, (shown[1], shown[0]))[:orders]:
        asked = partial(compare_once, caller, persona, state, ordered, scope)
        judgements.append(await ask_panel(caller.models.get("judge", ()), panel, asked))
    return label_from_comparisons(tree_id, pair, judgements, labeler)


async def score_once(
    caller: Caller,
    persona: Persona,
    state: PathState,
    candidate: Candidate,
    scope: str,
    model: ModelConfig | None = None,
) -> Judgement:
    """Score one reply from 1 to 5; ``score`` is None where the answer could not be read.

    With prompts of version 2 and a judge that tells log-probabilities it is the expectation over the scores that the
    judge might have written, so that two replies rarely have the same; what it wrote is kept as the part ``written``.
    """
    path = f"{state.node_id}/{candidate.node_id}"
    answer, reply = await caller.ask(
        JUDGE_SCORE, path, turn=state.turn, persona=persona, conversation=state.shown,
        reply=candidate.text, scope=scope, model=model,
    )  # fmt: skip
    score, parts, reason = answer if answer is not None else (None, {}, "")
    if score is not None and reply.logprobs and JUDGE_SCORE.scale is not None and caller.prompts.version > FIRST:
        expected = expected_score(reply.logprobs, JUDGE_SCORE.scale, score)
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


async def score_all(
    caller: Caller,
    persona: Persona,
    state: PathState,
    candidates: Sequence[Candidate],
    scope: str,
    panel: Panel = "pick",
) -> list[Judgement]:
    """Score several replies side by side; equal texts are asked once each (their journal paths differ)."""
    judges = caller.models.get("judge", ())
    asked = (ask_panel(judges, panel, partial(score_once, caller, persona, state, c, scope)) for c in candidates)
    return list(await asyncio.gather(*asked))


def label_from_scores(
    tree_id: str,
    candidates: Sequence[Candidate],
    judgements: Sequence[Judgement],
    labeler: str,
    min_margin: float = 0.0,
    pick: Pick | None = None,
) -> Label:
    """Best reply against the worst (or what ``pick`` chooses), the score difference as margin.

    A difference of nothing or below ``min_margin`` is a tie; fewer than two readable scores are unparsed.
    """
    scored = [(c, j.score) for c, j in zip(candidates, judgements, strict=True) if j.score is not None]
    picked = None
    if len(scored) > 1 and pick is not None:
        picked = pick([(c.text, s) for c, s in scored], min_margin)
    elif len(scored) > 1:
        order = sorted(range(len(scored)), key=lambda i: (-scored[i][1], i))
        gap = scored[order[0]][1] - scored[order[-1]][1]
        picked = (order[0], order[-1]) if gap > 0 and gap >= min_margin else None
    chosen, rejected = (scored[picked[0]], scored[picked[1]]) if picked is not None else (None, None)
    return Label(
        tree_id=tree_id,
        node_ids=tuple(c.node_id for c in candidates),
        chosen=chosen[0].node_id if chosen else None,
        rejected=rejected[0].node_id if rejected else None,
        margin=round(chosen[1] - rejected[1], 6) if chosen and rejected else None,
        labeler=labeler,
        outcome="preferred" if chosen else "tie" if len(scored) > 1 else "unparsed",
        judgements=tuple(judgements),
    )
