"""How many people a study needs: the power of a comparison of two models, before anybody is asked."""

from __future__ import annotations

import math

MOST = 100_000


def normal_cdf(z: float) -> float:
    return 0.5 * (1.0 + math.erf(z / math.sqrt(2.0)))


def effective_comparisons(raters: int, each: int, icc: float) -> float:
    """What ``each`` comparisons by ``raters`` people are worth in independent ones.

    Args:
        icc: correlation of two answers of one person, in [0, 1).
    """
    return raters * each / (1.0 + (each - 1) * icc)


def power_of(win_share: float, n: float) -> float:
    """The chance that a two-sided test at 5% finds a model that wins ``win_share`` of ``n`` independent comparisons.

    Normal approximation; ties count half and make this a little too careful.
    """
    if n <= 0:
        return 0.0
    spread = math.sqrt(win_share * (1.0 - win_share) / n)
    if spread == 0.0:
        return 1.0
    margin = 1.959964 * math.sqrt(0.25 / n)
    gap = win_share - 0.5
    return normal_cdf((gap - margin) / spread) + normal_cdf((-gap - margin) / spread)


def raters_needed(win_share: float, each: int, icc: float, power: float = 0.8) -> int | None:
    """The fewest people with which the power is reached; None where even ``MOST`` do not."""
    low, high = 1, MOST
    if power_of(win_share, effective_comparisons(high, each, icc)) < power:
        return None
    while low < high:
        middle = (low + high) // 2
        enough = power_of(win_share, effective_comparisons(middle, each, icc)) >= power
        low, high = (low, middle) if enough else (middle + 1, high)
    return low
