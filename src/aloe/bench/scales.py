"""The scales on which a judge scores a reply, and the prompt that asks for each.

- ``1-5`` (default): total and parts (style, content, natural), decimals allowed.
- ``1-100``: the same, whole numbers. ``binary``: would this user be pleased, 1 or 0.
"""

from __future__ import annotations

from dataclasses import dataclass

from aloe.prompts.catalog import JUDGE_BINARY, JUDGE_PERCENT, JUDGE_SCORE, Prompt
from aloe.prompts.parsers import Score

PARTS = ("style", "content", "natural")
#: What a stored conversation says where the model under test ended it; such turns have the scale's lowest score.
EMPTY_REPLY = "an empty reply, also when asked again"


@dataclass(frozen=True, slots=True)
class Scale:
    """A scale and the prompt that asks for it."""

    name: str
    low: float
    high: float
    prompt: Prompt[Score]

    @classmethod
    def of(cls, name: str, prompt: Prompt[Score]) -> Scale:
        """The scale that ``prompt`` asks for, under the name by which it is configured."""
        assert prompt.scale is not None, f"prompt {prompt.name} asks for no score"
        return cls(name, *prompt.scale, prompt)


_ASKED = {"1-5": JUDGE_SCORE, "1-100": JUDGE_PERCENT, "binary": JUDGE_BINARY}
SCALES = {name: Scale.of(name, prompt) for name, prompt in _ASKED.items()}
