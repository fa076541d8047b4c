"""Chat over HTTP: any server that speaks OpenAI's ``/chat/completions`` (embeddings: ``models/embed/openai.py``).

One attempt per :meth:`OpenAIChatModel.complete`; retries and limits are the caller's (``limits.py``). What a server
does not accept (``max_tokens`` against ``max_completion_tokens``, temperature, system messages, JSON schema) is
learnt from its error once and remembered.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
import orjson

from aloe.config import ModelConfig
from aloe.errors import EndpointError
from aloe.models.http.connection import Endpoint, error_text, make_session
from aloe.protocols import ChatRequest, Completion
from aloe.types import Usage

log = logging.getLogger(__name__)

_REFUSES = re.compile(
    r"unsupported|not support|not allowed|unrecognized|unexpected|only the default|deprecated|extra_forbidden|"
    r"extra inputs|not permitted|invalid|unknown|incompatible|only user and",
    re.IGNORECASE,
)
_OPTIONAL = ("temperature", "top_p", "seed", "response_format", "logprobs")
_MAX_ADAPTATIONS = 6


class OpenAIChatModel:
    """A ChatModel behind an address.

    Args:
        config: address, secrets' names, time-out.
        name: logical name, part of the journal's key.
        wire_name: the model's name as the server knows it.
        session: shared session; without one the model makes its own.

    Attributes:
        observe: called with the response's headers where they hold rate limits.
    """

    def __init__(
        self,
        config: ModelConfig,
        name: str,
        revision: str,
        wire_name: str,
        session: Callable[[], aiohttp.ClientSession] | None = None,
    ) -> None:
        self.name = name
        self.revision = revision
        self.endpoint = Endpoint(config, "chat/completions")
        self.observe: Callable[[Mapping[str, str]], None] | None = None
        self._wire_name = wire_name
        self._seconds = config.timeout_seconds
        self._timeout = aiohttp.ClientTimeout(total=self._seconds, sock_connect=min(30.0, self._seconds))
        self._limit = config.max_concurrency
        self._shared = session
        self._own: aiohttp.ClientSession | None = None
        self._renamed: dict[str, str] = {}
        self._dropped: set[str] = set()
        self._system_refused = False
        self._n_learnt = 0

    def _session(self) -> aiohttp.ClientSession:
        if self._shared is not None:
            return self._shared()
        if self._own is None or self._own.closed:
            self._own = make_session(self._limit, self._seconds)
        return self._own

    def _body(self, request: ChatRequest) -> bytes:
        messages = [{"role": m.role, "content": m.content} for m in request.messages]
        if self._system_refused:
            messages = merge_system(messages)
        fields: dict[str, Any] = {"model": self._wire_name, "messages": messages}
        fields.update(sent_fields(request))
        for name, other in self._renamed.items():
            if name in fields:
                fields[other] = fields.pop(name)
        for name in self._dropped:
            fields.pop(name, None)
        return orjson.dumps(fields)

    async def complete(self, request: ChatRequest) -> Completion:
        """One attempt (and a second one right away where the server's error says how it wants to be asked).

        Raises:
            EndpointError: ``retryable`` says whether sending it again can help.
        """
        endpoint = self.endpoint
        for _ in range(_MAX_ADAPTATIONS):
            learnt = self._n_learnt
            try:
                async with self._session().post(
                    endpoint.url, data=self._body(request), headers=endpoint.headers,
                    proxy=endpoint.proxy, timeout=self._timeout, allow_redirects=False,
                ) as response:  # fmt: skip
                    raw = await response.read()
                    status, headers = response.status, response.headers
            except (TimeoutError, aiohttp.ClientError, OSError) as error:
                raise endpoint.broken(error, self.name, self._seconds) from None
            if self.observe is not None and "x-ratelimit-remaining-requests" in headers:
                self.observe(headers)
            if status == 200:
                return self._read(raw, request)
            if status not in (400, 422) and not (status == 403 and b"logprobs" in raw):
                raise endpoint.refused(status, raw, headers, self.name)
            # What was sent before another call's error taught us better is just sent again.
            if learnt == self._n_learnt and not self._adapt(raw, request):
                raise endpoint.refused(status, raw, headers, self.name)
        raise endpoint.refused(400, raw, headers, self.name)

    def _read(self, raw: bytes, request: ChatRequest) -> Completion:
        try:
            data = orjson.loads(raw)
            choices = data.get("choices")
        except (orjson.JSONDecodeError, AttributeError):
            raise self._odd(f"is not an answer: {self.endpoint.clean(raw)!r}") from None
        if not choices:
            code = data["error"].get("code") if isinstance(data.get("error"), dict) else None
            if isinstance(code, int) and code >= 400:  # some proxies answer 200 with the error inside
                raise self.endpoint.refused(code, raw, {}, self.name)
            raise self._odd(f"has no choices: {self.endpoint.clean(raw)!r}")
        try:
            choice = choices[0]
            message = choice["message"]
            content = message.get("content")
            thoughts = message.get("reasoning_content") or message.get("reasoning")  # as servers differ in the name
            text = content if isinstance(content, str) else flatten_content(content)
            found = choice.get("logprobs")
            logprobs = found.get("content") if found else None
            finish = choice.get("finish_reason") or "stop"
            usage = read_usage(data.get("usage"), request, text)
        except (KeyError, TypeError, AttributeError):
            raise self._odd(f"has an unknown shape: {self.endpoint.clean(raw)!r}") from None
        return Completion(text, finish, usage, logprobs, thoughts if isinstance(thoughts, str) else "")

    def _odd(self, what: str) -> EndpointError:
        return EndpointError(
            f"the answer of {self.name} at {self.endpoint.host} {what}",
            "check that base_url points to an OpenAI-compatible server (it ends in /v1)",
            status=200, retryable=True, possibly_billed=True,
        )  # fmt: skip

    def _adapt(self, raw: bytes, request: ChatRequest) -> bool:
        """Learn from a 400 what this server does not take; False if it says nothing that we know."""
        text = error_text(raw)
        low = text.lower()
        if "max_completion_tokens" in low and "max_tokens" not in self._renamed and request.max_tokens:
            self._renamed["max_tokens"] = "max_completion_tokens"
        elif self._renamed and "max_completion_tokens" in low:
            return False
        elif (
            "system" in low
            and re.search(r"role|message|prompt", low)
            and _REFUSES.search(low)
            and not self._system_refused
        ):
            self._system_refused = True
        else:
            names = [n for n in _OPTIONAL if n in low and n not in self._dropped and getattr(request, n) is not None]
            if "json_schema" in low and request.response_format and "response_format" not in self._dropped:
                names.append("response_format")
            if not names or not _REFUSES.search(low):
                return False
            if "logprobs" in names:
                names.append("top_logprobs")
            self._dropped.update(names)
        self._n_learnt += 1
        log.warning("%s at %s: adapted to '%s'", self.name, self.endpoint.host, self.endpoint.clean(text)[:120])
        return True

    async def aclose(self) -> None:
        if self._own is not None:
            await self._own.close()
            self._own = None


def sent_fields(request: ChatRequest) -> dict[str, Any]:
    """Everything of a request beside model and messages, as OpenAI's API names it. None and empty are left out."""
    fields: dict[str, Any] = {}
    if request.temperature is not None:
        fields["temperature"] = request.temperature
    if request.top_p is not None:
        fields["top_p"] = request.top_p
    if request.max_tokens is not None:
        fields["max_tokens"] = request.max_tokens
    if request.seed is not None:
        fields["seed"] = request.seed
    if request.stop:
        fields["stop"] = list(request.stop)
    if request.n is not None:
        fields["n"] = request.n
    if request.response_format is not None:
        fields["response_format"] = request.response_format
    if request.logprobs is not None:
        fields["logprobs"] = True
        fields["top_logprobs"] = request.logprobs
    if request.extra:
        fields.update(request.extra)
    return fields


def merge_system(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """System messages moved to the top of the first user message, for models that have no system role."""
    system = "\n\n".join(m["content"] for m in messages if m["role"] == "system")
    rest = [m for m in messages if m["role"] != "system"]
    if not system:
        return rest
    if rest and rest[0]["role"] == "user":
        return [{"role": "user", "content": f"{system}\n\n{rest[0]['content']}"}, *rest[1:]]
    return [{"role": "user", "content": system}, *rest]


def flatten_content(content: Any) -> str:
    """Content as a list of parts, or missing (a refusal, an answer that was all thinking), as text."""
    if content is None:
        return ""
    return "".join(part.get("text", "") for part in content if isinstance(part, dict))


def read_usage(data: Any, request: ChatRequest, text: str) -> Usage:
    """Token counts as reported; estimated at four characters a token where the server reports none."""
    if not data:
        sent = sum(len(part) for m in request.messages for part in m.parts)
        return Usage(prompt_tokens=sent // 4, completion_tokens=len(text) // 4)
    details = data.get("prompt_tokens_details")
    return Usage.model_construct(
        prompt_tokens=int(data.get("prompt_tokens") or 0),
        completion_tokens=int(data.get("completion_tokens") or 0),
        cached_tokens=int(details.get("cached_tokens") or 0) if details else 0,
    )
