"""The judge: compares two replies, in seeded order or in both orders, or scores one. Ties and unparsed are values.

Margins: 1.0 for a verdict of a comparison (which has no scale), the score difference where replies are scored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from aloe.dialogue.state import PathState
from aloe.models.caller import Caller
from aloe.prompts import PromptSet
from aloe.prompts.parsers import parse_score, parse_verdict
from aloe.prompts.sections import persona_slots
from aloe.seeding import derive_seed
from aloe.types import Judgement, Label, Persona


@dataclass(frozen=True, slots=True)
class Candidate:
    """A reply that may be judged."""

    node_id: str
    text: str


async def compare_once(
    caller: Caller,
    prompts: PromptSet,
    persona: Persona,
    state: PathState,
    shown: tuple[Candidate, Candidate],
    scope: str,
) -> Judgement:
    """One comparison, in the order given."""
    messages = prompts.render(
        "judge_compare",
        persona=persona_slots(persona.profile, persona.personality),
        conversation=state.conversation(),
        first=shown[0].text,
        second=shown[1].text,
        scope=scope,
    )
    path = f"{state.node_id}/{shown[0].node_id}/{shown[1].node_id}"
    answer, reply = await caller.ask("judge", path, "judge_compare", messages, parse_verdict, turn=state.turn)
    verdict, reason = answer if answer is not None else (None, "")
    return Judgement.model_construct(
        node_ids=(shown[0].node_id, shown[1].node_id),
        verdict=verdict,
        score=None,
        parts={},
        reason=reason,
        raw="" if answer is not None else reply.text[:2000],
        generation=reply.generation,
    )


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
        margin = 1.0
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
    prompts: PromptSet,
    persona: Persona,
    state: PathState,
    pair: tuple[Candidate, Candidate],
    *,
    tree_id: str,
    seed: int,
    orders: int,
    scope: str,
    labeler: str,
) -> Label:
    """Label a pair; which reply is shown first is drawn from the seed, so that position carries no information."""
    shown = pair if derive_seed(seed, "order", state.node_id) % 2 == 0 else (pair[1], pair[0])
    first = await compare_once(caller, prompts, persona, state, shown, scope)
    judgements = [first]
    if orders == 2:
        judgements.append(await compare_once(caller, prompts, persona, state, (shown[1], shown[0]), scope))
    return label_from_comparisons(tree_id, pair, judgements, labeler)


async def score_once(
    caller: Caller, prompts: PromptSet, persona: Persona, state: PathState, candidate: Candidate, scope: str
) -> Judgement:
    """Score one reply from 1 to 5; ``score`` is None where the answer could not be read."""
    messages = prompts.render(
        "judge_score",
        persona=persona_slots(persona.profile, persona.personality),
        conversation=state.conversation(),
        reply=candidate.text,
        scope=scope,
    )
    path = f"{state.node_id}/{candidate.node_id}"
    answer, reply = await caller.ask("judge", path, "judge_score", messages, parse_score, turn=state.turn)
    score, parts, reason = answer if answer is not None else (None, {}, "")
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
    prompts: PromptSet,
    persona: Persona,
    state: PathState,
    candidates: Sequence[Candidate],
    scope: str,
) -> list[Judgement]:
    """Score several replies side by side; equal texts are asked once each (their journal paths differ)."""
    return list(await asyncio.gather(*(score_once(caller, prompts, persona, state, c, scope) for c in candidates)))
