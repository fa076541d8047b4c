"""Who plays a model in a rehearsal: the world's actor of its role, writing as much as language models typically do."""

from __future__ import annotations

import itertools
import re

from aloe.config import ModelConfig, RolesConfig
from aloe.models.uri import split_uri, split_wrapper
from aloe.protocols import ChatRequest, Completion
from aloe.types import Usage
from aloe.world.model import WorldModel

SCHEME = "rehearsal"
ACTOR = {  # the world's actor of each role, and those of a model under test
    **{name: getattr(RolesConfig(), name)[0].uri.partition(":")[2] for name in RolesConfig.model_fields},
    "responder": "assistant",
    "checkpoint": "attentive",
}
TYPICAL = {"user": 45, "tailored": 110, "generic": 110, "responder": 110}  # tokens that a language model writes
_WORDS = re.compile(r"\w+|[^\w\s]")  # about the tokens of the tiny model
FILLER = "Well, one thing leads to another, as it so often does, and that is all there is to say about it."


class StandIn:
    """The world's actor of a role, writing as much as a language model typically does."""

    def __init__(self, config: ModelConfig) -> None:
        role, _, original = split_uri(config.uri)[1].partition("/")
        self.name, self.revision = config.uri, "1"
        _, _, query = original.partition("?")  # a checkpoint that learnt from the world speaks as its teacher does
        self._actor = WorldModel(f"world:{ACTOR[role]}" + (f"?{query}" if query else ""))
        self._length = TYPICAL.get(role, 0)
        self._counts_words = bool(query)
        if config.max_tokens is not None:
            self._length = min(self._length, config.max_tokens)
        self.original = original

    async def complete(self, request: ChatRequest) -> Completion:
        return self.answer(request)

    def answer(self, request: ChatRequest) -> Completion:
        answer = self._actor.answer(request)
        text = answer.text
        missing = 4 * self._length - len(text)
        if missing > 0 and not text.startswith("{"):
            padding = itertools.islice(itertools.cycle(FILLER.split()), missing // 5)
            text = f"{' '.join(padding)}. {text}".lstrip(". ")
        n_tokens = len(_WORDS.findall(text)) + 1 if self._counts_words else max(1, len(text) // 4)
        usage = Usage(prompt_tokens=answer.usage.prompt_tokens, completion_tokens=n_tokens)
        return Completion(text, "stop", usage)

    async def aclose(self) -> None:
        return None


def stand_in(role: str, model: ModelConfig) -> ModelConfig:
    """The simulated actor that stands in for ``model``; world actors play themselves."""
    inner, wrapper = split_wrapper(model.uri)
    if split_uri(inner)[0] == "world":
        return model.model_copy(update={"base_url": None})
    uri = f"{SCHEME}:{role}/{inner}" + (f"+{wrapper}" if wrapper else "")
    return ModelConfig(uri=uri, max_tokens=model.max_tokens, weight=model.weight)
