"""A recipe's ``[world]``: options that the simulated writers share, put into their URIs when the recipe is read.

``values = 32`` there is ``?values=32`` in the URI of each ``world:`` model of the roles writer, user, tailored and
generic; an option in a role's own URI goes before. The resolved config holds the URIs alone, so that a model's name
says all that it is. Who reads (inducer, judge) and the benchmark's own policies always know the whole lexicon.
"""

from __future__ import annotations

from typing import Any

from aloe.config.options import ModelConfig, RolesConfig
from aloe.errors import ConfigError

WRITING_ROLES = ("writer", "user", "tailored", "generic")
SCHEME = "world:"


def with_world(table: dict[str, Any], where: str) -> dict[str, Any]:
    """``table`` without its ``[world]``, whose options are in the URIs of the roles that write.

    Raises:
        ConfigError: ``[world]`` is not a table of numbers, texts and lists of texts.
    """
    if "world" not in table:
        return table
    world = table["world"]
    if not isinstance(world, dict):
        raise ConfigError(f"{where}: world = {world!r}", "write options below a [world] line, for example values = 32")
    shared = {key.replace("-", "_"): _as_text(key, value, where) for key, value in world.items()}
    roles = table.get("roles", {})
    if not isinstance(roles, dict):
        return {key: value for key, value in table.items() if key != "world"}  # validation says what is wrong there
    defaults = RolesConfig()
    written = {
        role: _with_options(roles.get(role, [m.uri for m in getattr(defaults, role)]), shared) for role in WRITING_ROLES
    }
    return {**{key: value for key, value in table.items() if key != "world"}, "roles": {**roles, **written}}


def _with_options(models: Any, shared: dict[str, str]) -> Any:
    if isinstance(models, str) and models.startswith(SCHEME):
        return _merge(models, shared)
    if isinstance(models, ModelConfig):
        return models.model_copy(update={"uri": _merge(models.uri, shared)})
    if isinstance(models, list | tuple):
        return [_with_options(model, shared) for model in models]
    if isinstance(models, dict) and isinstance(models.get("uri"), str):
        return {**models, "uri": _with_options(models["uri"], shared)}
    return models


def _merge(uri: str, shared: dict[str, str]) -> str:
    """``uri`` with the shared options, in their order, then its own further ones."""
    if not uri.startswith(SCHEME):
        return uri
    actor, _, query = uri.partition("?")
    own = dict(part.partition("=")[::2] for part in query.split("&") if part)
    merged = {**shared, **own}
    return f"{actor}?{'&'.join(f'{key}={value}' for key, value in merged.items())}" if merged else actor


def _as_text(key: str, value: Any, where: str) -> str:
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return ",".join(value)
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)
    raise ConfigError(f"{where}: world.{key} = {value!r}", "expected a number, a text or a list of texts")
