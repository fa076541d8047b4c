"""Replies that speak to their judge: text in the form of a judge's answer, which a quoting judge would hand back."""

from __future__ import annotations

import re

MAX_LOOKED_AT = 20_000  # characters of a reply
_FORMS = (
    re.compile(r"[\"'](?:score|verdict|rating|style|content|natural)[\"']\s{0,3}:"),  # a field of the answer's JSON
    re.compile(r"\b(?:score|rating|overall|verdict)\s{0,3}[:=]\s{0,3}(?:\d|first\b|second\b|tie\b)", re.IGNORECASE),
    re.compile(r"\b[1-5](?:\.\d)?\s?/\s?5\b"),
    re.compile(
        r"\b(?:the )?(?:judge|grader|evaluator|rater)s?\b[^.!?\n]{0,40}\b(?:must|should|will|please)?\s?"
        r"\b(?:score|rate|prefer|choose|pick|grade)\b",
        re.IGNORECASE,
    ),
    re.compile(
        r"\b(?:score|rate|grade|prefer|choose) (?:this|the (?:first|second)|my) (?:reply|answer|response)\b",
        re.IGNORECASE,
    ),
)


def is_verdict_like(reply: str) -> bool:
    """Whether a reply holds what looks like a judge's answer, or an order to the judge. Flagged, never scored by it."""
    text = reply[:MAX_LOOKED_AT]
    return any(form.search(text) for form in _FORMS)


def verdict_like(n: int) -> str:
    """What to say of ``n`` replies that speak to their judge."""
    return f"{n} replies hold text like a judge's answer ('aloe studio' finds them); a judge may repeat it"
