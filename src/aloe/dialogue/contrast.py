"""Selects which two of several scored replies form the preference pair (section 3.3, on-policy rounds)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def token_difference(first: str, second: str) -> int:
    """How many words one text has that the other has not, both ways (multisets; order does not count)."""
    one, two = Counter(first.split()), Counter(second.split())
    return (one - two).total() + (two - one).total()


def closest_contrast(candidates: Sequence[tuple[str, float]], min_gap: float) -> tuple[int, int] | None:
    """Best reply against the *nearest* reply that scores at least ``min_gap`` less.

    The nearest one differs in little but what made it worse, so that the preference is about that and not about
    everything else. Ties go to the lower score, then to the earlier candidate.

    Args:
        candidates: (text, score) of the replies to one message.
        min_gap: smallest difference of scores, >= 0.

    Returns:
        Indices (chosen, rejected), or None where no reply is that much worse than the best.
    """
    if not candidates:
        return None
    best = max(range(len(candidates)), key=lambda i: (candidates[i][1], -i))
    text, score = candidates[best]
    worse = [
        i
        for i, (other, low) in enumerate(candidates)
        if other != text and score > low and score - low >= min_gap - 1e-9
    ]
    if not worse:
        return None
    return best, min(worse, key=lambda i: (token_difference(text, candidates[i][0]), candidates[i][1], i))
