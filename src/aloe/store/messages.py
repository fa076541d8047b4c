"""Messages as chat logs write them, in many forms, as plain ones: ``{"role": ..., "content": text}``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aloe.config.files import parse_json

USER, ASSISTANT = "user", "assistant"
_ROLES = {
    "human": USER, "user": USER, "humanmessage": USER, "humanmessagechunk": USER,
    "ai": ASSISTANT, "assistant": ASSISTANT, "gpt": ASSISTANT, "chatgpt": ASSISTANT, "bing": ASSISTANT,
    "bard": ASSISTANT, "model": ASSISTANT, "aimessage": ASSISTANT, "aimessagechunk": ASSISTANT,
    "system": "system", "developer": "system", "systemmessage": "system",
}  # fmt: skip
_INSIDE = ("messages", "message", "choices", "generations", "input", "output", "inputs", "outputs", "kwargs", "data")
_PLAIN = ("question", "query", "prompt", "answer", "response", "text", "content", "value")
DEEPEST = 12  # forms within forms


def as_messages(value: Any, role: str = USER, depth: int = 0) -> list[dict[str, str]]:
    """The messages in a value of any usual form: text, OpenAI's, LangChain's, OpenTelemetry's, or an answer's body.

    Args:
        role: of what names none. Tools and functions keep a role of their own.
    """
    if depth > DEEPEST or value is None:
        return []
    if isinstance(value, str):
        inner = _parsed(value)
        if inner is not None:
            return as_messages(inner, role, depth + 1)
        return [{"role": role, "content": value}] if value.strip() else []
    if isinstance(value, list):
        if value and isinstance(value[0], list):  # LangChain: a list of messages for each prompt of a batch
            return as_messages(value[0], role, depth + 1)
        return [message for part in value for message in as_messages(part, role, depth + 1)]
    if not isinstance(value, dict):
        return []
    own = _role_of(value)
    if own is not None:
        return [{"role": own, "content": _content_of(value)}]
    for name in _INSIDE:
        inner = value.get(name)
        if isinstance(inner, list) and name in ("choices", "generations"):
            inner = inner[:1]  # one of several answers
        if inner and (found := as_messages(inner, role, depth + 1)):
            return found
    for name in _PLAIN:
        if isinstance(value.get(name), str | list) and (text := text_of(value[name])):
            return [{"role": role, "content": text}]
    return []


def _parsed(text: str) -> Any:
    """What a text holds that is JSON of messages; None where it is just text."""
    if text.lstrip()[:1] not in ("[", "{"):
        return None
    try:
        found = parse_json(text)
    except (json.JSONDecodeError, RecursionError):
        return None
    is_form = isinstance(found, dict) or (isinstance(found, list) and found and isinstance(found[0], dict | list))
    return found if is_form and as_messages(found) else None


def _role_of(value: Mapping[str, Any]) -> str | None:
    """The role of a message, None for what is no message."""
    name = value.get("role", value.get("from"))
    kind = value.get("type")
    if name is None and isinstance(value.get("id"), list) and value["id"]:  # LangChain: the path of its class
        name = str(value["id"][-1])
        return _ROLES.get(name.lower(), "tool" if name.endswith("Message") else None)
    if name is None and isinstance(kind, str) and any(k in value for k in ("content", "data", "kwargs")):
        if kind in ("message", "constructor") or kind.lower() not in _ROLES | {"tool": "", "function": ""}:
            return None
        name = kind
    return None if not isinstance(name, str) else _ROLES.get(name.lower(), "tool")


def _content_of(value: Mapping[str, Any]) -> str:
    for holder in (value, value.get("kwargs"), value.get("data")):
        if isinstance(holder, Mapping):
            for name in ("content", "parts", "text", "value"):
                if text := text_of(holder.get(name)):
                    return text
    return ""


def text_of(value: object) -> str:
    """A text; of content in parts, the parts that are text."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, list):
        return ""
    texts = []
    for part in value:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict) and part.get("type", "text") in ("text", "input_text", "output_text"):
            texts.append(text_of(part.get("text", part.get("content"))))
    return "\n".join(filter(None, texts))
