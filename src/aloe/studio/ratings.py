"""Blind choices between two replies, a line each in ``RUN/studio/ratings.jsonl``, for ``aloe judge calibrate``.

A row holds everything that was in front of the rater: the conversation up to the user's message and both replies in
the order shown. It is appended by a single write, so that two writers never interleave.
"""

from __future__ import annotations

import os
from pathlib import Path

from aloe.errors import DataError
from aloe.store.records import repair_tail, to_line
from aloe.types import Rating


def ratings_path(run: Path) -> Path:
    return run / "studio" / "ratings.jsonl"


def append_rating(path: Path, rating: Rating) -> None:
    """Add one rating; a torn last line of a killed writer is cut off first.

    Raises:
        DataError: the place cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)  # before it is repaired
        repair_tail(path)
        try:
            os.write(handle, to_line(rating))
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise DataError(
            f"{path} cannot be written: {error.strerror or error}", "free some space or change the permissions"
        ) from error
