"""Completions for the values of arguments: recipes, stages, models, paths. Called by argcomplete."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def nothing(**_: object) -> Iterable[str]:
    """For numbers and names that only the user knows."""
    return ()


def paths(prefix: str, suffix: str = "", **_: object) -> list[str]:
    """Files and directories that begin with ``prefix``, directories with a slash at the end.

    Args:
        suffix: only files that end so; directories are offered always, for what may be in them.
    """
    folder, _slash, begun = prefix.rpartition("/")
    place = Path(f"{folder}/" if _slash else ".").expanduser()
    start = f"{folder}/" if _slash else ""
    try:
        entries = sorted(os.scandir(place), key=lambda entry: entry.name)
    except OSError:
        return []
    found = []
    for entry in entries:
        if not entry.name.startswith(begun) or (entry.name.startswith(".") and not begun.startswith(".")):
            continue
        if entry.is_dir():
            found.append(f"{start}{entry.name}/")
        elif entry.name.endswith(suffix):
            found.append(f"{start}{entry.name}")
    return found


def recipes(prefix: str, **_: object) -> list[str]:
    """Names of recipes, ``.toml`` files and directories."""
    from aloe.config.load import recipe_names

    return [*recipe_names(), *paths(prefix, ".toml")]


def stages(**_: object) -> list[str]:
    """Names of the stages, in their order."""
    from aloe.stages.table import STAGES

    return [stage.name for stage in STAGES]


def prompts(prefix: str, **_: object) -> list[str]:
    """Names of prompts."""
    from aloe.prompts import PromptSet

    return list(PromptSet().hashes)


def models(prefix: str, **_: object) -> list[str]:
    """Schemes of model URIs, the world's actors, the wrappers after a plus sign, and paths after ``hf:``."""
    from aloe.models.uri import WRAPPERS

    inner, plus, _begun = prefix.rpartition("+")
    if plus and ":" in inner:
        return [f"{inner}+{wrapper}" for wrapper in WRAPPERS]
    if prefix.startswith("world:"):
        from aloe.world.model import actor_names

        return [f"world:{actor}" for actor in actor_names()]
    if prefix.startswith("hf:"):
        return [f"hf:{path}" for path in paths(prefix.removeprefix("hf:"))]
    return ["world:", "openai:", "hf:"]


def config_value(name: str, info: Any) -> Any:
    """The completer for the value of an option of the config.

    Args:
        name: dotted name of the option.
        info: its pydantic field.
    """
    from aloe.config import type_name

    kinds = type_name(info.annotation).split("|")
    if kinds[0] == "[model, ...]" or kinds[0] == "model":
        return models
    if name == "skip":
        return stages
    if kinds[0] == "bool":
        return lambda **_: ["true", "false"]
    if kinds[0] in ("int", "float") or kinds[0].startswith("["):
        return nothing
    if kinds[0] == "str":
        return paths
    return lambda **_: kinds
