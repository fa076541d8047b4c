"""One event loop in a thread of its own, in which everything of the Python API that calls models runs.

So the same call works in a script and where an event loop runs already (Jupyter), and what one call has opened (limits,
connections) can serve the next one.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError
from typing import TypeVar

from aloe.errors import ConfigError
from aloe.models.http.loop import new_loop

T = TypeVar("T")
PATIENCE = 30.0  # seconds in which a call that was interrupted may put things away
_starting = threading.Lock()
_running: tuple[int, asyncio.AbstractEventLoop, threading.Thread] | None = None  # of which process


def _loop() -> asyncio.AbstractEventLoop:
    global _running
    with _starting:
        if _running is None or _running[0] != os.getpid():  # a forked process has no thread of its parent
            loop = new_loop()
            thread = threading.Thread(target=_serve, args=(loop,), name="aloe", daemon=True)
            thread.start()
            _running = os.getpid(), loop, thread
        return _running[1]


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()


def run(work: Callable[[], Awaitable[T]]) -> T:
    """The result of async work, from a place that is not async; Ctrl-C cancels it.

    Raises:
        ConfigError: called from within aloe's own loop, which would wait for itself.
    """
    loop, ended = _loop(), threading.Event()
    if _running is not None and threading.current_thread() is _running[2]:
        raise ConfigError("a model of your own called aloe and would wait for itself", "await the async method instead")

    async def whole() -> T:
        try:
            return await work()
        finally:
            ended.set()

    future = asyncio.run_coroutine_threadsafe(whole(), loop)
    try:
        return future.result()
    except KeyboardInterrupt:
        future.cancel()
        ended.wait(PATIENCE)  # the journal is closed, files are whole
        raise
    except CancelledError:
        raise KeyboardInterrupt from None


async def arun(work: Callable[[], Awaitable[T]]) -> T:
    """The result of async work, awaited in any loop; cancelling the wait cancels the work."""

    async def whole() -> T:
        return await work()

    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(whole(), _loop()))
