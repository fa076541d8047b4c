"""The conversation as each role sees it, rebuilt from the tree for every call.

A ``PathState`` is one path from the opening message to a reply. It is extended by copying, so siblings share
their past and cannot disturb each other.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from aloe.prompts.sections import Slots, turn_part
from aloe.protocols import PromptMessage
from aloe.types import Disclosure, Message, Persona, Role

_NOTHING = Slots(())


def content_id(*parts: str) -> str:
    """A short content hash: equal content, equal id, on any machine."""
    return hashlib.blake2b("\x1f".join(parts).encode(), digest_size=8).hexdigest()


def make_tree_id(persona: Persona, replicate: int, purpose: str = "tree") -> str:
    """Id of one conversation tree; ``purpose`` keeps the passes of one run (trees, rollout) apart."""
    return content_id(purpose, persona.profile, persona.personality, str(replicate))


@dataclass(frozen=True, slots=True)
class PathState:
    """Everything said on one path, in the four views that prompts need.

    Attributes:
        node_id: the last node of the path (the tree's id at the start).
        history: as a responder sees it (user = the user).
        flipped: as the user simulator sees it (its own messages are role assistant).
        shown: as judge and inducer see it, the parts of a ``<conversation>``; kept, so that a turn costs no more the
            later it comes.
        revealed: what the user has revealed so far, in order of arrival.
        session: number of the session, from 1. began: how many messages earlier sessions hold.
    """

    node_id: str
    turn: int = 0
    messages: tuple[Message, ...] = ()
    node_ids: tuple[str, ...] = ()
    history: tuple[PromptMessage, ...] = ()
    flipped: tuple[PromptMessage, ...] = ()
    shown: Slots = _NOTHING
    revealed: tuple[Disclosure, ...] = ()
    session: int = 1
    began: int = 0

    @property
    def present(self) -> tuple[PromptMessage, ...]:
        """The history of this session alone: what a model has before it that remembers nothing."""
        return self.history[self.began :] if self.began else self.history

    @property
    def opens_session(self) -> bool:
        """Whether a session after the first is about to begin."""
        return self.session > 1 and self.began == len(self.messages)

    def with_session(self) -> PathState:
        """The same path as the user comes back to it later."""
        return replace(self, session=self.session + 1, began=len(self.messages))

    def with_user(self, node_id: str, text: str) -> PathState:
        return replace(
            self,
            node_id=node_id,
            turn=self.turn + 1,
            messages=(*self.messages, Message.model_construct(role="user", content=text)),
            node_ids=(*self.node_ids, node_id),
            history=(*self.history, PromptMessage("user", (text,))),
            flipped=(*self.flipped, PromptMessage("assistant", (text,))),
            shown=self._with_part("user", text),
        )

    def with_reply(self, node_id: str, text: str) -> PathState:
        return replace(
            self,
            node_id=node_id,
            messages=(*self.messages, Message.model_construct(role="assistant", content=text)),
            node_ids=(*self.node_ids, node_id),
            history=(*self.history, PromptMessage("assistant", (text,))),
            flipped=(*self.flipped, PromptMessage("user", (text,))),
            shown=self._with_part("assistant", text),
        )

    def _with_part(self, role: Role, text: str) -> Slots:
        return Slots((*self.shown.parts, turn_part(role, len(self.messages) // 2 + 1, text)))

    def with_revealed(self, new: tuple[Disclosure, ...]) -> PathState:
        return replace(self, revealed=(*self.revealed, *new)) if new else self
