"""Mixtures of dialects, as a user's URI names them: ``terse:2,moody:1``; one is drawn for a conversation."""

from __future__ import annotations

import math
from functools import lru_cache

from aloe.errors import ConfigError, nearest
from aloe.world.lexicon.dialect_wording import DIALECTS, PLAIN

NAMES = (PLAIN, *DIALECTS)
_KEY = "dialect="


def parse_mixture(text: str, where: str) -> str:
    """The mixture in its usual form: names in a fixed order, weights of 1 left out; empty for the plain user alone.

    Raises:
        ConfigError: an unknown dialect, one that is named twice, or a weight that is not a positive number.
    """
    weights: dict[str, float] = {}
    for part in filter(None, text.split(",")):
        name, colon, number = part.partition(":")
        if name not in NAMES or name in weights:
            what = "is named twice" if name in weights else f"is not a dialect{nearest(name, NAMES)}"
            raise ConfigError(f"{where}: dialect '{name}' {what}", f"use some of: {', '.join(NAMES)}")
        try:
            weights[name] = float(number) if colon else 1.0
        except ValueError:
            weights[name] = math.nan
        if not 0 < weights[name] < math.inf:
            raise ConfigError(f"{where}: dialect {name} has the weight '{number}'", "write a number above 0: terse:2")
    if list(weights) in ([], [PLAIN]):
        return ""
    if len(weights) == 1:
        return next(iter(weights))
    ordered = [name for name in NAMES if name in weights]
    return ",".join(name if weights[name] == 1 else f"{name}:{weights[name]:g}" for name in ordered)


@lru_cache(maxsize=256)
def shares(mixture: str) -> tuple[tuple[str, float], ...]:
    """The dialects of a mixture in its usual form, with their shares, which add up to 1."""
    pairs = [part.partition(":") for part in mixture.split(",")] if mixture else [(PLAIN, "", "")]
    weights = [(name, float(number or 1)) for name, _, number in pairs]
    total = sum(weight for _, weight in weights)
    return tuple((name, weight / total) for name, weight in weights)


def draw(mixture: str, point: float) -> str:
    """The dialect at ``point`` in [0, 1) of a mixture."""
    parts = shares(mixture)
    for name, share in parts:
        point -= share
        if point < 0:
            return name
    return parts[-1][0]


def is_mixture(uri: str) -> bool:
    """Whether a URI of the world's user names several dialects."""
    return "," in next((part for part in uri.partition("?")[2].split("&") if part.startswith(_KEY)), "")


def settle(uri: str, point: float) -> str:
    """The URI with one dialect of its mixture, that at ``point``; as it is where it names none or one."""
    if not is_mixture(uri):
        return uri
    actor, _, query = uri.partition("?")
    parts = query.split("&")
    at = next(i for i, part in enumerate(parts) if part.startswith(_KEY))
    name = draw(parse_mixture(parts[at].removeprefix(_KEY), f"model '{uri}'"), point)
    parts[at : at + 1] = [] if name == PLAIN else [f"{_KEY}{name}"]
    return f"{actor}?{'&'.join(parts)}" if parts else actor
