"""The worker process of ``aloe.models.local.pool``: decodes what it is sent until the connection closes.

    python -m aloe.models.local.worker CONNECTION NUMBER

CONNECTION is an inherited file descriptor; NUMBER chooses the GPU where there are some.
"""

from __future__ import annotations

import sys
from multiprocessing.connection import Connection
from typing import Any

import torch

from aloe.errors import AloeError
from aloe.models.local.batch import is_out_of_memory
from aloe.models.local.decode import Decoder

Decoders = dict[tuple[str, str], Decoder]  # (path, dtype) -> the one at work


def _answer(decoders: Decoders, operation: str, path: str, dtype: str, most_cached: int, *arguments: Any) -> Any:
    if operation == "close":
        if (path, dtype) in decoders:
            decoders.pop((path, dtype)).close()
        return None
    if (path, dtype) not in decoders:
        decoders[path, dtype] = Decoder(path, dtype, most_cached)
    decoder = decoders[path, dtype]
    if operation == "open":
        return decoder.codec.max_positions
    if operation == "forget":
        return decoder.forget()
    (rows,) = arguments
    decoder.decode(rows)
    return [(row.new, row.logprobs, row.finish) for row in rows]


def _as_sent(error: Exception) -> Exception:
    """An error that any process can read: ours as it is, memory as such, whatever else as text."""
    if isinstance(error, AloeError):
        return error
    kind = MemoryError if is_out_of_memory(error) else RuntimeError
    return kind(f"{type(error).__name__}: {error}")


def serve(connection: Connection) -> None:
    """Answer until the other end is gone."""
    decoders: Decoders = {}
    while True:
        try:
            request = connection.recv()
        except (EOFError, OSError):
            return
        answer: Any
        try:
            answer = _answer(decoders, *request)
        except Exception as error:
            answer = _as_sent(error)
        try:
            connection.send(answer)
        except OSError:
            return


if __name__ == "__main__":
    if torch.cuda.is_available():
        torch.cuda.set_device(int(sys.argv[2]) % torch.cuda.device_count())
    serve(Connection(int(sys.argv[1])))
