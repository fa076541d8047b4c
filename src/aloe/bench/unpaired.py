"""Differences between models that were used by different people: conversations that are logged, mostly.

Each model has its own people, so nothing cancels, and the interval is wider than that of paired conversations: it is
put together from the two models' own intervals so that their squares add (Zou and Donner, Statistics in Medicine 27,
2008).
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from aloe.bench.metrics import (
    LATE_TURNS,
    PairedDifference,
    average_samples,
    curve_interval,
    guarded_weights,
    mean_weights,
    slope_weights,
    usable_turns,
)
from aloe.stats import Clusters, Estimate, Floats
from aloe.store.records import read_rows

_LINE = re.compile(r"line-\d+$")  # as bench/logged.py names who has no name


def unpaired_difference(first: tuple[Floats, Clusters], second: tuple[Floats, Clusters]) -> PairedDifference:
    """First minus second, over the turns that both have scores enough for; ``n_personas`` is 0.

    Args:
        first, second: scores, (n_personas, n_samples, n_turns), NaN = unscored, with what their personas share.
    """
    n_turns = min(first[0].shape[-1], second[0].shape[-1])
    tables = [table[..., :n_turns] for table, _ in (first, second)]
    usable = [bool(x and y) for x, y in zip(*(usable_turns(table) for table in tables), strict=True)]

    def interval(weights: Floats | None) -> Estimate | None:
        a, b = (
            curve_interval(average_samples(table), weights, clusters)
            for table, (_, clusters) in zip(tables, (first, second), strict=True)
        )
        return None if a is None or b is None else difference_of(a, b)

    return PairedDifference(
        n_personas=0,
        avg=interval(mean_weights(usable)),
        late=interval(mean_weights(usable, LATE_TURNS)),
        ir=interval(slope_weights(usable)),
        guarded=interval(guarded_weights(usable)),
        is_paired=False,
    )


def difference_of(first: Estimate, second: Estimate) -> Estimate:
    """The difference of two independent estimates."""
    value = first.value - second.value
    low = math.hypot(first.value - first.low, second.high - second.value)
    high = math.hypot(first.high - first.value, second.value - second.low)
    return Estimate(value, value - low, value + high)


def openings_of(folder: Path) -> dict[str, str]:
    """The opening message (by its content) of each person that a log names by a line only; others have names.

    The same line of two logs is the same person only where both begin alike: the same log, or the same questions.
    """
    path = folder / "conversations.jsonl"
    found = {}
    for _, row in read_rows(path) if path.is_file() else ():
        person, nodes = str(row.get("persona_id")), row.get("nodes")
        if _LINE.match(person) and isinstance(nodes, list) and nodes:
            found[person] = str(nodes[0].get("node_id"))
    return found
