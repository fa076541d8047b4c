"""Differences between models on the same personas, with intervals of the difference itself.

Two models' own intervals overlap far more often than their difference is unclear, because personas that are hard
for one are hard for the other. The estimate is that of ``aloe compare``; only the reading is more forgiving here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from aloe.bench.compare import Scored, compare_pair
from aloe.report.charts import Figure, estimates_figure
from aloe.report.data import TRAINED, BenchModel, family, number, text
from aloe.report.figures import ForestRow
from aloe.stats import Estimate as Interval
from aloe.training.methods import BASE, METHODS


def _steps() -> Iterator[tuple[str, str]]:
    """Each method against what it starts from, the base model and its control, and the control against the base."""
    for method in METHODS:
        yield from ((method.name, other) for other in dict.fromkeys((method.start, BASE, method.control)) if other)
        if method.control:
            yield method.control, BASE


STEPS = tuple(_steps())
MAX_PAIRS = 14
MAX_TURNS = 1000


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


def scored(model: BenchModel) -> Scored | None:
    """The scores of a model as far as they can be read, samples averaged; None where there are none."""
    rows = []
    for row in model.scores:
        persona_id, turn, score = text(row.get("persona_id")), number(row.get("turn")), number(row.get("score"))
        if persona_id and turn is not None and score is not None and 1 <= turn <= MAX_TURNS:
            rows.append((persona_id, int(turn), score, row))
    if not rows:
        return None
    places = {persona_id: i for i, persona_id in enumerate(sorted({row[0] for row in rows}))}
    total = np.zeros((len(places), 1, max(row[1] for row in rows)))
    count = np.zeros_like(total)
    groups: dict[str, tuple[str, str]] = {}
    for persona_id, turn, score, row in rows:
        total[places[persona_id], 0, turn - 1] += score
        count[places[persona_id], 0, turn - 1] += 1
        groups[persona_id] = (
            text(row.get("profile_id")) or persona_id,
            text(row.get("personality_id")) or persona_id,
        )
    scores = np.where(count > 0, total / np.where(count > 0, count, 1.0), np.nan)
    return Scored(model.name, model.folder, tuple(places), groups, scores, None)


def paired_figures(models: Sequence[BenchModel], styles: Mapping[str, int]) -> list[Figure]:
    """Forest plots of paired differences in AVG and in IR; none where fewer than two models share personas."""
    known = {m.name: table for m in models if (table := scored(m)) is not None}
    avg: list[ForestRow] = []
    ir: list[ForestRow] = []
    for first, second in pairs_to_compare(list(known)):
        difference = compare_pair(known[first], known[second])
        for rows, found in ((avg, difference.avg), (ir, difference.ir)):
            if found is not None:
                rows.append(_row(f"{first} − {second}", found, styles.get(first, 0)))
    figures = []
    note = "Same personas, user and judge; intervals of the difference itself, clustered by profile and personality."
    if avg:
        figures.append(
            estimates_figure("paired-avg", "Paired differences in AVG", "difference in AL points", avg, note)
        )
    if ir:
        label = "difference in AL points per turn"
        figures.append(estimates_figure("paired-ir", "Paired differences in IR", label, ir, note))
    return figures


def _row(name: str, found: Interval, style: int) -> ForestRow:
    low, high = (v if np.isfinite(v) else None for v in (found.low, found.high))
    return ForestRow(name, found.value, low, high, style)
