"""The configs that this account has confirmed: a private list in its state folder."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import orjson

from aloe.config.exposure import Exposure
from aloe.errors import DataError
from aloe.store.records import atomic_write

MOST = 2000  # kept; the oldest go


def trusted_path() -> Path:
    """``$XDG_STATE_HOME/aloe/trusted.json``, or in ``~/.local/state``."""
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "aloe" / "trusted.json"


def _read() -> list[str]:
    try:
        found = orjson.loads(trusted_path().read_bytes())
    except (OSError, orjson.JSONDecodeError):  # nothing was confirmed yet, or nothing is known of it: ask again
        return []
    return [key for key in found if isinstance(key, str)] if isinstance(found, list) else []


def not_trusted(found: Iterable[Exposure]) -> list[Exposure]:
    """Those that were never confirmed."""
    known = set(_read())
    return [exposure for exposure in found if exposure.key not in known]


def trust(found: Iterable[Exposure]) -> bool:
    """Remember that these were confirmed; False where the list can't be written, so that it will be asked again."""
    keys = [exposure.key for exposure in found]
    known = _read()
    if not set(keys) - set(known):
        return True
    path = trusted_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with atomic_write(path) as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(orjson.dumps(list(dict.fromkeys([*known, *keys]))[-MOST:], option=orjson.OPT_INDENT_2))
    except (OSError, DataError):
        return False
    return True
