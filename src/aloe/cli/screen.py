"""Makes foreign text safe for a terminal: control characters are shown instead of obeyed.

A reply or a file may hold escape sequences that move the cursor, rewrite what was printed, set the title or fill the
clipboard, and marks that turn the direction of what follows.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Text whose control characters (but for line breaks and tabs) stand as ``\\x1b`` and the like."""
    return _CONTROL.sub(lambda m: repr(m.group())[1:-1] if m.group() != "\x7f" else "\\x7f", text)


class _Guarded:
    """A stream that shows control characters; what rich writes (its own colours and movements) passes by."""

    def __init__(self, stream: TextIO) -> None:
        self.rich_proxied_file = stream  # where rich looks for the stream behind another

    def write(self, text: str) -> int:
        return self.rich_proxied_file.write(printable(text))

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __iter__(self) -> Iterator[str]:
        return iter(self.rich_proxied_file)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rich_proxied_file, name)


@contextmanager
def guarded_screen() -> Iterator[None]:
    """While the block runs, whatever ``print`` shows goes through :func:`printable`."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (  # type: ignore[assignment]
        stream if stream is None or isinstance(stream, _Guarded) else _Guarded(stream) for stream in before
    )
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
