"""The run directory: paths of its files, which stages are done, and for which config.

A stage is done when the manifest holds its digest (a hash of the seed, the config it reads, the prompts and the
digests of the stages before it) and the files that it was made from are still the same. Neither a changed config nor
a changed file therefore ever silently reuses an old stage.
"""

from __future__ import annotations

import fcntl
import os
import time
import tomllib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import orjson
from pydantic import ValidationError

from aloe import __version__
from aloe.config import Config, digest, dump_toml, validate
from aloe.config.files import parse_toml, read_small_text
from aloe.errors import BusyError, ConfigError, DataError
from aloe.store.content import Stamps
from aloe.store.records import atomic_write, is_temporary, sweep, write_json
from aloe.types import BenchmarkResult

FORGETTING = "forgetting"  # in the manifest: a removal of a person that has begun and not ended


class RunDir:
    """Paths and manifest of one run.

    Raises:
        ConfigError: the directory holds something else, or another process works in it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock: IO[str] | None = None

    @property
    def config_path(self) -> Path:
        return self.path / "config.toml"

    @property
    def manifest_path(self) -> Path:
        return self.path / "manifest.json"

    @property
    def journal_path(self) -> Path:
        """Where the run's own config has put its journal."""
        try:
            stored = parse_toml(read_small_text(self.config_path, "config"))
            folder = stored.get("execution", {}).get("journal_dir")
        except (OSError, ValueError, AttributeError):  # no run yet, or a broken config: whoever loads that complains
            folder = None
        return self.journal_in(folder if isinstance(folder, str) else None)

    def journal_in(self, folder: str | None) -> Path:
        """Beside the run, or in ``execution.journal_dir`` under a name that tells runs apart."""
        if folder is None:
            return self.path / "journal.sqlite"
        return Path(folder) / f"{self.path.name}-{digest(str(self.path.resolve()))}.sqlite"

    @property
    def log_path(self) -> Path:
        return self.path / "log.jsonl"

    @property
    def report_path(self) -> Path:
        return self.path / "report" / "index.html"

    def stage_dir(self, name: str) -> Path:
        return self.path / name

    def checkpoint_dir(self, name: str) -> Path:
        return self.path / "checkpoints" / name

    def checkpoints(self, order: Sequence[str] = ()) -> dict[str, Path]:
        """Finished checkpoints by name; those named in ``order`` first, the others by name."""
        folder = self.path / "checkpoints"
        found = {p.parent.name: p.parent for p in folder.glob("*/config.json")} if folder.is_dir() else {}
        names = [*(name for name in order if name in found), *sorted(set(found) - set(order))]
        return {name: found[name] for name in names}

    def exists(self) -> bool:
        return self.config_path.is_file()

    def open(self, config: Config, recipe: str) -> None:
        """Create the directory or check that it is a run, and lock it against a second writer."""
        if self.path.exists() and not self.path.is_dir():
            raise ConfigError(f"--out {self.path} is a file", "give a directory")
        if self.path.is_dir() and not self.exists() and any(map(_is_foreign, self.path.iterdir())):
            raise ConfigError(
                f"--out {self.path} contains other files and is not an aloe run", "give a new or empty directory"
            )
        self._take(fcntl.LOCK_EX)
        sweep(self.path)
        if not self.exists():
            self.save_config(config)
            self.save_manifest(
                {"aloe_version": __version__, "recipe": recipe, "seed": config.seed, "created": time.time()}
            )

    def share(self) -> None:
        """Lock the run against changes, beside others who do the same: each works on a shard of its own.

        Raises:
            BusyError: somebody works on all of it.
        """
        self._take(fcntl.LOCK_SH)

    def _take(self, kind: int) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = open(self.path / ".lock", "a+")  # noqa: SIM115 - held while the run lasts
        except OSError as error:
            raise ConfigError(
                f"--out {self.path} cannot be written: {error.strerror}", "give another directory"
            ) from error
        try:
            fcntl.flock(self._lock, kind | fcntl.LOCK_NB)
        except OSError:
            self.close()
            raise BusyError(
                f"another process is working in {self.path}", "wait for it, stop it, or give another --out"
            ) from None

    def close(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def save_config(self, config: Config) -> None:
        with atomic_write(self.config_path) as file:
            file.write(dump_toml(config).encode())

    def load_config(self) -> Config:
        """The resolved config of the run.

        Raises:
            DataError: no run here. ConfigError: the file was edited into something invalid.
        """
        if not self.exists():
            raise DataError(
                f"{self.path} is not a run directory (no config.toml)", "give the directory of an 'aloe run'"
            )
        try:
            return validate(parse_toml(read_small_text(self.config_path, "config")), str(self.config_path))
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{self.config_path} is damaged: {error}", "restore it or start a new run") from error

    def manifest(self) -> dict[str, Any]:
        if not self.manifest_path.is_file():
            return {}
        try:
            data = orjson.loads(self.manifest_path.read_bytes())
        except orjson.JSONDecodeError as error:
            raise DataError(
                f"{self.manifest_path} is damaged: {error}",
                "delete it; finished work replays from the journal",
            ) from error
        if not isinstance(data, dict) or not isinstance(data.get("stages", {}), dict):
            raise DataError(
                f"{self.manifest_path} is damaged: it is not a manifest",
                "delete it; finished work replays from the journal",
            )
        return data

    def save_manifest(self, manifest: dict[str, Any]) -> None:
        write_json(self.manifest_path, manifest)

    def stage_state(self, name: str) -> dict[str, Any] | None:
        """The manifest's entry for a finished stage, or None."""
        state = self.manifest().get("stages", {}).get(name)
        return state if isinstance(state, dict) else None

    def finish_stage(
        self,
        name: str,
        digest: str,
        seconds: float,
        summary: dict[str, Any],
        inputs: dict[str, str],
        outputs: Stamps,
    ) -> None:
        """Note that a stage has run.

        Args:
            inputs: digests of the files that it read. outputs: of those that it wrote, with size and time.
        """
        manifest = self.manifest()
        manifest["aloe_version"] = __version__
        manifest.setdefault("stages", {})[name] = {
            "digest": digest,
            "seconds": round(seconds, 3),
            "finished": time.time(),
            "summary": summary,
            "inputs": inputs,
            "outputs": outputs,
        }
        self.save_manifest(manifest)

    def forget_stages(self, names: list[str]) -> None:
        if not names:
            return
        manifest = self.manifest()
        for name in names:
            manifest.get("stages", {}).pop(name, None)
        self.save_manifest(manifest)

    def log(self, event: str, **fields: Any) -> None:
        """Append one event to log.jsonl (a single write, so that lines do not interleave)."""
        line = orjson.dumps({"time": time.time(), "event": event, **fields}, option=orjson.OPT_APPEND_NEWLINE)
        with suppress(OSError):  # a full disk: what is worth more says so
            handle = os.open(self.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644)
            try:
                os.write(handle, line)
            finally:
                os.close(handle)


def _is_foreign(path: Path) -> bool:
    """Whether a file in a directory without a config can't be what a run that was killed at once has left."""
    return path.name != ".lock" and not is_temporary(path)


def read_result(path: Path) -> BenchmarkResult | None:
    """A benchmark's ``result.json``; None where there is none.

    Raises:
        DataError: it is damaged.
    """
    if not path.is_file():
        return None
    try:
        return BenchmarkResult.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise DataError(
            f"{path} is not a benchmark result: {error.errors()[0]['msg']}", "run the stage again: --from bench"
        ) from None
