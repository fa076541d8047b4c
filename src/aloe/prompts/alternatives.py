"""Log-probabilities of an answer's tokens as an endpoint sent them, read without trusting their shape.

What is malformed anywhere (missing, null, not a list, a token that is not text, a number that is not a
log-probability) counts as not given: the answer's own words are then all there is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

HIGHEST = 0.01  # a log-probability is at most 0; this much is rounding
MIN_MASS = 0.5  # of probability on what an answer may say, below which the alternatives tell nothing about it


class Token(NamedTuple):
    """A token of an answer: ``options`` holds log-probabilities of it and its alternatives."""

    text: str
    options: dict[str, float]


def read_tokens(found: Any) -> list[Token]:
    """OpenAI's ``choices[0].logprobs.content`` as tokens; empty where it is not well-formed throughout."""
    tokens = []
    for entry in found if isinstance(found, list) else ():
        if not isinstance(entry, dict):
            return []
        top = entry.get("top_logprobs") or ()
        options: dict[str, float] = {}
        for option in (*(top if isinstance(top, list | tuple) else (None,)), entry):
            if not isinstance(option, dict):
                return []
            text, logprob = option.get("token"), option.get("logprob")
            if not isinstance(text, str) or isinstance(logprob, bool) or not isinstance(logprob, int | float):
                return []
            if not -math.inf <= logprob <= HIGHEST:  # also NaN
                return []
            options.setdefault(text, min(0.0, float(logprob)))
        tokens.append(Token(entry["token"], options))
    return tokens


def spread(options: dict[str, float], meaning: Callable[[str], Any]) -> dict[Any, float]:
    """Probability of each meaning, normalised over those that have one; empty where these hold too little.

    Args:
        meaning: of a token; None where it has none.
    """
    mass: dict[Any, float] = {}
    for option, logprob in options.items():
        meant = meaning(option)
        if meant is not None:
            mass[meant] = mass.get(meant, 0.0) + math.exp(logprob)
    whole = sum(mass.values())
    return {meant: p / whole for meant, p in mass.items()} if whole >= MIN_MASS else {}
