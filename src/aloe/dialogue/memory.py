"""What a model is given of earlier turns and sessions: memories, written as a suffix of its URI.

A model without one sees the session that it is in, whole, and nothing of earlier ones.

- ``+history``: everything that was ever said. ``+window:N``: the last N turns, of whichever session.
- ``+memory:N``: a text of at most N tokens about the user, rewritten after each turn by the model itself, and the last
  exchange of the session. Two calls a turn.
- ``+recall:K``: the K earlier turns most like the user's message, by the run's embedder, and the last exchange.
- A plug-in's (entry points of ``aloe.memories``: a function ``(argument, caller, model) -> Memory``).

A memory holds nothing that the conversation and the journal do not give again: one that is asked about a turn without
having seen those before it rebuilds itself, and what it asked before is replayed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from aloe.config import ModelConfig
from aloe.config.plugins import load_plug_in
from aloe.dialogue.responder import Answer
from aloe.dialogue.state import PathState
from aloe.errors import ConfigError
from aloe.models.caller import Caller
from aloe.models.uri import MEMORIES, MEMORY_PLUG_INS
from aloe.prompts.catalog import MEMORY, REMEMBERED, RESPONDER
from aloe.protocols import Embedder, PromptMessage

PER_TOKEN = 4  # characters
NOTHING = "nothing yet"
_KEPT = 4096  # texts whose vectors are kept


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a model is given: messages that end with the user's last, and notes on what was before."""

    history: tuple[PromptMessage, ...]
    notes: str = ""


class Memory(Protocol):
    """Decides what a model is given. ``state`` ends with the user's message; calls go below ``path``."""

    async def recall(self, state: PathState, path: str) -> Remembered: ...


def make_memory(caller: Caller, model: ModelConfig, wrapper: str, embedder: Callable[[], Embedder]) -> Memory:
    """The memory that a URI's suffix names.

    Args:
        model: who answers, without the suffix.
        embedder: opens the embedder of ``+recall``, when it is first needed.

    Raises:
        ConfigError: an argument that is missing or not a whole number above 0.
    """
    name, _, argument = wrapper.partition(":")
    if name not in MEMORIES:
        made: Memory = load_plug_in(MEMORY_PLUG_INS, name)(argument, caller, model)
        return made
    if name == "history":
        if argument:
            raise ConfigError(f"'{model.uri}+{wrapper}': +history takes no number", "write +history, or +window:N")
        return Window(0)
    if not argument.isdigit() or int(argument) < 1:
        raise ConfigError(
            f"'{model.uri}+{wrapper}': +{name} got '{argument}', expected a whole number above 0",
            f"write for example +{name}:{256 if name == 'memory' else 8}",
        )
    if name == "window":
        return Window(int(argument))
    return Rewritten(caller, model, int(argument)) if name == "memory" else Similar(int(argument), embedder)


async def reply_with_memory(
    caller: Caller, state: PathState, path: str, *, model: ModelConfig, memory: Memory
) -> Answer:
    """The reply of ``model`` to what its memory gives it of ``state``."""
    found = await memory.recall(state, path)
    if not found.notes:
        return await caller.ask(RESPONDER, path, history=found.history, turn=state.turn, model=model)
    return await caller.ask(REMEMBERED, path, history=found.history, turn=state.turn, model=model, memory=found.notes)


def last_exchange(state: PathState) -> tuple[PromptMessage, ...]:
    """The user's message, and before it the last exchange of the session where there is one."""
    return state.present[-3:]


@dataclass(frozen=True, slots=True)
class Window:
    """The last ``n`` turns with the one that is to be answered; 0: all."""

    n: int

    async def recall(self, state: PathState, path: str) -> Remembered:
        return Remembered(state.history[-(2 * self.n - 1) :] if self.n else state.history)


class Rewritten:
    """A running memory of at most ``limit`` tokens."""

    def __init__(self, caller: Caller, model: ModelConfig, limit: int) -> None:
        self._caller, self._model, self._limit = caller, model, limit
        self._texts: dict[str, str] = {}  # reply's node -> memory after it

    async def recall(self, state: PathState, path: str) -> Remembered:
        n_past = (len(state.messages) - 1) // 2
        text, done = NOTHING, 0
        for turn in range(n_past, 0, -1):
            known = self._texts.pop(state.node_ids[2 * turn - 1], None)
            if known is not None:
                text, done = known, turn
                break
        for turn in range(done + 1, n_past + 1):
            text = await self._rewrite(state, turn, text, path.partition(state.node_id)[0])
        if n_past:
            self._texts[state.node_ids[2 * n_past - 1]] = text
        return Remembered(last_exchange(state), text)

    async def _rewrite(self, state: PathState, turn: int, before: str, place: str) -> str:
        """The memory after a turn, asked for below ``place``. What can't be read leaves it as it was."""
        exchange = state.messages[2 * turn - 2 : 2 * turn]
        text, _ = await self._caller.ask(
            MEMORY, f"{place}{state.node_ids[2 * turn - 1]}/memory", turn=turn, model=self._model,
            memory=before, conversation=exchange, limit=self._limit,
        )  # fmt: skip
        return before if text is None else cut_lines(text, self._limit * PER_TOKEN)


def cut_lines(text: str, most: int) -> str:
    """As many whole lines from the beginning as ``most`` characters hold; of a first line that is longer, that much."""
    if len(text) <= most:
        return text
    whole = text[: most + 1].rpartition("\n")[0]
    return whole or text[:most]


class Similar:
    """The ``k`` earlier turns that are most like the user's message, in the order in which they were."""

    def __init__(self, k: int, embedder: Callable[[], Embedder]) -> None:
        self._k, self._open = k, embedder
        self._embedder: Embedder | None = None
        self._vectors: dict[str, NDArray[np.float32]] = {}

    async def recall(self, state: PathState, path: str) -> Remembered:
        near = last_exchange(state)
        n_past = (len(state.messages) - len(near)) // 2
        if not n_past:
            return Remembered(near)
        said = [state.messages[2 * turn].content for turn in range(n_past)]
        vectors = await self._embed([state.messages[-1].content, *said])
        likeness = vectors[1:] @ vectors[0]
        best = sorted(np.argsort(-likeness, kind="stable")[: self._k].tolist())
        lines = [
            f"Turn {turn + 1}, {'user' if m.role == 'user' else 'you'}: {' '.join(m.content.split())}"
            for turn in best
            for m in state.messages[2 * turn : 2 * turn + 2]
        ]
        return Remembered(near, "\n".join(lines))

    async def _embed(self, texts: list[str]) -> NDArray[np.float32]:
        new = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        if new:
            if self._embedder is None:
                self._embedder = self._open()
            found = await asyncio.to_thread(self._embedder.embed, new)
            if len(self._vectors) + len(new) > _KEPT:
                self._vectors = {text: self._vectors[text] for text in texts if text in self._vectors}
            self._vectors.update(zip(new, np.asarray(found, np.float32), strict=True))
        return np.stack([self._vectors[text] for text in texts])
