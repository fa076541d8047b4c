"""Help texts for the options of the config, made from the config's fields."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

WIDTH = 110  # of help texts, in characters
Option = tuple[str, Any]  # dotted name, pydantic's FieldInfo


def section_summary(prog: str, sections: Sequence[str] | None) -> str:
    """The sections that a command reads, a line each.

    Args:
        prog: the command as it is typed, e.g. ``aloe bench``.
        sections: names of sections, or of tables in them (``methods.NAME``); None = all.
    """
    from aloe.config import Config

    shown = None if sections is None else {name.partition(".")[0] for name in sections}
    lines = [
        "options of the config, as a TOML key in a recipe or as --SECTION.OPTION VALUE here",
        f"('{prog} --help-all' lists each with its type, meaning and default):",
    ]
    plain = []
    for name, info in Config.model_fields.items():
        if not _is_section(info) and not _is_table(info):
            plain.append(f"--{name}")
        elif shown is None or name in shown:
            label = f"[{name}.NAME]" if _is_table(info) else f"[{name}]"
            lines.append(f"  {label:<15}  {textwrap.shorten(_meaning(info), WIDTH - 19, placeholder=' ...')}")
    return "\n".join([*lines, f"  without a section: {', '.join(plain)}"])


def all_options(sections: Sequence[str] | None = None, more: Sequence[Option] = ()) -> str:
    """Every option with type, meaning and default; those of ``sections`` first, if any are given.

    Args:
        more: options that the command reads and the config does not declare itself (of a plug-in).
    """
    from aloe.config import Config, fields

    first = {name.partition(".")[0] for name in sections or ()}
    own = [*more, *(option for option in fields(Config) if option[0].partition(".")[0] in first)]
    others = [option for option in fields(Config) if option[0].partition(".")[0] not in first]
    world = f"{'  --world.OPTION str|float':<52} an option shared by the simulated roles that write (see recipe demo)"
    if not own:
        return "\n".join(["every option of the config (TOML key and --option alike):", *map(_line, others), world])
    return "\n".join(
        [
            "options of the config that this command reads (TOML key and --option alike):",
            *map(_line, own),
            "",
            "every other option of the config:",
            *map(_line, others),
            world,
        ]
    )


def _is_section(info: Any) -> bool:
    from aloe.config import Section

    return isinstance(info.annotation, type) and issubclass(info.annotation, Section)


def _is_table(info: Any) -> bool:
    from aloe.config import type_name

    return type_name(info.annotation) == "table"


def _meaning(info: Any) -> str:
    """A field's description, or the first line of a section's docstring."""
    text = info.description or (info.annotation.__doc__ or "").strip().partition("\n")[0]
    return str(text).replace("``", "'")


def _line(option: Option) -> str:
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
