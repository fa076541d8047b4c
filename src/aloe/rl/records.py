"""What an RL training writes down: metrics by iteration, evaluations by turn, samples before and after, replays."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


class Records:
    """``metrics.jsonl``, ``evaluations.jsonl`` and ``samples.jsonl`` of a checkpoint's folder.

    A resumed training drops the rows of iterations that it does again.

    Args:
        more: further files by their names without ending, with a row or more by iteration.
    """

    def __init__(self, folder: Path, iteration: int, more: Sequence[str] = ()) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for name, last in (("metrics", iteration), ("evaluations", iteration - 1), ("samples", iteration - 1)):
            self._keep(name, last)
        for name in more:
            (folder / name).parent.mkdir(exist_ok=True)
            self._keep(name, iteration)

    def _keep(self, name: str, last: int) -> None:
        """Only the rows up to iteration ``last``."""
        self._write(name, [row for row in self.read(name) if row["step"] <= last])

    def read(self, name: str) -> list[dict[str, Any]]:
        """The rows of a file that are whole."""
        path = self._folder / f"{name}.jsonl"
        found = []
        for line in path.read_bytes().splitlines() if path.is_file() else ():
            try:
                found.append(json.loads(line))
            except ValueError:  # torn by a kill
                continue
        return found

    def _write(self, name: str, rows: Iterable[dict[str, Any]]) -> None:
        temporary = self._folder / f"{name}.tmp"
        temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        os.replace(temporary, self._folder / f"{name}.jsonl")

    def add(self, name: str, row: dict[str, Any]) -> None:
        with (self._folder / f"{name}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
