"""Keeps a run going if its screen output can't be written, to a closed pipe or a full disk for instance."""

from __future__ import annotations

import os
import sys
from typing import IO, Any


class _Lenient:
    """A text stream that goes silent, instead of failing, once nobody takes what it is given."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except (OSError, ValueError):  # broken pipe, full disk, closed
            self._mute()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            self._mute()

    def _mute(self) -> None:
        self._stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - until the process ends

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def shield() -> None:
    """From now on neither standard output nor standard error raises; what can't be written is dropped."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed from the start
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - until the process ends
        elif (inner := getattr(stream, "rich_proxied_file", None)) is not None:  # of the guard of the screen
            if not isinstance(inner, _Lenient):
                stream.rich_proxied_file = _Lenient(inner)
        elif not isinstance(stream, _Lenient):
            setattr(sys, name, _Lenient(stream))
