"""Recognises which pole of twelve bipolar traits a personality leans to, by word lists (English).

Used to see whether a set of personalities holds both poles of everything, difficult ones included. Word lists
are approximate; a trait in words that they lack counts as not mentioned.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources


@dataclass(frozen=True, slots=True)
class PolePattern:
    """One end of an axis. ``difficult``: harder to be with than its opposite."""

    axis: str
    name: str
    difficult: bool
    words: re.Pattern[str]


@lru_cache(maxsize=1)
def read_poles() -> tuple[PolePattern, ...]:
    """All poles, the two of an axis next to each other, from ``poles.txt``."""
    text = resources.files("aloe.personas").joinpath("poles.txt").read_text("utf-8")
    poles = []
    for line in text.splitlines():
        if line and not line.startswith("#"):
            axis, name, words = line.split(" | ", 2)
            pattern = re.compile(rf"\b(?:{words})(?!\w)", re.IGNORECASE)
            poles.append(PolePattern(axis, name.rstrip("*"), name.endswith("*"), pattern))
    return tuple(poles)


@lru_cache(maxsize=4096)
def find_poles(personality: str) -> tuple[tuple[str, str], ...]:
    """(axis, pole) of each trait; both poles of one axis are possible ("warm with friends, cool with others")."""
    return tuple((p.axis, p.name) for p in read_poles() if p.words.search(personality))


def count_difficult(personality: str) -> int:
    """How many difficult poles a personality tells."""
    difficult = {(p.axis, p.name) for p in read_poles() if p.difficult}
    return len(difficult & set(find_poles(personality)))


def count_poles(personalities: Iterable[str]) -> dict[str, dict[str, int]]:
    """Axis -> pole -> in how many personalities it is mentioned; zeros included."""
    told = Counter(found for text in personalities for found in find_poles(text))
    counts: dict[str, dict[str, int]] = {}
    for pole in read_poles():
        counts.setdefault(pole.axis, {})[pole.name] = told[pole.axis, pole.name]
    return counts
