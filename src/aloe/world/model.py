"""WorldModel: the simulated world behind the same protocol as any language model.

``world:ACTOR?option=value&...``. The answer is a function of the messages' content and the seed, so it is the same
in process and over HTTP, now or later, in any order. Token counts are estimates (four characters a token).
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from operator import attrgetter

from aloe.errors import ConfigError, nearest
from aloe.protocols import ChatRequest, Completion
from aloe.types import Usage
from aloe.world.assistant import ACTORS
from aloe.world.lexicon.dialect_wording import digest_of_dialects
from aloe.world.lexicon.options import Options, narrow, parse_options
from aloe.world.lexicon.wording import digest_of_wording

WORLD_VERSION = "3"  # raise it when an actor would answer differently
SCHEME = "world:"
_CONTENT = attrgetter("content")


@lru_cache(maxsize=1)
def world_revision() -> str:
    """The world's version and a digest of its lexicon."""
    lexicon = narrow()
    text = repr((lexicon.slots, lexicon.traits, lexicon.topics)).encode()
    return f"world-{WORLD_VERSION}-{hashlib.blake2b(text, digest_size=4).hexdigest()}"


def _revision_of(options: Options) -> str:
    """The world's revision; of those who write in the wide wording, of neutral matters or in a dialect, with a digest
    of that."""
    own = [world_revision()]
    if options.is_wide or options.neutral:
        own.append(digest_of_wording())
    if options.dialect:
        own.append(digest_of_dialects())
    return "-".join(own)


def actor_names() -> tuple[str, ...]:
    return tuple(ACTORS)


class WorldModel:
    """One actor of the world as a ChatModel.

    Args:
        uri: ``world:user?hints=0.3``; see ``lexicon.options.Options`` for the options.

    Raises:
        ConfigError: no such actor or option.
    """

    def __init__(self, uri: str) -> None:
        actor, _, query = uri.removeprefix(SCHEME).partition("?")
        if actor not in ACTORS:
            raise ConfigError(
                f"model '{uri}': the world has no actor '{actor}'{nearest(actor, ACTORS)}",
                f"use one of: {', '.join(ACTORS)}",
            )
        self.name = uri if uri.startswith(SCHEME) else SCHEME + uri
        self._actor = ACTORS[actor]
        self._options = parse_options(query, f"model '{uri}'")
        self.revision = _revision_of(self._options)

    def answer(self, request: ChatRequest) -> Completion:
        """The answer, without waiting (there is nothing to wait for)."""
        text = self._actor(request.messages, request.seed, self._options)
        finish = "stop"
        if request.max_tokens is not None and len(text) > 4 * request.max_tokens:
            text, finish = text[: 4 * request.max_tokens], "length"
        n_prompt = sum(map(len, map(_CONTENT, request.messages))) // 4
        return Completion(text, finish, Usage(prompt_tokens=n_prompt, completion_tokens=max(1, len(text) // 4)))

    async def complete(self, request: ChatRequest) -> Completion:
        return self.answer(request)

    async def aclose(self) -> None:
        return None
