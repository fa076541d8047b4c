"""One process of ``aloe.training.together``: trains as it is told and reports until the connection closes.

    python -m aloe.training.worker CONNECTION

CONNECTION is an inherited file descriptor; the place among the processes is in the environment, as ``torchrun`` has it.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from multiprocessing.connection import Connection
from typing import Any

from aloe.errors import AloeError
from aloe.training.methods import method_by_name


class _Sender(logging.Handler):
    """Log records of the first process go to the one that asked."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(logging.WARNING)
        self._connection = connection

    def emit(self, record: logging.LogRecord) -> None:
        self._connection.send(("log", (record.name, record.levelno, record.getMessage())))


def _end_with(connection: Connection) -> None:
    """Wait for the other end to go away, and go too: a step in which a partner is missing would never end."""
    try:
        connection.recv()
    except (EOFError, OSError):
        os._exit(1)


def serve(connection: Connection) -> None:
    """Train once."""
    try:
        name, section, arguments, options = connection.recv()
    except (EOFError, OSError):  # who asked is gone already
        os._exit(1)
    waiting = threading.Thread(target=_end_with, args=(connection,), daemon=True)
    waiting.start()
    is_first = os.environ["RANK"] == "0"
    logging.getLogger().addHandler(_Sender(connection) if is_first else logging.NullHandler())

    def progress(*state: Any) -> None:
        connection.send(("progress", state))

    answer: tuple[str, Any]
    try:
        found = method_by_name(name).load()(section, *arguments, progress=progress if is_first else None, **options)
        answer = ("done", found if is_first else None)
    except AloeError as error:
        answer = ("error", error)
    except Exception as error:
        answer = ("error", RuntimeError(f"{type(error).__name__}: {error}"))
    connection.send(answer)
    waiting.join()  # until the one that asked has heard from all


if __name__ == "__main__":
    from aloe.models.local.processor import wait_passively

    wait_passively()
    serve(Connection(int(sys.argv[1])))
