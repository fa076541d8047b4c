"""An OpenAI-compatible server for any ChatModel: the world, local checkpoints, plug-ins.

``/v1/chat/completions`` (also streamed), ``/v1/models``, ``/health``. Loopback unless told otherwise; who may ask is
the guard's matter. A bad request is answered with 400 and an error in OpenAI's shape, a failing model with 500.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from aiohttp import web

from aloe.config import ModelConfig
from aloe.errors import AloeError, ConfigError, EndpointError
from aloe.models.guard import Guard, Refused, in_address, own_hosts
from aloe.models.registry import create_model
from aloe.protocols import ChatModel, ChatRequest, Completion, PromptMessage
from aloe.world.anyone import Anyone
from aloe.world.model import actor_names

log = logging.getLogger(__name__)

Resolver = Callable[[str], ChatModel]
_KNOWN = {
    "model", "messages", "temperature", "top_p", "max_tokens", "max_completion_tokens", "seed", "stop", "n",
    "response_format", "logprobs", "top_logprobs", "stream", "stream_options",
}  # fmt: skip
_RANGES = {  # beyond these a request only costs memory or time
    "max_tokens": (1, 1_000_000), "max_completion_tokens": (1, 1_000_000), "top_logprobs": (0, 1000), "n": (1, 128),
    "temperature": (0, 1000), "top_p": (0, 1),
}  # fmt: skip
_ROLES = {"system", "user", "assistant", "developer", "tool"}
_MAX_BODY = 64 * 1024 * 1024


class BadRequest(ValueError):
    """What the client sent is not a chat request."""


class Running:
    """A started server: ``host``, ``port``, ``base_url``; :meth:`aclose` stops it."""

    def __init__(self, runner: web.AppRunner, host: str, port: int, prefix: str) -> None:
        self._runner = runner
        self.host = host
        self.port = port
        self.base_url = f"http://{in_address(host)}:{port}{prefix}/v1"

    async def aclose(self) -> None:
        await self._runner.cleanup()


async def start_server(
    models: Mapping[str, ChatModel] | Resolver, host: str = "127.0.0.1", port: int = 0, guard: Guard | None = None
) -> Running:
    """Serve ``models``: by name, or a function from name to model that raises ConfigError for unknown names.

    Args:
        port: 0 takes a free one.
        guard: who may ask; default: whoever reaches it, by its own names and as JSON. The command line adds a token.
    """
    guard = guard or Guard(own_hosts(host))
    app = make_app(models, guard)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    try:
        await site.start()
    except OSError as error:
        await runner.cleanup()
        raise ConfigError(f"can't listen on {host}:{port}: {error.strerror}", "choose another port") from error
    bound = runner.addresses[0][1]
    return Running(runner, host, bound, guard.prefix)


def make_app(models: Mapping[str, ChatModel] | Resolver, guard: Guard) -> web.Application:
    """The server as an aiohttp application."""
    service = _Service(models)
    app = web.Application(client_max_size=_MAX_BODY, middlewares=[_answers(guard)])
    for prefix in dict.fromkeys(("", guard.prefix)):  # the token may come as a bearer, too
        app.router.add_post(f"{prefix}/v1/chat/completions", service.chat)
        app.router.add_get(f"{prefix}/v1/models", service.list_models)
        app.router.add_get(f"{prefix}/health", service.health)
    return app


def _answers(guard: Guard) -> Any:
    @web.middleware
    async def answer(http: web.Request, handler: Any) -> web.StreamResponse:
        try:
            guard.check(http)
        except Refused as error:
            return _failed(403, str(error), "permission_error")
        response: web.StreamResponse = await handler(http)
        return response

    return answer


def resolve_world(cache: dict[str, ChatModel] | None = None, any_model: bool = False) -> Resolver:
    """A resolver that makes any ``world:...`` model on demand.

    Args:
        any_model: every other name too: its prompt says which of the world's actors answers.
    """
    made = {} if cache is None else cache

    def resolve(name: str) -> ChatModel:
        if name not in made:
            if any_model and not name.startswith("world:"):
                made[name] = Anyone(name)
                return made[name]
            if not name.startswith("world:"):
                raise ConfigError(f"this server has no model '{name}'", "ask for a name like world:user")
            made[name] = create_model(ModelConfig.model_validate({"uri": name}))
        return made[name]

    return resolve


def serve_forever(
    models: Mapping[str, ChatModel] | Resolver,
    address: tuple[str, int],
    guard: Guard,
    started: Callable[[Running], None],
) -> None:
    """Serve until interrupted.

    Args:
        address: host and port. guard: who may ask. started: is told where.
    """

    async def main() -> None:
        running = await start_server(models, *address, guard)
        started(running)
        try:
            await asyncio.Event().wait()
        finally:
            await running.aclose()

    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        log.info("server stopped")


class _Service:
    def __init__(self, models: Mapping[str, ChatModel] | Resolver) -> None:
        self._models = models

    def _find(self, name: str) -> ChatModel:
        if callable(self._models):
            return self._models(name)
        if name in self._models:
            return self._models[name]
        raise ConfigError(f"this server has no model '{name}'", f"it has: {', '.join(self._models)}")

    async def health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def list_models(self, _: web.Request) -> web.Response:
        names = [f"world:{name}" for name in actor_names()] if callable(self._models) else list(self._models)
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "aloe"} for name in names]
        return web.json_response({"object": "list", "data": data})

    async def chat(self, http: web.Request) -> web.StreamResponse:
        try:
            request, name, stream = read_request(orjson.loads(await http.read()))
            model = self._find(name)
        except (BadRequest, orjson.JSONDecodeError) as error:
            return _failed(400, str(error), "invalid_request_error")
        except ConfigError as error:
            return _failed(404, str(error), "invalid_request_error", "model_not_found")
        try:
            completion = await model.complete(request)
        except EndpointError as error:
            return _failed(error.status if error.status >= 400 else 502, str(error), "upstream_error")
        except AloeError as error:
            return _failed(400, str(error), "invalid_request_error")
        except Exception as error:
            log.exception("model %s failed", name)
            return _failed(500, f"{type(error).__name__}: {error}", "server_error")
        if stream:
            return await _stream(http, name, completion)
        return web.Response(body=orjson.dumps(_answer(name, completion)), content_type="application/json")


def read_request(body: Any) -> tuple[ChatRequest, str, bool]:
    """A request body as (request, model name, whether to stream).

    Raises:
        BadRequest: what is wrong with it, in one line.
    """
    if not isinstance(body, dict):
        raise BadRequest("the body must be a JSON object")
    name = body.get("model")
    if not isinstance(name, str) or not name:
        raise BadRequest("'model' must be a string")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRequest("'messages' must be a list with at least one message")
    limit = _number(body, "max_completion_tokens", int)
    top = _number(body, "top_logprobs", int)
    stop = body.get("stop")
    if stop is not None and not isinstance(stop, str | list):
        raise BadRequest("'stop' must be a string or a list of strings")
    request = ChatRequest(
        messages=tuple(_read_message(m, i) for i, m in enumerate(messages)),
        temperature=_number(body, "temperature", float),
        top_p=_number(body, "top_p", float),
        max_tokens=limit if limit is not None else _number(body, "max_tokens", int),
        seed=_number(body, "seed", int),
        stop=(stop,) if isinstance(stop, str) else tuple(map(str, stop or ())),
        n=_number(body, "n", int),
        response_format=body.get("response_format"),
        logprobs=(top or 0) if body.get("logprobs") else None,
        extra={k: v for k, v in body.items() if k not in _KNOWN},
    )
    return request, name, bool(body.get("stream"))


def _read_message(data: Any, i: int) -> PromptMessage:
    if not isinstance(data, dict) or data.get("role") not in _ROLES:
        raise BadRequest(f"messages[{i}] must have a role: {', '.join(sorted(_ROLES))}")
    content = data.get("content")
    if isinstance(content, list) and all(isinstance(p, dict) and isinstance(p.get("text", ""), str) for p in content):
        content = "".join(p.get("text", "") for p in content)
    if not isinstance(content, str):
        raise BadRequest(f"messages[{i}].content must be a string")
    return PromptMessage(data["role"], (content,))


def _number(body: dict[str, Any], name: str, kind: type) -> Any:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int if kind is int else int | float):
        raise BadRequest(f"'{name}' must be a number, got {value!r:.80}")
    low, high = _RANGES.get(name, (-math.inf, math.inf))
    if not low <= value <= high:
        raise BadRequest(f"'{name}' must be from {low:,} to {high:,}, got {value!r:.80}")
    return value


def _answer(name: str, completion: Completion) -> dict[str, Any]:
    usage = completion.usage
    return {
        "id": "chatcmpl-aloe",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": name,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": completion.text},
                "finish_reason": completion.finish_reason,
                "logprobs": None if completion.logprobs is None else {"content": completion.logprobs},
            }
        ],
        "usage": {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        },
    }


async def _stream(http: web.Request, name: str, completion: Completion) -> web.StreamResponse:
    """The finished answer as server-sent events, a few words each."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    await response.prepare(http)
    whole = _answer(name, completion)

    async def send(delta: dict[str, Any], finish: str | None) -> None:
        chunk = {
            "id": whole["id"], "object": "chat.completion.chunk", "created": whole["created"], "model": name,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        }  # fmt: skip
        await response.write(b"data: " + orjson.dumps(chunk) + b"\n\n")

    await send({"role": "assistant", "content": ""}, None)
    text = completion.text
    for start in range(0, len(text), 24):
        await send({"content": text[start : start + 24]}, None)
    await send({}, completion.finish_reason)
    await response.write(b"data: [DONE]\n\n")
    await response.write_eof()
    return response


def _failed(status: int, message: str, kind: str, code: str | None = None) -> web.Response:
    body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return web.Response(status=status, body=orjson.dumps(body), content_type="application/json")
