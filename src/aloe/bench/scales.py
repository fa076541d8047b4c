"""The scales on which a judge scores a reply, and the prompt that asks for each.

- ``1-5`` (default): total and parts (style, content, natural), decimals allowed.
- ``1-100``: the same, whole numbers. ``binary``: would this user be pleased, 1 or 0.
"""

from __future__ import annotations

from dataclasses import dataclass

PARTS = ("style", "content", "natural")


@dataclass(frozen=True, slots=True)
class Scale:
    """A scale and the prompt that asks for it."""

    name: str
    low: float
    high: float
    prompt: str


SCALES = {
    "1-5": Scale("1-5", 1.0, 5.0, "judge_score"),
    "1-100": Scale("1-100", 1.0, 100.0, "judge_percent"),
    "binary": Scale("binary", 0.0, 1.0, "judge_binary"),
}
