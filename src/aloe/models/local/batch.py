"""Batches the requests that wait for a local checkpoint; a batch is halved where memory runs out.

A lane is one decoder with its queue. What decodes may be in this process or another (``local_workers``).
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

from aloe.errors import DataError, EndpointError

log = logging.getLogger(__name__)
MOST_DECODED = 1 << 30  # bytes of keys and values of the rows that a CPU decodes together


@dataclass(slots=True)
class DecodedRow:
    """One sequence being decoded: its prompt, how to sample it and what came out.

    ``uniforms`` holds one number in [0, 1) per new token, None for greedy decoding. ``schema``: of the JSON that it is
    held to, None: free. ``end``: the token that ended it, which is not part of ``new``; None where none did, or where
    another process has decoded.
    """

    ids: Sequence[int]
    max_tokens: int
    temperature: float
    top_p: float | None
    uniforms: Any
    stop: tuple[str, ...] = ()
    n_logprobs: int | None = None
    schema: str | None = None
    new: list[int] = field(default_factory=list)
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    finish: str = "length"
    end: int | None = None

    def take(self, new: list[int], logprobs: list[dict[str, Any]], finish: str) -> None:
        """Put in what came out."""
        self.new, self.logprobs, self.finish = new, logprobs, finish


class Codec:
    """Text of one checkpoint to token ids and back.

    Attributes:
        max_positions: tokens that the model's context holds.
    """

    def __init__(self, tokenizer: Any, max_positions: int) -> None:
        self.tokenizer = tokenizer
        self.max_positions = max_positions

    def encode(self, messages: Sequence[dict[str, str]], **switches: Any) -> list[int]:
        """Token ids of a conversation up to and including the generation prompt.

        Args:
            switches: of the chat template, as ``enable_thinking``.
        """
        encoded = self.tokenizer.apply_chat_template(
            list(messages), add_generation_prompt=True, return_dict=True, **switches
        )
        return list(encoded["input_ids"])

    def text(self, ids: Sequence[int]) -> str:
        """The reply's text without special tokens."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()


class BatchDecoder(Protocol):
    """Model, tokenizer and kept prefixes of one checkpoint, wherever they are. One thread at a time uses it."""

    codec: Codec

    def decode(self, rows: Sequence[DecodedRow]) -> None:
        """Fill in ``new``, ``logprobs`` and ``finish`` of every row."""

    def forget(self) -> None:
        """Free what is kept of earlier turns."""

    def close(self) -> None:
        """Free the model."""


def split_rows(rows: Sequence[DecodedRow], most: int) -> list[list[DecodedRow]]:
    """``rows`` in parts whose prompts and replies take at most ``most`` places of a cache; one prompt is never split.

    Every prompt of a part takes as many places as the longest one, with the most samples of the longest reply. Prompts
    keep their order, and a single part is the rows as they came.
    """
    groups: dict[tuple[int, ...], list[DecodedRow]] = {}
    for row in rows:
        groups.setdefault(tuple(row.ids), []).append(row)
    parts: list[set[tuple[int, ...]]] = []
    longest = n_new = n_samples = 0
    for prompt, group in groups.items():
        shape = len(prompt), max(row.max_tokens for row in group), len(group)
        longest, n_new, n_samples = max(longest, shape[0]), max(n_new, shape[1]), max(n_samples, shape[2])
        if not parts or (longest + n_new * n_samples) * (len(parts[-1]) + 1) > most:
            parts.append(set())
            longest, n_new, n_samples = shape
        parts[-1].add(prompt)
    return [[row for row in rows if tuple(row.ids) in part] for part in parts]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on a device or on the host."""
    told = ("can't allocate memory", "out of memory", "cannot allocate memory", "bad_alloc")
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in told)


@dataclass(slots=True)
class _Pending:
    row: DecodedRow
    future: asyncio.Future[DecodedRow]


class Lane:
    """A queue before one decoder. One thread decodes; the event loop keeps collecting meanwhile.

    Args:
        open_decoder: loads it, on the first request.
        batch_size: prompts decoded together at most; their samples come with them.
    """

    def __init__(self, name: str, open_decoder: Callable[[], BatchDecoder], batch_size: int) -> None:
        self._name = name
        self._open = open_decoder
        self._decoder: BatchDecoder | None = None
        self._batch_size = batch_size
        self._most_samples: int | None = None  # of one prompt in a batch; None: all that wait
        self._pending: list[_Pending] = []
        self._worker: asyncio.Task[None] | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="aloe-local-model")

    async def codec(self) -> Codec:
        """The checkpoint's tokenizer; the first caller loads the model with it.

        Raises:
            DataError: there is no model, or it can't be loaded.
        """
        decoder = self._decoder
        if decoder is None:
            decoder = await asyncio.get_running_loop().run_in_executor(self._pool, self._loaded)
        return decoder.codec

    def _loaded(self) -> BatchDecoder:
        """Loaded once: the pool's one thread asks again for those who came meanwhile."""
        if self._decoder is None:
            try:
                self._decoder = self._open()
            except (RuntimeError, MemoryError) as error:  # too little memory, or the process that loads has died
                raise DataError(
                    f"{self._name} could not be loaded: {error}", "use fewer replicas or a smaller dtype"
                ) from error
        return self._decoder

    async def decode(self, row: DecodedRow) -> DecodedRow:
        """The row with its reply filled in, decoded together with whatever else is waiting.

        Raises:
            EndpointError: decoding failed.
        """
        loop = asyncio.get_running_loop()
        pending = _Pending(row, loop.create_future())
        self._pending.append(pending)
        if self._worker is None or self._worker.done():
            self._worker = loop.create_task(self._drain())
        return await pending.future

    async def _drain(self) -> None:
        """Decode what is waiting until nothing is; requests that come meanwhile join the next batch."""
        loop = asyncio.get_running_loop()
        decoder = self._decoder
        assert decoder is not None  # whoever made a row had its codec
        while self._pending:
            await self._gather()
            batch = self._take()
            if not batch:
                continue
            try:
                await loop.run_in_executor(self._pool, decoder.decode, [p.row for p in batch])
            except Exception as error:  # whatever torch raises belongs to these requests, not to the queue
                await self._recover(decoder, batch, error)
                continue
            for pending in batch:
                if not pending.future.done():
                    pending.future.set_result(pending.row)

    async def _recover(self, decoder: BatchDecoder, batch: Sequence[_Pending], error: Exception) -> None:
        """Put back what may work in smaller batches; tell those who wait for the rest."""
        if is_out_of_memory(error) and len(batch) > 1:
            self._halve(batch)
            try:
                await asyncio.get_running_loop().run_in_executor(self._pool, decoder.forget)
            except Exception as again:
                error = again
            else:
                for pending in batch:
                    pending.row.take([], [], "length")
                self._pending = [*batch, *self._pending]
                return
        log.debug("%s: decoding failed", self._name, exc_info=error)
        hint = "ask for fewer max_tokens, or fewer replicas" if is_out_of_memory(error) else "is the checkpoint whole?"
        for pending in batch:
            if not pending.future.done():
                pending.future.set_exception(EndpointError(f"{self._name}: decoding failed: {error}", hint))

    def _halve(self, batch: Sequence[_Pending]) -> None:
        """Ask for less at once from now on: half the prompts, or of one prompt half the samples."""
        n_prompts = len({tuple(p.row.ids) for p in batch})
        if n_prompts > 1:
            self._batch_size = n_prompts // 2
            had, now = f"{n_prompts} prompts", self._batch_size
        else:
            self._most_samples = len(batch) // 2
            had, now = f"{len(batch)} samples of one prompt", self._most_samples
        log.warning("%s: out of memory with %s; continuing with %d", self._name, had, now)

    async def _gather(self) -> None:
        """Wait while requests keep coming in and the batch is not full, at most some 20 ms."""
        for _ in range(10):
            n_before = len(self._pending)
            await asyncio.sleep(0.002)
            if len(self._pending) == n_before or n_before >= self._batch_size:
                return

    def _take(self) -> list[_Pending]:
        """The next batch: up to ``batch_size`` prompts with their samples, the longest prompts first.

        Nobody waits any more for rows that were cancelled: they are left out.
        """
        self._pending = [p for p in self._pending if not p.future.done()]
        self._pending.sort(key=lambda p: (-len(p.row.ids), p.row.ids))
        n_samples: Counter[tuple[int, ...]] = Counter()
        batch, left = [], []
        for pending in self._pending:
            prompt = tuple(pending.row.ids)
            is_full = prompt not in n_samples and len(n_samples) >= self._batch_size
            if is_full or (self._most_samples is not None and n_samples[prompt] >= self._most_samples):
                left.append(pending)
            else:
                n_samples[prompt] += 1
                batch.append(pending)
        self._pending = left
        return batch

    async def aclose(self) -> None:
        """Finish what is waiting, then free the model."""
        if self._worker is not None:
            await asyncio.gather(self._worker, return_exceptions=True)
        if self._decoder is not None:
            await asyncio.get_running_loop().run_in_executor(self._pool, self._decoder.close)
            self._decoder = None
        self._pool.shutdown(wait=True)
