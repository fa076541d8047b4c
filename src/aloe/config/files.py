"""Reads small text files: only regular files, up to a limit; each fault is one line."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from aloe.errors import ConfigError

MAX_TEXT_FILE = 1_000_000  # bytes of a recipe or a prompt


def read_small_text(path: Path, what: str, limit: int = MAX_TEXT_FILE) -> str:
    """The text of a file that a person wrote.

    Args:
        what: the file is, for errors.

    Raises:
        ConfigError: it can't be read, is not a regular file (a pipe or a device may never end), is longer than
            ``limit`` bytes, or is not UTF-8.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe without a writer would hold us here
        with open(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise ConfigError(f"{what} {path} is not a regular file", "give a file that was written to disk")
            raw = file.read(limit + 1)
    except OSError as error:
        raise ConfigError(
            f"{what} {path} cannot be read: {error.strerror}", "look at the path and its rights"
        ) from None
    if len(raw) > limit:
        raise ConfigError(f"{what} {path} is larger than {limit:,} bytes", "give the right file")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not valid UTF-8 text ({error.reason})", "save it as UTF-8") from None
