"""``hf:PATH_OR_ID``: a local causal language model as a ChatModel, with batching and cached prefixes.

Requests that wait at the same time are decoded together (left-padded, sorted by length). Each request samples
with its own uniform numbers, drawn from its own seed, so that its reply does not depend on what else was in the
batch (up to the rounding of matrix products). A conversation's keys and values are kept from turn to turn: only
what is new is computed. Models whose attention is not plain causal attention go without that cache.

``revision`` is a digest of weights and tokenizer: a retrained checkpoint never replays its predecessor's calls.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections import OrderedDict
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

DEFAULT_MAX_TOKENS = 256
CACHED_TOKENS = 400_000  # tokens of kept prefixes, all conversations together
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
        self._pending: list[_Pending] = []
        self._worker: asyncio.Task[None] | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="aloe-local-model")

    def _loaded(self) -> Any:
        with self._load_lock:
            if self._decoder is None:
                from aloe.models.local_decode import Decoder

                self._decoder = Decoder(self.path, CACHED_TOKENS)
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
                for pending in batch:
                    if not pending.future.done():
                        pending.future.set_exception(
                            EndpointError(f"{self.name}: decoding failed: {error}", "see the traceback in the log")
                        )
                continue
            for pending, row in zip(batch, rows, strict=True):
                if not pending.future.done():
                    pending.future.set_result(self._completion(pending, row))

    async def _gather(self) -> None:
        """Wait while requests keep coming in and the batch is not full, at most some 20 ms."""
        for _ in range(10):
            n_before = len(self._pending)
            await asyncio.sleep(0.002)
            if len(self._pending) == n_before or n_before >= self._config.batch_size:
                return

    def _take(self) -> list[_Pending]:
        """The next batch: up to ``batch_size`` prompts with all their samples, the longest prompts first."""
        self._pending.sort(key=lambda p: (-len(p.ids), p.ids))
        prompts: set[tuple[int, ...]] = set()
        for number, pending in enumerate(self._pending):
            prompts.add(tuple(pending.ids))
            if len(prompts) > self._config.batch_size:
                batch, self._pending = self._pending[:number], self._pending[number:]
                return batch
        batch, self._pending = self._pending, []
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
    """Least recently used key/value prefixes by their token ids, within a budget of tokens."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._held = 0
        self._items: OrderedDict[bytes, tuple[int, Any]] = OrderedDict()
        self._lengths: dict[int, int] = {}  # how many prefixes of each length, so that lookups try only those

    @staticmethod
    def _key(ids: Any, n: int) -> bytes:
        return hashlib.blake2b(ids[:n].tobytes(), digest_size=16).digest()

    def longest(self, ids: Sequence[int]) -> tuple[int, Any]:
        """``(n, state)`` of the longest stored proper prefix of ``ids``; ``(0, None)`` without one."""
        array = np.asarray(ids, dtype=np.int32)
        for n in sorted(self._lengths, reverse=True):
            if n >= len(ids):
                continue
            key = self._key(array, n)
            if key in self._items:
                self._items.move_to_end(key)
                return self._items[key]
        return 0, None

    def put(self, ids: Sequence[int], state: Any) -> None:
        """Keep ``state``, the keys and values of ``ids``."""
        array = np.asarray(ids, dtype=np.int32)
        key = self._key(array, len(ids))
        if key in self._items:
            self._items.move_to_end(key)
            return
        self._items[key] = (len(ids), state)
        self._lengths[len(ids)] = self._lengths.get(len(ids), 0) + 1
        self._held += len(ids)
        while self._held > self._budget and len(self._items) > 1:
            _, (n, _) = self._items.popitem(last=False)
            self._held -= n
            self._lengths[n] -= 1
            if not self._lengths[n]:
                del self._lengths[n]
