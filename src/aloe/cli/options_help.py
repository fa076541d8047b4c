"""The options of the config as help texts, made from the config's own fields."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

WIDTH = 110  # of help texts, in characters


def section_summary(prog: str, sections: Sequence[str] | None) -> str:
    """The sections that a command reads, a line each.

    Args:
        prog: the command as it is typed, e.g. ``aloe bench``.
        sections: names of sections; None = all.
    """
    from aloe.config import Config

    names = [name for name, info in Config.model_fields.items() if _is_section(info)]
    width = max(map(len, names)) + 2
    lines = [
        "options of the config, as a TOML key in a recipe or as --SECTION.OPTION VALUE here",
        f"('{prog} --help-all' lists each with its type, meaning and default):",
    ]
    for name in names:
        if sections is None or name in sections:
            lines.append(f"  {f'[{name}]':<{width}}  {_meaning(name)}")
    plain = [f"--{name}" for name, info in Config.model_fields.items() if not _is_section(info)]
    lines.append(f"  without a section: {', '.join(plain)}")
    return "\n".join(lines)


def all_options(sections: Sequence[str] | None = None) -> str:
    """Every option with type, meaning and default; those of ``sections`` first, if any are given."""
    from aloe.config import Config, fields

    sections = sections or ()
    own = [(name, info) for name, info in fields(Config) if name.partition(".")[0] in sections]
    others = [(name, info) for name, info in fields(Config) if name.partition(".")[0] not in sections]
    if not own:
        return "\n".join(["every option of the config (TOML key and --option alike):", *map(_line, others)])
    return "\n".join(
        [
            "options of the config that this command reads (TOML key and --option alike):",
            *map(_line, own),
            "",
            "every other option of the config (other stages read these):",
            *map(_line, others),
        ]
    )


def _is_section(info: Any) -> bool:
    from aloe.config import Section

    return isinstance(info.annotation, type) and issubclass(info.annotation, Section)


def _meaning(name: str) -> str:
    """The first line of a section's docstring."""
    from aloe.config import Config

    text = (Config.model_fields[name].annotation.__doc__ or "").strip()  # type: ignore[union-attr]
    return textwrap.shorten(text.partition("\n")[0], WIDTH - 16, placeholder=" ...")


def _line(option: tuple[str, Any]) -> str:
    from aloe.config import type_name

    name, info = option
    if info.is_required():
        default = "required"
    else:
        value = info.get_default(call_default_factory=True)
        if isinstance(value, tuple):
            default = ",".join(str(getattr(v, "uri", v)) for v in value)
        else:
            default = str(value)
    text = f"  --{name} {type_name(info.annotation)}"
    return f"{text:<52} {info.description or ''} [{default}]"
