"""Chat over HTTP: any server that speaks OpenAI's ``/chat/completions`` (embeddings: ``models/embed/openai.py``).

One attempt per :meth:`OpenAIChatModel.complete`; retries and limits are the caller's (``limits.py``). What a server
does not accept (``max_tokens`` against ``max_completion_tokens``, temperature, system messages, JSON schema) is
learnt from its error once and remembered.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
import orjson

from aloe.config import ModelConfig
from aloe.errors import EndpointError
from aloe.models.http.answers import OddAnswer, read_answer
from aloe.models.http.bodies import MAX_ANSWER, read_body
from aloe.models.http.connection import RETRYABLE_STATUS, Endpoint, make_session
from aloe.models.http.refusals import refused_field, without
from aloe.protocols import ChatRequest, Completion

log = logging.getLogger(__name__)

_MOST_FIELDS = 6  # that a server may refuse


@dataclass(frozen=True, slots=True)
class _Answer:
    """What came back for one request."""

    status: int
    raw: bytes
    headers: Mapping[str, str]

    @property
    def is_good(self) -> bool:
        return self.status == 200

    @property
    def is_passing(self) -> bool:
        return self.status in RETRYABLE_STATUS


class OpenAIChatModel:
    """A ChatModel behind an address.

    Args:
        config: address, secrets' names, time-out.
        name: logical name, part of the journal's key.
        wire_name: the model's name as the server knows it.
        session: shared session; without one the model makes its own.

    Attributes:
        observe: called with the response's headers where they hold rate limits.
        refused: fields that the server has been found not to take (``refusals``). learn: told of each new one.
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
        self.refused: set[str] = set()
        self.learn: Callable[[str], None] | None = None
        self._asking = asyncio.Lock()  # one call at a time finds out what the server does not take

    def _session(self) -> aiohttp.ClientSession:
        if self._shared is not None:
            return self._shared()
        if self._own is None or self._own.closed:
            self._own = make_session(self._limit, self._seconds)
        return self._own

    def _fields(self, request: ChatRequest) -> dict[str, Any]:
        messages = [{"role": m.role, "content": m.content} for m in request.messages]
        return {"model": self._wire_name, "messages": messages, **sent_fields(request)}

    async def complete(self, request: ChatRequest) -> Completion:
        """One attempt (and more right away where the server's error says how it wants to be asked).

        Raises:
            EndpointError: ``retryable`` says whether sending it again can help.
        """
        fields = self._fields(request)
        known = frozenset(self.refused)
        answer = await self._post(without(fields, known))
        if answer.is_good or not self._names(answer, fields, known):
            return self._take(answer, request)
        async with self._asking:
            return self._take(await self._find_out(fields), request)

    async def _find_out(self, fields: dict[str, Any]) -> _Answer:
        """Ask without one refused field after the other; what proves right is remembered for all calls."""
        tried: list[str] = []
        known = frozenset(self.refused)
        answer = await self._post(without(fields, known))  # the same again: one refusal may be an accident
        first = answer
        while not answer.is_good and len(tried) < _MOST_FIELDS:
            field = self._names(answer, fields, known | set(tried))
            if field is None:
                return answer if answer.is_passing else first  # the caller is told what was wrong to begin with
            tried.append(field)
            answer = await self._post(without(fields, known | set(tried)))
        for field in tried if answer.is_good else ():
            self.refused.add(field)
            log.warning("%s at %s does not take %s: it is asked without", self.name, self.endpoint.host, field)
            if self.learn is not None:
                self.learn(field)
        return answer if answer.is_good else first

    def _names(self, answer: _Answer, fields: dict[str, Any], known: Collection[str]) -> str | None:
        """The field that an answer refuses, if it is one that can be left out and has not been yet."""
        if answer.status not in (400, 422) and not (answer.status == 403 and b"logprobs" in answer.raw):
            return None
        return refused_field(answer.raw, without(fields, known))

    async def _post(self, fields: dict[str, Any]) -> _Answer:
        endpoint = self.endpoint
        try:
            async with self._session().post(
                endpoint.url, data=orjson.dumps(fields), headers=endpoint.headers,
                proxy=endpoint.proxy, timeout=self._timeout, allow_redirects=False,
            ) as response:  # fmt: skip
                raw = await read_body(response, MAX_ANSWER, f"{self.name} at {endpoint.host}")
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise endpoint.broken(error, self.name, self._seconds) from None
        if self.observe is not None and "x-ratelimit-remaining-requests" in response.headers:
            self.observe(response.headers)
        return _Answer(response.status, raw, response.headers)

    def _take(self, answer: _Answer, request: ChatRequest) -> Completion:
        if not answer.is_good:
            raise self.endpoint.refused(answer.status, answer.raw, answer.headers, self.name)
        return self._read(answer.raw, request)

    def _read(self, raw: bytes, request: ChatRequest) -> Completion:
        try:
            found = read_answer(raw, request)
        except OddAnswer as error:
            if error.status:
                raise self.endpoint.refused(error.status, raw, {}, self.name) from None
            raise self._odd(f"{error}: {self.endpoint.clean(raw)!r}") from None
        if self.endpoint.is_told(raw):  # a server that says our key back must not get it into the run's files
            text, thoughts = self.endpoint.redact(found.text), self.endpoint.redact(found.reasoning)
            return replace(found, text=text, reasoning=thoughts, logprobs=None)
        return found

    def _odd(self, what: str) -> EndpointError:
        return EndpointError(
            f"the answer of {self.name} at {self.endpoint.host} {what}",
            "check that base_url points to an OpenAI-compatible server (it ends in /v1)",
            status=200, retryable=True, possibly_billed=True,
        )  # fmt: skip

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
