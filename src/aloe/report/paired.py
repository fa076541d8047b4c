"""Differences between models on the same personas, with intervals of the difference itself.

The intervals of two models often overlap although their difference is significant, because personas that are hard for
one are hard for the other. The estimate is that of ``aloe compare``; damaged files are tolerated here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from aloe.bench.compare import compare_pair
from aloe.report.charts import Figure, estimates_figure
from aloe.report.data import TRAINED, BenchModel, family
from aloe.report.figures import ForestRow
from aloe.report.measured import scored
from aloe.stats import Estimate as Interval
from aloe.training.methods import BASE, METHODS


def _steps() -> Iterator[tuple[str, str]]:
    """Each method against what it starts from, the base model and its control; the control against the base."""
    for method in METHODS:
        yield from ((method.name, other) for other in dict.fromkeys((method.start, BASE, method.control)) if other)
        if method.control:
            yield method.control, BASE
    yield "rl", "dpo"


STEPS = tuple(_steps())
MAX_PAIRS = 14


def pairs_to_compare(names: Sequence[str]) -> list[tuple[str, str]]:
    """Which differences answer a question: each training step, everything against generic replies, right against
    wrong persona (the personal gain of the oracle)."""
    pairs = [(a, b) for a, b in STEPS if a in names and b in names]
    if "generic" in names:
        last = next((n for n in (*(m.name for m in reversed(METHODS)), BASE) if n in names), None)
        others = [n for n in names if family(n) not in TRAINED and n != "generic"]
        pairs += [(n, "generic") for n in ([last] if last else []) + others]
    if "oracle" in names and "swapped" in names:
        pairs.append(("oracle", "swapped"))
    if not pairs and len(names) > 1:
        pairs = [(n, names[0]) for n in names[1:]]
    return pairs[:MAX_PAIRS]


def paired_figures(models: Sequence[BenchModel], styles: Mapping[str, int]) -> list[Figure]:
    """Forest plots of paired differences in levels, then in rates; none where fewer than two models share personas."""
    known = {m.name: table for m in models if (table := scored(m)) is not None}
    pairs = [(a, b, compare_pair(known[a], known[b])) for a, b in pairs_to_compare(list(known))]
    note = "Same personas, user and judge. Intervals are those of the difference, clustered by profile and personality."
    figures = []
    for key, title, label in (
        ("avg", "AVG", "difference in AL points"),
        ("late", "the late mean", "difference in AL points, last three turns"),
        ("guarded", "guarded IR", "difference in AL points per turn"),
        ("ir", "IR", "difference in AL points per turn"),
    ):
        rows = [
            _row(f"{first} − {second}", found, styles.get(first, 0))
            for first, second, difference in pairs
            if (found := getattr(difference, key)) is not None
        ]
        if rows:
            figures.append(estimates_figure(f"paired-{key}", f"Paired differences in {title}", label, rows, note))
    return figures


def _row(name: str, found: Interval, style: int) -> ForestRow:
    low, high = (v if np.isfinite(v) else None for v in (found.low, found.high))
    return ForestRow(name, found.value, low, high, style)
