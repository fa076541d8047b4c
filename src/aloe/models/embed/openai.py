"""Embeddings over HTTP: any server that speaks OpenAI's ``/embeddings`` (for paper section 3.1).

Texts go out in batches, a few at a time, under the same limits, circuit breaker and retries as chat calls. An answer
is checked before it is used: as many vectors as texts, all numbers finite, none of length zero, and the same dimension
as every answer before. What is paid for twice and what is kept is not decided here but by ``journaled.py``.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any, Protocol

import aiohttp
import numpy as np
import orjson
from numpy.typing import NDArray

from aloe.config import ModelConfig
from aloe.errors import EndpointError
from aloe.models.http.answers import read_count
from aloe.models.http.bodies import MAX_VECTORS, read_body
from aloe.models.http.connection import Endpoint, make_session
from aloe.models.http.limits import PATIENCE, Limiter
from aloe.models.http.retries import Tries, backoff, steer
from aloe.models.registry import identity

Vectors = NDArray[np.float32]
BATCH_SIZE = 128
MAX_CONCURRENCY = 8
_LOOK = 0.2  # seconds between looks at whether the user has interrupted the run
_BUDGET_WAIT = 0.02  # seconds between looks at whether an attempt fits into the budget by now


class Watcher(Protocol):
    """Is told of every attempt, on the thread that works for :meth:`OpenAIEmbedder.embed`."""

    def sending(self, texts: Sequence[str]) -> bool:
        """Before an attempt: False to have it wait for others in flight; raises BudgetExceeded to forbid it."""

    def answered(self, texts: Sequence[str], vectors: Vectors, tokens: int, ms: int, tries: int) -> None:
        """Unit vectors, shape (n_texts, dim), and the tokens that the server counted."""

    def failed(self, texts: Sequence[str], error: EndpointError, ms: int, number: int) -> None:
        """Attempt ``number`` brought no answer."""


class _Nobody:
    def sending(self, texts: Sequence[str]) -> bool:
        return True

    def answered(self, texts: Sequence[str], vectors: Vectors, tokens: int, ms: int, tries: int) -> None: ...
    def failed(self, texts: Sequence[str], error: EndpointError, ms: int, number: int) -> None: ...


class OpenAIEmbedder:
    """An Embedder behind an address. ``embed`` blocks; calls from several threads take turns.

    Attributes:
        dim: length of the vectors, None before the first answer; an answer of another length is an error.

    Raises:
        ConfigError: an environment variable that the config names is not set.
    """

    def __init__(self, config: ModelConfig, batch_size: int = BATCH_SIZE, patience: float = PATIENCE) -> None:
        self.config = config
        self.name, self.revision = identity(config)
        self.dim: int | None = None
        self._wire_name = config.uri.partition(":")[2]
        self._endpoint = Endpoint(config, "embeddings")
        self._batch_size = batch_size
        where = f"{config.uri} at {config.base_url}" if config.base_url else config.uri
        self._limiter = Limiter(
            where, min(MAX_CONCURRENCY, config.max_concurrency), config.requests_per_minute, patience=patience
        )
        self._turn = threading.Lock()
        self._work: tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]] | None = None

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, float32, shape (n_texts, dim).

        Raises:
            EndpointError: the server refused, or failed too often.
        """
        return self.embed_watched(texts, _Nobody())

    def embed_watched(self, texts: Sequence[str], watcher: Watcher) -> Vectors:
        """As :meth:`embed`; ``watcher`` is told of each attempt. Batches that were answered are told of all the same
        when another one fails.

        Raises:
            EndpointError: the server refused, or failed too often. BudgetExceeded: by the watcher.
        """
        if not texts:
            return np.zeros((0, self.dim or 0), np.float32)
        # A thread of its own: the caller may be inside an event loop.
        with self._turn, ThreadPoolExecutor(1) as pool:
            found = pool.submit(asyncio.run, self._embed_all(list(texts), watcher))
            while not found.done():
                wait([found], timeout=_LOOK)
                if _is_interrupted():
                    self.cancel()
            return found.result()

    def cancel(self) -> None:
        """End what :meth:`embed` is doing in another thread, which then raises ``CancelledError``."""
        if self._work is not None:
            loop, task = self._work
            with suppress(RuntimeError):  # it has just ended by itself
                loop.call_soon_threadsafe(task.cancel)

    async def _embed_all(self, texts: list[str], watcher: Watcher) -> Vectors:
        task = asyncio.current_task()
        self._work = (asyncio.get_running_loop(), task) if task is not None else None
        try:
            return await self._embed_batches(texts, watcher)
        finally:
            self._work = None

    async def _embed_batches(self, texts: list[str], watcher: Watcher) -> Vectors:
        size = self._batch_size
        batches = [texts[start : start + size] for start in range(0, len(texts), size)]
        async with make_session(0, self.config.timeout_seconds) as session:
            works = [self._embed_batch(session, batch, watcher) for batch in batches]
            parts = await asyncio.gather(*works, return_exceptions=True)
        for part in parts:
            if isinstance(part, BaseException):
                raise part
        return np.concatenate([part for part in parts if not isinstance(part, BaseException)])

    async def _embed_batch(self, session: aiohttp.ClientSession, batch: list[str], watcher: Watcher) -> Vectors:
        fields = {"model": self._wire_name, "input": batch, "encoding_format": "float"}
        body = orjson.dumps(fields)
        tries = Tries(self.config.max_attempts, self._limiter, self._limiter.patience)
        while True:
            ticket = self._limiter.try_enter() or await self._limiter.enter(0)
            try:
                while not watcher.sending(batch):
                    await asyncio.sleep(_BUDGET_WAIT)
                started = time.perf_counter()
                try:
                    vectors, tokens = await self._post(session, body, batch)
                    self._limiter.succeeded(ticket)
                    watcher.answered(batch, vectors, tokens, _ms(started), tries.number)
                    return vectors
                except EndpointError as error:
                    watcher.failed(batch, error, _ms(started), tries.number)
                    steer(self._limiter, ticket, error)
                    failure = error
            finally:
                self._limiter.leave(ticket)
            tries.count(failure)
            if failure.status != 429:  # there the limiter holds everybody
                await asyncio.sleep(backoff(failure, tries.number - 1, (0, body[-64:])))

    async def _post(self, session: aiohttp.ClientSession, body: bytes, batch: list[str]) -> tuple[Vectors, int]:
        endpoint = self._endpoint
        try:
            async with session.post(
                endpoint.url, data=body, headers=endpoint.headers, proxy=endpoint.proxy, allow_redirects=False
            ) as response:
                raw = await read_body(response, MAX_VECTORS, f"{self.name} at {endpoint.host}")
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise endpoint.broken(error, self.name, self.config.timeout_seconds) from None
        if response.status != 200:
            raise endpoint.refused(response.status, raw, response.headers, self.name)
        try:
            data = orjson.loads(raw)
            rows = sorted(data["data"], key=lambda row: row["index"])
            found = [row["index"] for row in rows]
            vectors = np.array([row["embedding"] for row in rows], np.float64)
            tokens = _tokens(data.get("usage"), batch)
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
            raise self._odd(f"does not hold embeddings: {endpoint.clean(raw)!r}") from None
        return self._checked(vectors, found, len(batch)), tokens

    def _checked(self, vectors: NDArray[np.float64], places: list[Any], n: int) -> Vectors:
        """Unit vectors.

        Raises:
            EndpointError: not one vector per text, values that are not numbers, or another dimension than before.
        """
        if places != list(range(n)) or vectors.ndim != 2:
            raise self._odd(f"holds {len(places)} embeddings instead of {n}, or misnumbered ones")
        with np.errstate(over="ignore"):
            norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not np.isfinite(norms).all() or not norms.all():
            bad = int(np.count_nonzero(~(np.isfinite(norms) & (norms > 0))))
            raise self._odd(f"holds {bad} of {n} embeddings that are not finite or all zero")
        if self.dim is not None and vectors.shape[1] != self.dim:
            raise EndpointError(
                f"{self.name} at {self._endpoint.host} gave embeddings of {vectors.shape[1]} numbers instead of "
                f"{self.dim}: the endpoint now serves another model under that name",
                "serve the earlier model again, or start a new run directory",
                status=200, possibly_billed=True,
            )  # fmt: skip
        self.dim = vectors.shape[1]
        unit: Vectors = (vectors / norms).astype(np.float32)
        return unit

    def _odd(self, what: str) -> EndpointError:
        return EndpointError(
            f"the answer of {self.name} at {self._endpoint.host} {what}",
            "check base_url and that the model is an embedding model",
            status=200, retryable=True, possibly_billed=True,
        )  # fmt: skip


def _is_interrupted() -> bool:
    """Whether the task that waits for us is being cancelled; its event loop cannot say so while it is blocked."""
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no event loop in this thread
        return False
    return task is not None and task.cancelling() > 0


def _tokens(usage: Any, batch: list[str]) -> int:
    """As reported; four characters a token where the server reports none."""
    guess = sum(map(len, batch)) // 4
    return read_count(usage.get("prompt_tokens") if isinstance(usage, dict) else None, guess, guess) or guess


def _ms(started: float) -> int:
    return int(1000 * (time.perf_counter() - started))
