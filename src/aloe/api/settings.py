"""From the arguments of the Python API to the config that the command line would have read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aloe.config import Config, ModelConfig, load_config, merge
from aloe.config.load import make_model
from aloe.errors import ConfigError, DataError
from aloe.models.registry import lend
from aloe.protocols import ChatModel
from aloe.types import Persona

Model = str | ModelConfig | ChatModel
Models = Model | Sequence[Model]
People = str | Path | Sequence[Persona]
EVERYBODY = 10**6  # at most so many personas of a file


def table_of(model: Model) -> dict[str, Any]:
    """A model as a recipe's table.

    Raises:
        ConfigError: it is none, or has no name.
    """
    if isinstance(model, str):
        return {"uri": model}
    if isinstance(model, ModelConfig):
        return model.model_dump(mode="json", exclude_unset=True)
    if isinstance(model, ChatModel):
        return {"uri": lend(model)}
    raise ConfigError(
        f"{model!r:.80} is not a model", "give a URI, an aloe.ModelConfig, or an object with name, revision, complete"
    )


def tables_of(models: Models) -> list[dict[str, Any]]:
    """One model or several, as a recipe's tables.

    Raises:
        ConfigError: see ``table_of``; or two objects that the journal could not tell apart.
    """
    several = [models] if isinstance(models, str | ModelConfig | ChatModel) else list(models)
    refuse_twins(several)
    return [table_of(model) for model in several]


def refuse_twins(models: Sequence[object]) -> None:
    """Raises ConfigError where two model objects have the same name and revision."""
    own: dict[tuple[str, str], object] = {}
    for model in models:
        if isinstance(model, ChatModel) and own.setdefault((model.name, model.revision), model) is not model:
            raise ConfigError(f"two models are called '{model.name}'", "give each its own name or revision")


def one_model(model: Model) -> ModelConfig:
    """A single model as the config knows it."""
    return make_model(**table_of(model))


def config_for(
    recipe: str | Path | None,
    options: Mapping[str, Any] | None,
    given: Mapping[str, Any],
) -> Config:
    """The config of a recipe, changed by ``options`` (tables as in a recipe) and then by ``given``.

    Args:
        given: tables of options; those that are None were not given.

    Raises:
        ConfigError: one line that names the option.
    """
    return load_config(recipe, merge(dict(options or {}), _without_none(given)))


def _without_none(table: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in table.items():
        if isinstance(value, Mapping):
            if inner := _without_none(value):
                found[name] = inner
        elif value is not None:
            found[name] = value
    return found


def people_of(personas: People, seed: int) -> list[Persona]:
    """Personas as they are, or those of a file or of ``packaged``.

    Raises:
        DataError: no such file, nothing in it, or something else than personas.
    """
    if isinstance(personas, str | Path):
        from aloe.personas.stage import read_bench_file

        return read_bench_file(str(personas), EVERYBODY, seed)
    found = list(personas)
    for place, persona in enumerate(found, 1):
        if not isinstance(persona, Persona):
            raise DataError(
                f"persona {place} is {persona!r:.60}", "make each with aloe.make_persona(profile, personality)"
            )
    return found


def result_name(name: str) -> str:
    """The name of a result, which is that of its folder, too.

    Raises:
        ConfigError: a path.
    """
    if not name or "/" in name or "\\" in name or name in (".", ".."):
        raise ConfigError(f"name {name!r} is not a valid name for a result", "give a plain name without slashes")
    return name
