"""Looking for cyclic garbage less often while calls are made.

Every call leaves something behind for good (its key, its texts' hashes), and Python's collector takes what stays for a
reason to look through everything again: a fifth of the time of a call. Cycles are rare here, so it looks less often
while a caller is open, and as before once the last one is closed.
"""

from __future__ import annotations

import gc

THRESHOLDS = (20_000, 20, 100)


class RareCollections:
    """One holder's wish for it; ends with :meth:`end`, which may be called again."""

    _n_holders = 0
    _before = THRESHOLDS

    def __init__(self) -> None:
        self._holds = gc.get_threshold()[0] > 0  # zero: somebody has switched the collector off
        if not self._holds:
            return
        if RareCollections._n_holders == 0:
            RareCollections._before = gc.get_threshold()
            gc.set_threshold(*map(max, THRESHOLDS, RareCollections._before))
        RareCollections._n_holders += 1

    def end(self) -> None:
        if not self._holds:
            return
        self._holds = False
        RareCollections._n_holders -= 1
        if RareCollections._n_holders == 0:
            gc.set_threshold(*RareCollections._before)
