"""JSON schemas of the structured answers, for endpoints that can enforce one (``structured = true``).

The parsers in ``aloe.prompts.parsers`` read the same shapes from free text, so that a schema only saves retries.
"""

from __future__ import annotations

from typing import Any


def _object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _format(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": name, "strict": True, "schema": schema}}


_TEXT = {"type": "string"}
_NUMBER = {"type": "number"}
_ITEM = _object(
    item=_TEXT,
    kind={"type": "string", "enum": ["fact", "trait"]},
    status={"type": "string", "enum": ["stated", "implied"]},
    evidence=_TEXT,
    turn={"type": "integer"},
)

# prompt name -> OpenAI's response_format
RESPONSE_FORMATS: dict[str, dict[str, Any]] = {
    "writer": _format("descriptions", _object(descriptions={"type": "array", "items": _TEXT})),
    "inducer": _format("revealed", _object(revealed={"type": "array", "items": _ITEM})),
    "from_chats": _format("described", _object(profile=_TEXT, personality=_TEXT)),
    "judge_compare": _format(
        "verdict", _object(reason=_TEXT, verdict={"type": "string", "enum": ["first", "second", "tie"]})
    ),
    **{
        name: _format("score", _object(reason=_TEXT, style=_NUMBER, content=_NUMBER, natural=_NUMBER, score=_NUMBER))
        for name in ("judge_score", "judge_percent", "judge_binary")
    },
}
