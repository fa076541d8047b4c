"""``hf:PATH_OR_ID``: a local causal language model as a ChatModel, with batching and cached prefixes.

Requests that wait at the same time are decoded together (left-padded, sorted by length). Each request samples
with its own uniform numbers, drawn from its own seed, so that its reply does not depend on what else was in the
batch (up to the rounding of matrix products). A conversation's keys and values, those of its replies among them,
are kept from turn to turn: only what is new is computed. Where memory runs out, the batch is halved (prompts first,
then the samples of one prompt) and goes on.
Models whose attention is not plain causal attention go without that cache.

``revision`` is a digest of weights and tokenizer: a retrained checkpoint never replays its predecessor's calls.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import threading
from collections import Counter, OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from aloe.config import ModelConfig
from aloe.errors import ConfigError, DataError, EndpointError
from aloe.protocols import ChatRequest, Completion
from aloe.seeding import derive_rng
from aloe.types import Usage

log = logging.getLogger(__name__)
DEFAULT_MAX_TOKENS = 256
MOST_CACHED = 8 << 30  # bytes of kept prefixes, all conversations together; at most a quarter of what is free
_DIGESTED = ("*.safetensors", "*.bin", "tokenizer*", "*.model", "chat_template*", "*config.json", "vocab*", "merges*")


def weight_digest(path: str | Path) -> str:
    """Short digest over the weight, tokenizer and config files of a checkpoint directory.

    Raises:
        DataError: the directory holds no weights.
    """
    folder = Path(path)
    files = sorted({file for pattern in _DIGESTED for file in folder.glob(pattern)})
    if not any(file.suffix in (".safetensors", ".bin") for file in files):
        raise DataError(f"{folder} holds no weights", "train it first, or give a directory with *.safetensors")
    digest = hashlib.blake2b(digest_size=8)
    for file in files:
        digest.update(file.name.encode() + b"\0")
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def free_memory() -> int:
    """Bytes of memory that nothing uses (where the system does not say: 8 GiB)."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return 8 << 30


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on a device or on the host."""
    told = ("can't allocate memory", "out of memory", "cannot allocate memory", "bad_alloc")
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in told)


def create_local_model(config: ModelConfig) -> LocalModel:
    """The model of an ``hf:`` URI, loaded on its first request.

    Raises:
        ConfigError: not an ``hf:`` URI.
        DataError: a directory without weights.
    """
    scheme, _, path = config.uri.partition(":")
    if scheme != "hf" or not path:
        raise ConfigError(f"'{config.uri}' is no local model", "write hf:PATH or hf:MODEL_ID")
    return LocalModel(config, path)


@dataclass(slots=True)
class _Pending:
    request: ChatRequest
    ids: list[int]
    future: asyncio.Future[Completion]


@dataclass(slots=True)
class Row:
    """One sequence being decoded: its prompt, how to sample it and what came out.

    ``uniforms`` holds one number in [0, 1) per new token, None for greedy decoding.
    """

    ids: Sequence[int]
    max_tokens: int
    temperature: float
    top_p: float | None
    uniforms: Any
    stop: tuple[str, ...] = ()
    n_logprobs: int | None = None
    new: list[int] = field(default_factory=list)
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    finish: str = "length"


class LocalModel:
    """A ChatModel over transformers. One worker thread decodes; the event loop keeps collecting meanwhile."""

    def __init__(self, config: ModelConfig, path: str) -> None:
        self.name = config.uri
        self.path = path
        local = Path(path)
        self.revision = weight_digest(local) if local.is_dir() else path
        self._config = config
        self._decoder: Any = None
        self._load_lock = threading.Lock()
        self._batch_size = config.batch_size
        self._most_samples: int | None = None  # of one prompt in a batch; None: all that wait
        self._pending: list[_Pending] = []
        self._worker: asyncio.Task[None] | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="aloe-local-model")

    def _loaded(self) -> Any:
        with self._load_lock:
            if self._decoder is None:
                from aloe.models.local_decode import Decoder

                self._decoder = Decoder(self.path, MOST_CACHED)
            return self._decoder

    async def complete(self, request: ChatRequest) -> Completion:
        """Answer a request, together with whatever else is waiting.

        Raises:
            EndpointError: the conversation does not fit into the model's context, or decoding failed.
        """
        loop = asyncio.get_running_loop()
        decoder = self._decoder
        if decoder is None:
            decoder = await loop.run_in_executor(self._pool, self._loaded)
        ids = decoder.encode([{"role": m.role, "content": m.content} for m in request.messages])
        limit = decoder.max_positions
        if len(ids) >= limit:
            raise EndpointError(
                f"{self.name}: a prompt of {len(ids)} tokens, the context holds {limit}",
                "use fewer turns or a model with a longer context",
            )
        pending = _Pending(request, ids, loop.create_future())
        self._pending.append(pending)
        if self._worker is None or self._worker.done():
            self._worker = loop.create_task(self._drain())
        return await pending.future

    async def _drain(self) -> None:
        """Decode what is waiting until nothing is; requests that come meanwhile join the next batch."""
        loop = asyncio.get_running_loop()
        while self._pending:
            await self._gather()
            batch = self._take()
            try:
                rows = [self._row(p) for p in batch]
                await loop.run_in_executor(self._pool, self._decoder.decode, rows)
            except Exception as error:  # whatever torch raises belongs to these requests, not to the queue
                if is_out_of_memory(error) and len(batch) > 1:
                    self._halve(batch)
                    self._decoder.forget()
                    self._pending = batch + self._pending
                    continue
                for pending in batch:
                    if not pending.future.done():
                        pending.future.set_exception(
                            EndpointError(f"{self.name}: decoding failed: {error}", "see the traceback in the log")
                        )
                continue
            for pending, row in zip(batch, rows, strict=True):
                if not pending.future.done():
                    pending.future.set_result(self._completion(pending, row))

    def _halve(self, batch: Sequence[_Pending]) -> None:
        """Ask for less at once from now on: half the prompts, or of one prompt half the samples."""
        n_prompts = len({tuple(p.ids) for p in batch})
        if n_prompts > 1:
            self._batch_size = n_prompts // 2
            had, now = f"{n_prompts} prompts", self._batch_size
        else:
            self._most_samples = len(batch) // 2
            had, now = f"{len(batch)} samples of one prompt", self._most_samples
        log.warning("%s: out of memory with %s; goes on with %d", self.name, had, now)

    async def _gather(self) -> None:
        """Wait while requests keep coming in and the batch is not full, at most some 20 ms."""
        for _ in range(10):
            n_before = len(self._pending)
            await asyncio.sleep(0.002)
            if len(self._pending) == n_before or n_before >= self._batch_size:
                return

    def _take(self) -> list[_Pending]:
        """The next batch: up to ``batch_size`` prompts with their samples, the longest prompts first."""
        self._pending.sort(key=lambda p: (-len(p.ids), p.ids))
        n_samples: Counter[tuple[int, ...]] = Counter()
        batch, left = [], []
        for pending in self._pending:
            prompt = tuple(pending.ids)
            is_full = prompt not in n_samples and len(n_samples) >= self._batch_size
            if is_full or (self._most_samples is not None and n_samples[prompt] >= self._most_samples):
                left.append(pending)
            else:
                n_samples[prompt] += 1
                batch.append(pending)
        self._pending = left
        return batch

    def _row(self, pending: _Pending) -> Row:
        request = pending.request
        room = self._decoder.max_positions - len(pending.ids)
        max_tokens = min(request.max_tokens or DEFAULT_MAX_TOKENS, room)
        temperature = request.temperature or 0.0
        uniforms = None
        if temperature > 0:
            uniforms = derive_rng(request.seed or 0, "sampling").random(max_tokens)
        return Row(pending.ids, max_tokens, temperature, request.top_p, uniforms, request.stop, request.logprobs)

    def _completion(self, pending: _Pending, row: Row) -> Completion:
        text = self._decoder.text(row.new)
        for stop in row.stop:
            if stop and (at := text.find(stop)) >= 0:
                text, row.finish = text[:at], "stop"
        usage = Usage(prompt_tokens=len(pending.ids), completion_tokens=len(row.new))
        logprobs = row.logprobs if row.n_logprobs is not None else None
        return Completion(text, row.finish, usage, logprobs)

    async def aclose(self) -> None:
        """Finish what is waiting, then free the model."""
        if self._worker is not None:
            await asyncio.gather(self._worker, return_exceptions=True)
        self._pool.shutdown(wait=True)
        self._decoder = None


class PrefixStore:
    """Least recently used keys and values of token sequences, within a budget of tokens.

    A sequence is found by its first ``n_key`` tokens (a prompt), and used as far as what follows agrees too.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._held = 0
        self._items: OrderedDict[bytes, tuple[int, Any, Any]] = OrderedDict()
        self._lengths: dict[int, int] = {}  # how many keys of each length, so that lookups try only those

    @staticmethod
    def _key(ids: Any, n: int) -> bytes:
        return hashlib.blake2b(ids[:n].tobytes(), digest_size=16).digest()

    def longest(self, ids: Sequence[int]) -> tuple[int, Any]:
        """``(n, state)``: what is kept of the beginning of ``ids``, the last token left out; ``(0, None)`` if nothing.

        ``state``: (..., n, head size), a view.
        """
        array = np.asarray(ids, dtype=np.int32)
        for n in sorted(self._lengths, reverse=True):
            if n >= len(array):
                continue
            key = self._key(array, n)
            if key in self._items:
                self._items.move_to_end(key)
                n_key, kept, state = self._items[key]
                m = min(len(kept), len(array) - 1)
                differs = np.flatnonzero(kept[n_key:m] != array[n_key:m])
                end = n_key + int(differs[0]) if differs.size else m
                return end, state[..., :end, :]
        return 0, None

    def put(self, ids: Sequence[int], state: Any, n_key: int | None = None) -> None:
        """Keep ``state``, the keys and values of ``ids``; ``n_key`` None: all of them are the key."""
        array = np.asarray(ids, dtype=np.int32)
        n_key = len(array) if n_key is None else n_key
        key = self._key(array, n_key)
        if key in self._items:
            self._drop(key)
        self._items[key] = (n_key, array, state)
        self._lengths[n_key] = self._lengths.get(n_key, 0) + 1
        self._held += len(array)
        while self._held > self._budget and len(self._items) > 1:
            self._drop(next(iter(self._items)))

    def _drop(self, key: bytes) -> None:
        n_key, ids, _ = self._items.pop(key)
        self._held -= len(ids)
        self._lengths[n_key] -= 1
        if not self._lengths[n_key]:
            del self._lengths[n_key]

    def clear(self) -> None:
        """Keep nothing."""
        self._items.clear()
        self._lengths.clear()
        self._held = 0
