"""A model of any name, played by the actor of the world that its prompt asks for: for recipes that name real models."""

from __future__ import annotations

from collections.abc import Sequence

from aloe.protocols import ChatRequest, Completion, PromptMessage
from aloe.world.model import WorldModel, world_revision

# The first line whose marks all stand in the prompt says who is asked.
_MARKS = (
    (("<rubric scope=",), "judge"),
    (("<examples>", "<task kind="), "persona-writer"),
    (('<task kind="describe"',), "inducer"),
    (('<task kind="goal"',), "user"),
    (('<task kind="session"',), "user"),
    (("<revealed>",), "tailored"),
    (("<persona>", "<conversation>"), "inducer"),
    (("<persona>", "You are a helpful assistant"), "assistant"),  # a responder that is told the persona
    (("<persona>",), "user"),
)


def actor_for(messages: Sequence[PromptMessage]) -> str:
    """The actor that the prompt speaks to; whoever is asked without any of its sections replies as an assistant."""
    text = "\n".join(message.content for message in messages)
    return next((actor for marks, actor in _MARKS if all(mark in text for mark in marks)), "assistant")


class Anyone:
    """Answers under any name as the world's actors do, with no options."""

    def __init__(self, name: str) -> None:
        self.name, self.revision = name, world_revision()
        self._actors: dict[str, WorldModel] = {}

    async def complete(self, request: ChatRequest) -> Completion:
        actor = actor_for(request.messages)
        return await self._actors.setdefault(actor, WorldModel(actor)).complete(request)

    async def aclose(self) -> None:
        return None
