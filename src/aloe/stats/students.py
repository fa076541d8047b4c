"""Student's t and the beta distribution, for degrees of freedom that need not be integers. Numpy only."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def _beta_fraction(a: float, b: float, x: float) -> float:
    """Continued fraction of the incomplete beta function (modified Lentz)."""
    tiny = 1e-300
    c, d = 1.0, 1.0 - (a + b) * x / (a + 1.0)
    d = 1.0 / (d if abs(d) > tiny else tiny)
    value = d
    for m in range(1, 400):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 + numerator * d
            d = 1.0 / (d if abs(d) > tiny else tiny)
            c = 1.0 + numerator / c
            c = c if abs(c) > tiny else tiny
            value *= d * c
        if abs(d * c - 1.0) < 1e-14:
            break
    return value


def _incomplete_beta(a: float, b: float, x: float) -> float:
    if x <= 0.0 or x >= 1.0:
        return min(max(x, 0.0), 1.0)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    front = math.exp(log_front)
    if x < (a + 1.0) / (a + b + 2.0):
        return front * _beta_fraction(a, b, x) / a
    return 1.0 - front * _beta_fraction(b, a, 1.0 - x) / b


def t_tail(t: float, df: float) -> float:
    """Two-sided tail P(|T| >= |t|) of Student's t with ``df`` > 0 (need not be whole) degrees of freedom."""
    if math.isinf(t):
        return 0.0
    return _incomplete_beta(df / 2.0, 0.5, df / (df + t * t))


@lru_cache(maxsize=4096)
def t_quantile(level: float, df: float) -> float:
    """The t with P(|T| <= t) = ``level``, for 0 < level < 1."""
    low, high = 0.0, 1.0
    while t_tail(high, df) > 1.0 - level:
        low, high = high, 2.0 * high
    for _ in range(200):
        middle = 0.5 * (low + high)
        if not low < middle < high:
            break
        low, high = (middle, high) if t_tail(middle, df) > 1.0 - level else (low, middle)
    return 0.5 * (low + high)


def beta_quantile(p: float, a: float, b: float) -> float:
    """The x with P(X <= x) = ``p`` for X ~ Beta(a, b), a and b > 0."""
    low, high = 0.0, 1.0
    for _ in range(200):
        middle = 0.5 * (low + high)
        if not low < middle < high:
            break
        low, high = (middle, high) if _incomplete_beta(a, b, middle) < p else (low, middle)
    return 0.5 * (low + high)


@lru_cache(maxsize=64)
def _tail_table(df: float) -> tuple[Floats, Floats]:
    """Angles in [0, pi/2] and P(|T| >= sqrt(df) tan(angle)) at each, by the trapezoid rule over cos^(df - 1)."""
    angle = np.linspace(0.0, math.pi / 2.0, 20_001)
    cosine = np.cos(angle)
    cosine[-1] = 0.0
    density = np.where(cosine > 0.0, np.maximum(cosine, 1e-300) ** (df - 1.0), 1.0 if df == 1.0 else 0.0)
    steps = 0.5 * (density[1:] + density[:-1])
    above = np.concatenate([np.cumsum(steps[::-1])[::-1], [0.0]])
    return angle, above / above[0]


def t_tails(t: Floats, df: float) -> Floats:
    """``t_tail`` of many values >= 0 at once, to 1e-6, for df >= 1."""
    angle, tail = _tail_table(df)
    return np.asarray(np.interp(np.arctan(t / math.sqrt(df)), angle, tail))
