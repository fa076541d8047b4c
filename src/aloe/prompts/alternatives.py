"""Log-probabilities of an answer's tokens as an endpoint sent them, read without trusting their shape.

What is malformed anywhere (missing, null, not a list, a token that is not text, a number that is not a
log-probability) counts as not given: the answer's own words are then all there is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

HIGHEST = 0.01  # a log-probability is at most 0; this much is rounding
MIN_MASS = 0.5  # of probability on what an answer may say, below which the alternatives tell nothing about it
_SCORE_AT = re.compile(r"score\W{1,12}", re.IGNORECASE)


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


def expected_score(logprobs: Any, scale: tuple[float, float], written: float | None = None) -> float | None:
    """Sum of score times probability over the alternatives at the score's token, normalised over the scores.

    Args:
        logprobs: OpenAI's ``choices[0].logprobs.content``, whatever the endpoint made of it.
        scale: lowest and highest score.
        written: the score that was read from the text. Alternatives at a place that says another one are not its.

    Returns:
        None where no token holds a whole score (a decimal, or a number of several tokens), where the alternatives
        that are scores hold less than ``MIN_MASS`` of the probability, or where they are malformed.
    """
    tokens = read_tokens(logprobs)
    texts = [token.text for token in tokens]
    found = list(_SCORE_AT.finditer("".join(texts)))
    start, at = (found[-1].end() if found else 0), 0
    for place, (text, options) in enumerate(tokens):
        at += len(text)
        if at <= start or (value := _whole(text, scale)) is None:
            if at > start and any(c.isdigit() for c in text):
                return None  # a number that is not a score of this scale, or a part of one
            continue
        after = texts[place + 1] if place + 1 < len(texts) else ""
        if after[:1].isdigit() or re.match(r"\.\d", after + "".join(texts[place + 2 : place + 3])):
            return None
        shares = spread(options, lambda token: _whole(token, scale)) if written in (None, value) else {}
        return round(sum(value * p for value, p in shares.items()), 6) if shares else None
    return None


def _whole(token: str, scale: tuple[float, float]) -> float | None:
    """The whole score that a token is, None where it is not one."""
    digits = token.strip(" \"'\n\t:*")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 3:
        return None
    return float(digits) if scale[0] <= int(digits) <= scale[1] else None
