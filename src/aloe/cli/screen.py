"""Foreign text on a terminal: control characters are shown instead of obeyed.

A reply or a file may hold escape sequences that move the cursor, rewrite what was printed, set the title or fill the
clipboard, and marks that turn the direction of what follows.
"""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Text whose control characters (but for line breaks and tabs) stand as ``\\x1b`` and the like."""
    return _CONTROL.sub(lambda m: repr(m.group())[1:-1] if m.group() != "\x7f" else "\\x7f", text)
