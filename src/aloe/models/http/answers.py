"""Reads an endpoint's answer field by field: coerced where that is safe, refused where it is not valid.

Counts that no call can have used are not believed: they would defeat the budget, or the database that keeps them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from aloe.prompts.faults import EMPTY, FILTERED, REFUSAL, THINKING, TOOLS, is_blank
from aloe.protocols import ChatRequest, Completion
from aloe.types import Usage

MAX_TOKENS = 100_000_000  # of one call; no context is a hundredth as long
MAX_TEXT = 1_000_000  # characters of one answer
_FINISH = 32  # characters of a finish_reason


class OddAnswer(ValueError):
    """What an endpoint sent is not an answer; ``status`` is that of an error inside it, 0 where there is none."""

    def __init__(self, what: str, status: int = 0) -> None:
        super().__init__(what)
        self.status = status


def read_answer(raw: bytes, request: ChatRequest) -> Completion:
    """The completion in the body of an OpenAI-compatible answer.

    Raises:
        OddAnswer: it is none.
    """
    try:
        data = orjson.loads(raw)
    except (orjson.JSONDecodeError, RecursionError):
        raise OddAnswer("is not an answer") from None
    if not isinstance(data, dict):
        raise OddAnswer("is not an answer")
    choices = data.get("choices")
    if not choices:
        inner = data.get("error")
        code = inner.get("code") if isinstance(inner, dict) else None
        # Some proxies answer 200 with the error inside.
        raise OddAnswer("has no choices", code if isinstance(code, int) and 400 <= code < 600 else 0)
    choice = choices[0] if isinstance(choices, list) else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise OddAnswer("has an unknown shape")
    text = read_text(message.get("content"))
    found = choice.get("logprobs")
    logprobs = found.get("content") if isinstance(found, dict) else None
    thoughts = message.get("reasoning_content") or message.get("reasoning")  # as servers differ in the name
    finish = choice.get("finish_reason")
    return Completion(
        text,
        finish[:_FINISH] if isinstance(finish, str) and finish else "stop",
        read_usage(data.get("usage"), request, text),
        logprobs if isinstance(logprobs, list) else None,
        thoughts[:MAX_TEXT] if isinstance(thoughts, str) else "",
        why_nothing(message, finish, thoughts) if is_blank(text) else "",
    )


def read_text(content: Any) -> str:
    """A message's content as text: a string, a list of parts, or missing (a refusal, an answer that was all thinking).

    Raises:
        OddAnswer: something else, or longer than any answer.
    """
    if content is None:
        return ""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        content = "".join(part for part in parts if isinstance(part, str))
    if not isinstance(content, str):
        raise OddAnswer("has a content that is not text")
    if len(content) > MAX_TEXT:
        raise OddAnswer(f"has {len(content):,} characters of text, more than {MAX_TEXT:,}")
    return content


def why_nothing(message: Mapping[str, Any], finish: Any, thoughts: Any) -> str:
    """Of which kind an answer without text is (``prompts.faults.KINDS``); empty where its length ended it.

    An answer that ended by length would end there again.
    """
    if finish == "length":
        return ""
    if message.get("refusal") or finish == "refusal":
        return REFUSAL
    if finish == "content_filter":
        return FILTERED
    if message.get("tool_calls") or message.get("function_call"):
        return TOOLS
    return THINKING if thoughts else EMPTY


def read_usage(data: Any, request: ChatRequest, text: str) -> Usage:
    """Token counts as reported; estimated at four characters a token where the server reports none, or nonsense."""
    data = data if isinstance(data, dict) else {}
    sent = sum(len(part) for m in request.messages for part in m.parts)
    prompt = read_count(data.get("prompt_tokens"), sent // 4 if not data else 0, sent // 4)
    details = data.get("prompt_tokens_details")
    cached = read_count(details.get("cached_tokens"), 0, 0) if isinstance(details, dict) else 0
    return Usage.model_construct(
        prompt_tokens=prompt,
        completion_tokens=read_count(data.get("completion_tokens"), len(text) // 4 if not data else 0, len(text) // 4),
        cached_tokens=min(cached, prompt),
    )


def read_count(value: Any, missing: int, wrong: int) -> int:
    """A number of tokens; ``missing`` where none is given, ``wrong`` where it can't be one."""
    if value is None:
        return missing
    if isinstance(value, str) and value.isdecimal() and len(value) < 12:
        value = int(value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return int(value) if is_number and 0 <= value <= MAX_TOKENS else wrong  # also where it is not a number
