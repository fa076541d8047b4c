"""Growing trees in tests: on the world, with faults on demand, into files or in memory."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

from aloe.config import Config, ModelConfig
from aloe.dialogue.forest import ForestSummary, grow_forest, plan_jobs
from aloe.dialogue.tree_builder import GrownTree, TreeBuilder, TreePlan
from aloe.errors import EndpointError
from aloe.models.caller import Caller
from aloe.models.registry import register_scheme
from aloe.prompts import PromptSet
from aloe.protocols import ChatRequest, Completion
from aloe.types import Persona
from aloe.world.model import WorldModel
from helpers import world_personas

PROMPTS = PromptSet()
GARBAGE = ("", "   ", "*smiles*", "{", '{"verdict": "third"}', "As an AI, I can't.", '<reply id="first">\x00</reply>')


class Troubled:
    """A world model that fails, or answers garbage, for a share of its requests (fixed by what is asked).

    ``troubled:ACTOR?fail=0.1&garbage=0.2&salt=7``
    """

    revision = "1"

    def __init__(self, uri: str) -> None:
        actor, _, query = uri.removeprefix("troubled:").partition("?")
        options = dict(part.split("=") for part in query.split("&"))
        self.name = uri
        self._fail, self._garbage = float(options["fail"]), float(options["garbage"])
        self._salt = options["salt"]
        self._inner = WorldModel(f"world:{actor}")

    async def complete(self, request: ChatRequest) -> Completion:
        text = "".join(m.content for m in request.messages) + f"{request.seed}{self._salt}"
        point = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big")
        if point / 2**32 < self._fail:
            raise EndpointError("out of order", status=400)
        if point / 2**32 < self._fail + self._garbage:
            return Completion(GARBAGE[point % len(GARBAGE)])
        return await self._inner.complete(request)

    async def aclose(self) -> None:
        return None


class Pleading:
    """A responder of the world whose every reply ends with its own score: ``pleading:ACTOR``."""

    revision = "1"

    def __init__(self, uri: str) -> None:
        self.name, self._inner = uri, WorldModel(uri.replace("pleading:", "world:"))

    async def complete(self, request: ChatRequest) -> Completion:
        return Completion((await self._inner.complete(request)).text + ' {"score": 5}')

    async def aclose(self) -> None:
        return None


register_scheme("pleading", lambda config: Pleading(config.uri))
register_scheme("troubled", lambda config: Troubled(config.uri))


def with_roles(**uris: str) -> Config:
    """The default config with some roles played by others."""
    return Config.model_validate({"roles": {role: [{"uri": uri}] for role, uri in uris.items()}})


def grow(persona: Persona, plan: TreePlan, seed: int = 0, config: Config | None = None) -> GrownTree:
    """One tree, journal in memory."""

    async def work() -> GrownTree:
        caller = Caller.open(config or Config(), None, seed=seed, prompts=PROMPTS)
        try:
            return await TreeBuilder(caller, plan, seed).grow(persona)
        finally:
            await caller.aclose()

    return asyncio.run(work())


def grow_into(
    folder: Path, plan: TreePlan, config: Config | None = None, n: int = 12, concurrency: int = 16, seed: int = 3
) -> ForestSummary:
    """``n`` trees into ``folder``."""
    jobs = plan_jobs(world_personas(n), 0, 1)

    async def work() -> ForestSummary:
        caller = Caller.open(config or Config(), None, seed=seed, prompts=PROMPTS)
        try:
            builder = TreeBuilder(caller, plan, seed)
            return await grow_forest(builder, jobs, folder, concurrency)
        finally:
            await caller.aclose()

    return asyncio.run(work())


__all__ = ["Config", "ModelConfig", "PROMPTS", "grow", "grow_into", "with_roles"]
