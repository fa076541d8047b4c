"""Rows of ``scores.jsonl``: one per turn of every conversation, scored or not, so that nothing shrinks silently."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from aloe.types import Generation, Record


class BenchScore(Record):
    """The judge's score of one reply.

    ``outcome``: ``scored``; ``unparsed`` (the judge's answer could not be read even when asked again); ``failed``
    (the conversation had ended before there was a reply or a judgement). ``score`` is None unless scored.
    """

    tree_id: str
    persona_id: str
    profile_id: str
    personality_id: str
    sample: int = Field(0, ge=0)
    turn: int = Field(ge=1)
    node_id: str = ""  # the reply; empty where there is none
    score: float | None = None
    outcome: Literal["scored", "unparsed", "failed"] = "scored"
    parts: dict[str, float] = Field(default_factory=dict)
    others: dict[str, float | None] = Field(default_factory=dict)  # judged for the swapped persona, in the other scope
    reason: str = ""
    raw: str = ""  # the judge's words where they could not be read
    generation: Generation | None = None
