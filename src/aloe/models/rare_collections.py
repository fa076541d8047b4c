"""Makes Python's cyclic garbage collector run less often while calls are made."""

from __future__ import annotations

import gc


class RareCollections:
    """Looking for cyclic garbage less often while a caller is open.

    Every call leaves something behind for good (its key, its texts' hashes), which Python's collector takes for a
    reason to look through everything again: a fifth of the time of a call, and cycles are rare here. As before once
    the last holder has ended; :meth:`end` may be called again.
    """

    thresholds = (20_000, 20, 100)
    _n_holders = 0
    _before = thresholds

    def __init__(self) -> None:
        self._holds = gc.get_threshold()[0] > 0  # zero: somebody has switched the collector off
        if self._holds and self._n_holders == 0:
            RareCollections._before = gc.get_threshold()
            gc.set_threshold(*map(max, self.thresholds, self._before))
        RareCollections._n_holders += self._holds

    def end(self) -> None:
        RareCollections._n_holders -= self._holds
        if self._holds and self._n_holders == 0:
            gc.set_threshold(*self._before)
        self._holds = False
