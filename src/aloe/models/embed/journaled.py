"""Embeddings from an endpoint, kept in the run's journal so that no text is paid for twice.

One call per text, under the role ``embedder`` and the path ``embeddings``: the text is the request, the unit vector
(float32, base64) the answer. So the journal's tools, its budget and its forgetting hold for embeddings too. Each batch
is committed as it arrives. ``embed`` may be called from the event loop's thread or from another one; the journal is
only ever touched while the loop's thread works on it or waits for us.
"""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from aloe.errors import ConfigError, DataError, EndpointError
from aloe.models.budget import Reservation
from aloe.models.embed.openai import OpenAIEmbedder, Vectors
from aloe.models.http.retries import cost_of
from aloe.models.journal.journal import FailedAttempt
from aloe.models.pricing import price_of
from aloe.protocols import Completion, PromptMessage
from aloe.types import Usage

if TYPE_CHECKING:
    from aloe.models.caller import Caller

T = TypeVar("T")
ROLE, PATH = "embedder", "embeddings"


def encode_vector(vector: Vectors) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def decode_vector(text: str) -> Vectors:
    return np.frombuffer(base64.b64decode(text), "<f4").astype(np.float32)


class JournaledEmbedder:
    """``remote`` with its answers kept in the journal of ``caller``, within the caller's budget.

    Raises:
        ConfigError: a money budget, and the model's price is unknown.
    """

    def __init__(self, remote: OpenAIEmbedder, caller: Caller) -> None:
        self.name = remote.name
        self._remote = remote
        self._caller = caller
        self._price = price_of(remote.config)
        if self._price is None and caller.budget.is_money:
            raise ConfigError(
                f"budget.usd is set, but the price of {remote.name} is not known",
                "set budget.tokens instead, or use a local embedder (st:NAME)",
            )
        self._fixed: dict[str, Any] = {"model": remote.name, "revision": remote.revision, "role": ROLE, "sampling": {}}
        self._row = caller.journal.plan_id({**self._fixed, "prompt": "", "prompt_hash": ""})
        self._stats = caller.stats_of(ROLE)
        self._owner = threading.get_ident()
        try:
            self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            self._loop = None

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, float32, shape (n_texts, dim).

        Raises:
            EndpointError: the server refused, or failed too often; what it did answer is kept.
            BudgetExceeded: the next batch might pass the budget.
            DataError: the journal holds vectors of another length.
        """
        session = _Session(self, threading.get_ident() == self._owner or self._loop is None)
        distinct = list(dict.fromkeys(texts))
        known = session.on_owner(lambda: self._look_up(distinct))
        missing = [text for text in distinct if text not in known]
        if missing:
            found = self._remote.embed_watched(missing, session)
            known.update(zip(missing, found, strict=True))
        return np.stack([known[text] for text in texts]) if texts else np.zeros((0, 0), np.float32)

    def cancel(self) -> None:
        """End what :meth:`embed` is doing in another thread."""
        self._remote.cancel()

    def key(self, text: str) -> bytes:
        """The journal's key of one text."""
        from aloe.models.caller import request_key

        return request_key(self._fixed, PATH, 0, None, _messages(text))

    def _look_up(self, texts: Sequence[str]) -> dict[str, Vectors]:
        journal = self._caller.journal
        known: dict[str, Vectors] = {}
        for text in texts:
            row = journal.keys.get(self.key(text))
            stored = journal.read(row) if row is not None else None
            if stored is not None:
                known[text] = decode_vector(stored.completion.text)
        lengths = {len(vector) for vector in known.values()}
        if len(lengths) > 1 or (self._remote.dim is not None and lengths - {self._remote.dim}):
            raise DataError(
                f"the journal holds embeddings of {self.name} of {' and '.join(map(str, sorted(lengths)))} numbers",
                f"aloe journal prune RUN --path {PATH}",
            )
        if lengths:
            (self._remote.dim,) = lengths
        self._stats.n_replayed += len(known)
        self._stats.n_calls += len(known)
        return known

    def worst_case(self, texts: Sequence[str]) -> Reservation:
        """The most that a batch can cost, at three bytes a token."""
        tokens = sum(len(text.encode()) for text in texts) // 3 + 2 * len(texts)
        return Reservation(tokens, self._cost(tokens) or 0.0)

    def keep(self, texts: Sequence[str], vectors: Vectors, tokens: int, ms: int, tries: int) -> None:
        """Queue a batch's answers and commit them."""
        journal, stats = self._caller.journal, self._stats
        for text, vector, share in zip(texts, vectors, _shares(tokens, len(texts)), strict=True):
            usage = Usage.model_construct(prompt_tokens=share, completion_tokens=0, cached_tokens=0)
            cost = cost_of(self._price, usage)
            journal.queue(
                self.key(text), self._row, (PATH, 0, None), _messages(text),
                Completion(encode_vector(vector), "stop", usage), (cost, ms, tries),
            )  # fmt: skip
            stats.n_calls += 1
            stats.prompt_tokens += share
            stats.cost = None if cost is None or stats.cost is None else stats.cost + cost
        journal.flush()

    def note(self, texts: Sequence[str], error: EndpointError, ms: int, number: int) -> None:
        """Record an attempt at a batch that brought no answer, under the batch's first text."""
        worst = self.worst_case(texts)
        billed = error.possibly_billed
        cost = worst.usd if self._price else None
        failed = FailedAttempt(
            number, ms, error.status, str(error), billed, worst.tokens if billed else None, cost if billed else 0.0
        )
        self._caller.journal.queue_attempt(self.key(texts[0]), self._row, PATH, failed)
        self._caller.journal.flush()

    def _cost(self, tokens: int) -> float | None:
        return cost_of(self._price, Usage.model_construct(prompt_tokens=tokens, completion_tokens=0, cached_tokens=0))


class _Session:
    """One call of ``embed``: what is reserved for it, and the way to the thread that owns the journal."""

    def __init__(self, embedder: JournaledEmbedder, owner_waits: bool) -> None:
        self._embedder = embedder
        self._owner_waits = owner_waits

    def on_owner(self, work: Callable[[], T]) -> T:
        """Run ``work`` while the owner does nothing else: in its loop, or here where it waits for us anyway."""
        loop = self._embedder._loop
        if self._owner_waits or loop is None:
            return work()
        done: Future[T] = Future()

        def run() -> None:
            try:
                done.set_result(work())
            except BaseException as error:  # handed to the thread that asked
                done.set_exception(error)

        loop.call_soon_threadsafe(run)
        return done.result()

    def sending(self, texts: Sequence[str]) -> bool:
        budget = self._embedder._caller.budget
        if not budget.is_limited:
            return True
        return self.on_owner(lambda: budget.try_reserve(self._embedder.worst_case(texts)))

    def answered(self, texts: Sequence[str], vectors: Vectors, tokens: int, ms: int, tries: int) -> None:
        def work() -> None:
            self._settle(texts, tokens)
            self._embedder.keep(texts, vectors, tokens, ms, tries)

        self.on_owner(work)

    def failed(self, texts: Sequence[str], error: EndpointError, ms: int, number: int) -> None:
        def work() -> None:
            self._settle(texts, self._embedder.worst_case(texts).tokens if error.possibly_billed else 0)
            self._embedder.note(texts, error, ms, number)

        self.on_owner(work)

    def _settle(self, texts: Sequence[str], tokens: int) -> None:
        budget = self._embedder._caller.budget
        if budget.is_limited:
            budget.settle(self._embedder.worst_case(texts), tokens, self._embedder._cost(tokens) or 0.0)


def _messages(text: str) -> tuple[PromptMessage, ...]:
    return (PromptMessage("user", (text,)),)


def _shares(total: int, n: int) -> Iterator[int]:
    """``total`` tokens as evenly as whole numbers go."""
    for i in range(n):
        yield (i + 1) * total // n - i * total // n
