"""The two protocols that connect everything: ChatModel and Embedder.

The simulated world, an HTTP endpoint and a local checkpoint are all ChatModels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from aloe.types import Usage

NO_USAGE = Usage()  # frozen, so one serves all


@dataclass(frozen=True, slots=True)
class PromptMessage:
    """A message as slots: on the wire the parts are joined, in the journal each part is stored once.

    A judge's prompt repeats the whole conversation at every turn; slots keep its storage linear in the turns.
    """

    role: str
    parts: tuple[str, ...]
    content: str = field(init=False, repr=False, compare=False)  # joined once: key, journal and model all read it

    def __post_init__(self) -> None:
        object.__setattr__(self, "content", self.parts[0] if len(self.parts) == 1 else "".join(self.parts))


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """Everything that is sent to a model. ``None`` means: leave the field out, the endpoint decides.

    Attributes:
        seed: sampling seed in [0, 2**31).
        response_format: as in OpenAI's API (``{"type": "json_schema", ...}``).
        extra: provider fields passed through unchanged.
    """

    messages: tuple[PromptMessage, ...]
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    n: int | None = None
    response_format: dict[str, Any] | None = None
    logprobs: int | None = None  # number of alternatives per token
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer. ``logprobs`` is the OpenAI ``choices[0].logprobs.content`` list where asked for.

    ``reasoning`` is what an endpoint sends beside the answer as the model's thoughts; it never becomes part of it.
    ``nothing`` says of which kind an answer without text is that is worth asking for again (``prompts.faults.KINDS``).
    """

    text: str
    finish_reason: str = "stop"
    usage: Usage = NO_USAGE
    logprobs: list[dict[str, Any]] | None = None
    reasoning: str = ""
    nothing: str = ""


@runtime_checkable
class ChatModel(Protocol):
    """Messages in, completion out.

    ``name`` is the logical name (no address); ``revision`` changes when the same name would answer differently
    (a digest of a checkpoint's weights, the world's version). Both are part of the journal's key.

    Raises:
        EndpointError: the call failed and was not worth (more) retries.
    """

    name: str
    revision: str

    async def complete(self, request: ChatRequest) -> Completion: ...

    async def aclose(self) -> None: ...


@runtime_checkable
class Embedder(Protocol):
    """Texts in, unit vectors out: float32, shape (n_texts, dim)."""

    name: str

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]: ...
