"""Locks a journal for one process, and checks whether the file system supports SQLite's write-ahead log."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from aloe.errors import DataError

try:
    import fcntl
except ImportError:  # not a POSIX system: no lock, one run per directory is then up to the user
    fcntl = None  # type: ignore[assignment]

_UNSAFE_FOR_WAL = ("nfs", "cifs", "smb", "9p", "fuse", "afs", "lustre", "gpfs", "glusterfs", "ceph", "virtiofs")


def filesystem_of(path: Path, mounts: str) -> str:
    """Type of the file system that holds ``path``, from the text of ``/proc/mounts``; empty if unknown."""
    best, kind = "", ""
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) < 3:
            continue
        point = fields[1].replace("\\040", " ")
        inside = str(path) == point or str(path).startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, fields[2]
    return kind


def wal_is_safe(folder: Path) -> bool:
    """Whether SQLite's write-ahead log works there; it needs shared memory, which network systems lack."""
    try:
        mounts = Path("/proc/mounts").read_text("utf-8", "replace")
    except OSError:
        return True
    kind = filesystem_of(folder.resolve(), mounts).lower()
    return not kind.startswith(_UNSAFE_FOR_WAL)


def make_private(path: Path) -> None:
    """Create a journal's folder and file for its owner alone: it holds every word that was sent and received.

    SQLite gives the files that it keeps beside a database the same rights. What others may read already stays as it is:
    its owner has decided that.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with suppress(OSError):  # it is there, or whoever opens it says what is wrong
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


class Lock:
    """One process at a time per journal; released by the system when the process ends, however it ends.

    Raises:
        DataError: another process holds it.
    """

    def __init__(self, path: Path) -> None:
        self._file = open(path, "a+")  # noqa: SIM115 - held for as long as the lock
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.seek(0)
            owner = self._file.read().strip() or "unknown"
            self._file.close()
            raise DataError(
                f"{path.parent} is in use by another run (process {owner})",
                "wait until it ends, or use another run directory",
            ) from None
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def release(self) -> None:
        self._file.close()
