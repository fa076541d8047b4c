"""Reads foreign answers in linear time: removes thoughts, finds JSON.

An answer is foreign text. It may quote another answer (a judge that repeats the reply it judges), hold numbers of
any length or nest without end; whatever it holds, reading it gives values or nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import lru_cache, wraps
from typing import Any, TypeVar

from aloe.errors import ParseError
from aloe.prompts.faults import split_thoughts

T = TypeVar("T")
MAX_READ = 20_000  # characters of an answer that are looked at
RECENT = 2048  # answers whose reading is kept: equal ones come close together, old ones only cost memory
MAX_BROKEN = 200  # beginnings of JSON objects that are not objects
_FENCE = "```"
_OBJECT = re.compile(r'\{[ \t\r\n]*"')


def remembered(read: Callable[..., T]) -> Callable[..., T]:
    """Keep the readings of recent answers, but for those so long that keeping them would cost more than reading."""
    kept = lru_cache(maxsize=RECENT)(read)

    @wraps(read)
    def reading(raw: str, *more: Any) -> T:
        return kept(raw, *more) if len(raw) <= MAX_READ else read(raw, *more)

    return reading


def head(raw: str) -> str:
    """The part of an answer that parsers look at."""
    return split_thoughts(raw)[0][:MAX_READ].strip()


def _differing(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; a key that it gives two different values has none."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        found[key] = value if key not in found or found[key] == value else None
    return found


def _integer(digits: str) -> int | float:
    """Python refuses integers of thousands of digits, and nothing that we read is that large."""
    return int(digits) if len(digits) < 20 else float(digits)


_DECODER = json.JSONDecoder(object_pairs_hook=_differing, parse_int=_integer)


def find_json(raw: str) -> Any:
    """The first JSON object or array in an answer (in a fenced block, where there is one), or None."""
    text = head(raw)
    for candidate in (_fenced(text), text):
        start = min((i for i in (candidate.find("{"), candidate.find("[")) if i >= 0), default=-1)
        if start < 0:
            continue
        try:
            return _DECODER.raw_decode(candidate, start)[0]
        except (ValueError, RecursionError):
            continue
    return None


def _fenced(text: str) -> str:
    start = text.find(_FENCE)
    end = text.find(_FENCE, start + 3) if start >= 0 else -1
    return text[start + 3 : end] if end >= 0 else ""


def find_objects(text: str, key: str) -> Iterator[tuple[dict[str, Any], int]]:
    """All JSON objects of a text that have ``key``, each with the place where it ends; none inside another.

    Raises:
        ParseError: more broken objects than anybody writes who means to answer.
    """
    n_broken = 0
    opening = _OBJECT.search(text) if f'"{key}"' in text else None
    while opening is not None:
        try:
            found, end = _DECODER.raw_decode(text, opening.start())
        except (ValueError, RecursionError) as error:
            n_broken += 1
            if n_broken > MAX_BROKEN:
                raise ParseError(f"more than {MAX_BROKEN} broken JSON objects in the answer") from None
            # What was read up to the error is not read again.
            end = max(error.pos if isinstance(error, json.JSONDecodeError) else len(text), opening.end())
        else:
            if key in found:
                yield found, end
        opening = _OBJECT.search(text, end)
