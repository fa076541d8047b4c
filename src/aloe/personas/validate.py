"""Mechanical checks of a persona file: one record per persona, and a summary of the set.

Some things need human judgement (is the person believable? would these facts come up in a conversation?). A persona
with a problem may still be used; what can't be read at all is reported by line.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aloe.personas.checks import (
    Kind,
    Limits,
    check_description,
    count_words,
    split_sentences,
)
from aloe.personas.cosines import nearest_others
from aloe.personas.importer import Problem, Source, read_packaged_bench, read_source
from aloe.personas.lexical import LexicalEmbedder
from aloe.personas.pairing import find_conflict, make_entry_id
from aloe.personas.poles import count_difficult, count_poles, find_poles
from aloe.personas.pronouns import find_pronoun
from aloe.personas.threshold import default_threshold
from aloe.protocols import Embedder

FACTS, TRAITS = (6, 16), (5, 20)  # told items that are plausible for 8-10, counted by clauses
_CLAUSE = re.compile(r"[,;:.!?]+\s+|\s+(?:and|but|while|whose|who)\s+", re.IGNORECASE)
_AGE = re.compile(
    r"\b(\d{1,3})[- ]year[- ]old|\b(?:is|are|am|aged|of|at|turned)\s+(\d{1,3})\b(?!\s*%)|\b(\d{1,3}) years old"
)
_NUMBER = re.compile(r"\b([1-9]\d)\b")


@dataclass(frozen=True, slots=True)
class PersonaCheck:
    """What was found about one persona (or lone description: then the other side is empty)."""

    persona_id: str
    line: int
    n_profile_words: int
    n_facts: int
    n_personality_words: int
    n_traits: int
    age: int | None
    pronoun: str | None
    poles: tuple[str, ...]
    n_difficult: int
    nearest_profile: float | None  # highest lexical cosine to another profile of the file
    nearest_personality: float | None
    problems: tuple[str, ...]

    def to_row(self) -> dict[str, Any]:
        """The check as a JSON-able row."""
        row = {name: getattr(self, name) for name in self.__slots__}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in row.items()}


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """All checks of a file. ``problems`` are those of the file itself, by line."""

    name: str
    checks: tuple[PersonaCheck, ...]
    problems: tuple[Problem, ...]
    set_problems: tuple[str, ...]
    pole_counts: dict[str, dict[str, int]]

    @property
    def is_clean(self) -> bool:
        return not self.problems and not self.set_problems and not any(c.problems for c in self.checks)

    def format(self, limit: int = 30) -> str:
        """The report as text."""
        n_doubtful = sum(bool(c.problems) for c in self.checks)
        n_skipped = sum(not p.used for p in self.problems)
        lines = [
            f"{self.name}: {len(self.checks)} read, {n_doubtful} doubtful, {n_skipped} places unusable",
            *(f"  {p}" for p in self.problems[:limit]),
        ]
        if len(self.problems) > limit:
            lines.append(f"  ... and {len(self.problems) - limit} more")
        doubtful = [c for c in self.checks if c.problems]
        for check in doubtful[:limit]:
            lines.append(f"  line {check.line} ({check.persona_id}): {'; '.join(check.problems)}")
        if len(doubtful) > limit:
            lines.append(f"  ... and {len(doubtful) - limit} more")
        lines.extend(f"  the set: {p}" for p in self.set_problems)
        ages = [c.age for c in self.checks if c.age is not None]
        if ages:
            lines.append(f"  ages {min(ages)} to {max(ages)}; pronouns {_shares(c.pronoun for c in self.checks)}")
        if any(c.n_personality_words for c in self.checks):
            pairs = (" / ".join(f"{pole} {n}" for pole, n in poles.items()) for poles in self.pole_counts.values())
            lines.append(f"  poles told: {'; '.join(pairs)}")
            n_hard = sum(c.n_difficult > 0 for c in self.checks)
            lines.append(f"  with a difficult side: {n_hard} of {len(self.checks)}")
        return "\n".join(lines)


def _shares(values: Any) -> str:
    return ", ".join(f"{value or 'none'} {n}" for value, n in Counter(values).most_common())


def count_items(text: str) -> int:
    """About how many facts or traits a description tells: its clauses of at least two words."""
    return sum(len(piece.split()) >= 2 for piece in _CLAUSE.split(text))


def find_age(profile: str) -> int | None:
    """The age a profile tells: "34-year-old", "is 34", or else its first two-digit number from 10 to 99."""
    found = _AGE.search(profile)
    if found:
        age = int(next(g for g in found.groups() if g))
        return age if 1 <= age <= 120 else None
    loose = _NUMBER.search(split_sentences(profile)[0]) if profile else None
    return int(loose.group(1)) if loose else None


def validate_personas(
    path: str | Path, language: str = "en", embedder: Embedder | None = None, words: tuple[int, int] = (50, 65)
) -> ValidationReport:
    """Check a file (or ``packaged``): whole personas, or lone profiles and personalities.

    Args:
        embedder: what the nearest neighbours are found with; lexical by default.
        words: lengths aimed at, profile and personality.

    Raises:
        DataError: no such file, or nothing usable in it.
    """
    source = read_packaged_bench() if str(path) == "packaged" else read_source(path)
    rows = [(p.profile, p.personality, p.line, p.persona_id) for p in source.pairs]
    rows += [
        (t.text if t.kind == "profile" else "", t.text if t.kind == "personality" else "", t.line, "")
        for t in source.texts
    ]
    embedder = embedder or LexicalEmbedder()
    near_profile = _nearest([r[0] for r in rows], embedder)
    near_personality = _nearest([r[1] for r in rows], embedder)
    checks = tuple(
        _check(*row, near_profile[i], near_personality[i], language, embedder, words) for i, row in enumerate(rows)
    )
    counts = count_poles(row[1] for row in rows if row[1])
    return ValidationReport(
        str(path), checks, tuple(source.problems), tuple(_check_set(source, counts, language)), counts
    )


def _nearest(texts: list[str], embedder: Embedder) -> list[float | None]:
    """Highest cosine to another text of the list; equal texts may repeat on purpose (a cross product)."""
    distinct = list(dict.fromkeys(t for t in texts if t))
    if len(distinct) < 2:
        return [None] * len(texts)
    similarities, _ = nearest_others(embedder.embed(distinct))
    by_text = {t: round(float(s), 4) for t, s in zip(distinct, similarities, strict=True)}
    return [by_text.get(t) for t in texts]


def _check(
    profile: str,
    personality: str,
    line: int,
    persona_id: str,
    near_profile: float | None,
    near_personality: float | None,
    language: str,
    embedder: Embedder,
    words: tuple[int, int],
) -> PersonaCheck:
    problems: list[str] = []
    sides: tuple[tuple[Kind, str, int, tuple[int, int], float | None], ...] = (
        ("profile", profile, words[0], FACTS, near_profile),
        ("personality", personality, words[1], TRAITS, near_personality),
    )
    for kind, text, n_words, bounds, near in sides:
        if not text:
            continue
        reason = check_description(text, kind, Limits.around(n_words), language)
        if reason:
            problems.append(f"{kind}: {reason}")
        n_items = count_items(text)
        if not bounds[0] <= n_items <= bounds[1]:
            problems.append(f"{kind}: tells about {n_items} things, expected {bounds[0]} to {bounds[1]}")
        if near is not None and near > default_threshold(embedder.name, kind):
            problems.append(f"{kind}: much like another one (cosine {near:.2f})")
    if profile and personality:
        problems.extend(_check_pair(profile, personality))
    return PersonaCheck(
        persona_id or make_entry_id("persona", f"{profile}\x1f{personality}"),
        line,
        count_words(profile),
        count_items(profile) if profile else 0,
        count_words(personality),
        count_items(personality) if personality else 0,
        find_age(profile) if profile else None,
        find_pronoun(profile or personality),
        tuple(pole for _, pole in find_poles(personality)),
        count_difficult(personality),
        near_profile,
        near_personality,
        tuple(problems),
    )


def _check_pair(profile: str, personality: str) -> list[str]:
    problems = []
    one, other = find_pronoun(profile), find_pronoun(personality)
    if one and other and one != other:
        problems.append(f"the profile is about a '{one}', the personality about a '{other}'")
    conflict = find_conflict(profile, personality)
    if conflict:
        problems.append(conflict)
    return problems


def _check_set(source: Source, counts: dict[str, dict[str, int]], language: str) -> list[str]:
    """Problems of the set as a whole; sets of fewer than 20 personalities are not judged."""
    n = len({p.personality for p in source.pairs} | {t.text for t in source.texts if t.kind == "personality"})
    if n < 20 or not language.startswith("en"):
        return []
    found = []
    for name, poles in counts.items():
        (low_pole, low), (_, high) = sorted(poles.items(), key=lambda item: item[1])
        if high >= 10 and high > 3 * low:
            found.append(f"{name} leans to one side: '{low_pole}' is told {low} times, its opposite {high} times")
    return found
