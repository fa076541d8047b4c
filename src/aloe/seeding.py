"""Random generators derived from (seed, stage, item): results do not depend on concurrency or order."""

from __future__ import annotations

import hashlib

import numpy as np


def derive_seed(seed: int, *parts: str | int) -> int:
    """A seed in [0, 2**31) from the run's seed and the place of use; equal input, equal seed, on any machine."""
    text = "\x1f".join([str(seed), *map(str, parts)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big") >> 1


def derive_rng(seed: int, *parts: str | int) -> np.random.Generator:
    """A numpy generator of its own for one place of use."""
    text = "\x1f".join([str(seed), *map(str, parts)])
    return np.random.default_rng(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "big"))
