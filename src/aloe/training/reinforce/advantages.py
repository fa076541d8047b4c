"""Advantages of replies against their siblings: replies to the same message, drawn from the same policy.

Siblings share one history, so that the mean of the others is a baseline for exactly that state, however long the
conversations are and whenever users stop. Means over a turn's number, across conversations, are not: they count a reply
towards its own baseline, and the later the turn, the fewer conversations are left to share it with.

- ``rloo``: reward minus the mean of the *other* siblings. Unbiased.
- ``grpo-no-std``: minus the mean of all: ``rloo`` times (n - 1) / n, the same direction.
- ``grpo``: that, divided by the siblings' standard deviation. Biased: it weighs messages by how alike the replies are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SMALLEST_STD = 1e-4  # added to the standard deviation


def sibling_advantages(rewards: Sequence[float | None], estimator: str) -> list[float | None]:
    """Advantage of each sibling.

    Args:
        rewards: of the siblings; None: unscored. Such a reply has no advantage and is nobody's baseline.
        estimator: ``rloo``, ``grpo`` or ``grpo-no-std``.

    Returns:
        One advantage for each scored reply; None for the others, and for all where fewer than two are scored.

    Raises:
        ValueError: no such estimator.
    """
    if estimator not in ("rloo", "grpo", "grpo-no-std"):
        raise ValueError(f"estimator '{estimator}' is not one of rloo, grpo, grpo-no-std")
    scored = np.array([r for r in rewards if r is not None], dtype=np.float64)
    n = len(scored)
    if n < 2:
        return [None] * len(rewards)
    centred = scored - scored.mean()
    if estimator == "rloo":
        centred *= n / (n - 1)
    elif estimator == "grpo":
        centred /= scored.std(ddof=1) + SMALLEST_STD
    found = iter(centred.tolist())
    return [None if r is None else next(found) for r in rewards]


def discounted(rewards: Sequence[float], discount: float) -> float:
    """Sum of ``rewards`` from the first on, each turn's weight ``discount`` times the one before."""
    total = 0.0
    for reward in reversed(rewards):
        total = reward + discount * total
    return total
