"""The conversation as each role sees it, rebuilt from the tree for every call.

A ``PathState`` is one path from the opening message to a reply. It is extended by copying, so siblings share
their past and cannot disturb each other.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from aloe.protocols import PromptMessage
from aloe.types import Disclosure, Message, Persona


def content_id(*parts: str) -> str:
    """A short content hash: equal content, equal id, on any machine."""
    return hashlib.blake2b("\x1f".join(parts).encode(), digest_size=8).hexdigest()


def make_tree_id(persona: Persona, replicate: int, purpose: str = "tree") -> str:
    """Id of one conversation tree; ``purpose`` keeps the passes of one run (trees, rollout) apart."""
    return content_id(purpose, persona.profile, persona.personality, str(replicate))


@dataclass(frozen=True, slots=True)
class PathState:
    """Everything said on one path, in the three views that prompts need.

    Attributes:
        node_id: the last node of the path (the tree's id at the start).
        history: as a responder sees it (user = the user).
        flipped: as the user simulator sees it (its own messages are role assistant).
        revealed: what the user has revealed so far, in order of arrival.
    """

    node_id: str
    turn: int = 0
    messages: tuple[Message, ...] = ()
    node_ids: tuple[str, ...] = ()
    history: tuple[PromptMessage, ...] = ()
    flipped: tuple[PromptMessage, ...] = ()
    revealed: tuple[Disclosure, ...] = ()

    def with_user(self, node_id: str, text: str) -> PathState:
        return replace(
            self,
            node_id=node_id,
            turn=self.turn + 1,
            messages=(*self.messages, Message.model_construct(role="user", content=text)),
            node_ids=(*self.node_ids, node_id),
            history=(*self.history, PromptMessage("user", (text,))),
            flipped=(*self.flipped, PromptMessage("assistant", (text,))),
        )

    def with_reply(self, node_id: str, text: str) -> PathState:
        return replace(
            self,
            node_id=node_id,
            messages=(*self.messages, Message.model_construct(role="assistant", content=text)),
            node_ids=(*self.node_ids, node_id),
            history=(*self.history, PromptMessage("assistant", (text,))),
            flipped=(*self.flipped, PromptMessage("user", (text,))),
        )

    def with_revealed(self, new: tuple[Disclosure, ...]) -> PathState:
        return replace(self, revealed=(*self.revealed, *new)) if new else self
