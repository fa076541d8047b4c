"""The reference of all options as Markdown tables, made from the fields of the config."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from aloe.config import Config, ModelConfig, Section, type_name


def reference() -> str:
    """A table of the options without a section, one for models, and one for each section."""
    plain = {name: info for name, info in Config.model_fields.items() if not _is_section(info.annotation)}
    parts = [
        "## At the top",
        "",
        table("", plain.items()),
        "",
        "## Models",
        "",
        table("", ModelConfig.model_fields.items()),
    ]
    for name, info in Config.model_fields.items():
        if _is_section(info.annotation):
            parts += ["", f"## [{name}]", "", _summary(info.annotation), "", *_section(name, info.annotation)]
    return "\n".join(parts)


def _section(name: str, section: type[BaseModel]) -> list[str]:
    leaves = [(key, info) for key, info in section.model_fields.items() if not _is_section(info.annotation)]
    parts = [table(f"{name}.", leaves)]
    for key, info in section.model_fields.items():
        if _is_section(info.annotation):
            parts += ["", *_section(f"{name}.{key}", info.annotation)]
    return parts


def table(prefix: str, options: Iterable[tuple[str, Any]]) -> str:
    """Options with type, default and meaning, a row each."""
    rows = ["| option | type | default | meaning |", "|---|---|---|---|"]
    for name, info in options:
        kind = _cell(type_name(info.annotation))
        rows.append(f"| `{prefix}{name}` | {kind} | {_default(info)} | {_cell(info.description or '')} |")
    return "\n".join(rows)


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section) and annotation is not ModelConfig


def _summary(section: type[BaseModel]) -> str:
    return (section.__doc__ or "").strip().partition("\n")[0].replace("``", "`")


def _default(info: Any) -> str:
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True)
    if value is None or value is PydanticUndefined:
        return "none"
    if isinstance(value, tuple):
        value = ", ".join(str(getattr(item, "uri", item)) for item in value)
    elif isinstance(value, bool):
        value = str(value).lower()
    return f"`{value}`" if value not in ("", {}) else "empty"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
