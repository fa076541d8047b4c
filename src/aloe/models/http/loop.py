"""An event loop that stays responsive when a thousand answers arrive at once."""

from __future__ import annotations

import asyncio
import selectors


class FewAtATime(selectors.DefaultSelector):
    """Hands at most ``most`` ready sockets to one round of the event loop.

    A round runs everything that is ready. A thousand answers in one round hold timers, signals and other tasks up for
    as long as all of them take to be read and committed. What is not handed out stays ready: the next round begins
    with it, so that sockets that are always ready can't keep others from their turn.
    """

    most = 64

    def __init__(self) -> None:
        super().__init__()
        self._turn = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(timeout)
        if len(ready) <= self.most:
            return ready
        first = self._turn % len(ready)
        self._turn = first + self.most
        return (ready + ready)[first : self._turn]


def new_loop() -> asyncio.AbstractEventLoop:
    """An event loop for many calls at once."""
    return asyncio.SelectorEventLoop(FewAtATime())
