"""Differences between models on the same personas, with intervals of the difference itself.

Two models' own intervals overlap far more often than their difference is unclear, because personas that are hard
for one are hard for the other. The estimate is ``aloe.bench.metrics.paired_difference``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from aloe.bench.metrics import paired_difference
from aloe.report.charts import Figure, estimates_figure
from aloe.report.data import TRAINED, BenchModel, family, number, text
from aloe.report.figures import Estimate
from aloe.stats import Clusters
from aloe.stats import Estimate as Interval

Table = NDArray[np.float64]
STEPS = (("sft", "base"), ("dpo", "sft"), ("dpo", "base"), ("dpo", "sft-control"), ("sft-control", "base"))
MAX_PAIRS = 12


def pairs_to_compare(names: Sequence[str]) -> list[tuple[str, str]]:
    """Which differences answer a question: each training step, then everything against generic replies."""
    pairs = [(a, b) for a, b in STEPS if a in names and b in names]
    if "generic" in names:
        last = next((n for n in ("dpo", "sft", "base") if n in names), None)
        others = [n for n in names if family(n) not in TRAINED and n != "generic"]
        pairs += [(n, "generic") for n in ([last] if last else []) + others]
    if not pairs and len(names) > 1:
        pairs = [(n, names[0]) for n in names[1:]]
    return pairs[:MAX_PAIRS]


def score_table(model: BenchModel, n_turns: int, personas: Sequence[str]) -> Table:
    """Scores (n_personas, n_turns), mean over samples, NaN where unscored."""
    rows = {persona_id: i for i, persona_id in enumerate(personas)}
    total, count = np.zeros((len(personas), n_turns)), np.zeros((len(personas), n_turns))
    for row in model.scores:
        place, turn, score = rows.get(text(row.get("persona_id"))), number(row.get("turn")), number(row.get("score"))
        if place is not None and turn is not None and score is not None and 1 <= turn <= n_turns:
            total[place, int(turn) - 1] += score
            count[place, int(turn) - 1] += 1
    return np.where(count > 0, total / np.where(count > 0, count, 1.0), np.nan)


def paired_figures(
    models: Sequence[BenchModel], styles: Mapping[str, int], groups: Mapping[str, tuple[str, str]]
) -> list[Figure]:
    """Forest plots of paired differences in AVG and in IR; none where fewer than two models share personas.

    Args:
        groups: persona id -> (profile id, personality id), by which personas are clustered.
    """
    by_name = {m.name: m for m in models if m.scores}
    pairs = pairs_to_compare(list(by_name))
    avg: list[Estimate] = []
    ir: list[Estimate] = []
    for first, second in pairs:
        one, two = by_name[first], by_name[second]
        shared = sorted(_persona_ids(one) & _persona_ids(two))
        n_turns = max((int(number(r.get("turn")) or 0) for m in (one, two) for r in m.scores), default=0)
        if len(shared) < 2 or not 0 < n_turns <= 1000:
            continue
        labels = [groups.get(p, (p, p)) for p in shared]
        clusters = Clusters([a for a, _ in labels], [b for _, b in labels])
        difference = paired_difference(score_table(one, n_turns, shared), score_table(two, n_turns, shared), clusters)
        name = f"{first} − {second}"
        for rows, found in ((avg, difference.avg), (ir, difference.ir)):
            if found is not None:
                rows.append(_row(name, found, styles.get(first, 0)))
    figures = []
    note = "Same personas, user and judge; intervals of the difference itself, clustered by profile and personality."
    if avg:
        figures.append(
            estimates_figure("paired-avg", "Paired differences in AVG", "difference in AL points", avg, note)
        )
    if ir:
        title, label = "Paired differences in IR", "difference in AL points per turn"
        figures.append(estimates_figure("paired-ir", title, label, ir, note))
    return figures


def _persona_ids(model: BenchModel) -> set[str]:
    return {text(row.get("persona_id")) for row in model.scores if number(row.get("score")) is not None}


def _row(name: str, found: Interval, style: int) -> Estimate:
    low, high = (v if np.isfinite(v) else None for v in (found.low, found.high))
    return Estimate(name, found.value, low, high, style)
