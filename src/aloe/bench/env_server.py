"""A Gymnasium-like server of simulated users: begin a conversation, give replies, get messages and rewards as JSON.

``POST /reset`` begins a conversation and names it, ``POST /step`` gives a reply, ``POST /close`` forgets one, ``GET
/personas`` lists who can be talked with, ``GET /health`` says that it is there. A bad request is answered with 400, an
unknown conversation with 404, a failing model with 502: the same step can then be taken again.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson
from aiohttp import web

from aloe.bench.stepping import SteppedConversation, partner_of
from aloe.config import Config
from aloe.errors import AloeError, DataError, EndpointError
from aloe.models.caller import Caller
from aloe.models.guard import Guard, Refused
from aloe.types import Persona

MAX_BODY = 8 * 1024 * 1024
MAX_OPEN = 4096  # conversations kept in memory; the oldest go
Body = dict[str, Any]


@dataclass(slots=True)
class _Open:
    """A conversation of a client; its steps go one after the other."""

    conversation: SteppedConversation
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class EnvServer:
    """Users and a judge, and the conversations that clients step through.

    Args:
        personas: who the users are, in the order in which they come where a client names none.
    """

    def __init__(self, caller: Caller, config: Config, personas: Sequence[Persona]) -> None:
        self._partner, self._config = partner_of(caller, config), config
        self._personas = {persona.persona_id: persona for persona in personas}
        self._order = list(self._personas)
        self._open: dict[str, _Open] = {}
        self._n_begun = 0

    def app(self, guard: Guard) -> web.Application:
        """The application; ``guard`` says who may ask, and where its paths begin."""
        app = web.Application(client_max_size=MAX_BODY, middlewares=[_answers(guard)])
        for prefix in dict.fromkeys(("", guard.prefix)):  # the token may come as a bearer, too
            app.router.add_get(f"{prefix}/health", self.health)
            app.router.add_get(f"{prefix}/personas", self.personas)
            for name in ("reset", "step", "close"):
                app.router.add_post(f"{prefix}/{name}", getattr(self, name))
        return app

    async def health(self, _: web.Request) -> web.Response:
        return _json({"status": "ok", "n_open": len(self._open), "n_personas": len(self._personas)})

    async def personas(self, _: web.Request) -> web.Response:
        """Ids alone: who somebody is, a model has to find out."""
        return _json({"personas": self._order, "n_turns": self._config.bench.n_turns})

    async def reset(self, request: web.Request) -> web.Response:
        """``{"persona_id": ..., "sample": 0}`` begins a conversation; ``{"env_id": ...}`` begins that one anew."""
        body = await _body(request)
        if "env_id" in body:
            name = str(body["env_id"])
            held = self._held(body)
        else:
            name, held = secrets.token_hex(8), _Open(self._begin(body))
        async with held.turn:
            message = await held.conversation.reset()
        self._open[name] = held
        while len(self._open) > MAX_OPEN:
            del self._open[next(iter(self._open))]
        about = {"persona_id": held.conversation.persona.persona_id, "sample": held.conversation.sample}
        return _json({"env_id": name, "observation": message, "info": about})

    def _begin(self, body: Body) -> SteppedConversation:
        """Raises DataError: there is no such persona, or the sample is not a number."""
        sample = body.get("sample", 0)
        if not isinstance(sample, int) or isinstance(sample, bool) or not 0 <= sample < 10**6:
            raise DataError(f"sample is {str(sample)[:40]!r}", "give a whole number from 0")
        persona_id = body.get("persona_id")
        if persona_id is None:  # everybody in turn
            place, self._n_begun = self._n_begun, self._n_begun + 1
            persona_id = self._order[place % len(self._order)]
            sample += place // len(self._order)
        if str(persona_id) not in self._personas:
            raise DataError(f"there is no persona '{str(persona_id)[:80]}'", "GET /personas lists them")
        return SteppedConversation(self._partner, self._config, self._personas[str(persona_id)], sample)

    async def step(self, request: web.Request) -> web.Response:
        """``{"env_id": ..., "action": REPLY}`` gives a reply; a reward of null is an unscored one."""
        body = await _body(request)
        reply = body.get("action")
        if not isinstance(reply, str):
            raise DataError(f"action is {str(reply)[:40]!r}", "give the reply as a text")
        held = self._held(body)
        async with held.turn:
            taken = await held.conversation.step(reply)
        found = asdict(taken)
        truncated = taken.info["ended"] == "turns"
        return _json(
            {
                "observation": found["message"],
                "reward": found["reward"],
                "done": found["done"],
                "terminated": found["done"] and not truncated,
                "truncated": truncated,
                "info": found["info"],
            }
        )

    async def close(self, request: web.Request) -> web.Response:
        body = await _body(request)
        self._held(body)
        del self._open[str(body["env_id"])]
        return _json({"closed": True})

    def _held(self, body: Body) -> _Open:
        held = self._open.get(str(body.get("env_id")))
        if held is None:
            raise web.HTTPNotFound(text=f"there is no conversation '{str(body.get('env_id'))[:40]}'; reset begins one")
        return held


async def _body(request: web.Request) -> Body:
    try:
        found = orjson.loads(await request.read())
    except orjson.JSONDecodeError as error:
        raise DataError(f"the request is not valid JSON ({error})", "send an object") from None
    if not isinstance(found, dict):
        raise DataError("the request is not a JSON object", 'send {"env_id": ..., "action": ...}')
    return found


def _json(found: object, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(found), status=status, content_type="application/json")


def _answers(guard: Guard) -> Any:
    @web.middleware
    async def answer(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        try:
            guard.check(request)
            return await handler(request)
        except Refused as error:
            return _json({"error": str(error)}, 403)
        except EndpointError as error:
            return _json({"error": str(error)}, 502)
        except AloeError as error:
            return _json({"error": str(error)}, 400)
        except web.HTTPException as error:
            return _json({"error": error.text or error.reason}, error.status)

    return answer
