"""Loads entry points of installed plug-ins; one that cannot be imported gives one line that names it."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

from aloe.errors import ConfigError


def plug_in_names(group: str) -> list[str]:
    """Names of the entry points of a group, in alphabetical order; nothing is imported."""
    return sorted({point.name for point in entry_points(group=group)})


def load_plug_in(group: str, name: str) -> Any:
    """The object that the entry point ``name`` of ``group`` stands for.

    Raises:
        ConfigError: there is none of that name, or its package cannot be imported.
    """
    for point in entry_points(group=group, name=name):
        try:
            return point.load()
        except (ImportError, AttributeError, SyntaxError) as error:
            raise ConfigError(
                f"plug-in '{name}' of {group} ({point.value}) cannot be loaded: {type(error).__name__}: {error}",
                "correct or uninstall the package that provides it",
            ) from error
    raise ConfigError(f"no plug-in '{name}' of {group} is installed", "install the package that provides it")
