"""Digests of files, by which a stage knows whether what it was made from has changed.

A digest is taken once: a file whose size and time are still those that were noted with it is not read again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

Stamps = dict[str, list[Any]]  # path within the run -> [bytes, time of change in ns, digest]


def digest_file(path: Path) -> str:
    """16 hexadecimal digits of a file's content."""
    digest = blake2b(digest_size=8)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def stamp_files(root: Path, patterns: Iterable[str], known: Mapping[str, Any] | None = None) -> Stamps:
    """The files under ``root`` that match any of the glob ``patterns``, by name.

    Args:
        known: earlier stamps; their digests stand for files that have not been written since.
    """
    found: Stamps = {}
    for path in sorted({path for pattern in patterns for path in root.glob(pattern) if path.is_file()}):
        name, status = path.relative_to(root).as_posix(), path.stat()
        old = (known or {}).get(name)
        if isinstance(old, list) and len(old) == 3 and old[:2] == [status.st_size, status.st_mtime_ns]:
            found[name] = old
        else:
            found[name] = [status.st_size, status.st_mtime_ns, digest_file(path)]
    return found


def digests_of(stamps: Mapping[str, Any]) -> dict[str, str]:
    """Path to digest."""
    return {name: stamp[2] for name, stamp in stamps.items()}


def restamp(states: Mapping[str, dict[str, Any]], before: Mapping[str, str], now: Mapping[str, Any]) -> None:
    """Let stages' notes follow files that were changed on purpose; what was stale before stays stale.

    Args:
        states: of the stages, with ``outputs`` (stamps) and ``inputs`` (digests); changed in place.
        before: digests of the files before the change. now: their stamps after it; a file that is gone has none.
    """
    for state in states.values():
        outputs, inputs = state.get("outputs", {}), state.get("inputs", {})
        for name in [n for n, stamp in outputs.items() if stamp[2] == before.get(n)]:
            if name in now:
                outputs[name] = now[name]
            else:
                del outputs[name]
        for name in [n for n, digest in inputs.items() if digest == before.get(n)]:
            if name in now:
                inputs[name] = now[name][2]
            else:
                del inputs[name]
