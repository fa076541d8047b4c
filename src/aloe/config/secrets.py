"""Keeps secrets out of configs: they name environment variables, never the values."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_KEY_NAME = re.compile(
    r"(?:^|[_.-])(?:api[_-]?key|apikey|(?:access|auth|bearer|api|refresh|id)[_-]?token|authorization|secret|password|"
    r"passwd|credentials?|private[_-]?key)$",
    re.IGNORECASE,
)
_KEY_VALUE = re.compile(
    r"\b(?:sk|pk|rk|gsk|xai|hf|r8|ghp|gho|glpat|AKIA|AIza|ya29|Bearer)[-_ .]?[A-Za-z0-9][A-Za-z0-9_-]{18,}"
)
HINT = "name an environment variable in api_key_env or headers_env instead"


def check_address(address: str) -> str | None:
    """What is wrong with the address of a server, None where nothing is; the address itself is not repeated."""
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        return "is not a valid address; write http://HOST:PORT/v1"
    if "@" in parts.netloc:
        return f"contains a user name or password, which would be stored with the run; {HINT}"
    if parts.query or parts.fragment or ";" in parts.path:
        return f"has a query, which would be stored with the run and is no part of an address; {HINT}"
    return None


def check_variable(name: str) -> str | None:
    """What is wrong with the name of an environment variable; something else, perhaps a key, is not repeated."""
    if _VARIABLE.match(name) and not _KEY_VALUE.search(name):
        return None
    return "must be the name of an environment variable, not the key itself; export NAME=... and give NAME"


def find_secret(value: Any, name: str = "") -> str | None:
    """The name under which nested fields hold what looks like a secret, None where there is none."""
    if isinstance(value, dict):
        found = (find_secret(inner, f"{name}.{key}" if name else str(key)) for key, inner in value.items())
    elif isinstance(value, list | tuple):
        found = (find_secret(inner, name) for inner in value)
    elif isinstance(value, str) and value and (_KEY_NAME.search(name) or _KEY_VALUE.search(value)):
        return name or "a value"
    else:
        return None
    return next(filter(None, found), None)
