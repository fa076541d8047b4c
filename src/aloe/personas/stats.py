"""Statistics of a pool and of how it was made: ``aloe pool stats``.

Everything is read from the run's files; the similarities are computed anew, so the figures hold for imported
pools too.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aloe.personas.checks import Kind, count_words
from aloe.personas.cosines import nearest_others
from aloe.personas.lexical import LexicalEmbedder
from aloe.personas.poles import count_poles
from aloe.personas.pronouns import find_pronoun
from aloe.personas.validate import count_items, find_age
from aloe.protocols import Embedder
from aloe.store.records import read_jsonl
from aloe.types import Persona, PoolEntry

QUANTILES = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)
_AGE_BANDS = ((0, 19), (20, 34), (35, 49), (50, 64), (65, 120))
# What a profile can tell (English): the attributes a varied pool should cover.
_ATTRIBUTES = {
    "work or study": r"works?\b|job|studies|student|teacher|retired|earns|employed|runs a|drives a|engineer|nurse",
    "family": r"mother|father|parents?|sons?\b|daughters?|wife|husband|partner|married|divorced|widow|child|sibling",
    "pets": r"\b(?:dogs?|cats?|parrot|ferret|hens|hamster|rabbits?|tortoise|pets?|goldfish|horses?|bees|budgie)\b",
    "food": r"vegan|vegetarian|eats?\b|cooks?|bakes?|drinks?|allerg|intoleran|gluten|food|coffee|tea\b|diet",
    "home": r"lives? (?:in|on|with|above|alone)|flat|house|apartment|cabin|village|farm\b|houseboat|tenement",
    "hobby or sport": r"plays?|collects?|hikes?|swims?|runs?\b|sings?|dances?|paints?|knits?|garden|hobby|yoga|climbs?",
    "health": r"diabetes|asthma|allerg|arthritis|hearing|blind|deaf|wheelchair|blood pressure|knee|migraine|intoleran",
    "plans": r"plans? to|planning|saving|hopes? to|wants? to|will\b|next (?:year|month|spring)|learning|studying for",
}


@dataclass(frozen=True, slots=True)
class KindStats:
    """Figures of one kind of description.

    Attributes:
        waves: (wave, candidates, accepted); wave 0 = seeds or import.
        nearest: quantiles (``QUANTILES``) of the cosine to the nearest member; empty below two members.
        closest: (cosine, text, text), highest first.
        coverage: attribute or pole -> share of members that tell it, [0, 1].
    """

    kind: Kind
    n_members: int
    n_rejected: int
    reasons: tuple[tuple[str, int], ...]
    waves: tuple[tuple[int, int, int], ...]
    mean_words: float
    mean_items: float
    nearest: tuple[float, ...]
    closest: tuple[tuple[float, str, str], ...]
    coverage: tuple[tuple[str, float], ...]
    pronouns: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class PoolStats:
    """Figures of a pool and of the personas drawn from it."""

    embedder: str
    kinds: tuple[KindStats, ...]
    n_personas: tuple[tuple[str, int], ...]  # split -> count
    uses: tuple[tuple[str, int, int], ...]  # "train profile" -> fewest and most personas that use one

    def format(self) -> str:
        """The figures as text."""
        lines: list[str] = []
        for stats in self.kinds:
            lines.extend(_format_kind(stats, self.embedder))
        for split, n in self.n_personas:
            lines.append(f"{split} personas: {n}")
        lines.extend(f"  each {what} is used {low} to {high} times" for what, low, high in self.uses)
        return "\n".join(lines)


def _format_kind(stats: KindStats, embedder: str) -> list[str]:
    n_all = stats.n_members + stats.n_rejected
    lines = [
        f"{stats.kind}: {stats.n_members} members, {stats.n_rejected} rejected"
        + (f" (accepted {stats.n_members / n_all:.0%})" if n_all else ""),
        f"  words {stats.mean_words:.0f}, attributes or trait poles {stats.mean_items:.1f} on average",
    ]
    if stats.pronouns:
        lines.append("  pronouns " + ", ".join(f"{p} {n}" for p, n in stats.pronouns))
    if stats.reasons:
        lines.append("  rejected: " + ", ".join(f"{reason} {n}" for reason, n in stats.reasons))
    if len(stats.waves) > 1:
        shown = [f"{w}: {a}/{n}" for w, n, a in stats.waves]
        middle = [*shown[:8], "...", *shown[-4:]] if len(shown) > 13 else shown
        lines.append("  accepted by wave  " + "  ".join(middle))
    if stats.nearest:
        spread = "  ".join(f"{q:.0%} {v:.3f}" for q, v in zip(QUANTILES, stats.nearest, strict=True))
        lines.append(f"  cosine to the nearest ({embedder})  {spread}")
    lines.append("  mentioned by  " + ", ".join(f"{name} {share:.0%}" for name, share in stats.coverage))
    for similarity, one, other in stats.closest:
        lines.extend([f"  {similarity:.3f}  {one}", f"         {other}"])
    return lines


def describe_pool(
    members: Sequence[PoolEntry],
    rejected: Sequence[PoolEntry] = (),
    personas: Sequence[Persona] = (),
    embedder: Embedder | None = None,
    n_closest: int = 3,
) -> PoolStats:
    """Figures of a pool.

    Args:
        embedder: what similarities are computed with; lexical by default.
        n_closest: how many of the nearest pairs to show.
    """
    embedder = embedder or LexicalEmbedder()
    kinds: tuple[Kind, ...] = ("profile", "personality")
    stats = tuple(
        _describe_kind(
            kind, [m for m in members if m.kind == kind], [r for r in rejected if r.kind == kind], embedder, n_closest
        )
        for kind in kinds
    )
    uses = []
    for split in ("train", "bench"):
        drawn = [p for p in personas if p.split == split]
        for kind in kinds:
            counts = Counter(getattr(p, f"{kind}_id") for p in drawn).values()
            if counts:
                uses.append((f"{split} {kind}", min(counts), max(counts)))
    splits = Counter(p.split for p in personas)
    return PoolStats(embedder.name, stats, tuple(sorted(splits.items(), reverse=True)), tuple(uses))


def pool_stats(folder: Path, embedder: Embedder | None = None) -> PoolStats:
    """Figures of a run's ``personas`` directory.

    Raises:
        DataError: the stage has not run, or a file is damaged.
    """
    rejected = folder / "rejected.jsonl"
    return describe_pool(
        list(read_jsonl(folder / "pool.jsonl", PoolEntry)),
        list(read_jsonl(rejected, PoolEntry)) if rejected.is_file() else [],
        list(read_jsonl(folder / "personas.jsonl", Persona)),
        embedder,
    )


def _describe_kind(
    kind: Kind, members: list[PoolEntry], rejected: list[PoolEntry], embedder: Embedder, n_closest: int
) -> KindStats:
    texts = [m.text for m in members]
    candidates = Counter(e.round_index for e in (*members, *rejected))
    accepted = Counter(m.round_index for m in members)
    nearest: tuple[float, ...] = ()
    closest: list[tuple[float, str, str]] = []
    if len(texts) > 1:
        similarities, neighbours = nearest_others(embedder.embed(texts))
        nearest = tuple(float(v) for v in np.quantile(similarities, QUANTILES))
        pairs: dict[tuple[int, int], float] = {}
        for i in np.argsort(-similarities, kind="stable")[: 2 * n_closest + 2]:
            j = int(neighbours[i])
            pairs.setdefault((min(int(i), j), max(int(i), j)), float(similarities[i]))
        closest = [(s, texts[i], texts[j]) for (i, j), s in list(pairs.items())[:n_closest]]
    reasons = Counter(r.reason.partition(":")[0] for r in rejected)
    return KindStats(
        kind,
        len(members),
        len(rejected),
        tuple(reasons.most_common()),
        tuple((w, candidates[w], accepted[w]) for w in sorted(candidates)),
        float(np.mean([count_words(t) for t in texts])) if texts else 0.0,
        float(np.mean([count_items(t) for t in texts])) if texts else 0.0,
        nearest,
        tuple(closest),
        tuple(_cover(kind, texts)),
        tuple(Counter(find_pronoun(t) or "none" for t in texts).most_common()),
    )


def _cover(kind: Kind, texts: list[str]) -> list[tuple[str, float]]:
    """Share of texts that tell each attribute (profiles) or pole (personalities)."""
    n = len(texts) or 1
    if kind == "personality":
        return [(pole, count / n) for poles in count_poles(texts).values() for pole, count in poles.items()]
    found = [
        (name, sum(bool(re.search(pattern, t, re.IGNORECASE)) for t in texts) / n)
        for name, pattern in _ATTRIBUTES.items()
    ]
    ages = [age for t in texts if (age := find_age(t)) is not None]
    bands = [(f"age {low}-{high}" if high < 120 else f"age {low}+", low, high) for low, high in _AGE_BANDS]
    return found + [(name, sum(low <= a <= high for a in ages) / n) for name, low, high in bands]


def to_row(stats: PoolStats) -> dict[str, Any]:
    """The figures as a JSON-able table, for the report."""
    kinds = []
    for one in stats.kinds:
        row = {name: getattr(one, name) for name in one.__slots__}
        kinds.append(
            {**row, "reasons": dict(one.reasons), "coverage": dict(one.coverage), "pronouns": dict(one.pronouns)}
        )
    return {"embedder": stats.embedder, "kinds": kinds, "n_personas": dict(stats.n_personas), "uses": list(stats.uses)}
