"""Reads small text files: only regular files, up to a limit; each fault is one line."""

from __future__ import annotations

import json
import os
import stat
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

from aloe.errors import ConfigError, DataError

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


def parse_json(text: str | bytes) -> Any:
    """JSON from anywhere as a value.

    Raises:
        JSONDecodeError: whatever is wrong with it, numbers of thousands of digits and nesting without end included.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise
    except RecursionError:
        raise json.JSONDecodeError("nested too deeply", "", 0) from None
    except ValueError as error:  # bytes that are not UTF-8, or a number with too many digits
        raise json.JSONDecodeError(str(error).partition(";")[0], "", 0) from None


def parse_toml(text: str) -> dict[str, Any]:
    """TOML from anywhere as a table.

    Raises:
        TOMLDecodeError: whatever is wrong with it, numbers of thousands of digits and nesting without end included.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError:
        raise tomllib.TOMLDecodeError("nested too deeply") from None
    except ValueError as error:
        raise tomllib.TOMLDecodeError(str(error).partition(";")[0]) from None


def refuse_special(path: Path) -> None:
    """Refuse a pipe or a device, which may hold us for ever or never end; what is missing is not told here.

    Raises:
        DataError: there is something that is neither a regular file nor a folder.
    """
    with suppress(OSError):
        if not stat.S_ISREG(kind := path.stat().st_mode) and not stat.S_ISDIR(kind):
            raise DataError(f"{path} is not a regular file", "write it to disk and give that file")
