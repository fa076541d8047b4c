"""Ctrl-C during a stage: cancels what waits, and counts a stage that still ends as interrupted."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Coroutine
from types import FrameType
from typing import Any, TypeVar

from aloe.models.http.loop import new_loop

T = TypeVar("T")


def run_interruptible(work: Callable[[], Awaitable[T]]) -> T:
    """Run async work to its end in an event loop of its own.

    The first SIGINT cancels it; the second one ends it wherever it is.

    Raises:
        KeyboardInterrupt: it was interrupted, also where it came to its end before it took notice.
    """
    n_signals = 0
    task: asyncio.Task[T] | None = None
    loop: asyncio.AbstractEventLoop | None = None

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal n_signals
        n_signals += 1
        if n_signals > 1 or task is None or loop is None:
            raise KeyboardInterrupt
        task.cancel()
        loop.call_soon_threadsafe(lambda: None)  # wakes the loop up

    async def run() -> T:
        nonlocal task, loop
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        return await work()

    is_ours = threading.current_thread() is threading.main_thread() and (
        signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if not is_ours:  # somebody else has a use for the signal
        return _run(run())
    signal.signal(signal.SIGINT, interrupt)
    try:
        done = _run(run())
    except asyncio.CancelledError:
        if n_signals:
            raise KeyboardInterrupt from None
        raise
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if n_signals:
        raise KeyboardInterrupt
    return done


def _run(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(work)
