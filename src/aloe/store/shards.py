"""The shard: the part of a stage's items that their ids assign to it, with files and a journal of its own in the run.

``RUN/shards/STAGE/3-of-16/`` holds ``journal.sqlite``, the shard's files and, written last, ``shard.json``: a shard
without it is not finished, and is run again from its journal. Which items a shard holds depends on their ids alone, so
that any scheduler can run shards anywhere, in any order.
"""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import orjson

from aloe import __version__
from aloe.errors import ConfigError, DataError
from aloe.store.records import write_json

MOST_SHARDS = 100_000
FOLDER = "shards"


@dataclass(frozen=True, slots=True, order=True)
class Shard:
    """Number ``number`` (from 1) of ``of`` parts."""

    of: int
    number: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """``"3/16"``.

        Raises:
            ConfigError: anything else.
        """
        number, _, of = text.partition("/")
        if number.isascii() and of.isascii() and number.isdigit() and of.isdigit():
            found = cls(int(of), int(number))
            if 1 <= found.number <= found.of <= MOST_SHARDS:
                return found
        raise ConfigError(f"--shard {text} is not a valid shard", "give NUMBER/ALL, for example 3/16 (1/16 to 16/16)")

    def holds(self, item_id: str) -> bool:
        """Whether the item belongs to this shard."""
        digest = blake2b(item_id.encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.of == self.number - 1

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


@dataclass(slots=True)
class ShardState:
    """What a finished shard says of itself.

    Attributes:
        made_by: what its content depends on, by name; all shards of a merge and the run agree on it.
        counts: what the stage adds up. calls: the counters of each role.
        failed: which parts lack a call, as ``stages.failures`` tells it; empty where none does.
        seconds: that it took the last time. files: name to bytes.
    """

    made_by: dict[str, Any]
    counts: dict[str, Any] = field(default_factory=dict)
    calls: dict[str, Any] = field(default_factory=dict)
    failed: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    files: dict[str, int] = field(default_factory=dict)
    aloe_version: str = __version__

    @property
    def n_failed(self) -> int:
        return int(self.failed["failed"]["n"]) if self.failed else 0


class ShardDir:
    """The folder of one shard of ``stage`` in the run at ``run``."""

    def __init__(self, run: Path, stage: str, shard: Shard) -> None:
        self.stage, self.shard = stage, shard
        self.path = run / FOLDER / stage / f"{shard.number}-of-{shard.of}"

    @property
    def journal_path(self) -> Path:
        return self.path / "journal.sqlite"

    @property
    def _state_path(self) -> Path:
        return self.path / "shard.json"

    @contextmanager
    def locked(self, patience: float = 0.0) -> Iterator[None]:
        """Hold the shard for one process.

        Args:
            patience: seconds to wait for another process that holds it.

        Raises:
            DataError: another process works on it still, or the folder cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = open(self.path / ".lock", "a+")  # noqa: SIM115 - closed below
        except OSError as error:
            raise DataError(f"{self.path} cannot be written: {error.strerror or error}", "free some space") from error
        with file:
            until = time.monotonic() + patience
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError:
                    if time.monotonic() >= until:
                        raise DataError(
                            f"another process is working on shard {self.shard} of {self.stage} in {self.path}",
                            "wait for it, or stop it",
                        ) from None
                time.sleep(0.05)
            yield

    def finish(self, state: ShardState) -> None:
        """Say that the shard's files are complete."""
        inside = (p for p in sorted(self.path.rglob("*.jsonl")) if not p.name.endswith(".partial.jsonl"))
        state.files = {p.relative_to(self.path).as_posix(): p.stat().st_size for p in inside}
        names = ("made_by", "counts", "calls", "failed", "seconds", "files", "aloe_version")
        write_json(self._state_path, {name: getattr(state, name) for name in names})

    def reopen(self) -> None:
        """The shard is worked on again: it is not finished any more."""
        self._state_path.unlink(missing_ok=True)

    def state(self) -> ShardState | None:
        """What the shard says of itself; None while it is not finished.

        Raises:
            DataError: the shard is damaged.
        """
        try:
            found = orjson.loads(self._state_path.read_bytes())
            state = ShardState(**found)
        except FileNotFoundError:
            return None
        except (orjson.JSONDecodeError, TypeError) as error:
            raise self.refusal(f"shard.json is damaged ({error})") from None
        for name, size in state.files.items():
            path = self.path / name
            there = path.stat().st_size if path.is_file() else None
            if there != size:
                raise self.refusal(
                    f"{name} is missing" if there is None else f"{name} has {there:,} bytes instead of {size:,}"
                )
        return state

    def check(self, state: ShardState, made_by: Mapping[str, Any]) -> None:
        """Whether the shard belongs to the run as it is now.

        Raises:
            DataError: it was made by another version of aloe, with another config or from other files.
        """
        if state.aloe_version != __version__:
            raise self.refusal(f"made by aloe {state.aloe_version}, this is {__version__}")
        for name, value in made_by.items():
            if state.made_by.get(name) != value:
                raise self.refusal(f"made with another {name}")

    def refusal(self, why: str) -> DataError:
        return DataError(
            f"shard {self.shard} of {self.stage} ({self.path}): {why}",
            f"run it again with --shard {self.shard}: what its journal holds is not sent again",
        )

    def remove(self) -> None:
        """Remove the folder, and those around it where they are empty."""
        shutil.rmtree(self.path, ignore_errors=True)
        for folder in (self.path.parent, self.path.parent.parent):
            try:
                folder.rmdir()
            except OSError:
                return


def shards_in(run: Path, stage: str) -> list[ShardDir]:
    """The shards of a stage that have been begun, in order."""
    folder = run / FOLDER / stage
    found: list[Shard] = []
    for path in folder.glob("*-of-*") if folder.is_dir() else ():
        number, _, of = path.name.partition("-of-")
        if number.isdigit() and of.isdigit() and 1 <= int(number) <= int(of):
            found.append(Shard(int(of), int(number)))
    return [ShardDir(run, stage, shard) for shard in sorted(found)]


def missing(shards: Sequence[ShardDir], of: int, and_failed: bool = False) -> list[Shard]:
    """Those of ``of`` shards that are not finished; ``and_failed``: or lack calls.

    Raises:
        DataError: one is damaged.
    """
    states = {folder.shard.number: folder.state() for folder in shards if folder.shard.of == of}
    done = {number for number, state in states.items() if state and not (and_failed and state.n_failed)}
    return [Shard(of, number) for number in range(1, of + 1) if number not in done]
