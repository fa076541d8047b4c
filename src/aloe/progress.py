"""The progress of a stage: a rich bar on a terminal, an occasional line elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class StageProgress:
    """Counts, rate, time left and a note (tokens, cost, loss) of one stage."""

    quiet_every = 10.0  # seconds between lines where there is no terminal

    def __init__(self, name: str, stream: TextIO | None, bar: Progress | None) -> None:
        self.name = name
        self.started = time.monotonic()
        self._stream = stream
        self._bar = bar
        self._tasks: dict[str, int] = {}
        self._last_line = self.started
        self._first: tuple[float, float] | None = None  # when and with how much done the first update came
        self._latest = 0.0

    def update(self, done: float, total: float | None, unit: str = "", note: str = "") -> None:
        """``done`` of ``total`` (None = unknown) of ``unit``; call as often as you like."""
        now = time.monotonic()
        if self._first is None or done < self._latest:  # what came before is set-up, done earlier, or another model's
            self._first = (now, done)
        self._latest = done
        began, before = self._first
        rate = (done - before) / max(now - began, 1e-9)
        text = f"{rate:,.1f} {unit}/s {note}" if unit else note
        if self._bar is not None:
            key = unit or "work"
            if key not in self._tasks:
                self._tasks[key] = self._bar.add_task(self.name, total=total, note="")
            self._bar.update(self._tasks[key], completed=done, total=total, note=text)  # type: ignore[arg-type]
        elif self._stream is not None and now - self._last_line >= self.quiet_every:
            self._last_line = now
            of = f" of {total:,.0f}" if total else ""
            left = f", {(total - done) / rate:,.0f} s left" if total and rate > 0 else ""
            said = " ".join(part for part in (f"{done:,.0f}{of}", unit, note) if part)
            print(f"  {self.name}: {said}{left}", file=self._stream, flush=True)


@contextmanager
def stage_progress(name: str, stream: TextIO | None = None, quiet: bool = False) -> Iterator[StageProgress]:
    """A progress display for one stage, on stderr; ``quiet``: it counts and shows nothing."""
    if quiet:
        yield StageProgress(name, None, None)
        return
    out = stream or sys.stderr
    if not out.isatty():
        yield StageProgress(name, out, None)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:<10}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=Console(file=out), transient=True, speed_estimate_period=600) as bar:
        yield StageProgress(name, out, bar)
