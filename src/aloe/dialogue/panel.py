"""Panels: every model of ``roles.judge`` judges, and their answers are put together.

``pick`` (the default) asks one of them, drawn by weight. ``mean`` takes the mean of the scores, or of the
probabilities of the verdicts; ``majority`` the median of the scores, or the verdict that most give. Where the members
differ is kept: ``spread`` is the standard deviation of their scores, and a comparison's margin is the difference of
the shares of votes, so that a split panel weighs less. An answer that one member's judge could not give leaves the
panel's open: it would be another panel's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from statistics import fmean, median, pstdev

from aloe.config import ModelConfig, Panel
from aloe.types import Judgement, Verdict

Ask = Callable[["ModelConfig | None"], Awaitable[Judgement]]
MEMBER = "judge {}"  # the part of a judgement that holds what one member gave, by its place in roles.judge
SPREAD = "spread"


async def ask_panel(members: Sequence[ModelConfig], panel: Panel, ask: Ask) -> Judgement:
    """The judgement of a panel; of ``pick``, or of one judge, just the judge's own.

    Raises:
        EndpointError: a member's call failed for good.
    """
    if panel == "pick" or len(members) < 2:
        return await ask(None)
    answers = await asyncio.gather(*map(ask, members), return_exceptions=True)
    judgements: list[Judgement] = []
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
        judgements.append(answer)
    names = [member.uri for member in members]
    unread = next((j for j in judgements if j.score is None and j.verdict is None), None)
    if unread is not None:
        return unread
    together = _scores if judgements[0].score is not None else _verdicts
    reason = "; ".join(f"{name}: {j.reason}" for name, j in zip(names, judgements, strict=True))
    return together(judgements, panel).model_copy(update={"reason": reason})


def _scores(judgements: Sequence[Judgement], panel: Panel) -> Judgement:
    scores = [j.score for j in judgements if j.score is not None]
    shared = set.intersection(*(set(j.parts) for j in judgements))
    parts = {name: round(fmean(j.parts[name] for j in judgements), 6) for name in judgements[0].parts if name in shared}
    parts |= {MEMBER.format(number): score for number, score in enumerate(scores, 1)}
    parts[SPREAD] = round(pstdev(scores), 6)
    value = fmean(scores) if panel == "mean" else median(scores)
    return judgements[0].model_copy(update={"score": round(value, 6), "parts": parts})


def _verdicts(judgements: Sequence[Judgement], panel: Panel) -> Judgement:
    """Votes, or probabilities where every member gave them; as many for the one as for the other is a tie."""
    votes: dict[str, float] = {}
    weighs = panel == "mean" and all(j.parts for j in judgements)
    for name in ("first", "second", "tie"):
        cast = [j.parts.get(name, 0.0) if weighs else float(j.verdict == name) for j in judgements]
        votes[name] = round(fmean(cast), 6)
    most = max(votes.values())
    ahead = [name for name, share in votes.items() if share == most]
    verdict: Verdict = ahead[0] if len(ahead) == 1 else "tie"  # type: ignore[assignment]
    return judgements[0].model_copy(update={"verdict": verdict, "parts": votes})


def labeler_of(members: Sequence[ModelConfig], panel: Panel) -> str:
    """The name under which labels are kept: the first judge's, or that of the panel with all its members."""
    if panel == "pick" or len(members) < 2:
        return members[0].uri
    return f"{panel} of {', '.join(member.uri for member in members)}"
