"""Kinds of unusable answers, and the removal of the thoughts that some models write first.

A thought is kept out of what is read. One that the length limit cut off leaves no answer at all.
"""

from __future__ import annotations

import re
import unicodedata

THINKING, EMPTY, REFUSAL, ROLE, QUOTING, CUT, FORM = "thinking", "empty", "refusal", "role", "quoting", "cut", "form"
FILTERED, TOOLS = "filtered", "tools"
AGAIN = "Answer again in the form asked for."  # ends what a model is told whose answer could not be read
KINDS = {
    THINKING: "thoughts that never came to an answer",
    EMPTY: "empty",
    REFUSAL: "refusals",
    ROLE: "in the wrong role",
    QUOTING: "the prompt said back",
    CUT: "cut off by the length limit",
    FORM: "not in the form asked for",
    FILTERED: "withheld by a content filter",
    TOOLS: "calls of tools instead of text",
}

_THOUGHT = re.compile(
    r"<(/?)(?:seed:)?(?:think|thinking|thought|thoughts|reasoning)>|\[(/?)THINK\]|◁(/?)think▷", re.IGNORECASE
)
_SHAPELESS = "\u115f\u1160\u2800\u3164\uffa0"  # blanks that Unicode counts among letters and symbols
_REFUSES = re.compile(
    r"\W{0,3}(?:(?:i(?: a|')m )?(?:so |very )?sorry\b[^.!?\n]{0,40}|i apologi[sz]e\b[^.!?\n]{0,60}|unfortunately,? )?"
    r"\W{0,3}(?:but )?(?:i|as an ai[^.!?\n]{0,40}? i) ?"
    r"(?:can(?:no|')t|can not|(?:'| a)m (?:unable|not able) to|won't|will not|must decline to) "
    r"(?:assist|help (?:you )?with|comply|fulfill?|provide|create|generate|engage|participate|continue (?:with )?th|"
    r"do that|role-?play|pretend|answer that|play|write (?:that|this)|discuss)\b",
    re.IGNORECASE,
)
AS_ASSISTANT = re.compile(
    r"\b(?:as an ai\b|i(?: a|')m an? (?:ai|language model|assistant|chatbot)\b|as a language model|"
    r"how (?:can|may) i (?:help|assist) you|i(?: a|')m here to (?:help|assist)|is there anything else i can)",
    re.IGNORECASE,
)
FOR_BOTH = re.compile(r"^\s*\**(?:assistant|ai|chatbot|bot)\**\s*:", re.IGNORECASE | re.MULTILINE)
_TAG = re.compile(
    r"</?(?:revealed|fact|trait|persona|profile|personality|conversation|reply|rubric|task|card|memory|changes?)\b[^>\n]{0,200}>"
)


def split_thoughts(raw: str) -> tuple[str, bool]:
    """What follows the last thought of an answer, and whether a thought was still open at its end.

    Everything before the end of a thought may be drafts, doubts or quotations; a closing tag whose opening tag stood
    in the prompt ends a thought, too. Runs in one pass.
    """
    start, is_open = 0, False
    for tag in _THOUGHT.finditer(raw):
        is_open = not any(tag.groups())
        if not is_open:
            start = tag.end()
    return ("" if is_open else raw[start:]), is_open


def is_blank(text: str) -> bool:
    """Whether nothing of a text can be seen: spaces, control and format characters only, or letters without a shape."""
    return all(unicodedata.category(c)[0] in "ZC" or c in _SHAPELESS for c in text)


def is_refusal(text: str) -> bool:
    """Whether an answer begins by declining what was asked."""
    return _REFUSES.match(text) is not None


def is_assistants(text: str) -> bool:
    """Whether a message is in the assistant's own words, or holds the assistant's part too."""
    return AS_ASSISTANT.search(text) is not None or FOR_BOTH.search(text) is not None


def holds_tags(text: str) -> bool:
    """Whether a message holds tags of the prompt that asked for it."""
    return "<" in text and _TAG.search(text) is not None


def kind_of(raw: str, finish_reason: str) -> str:
    """The kind of an answer that could not be read."""
    text, is_open = split_thoughts(raw)
    was_cut = finish_reason == "length"
    if is_blank(text):
        return THINKING if is_open or was_cut else EMPTY
    return CUT if was_cut else REFUSAL if is_refusal(text) else FORM
