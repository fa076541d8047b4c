"""Draws replies: the policy decodes in this process, with the weights that it has at the moment.

``Sampler`` is the seam: whoever draws hands back the token ids that were drawn, because training needs exactly these,
and a sampler that is not the trained model itself also their log-probabilities (``aloe.rl.served``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from aloe.errors import EndpointError
from aloe.models.local.batch import DecodedRow
from aloe.models.local.model import most_cached
from aloe.seeding import derive_rng

if TYPE_CHECKING:
    from aloe.training.reinforce.policy import Policy


@dataclass(frozen=True, slots=True)
class Wanted:
    """Replies to one message.

    Attributes:
        messages: the conversation, as chat templates take it. n: how many replies.
        key: names the place; with the run's seed it decides what is drawn.
    """

    messages: Sequence[Mapping[str, str]]
    n: int
    key: str


@dataclass(frozen=True, slots=True)
class Draw:
    """One reply.

    Attributes:
        ids: its tokens, the one that ended it included. is_cut: it had no room to end.
        log_probs: of ``ids`` by whoever drew them, at the temperature of the draw; None: by the trained model itself.
    """

    ids: list[int]
    text: str
    is_cut: bool
    log_probs: list[float] | None = None


@dataclass(slots=True)
class Draws:
    """The replies to one message; none where the conversation does not fit into the model's context.

    ``error``: why they could not be drawn.
    """

    prompt: list[int]
    replies: list[Draw] = field(default_factory=list)
    error: EndpointError | None = None


class Sampler(Protocol):
    """Whatever draws replies from the policy."""

    async def sample(self, wanted: Sequence[Wanted], temperature: float) -> list[Draws]:
        """Replies to each of ``wanted``, in its order; equal keys and weights, equal replies."""

    async def refresh(self, iteration: int) -> None:
        """The weights have changed: they are those after ``iteration``.

        Raises:
            EndpointError, ConfigError: the new ones could not be handed over.
        """

    async def aclose(self) -> None:
        """Let go of what it holds."""


class PolicySampler:
    """Decodes with the policy's own model, in batches.

    Args:
        max_new_tokens: of a reply. seed: of all draws.
    """

    def __init__(self, policy: Policy, max_new_tokens: int, seed: int) -> None:
        from aloe.models.local.decode import Decoder

        self._model = policy.plain
        self._decoder = Decoder.of(policy.plain, policy.tokenizer, most_cached())
        self._most = max_new_tokens
        self._seed = seed

    async def refresh(self, iteration: int) -> None:
        self._decoder.forget()

    async def aclose(self) -> None:
        return None

    async def sample(self, wanted: Sequence[Wanted], temperature: float) -> list[Draws]:
        codec = self._decoder.codec
        rows: list[DecodedRow] = []
        found: list[tuple[Draws, list[DecodedRow]]] = []
        for want in wanted:
            prompt = codec.encode([dict(m) for m in want.messages])
            room = min(self._most, codec.max_positions - len(prompt))
            mine = [self._row(prompt, room, temperature, f"{want.key}/{i}") for i in range(want.n)] if room > 0 else []
            rows += mine
            found.append((Draws(prompt), mine))
        was_training = self._model.training
        self._model.eval()
        if rows:
            self._decoder.decode(rows)
        self._model.train(was_training)
        for draws, mine in found:
            draws.replies = [self._draw(codec, row) for row in mine]
        return [draws for draws, _ in found]

    def _row(self, prompt: list[int], room: int, temperature: float, key: str) -> DecodedRow:
        uniforms = derive_rng(self._seed, "rl", "draw", key).random(room) if temperature > 0 else None
        return DecodedRow(prompt, room, temperature, None, uniforms)

    @staticmethod
    def _draw(codec: Any, row: DecodedRow) -> Draw:
        ids = [*row.new, *([] if row.end is None else [row.end])]
        return Draw(ids, codec.text(row.new), row.end is None)
