"""Learns from an error which field of a request a server does not accept, and asks without it.

A refusal is believed where the error names the field, the same request is refused for it again, and the request without
it is answered. Everything else stays an error of the one call.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import orjson

SYSTEM = "system"  # the role, among the fields that a server may refuse
RENAMED = {"max_tokens": "max_completion_tokens"}
_FIELDS = ("temperature", "top_p", "seed", "response_format", "logprobs")
_ALSO = {"top_logprobs": "logprobs", "json_schema": "response_format"}  # other names of a field
_TELLS = (
    r"unsupported|not supported|n[o']t support|not allowed|not permitted|unrecognized|unexpected|only the default|"
    r"deprecated|extra_forbidden|extra inputs|unknown (?:parameter|field|argument)|incompatible|removed"
)
_REFUSES = re.compile(_TELLS, re.IGNORECASE)
_NAMES = re.compile(rf"(?<![\w.-])(?:{'|'.join((*_FIELDS, *_ALSO, *RENAMED))})(?![\w-])", re.IGNORECASE)
_SYSTEM = re.compile(
    rf"\bsystem\W{{1,4}}(?:role|message|prompt|instruction)s?\b[^.;]{{0,40}}(?:{_TELLS})|"
    r"n[o']t support[^.;]{0,40}\b(?:system|developer instruction)|only user and\b",
    re.IGNORECASE,
)
_REACH = 80  # characters between a field's name and what is said of it


def refused_field(raw: bytes, sent: Mapping[str, Any]) -> str | None:
    """The field of a request that an error of the server names, ``SYSTEM`` for the system role; None: none of ours.

    Args:
        raw: body of the error.
        sent: the request's fields.
    """
    text, named = _what_it_says(raw)
    has_system = any(message["role"] == "system" for message in sent["messages"])
    if named is not None:
        field = _ALSO.get(named, named)
        if field.startswith("messages") and has_system and _SYSTEM.search(text):
            return SYSTEM
        return field if field in sent and _is_refused(field, text) else None
    if has_system and _SYSTEM.search(text):
        return SYSTEM
    for match in _NAMES.finditer(text):
        field = _ALSO.get(match.group().lower(), match.group().lower())
        around = text[max(0, match.start() - _REACH) : match.end() + _REACH]
        if field in sent and _is_refused(field, around):
            return field
    return None


def _is_refused(field: str, text: str) -> bool:
    if field in RENAMED:
        return RENAMED[field] in text
    return field in _FIELDS and _REFUSES.search(text) is not None


def _what_it_says(raw: bytes) -> tuple[str, str | None]:
    """An error's message, and the parameter that it names apart from it."""
    try:
        data = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return raw[:4096].decode("utf-8", "replace"), None
    inner = data.get("error", data) if isinstance(data, dict) else data
    if not isinstance(inner, dict):
        return str(inner)[:4096], None
    param = inner.get("param")
    details = inner.get("detail")
    if isinstance(details, list) and details and isinstance(details[0], dict):  # FastAPI: [{"loc": ["body", "seed"]}]
        where = details[0].get("loc")
        last = where[-1] if isinstance(where, list) and where else None
        return orjson.dumps(details[0]).decode()[:4096], last if isinstance(last, str) else None
    message = inner.get("message") or details
    text = message if isinstance(message, str) else orjson.dumps(inner).decode()
    return text[:4096], param if isinstance(param, str) and param else None


def merge_system(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """System messages moved to the top of the first user message, for models that have no system role."""
    system = "\n\n".join(m["content"] for m in messages if m["role"] == "system")
    rest = [m for m in messages if m["role"] != "system"]
    if not system:
        return rest
    if rest and rest[0]["role"] == "user":
        return [{"role": "user", "content": f"{system}\n\n{rest[0]['content']}"}, *rest[1:]]
    return [{"role": "user", "content": system}, *rest]


def without(fields: dict[str, Any], refused: Collection[str]) -> dict[str, Any]:
    """A request in the form that the server takes: ``refused`` fields left out, renamed, or put elsewhere."""
    kept = dict(fields)
    for name in refused:
        if name == SYSTEM:
            kept["messages"] = merge_system(kept["messages"])
        elif name in RENAMED and name in kept:
            kept[RENAMED[name]] = kept.pop(name)
        else:
            kept.pop(name, None)
            if name == "logprobs":
                kept.pop("top_logprobs", None)
    return kept
