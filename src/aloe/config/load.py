"""From recipes to a config: reads TOML, applies command-line overrides, writes the resolved config."""

from __future__ import annotations

import hashlib
import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import orjson
from pydantic import BaseModel, ValidationError

from aloe.config.files import parse_toml, read_small_text
from aloe.config.options import Config, ModelConfig
from aloe.config.secrets import HINT
from aloe.config.section import Section
from aloe.config.world import with_world
from aloe.errors import ConfigError, nearest

START = "hf:{sft.model}"  # in bench.models


def recipe_names() -> list[str]:
    """Names of the recipes that ship with the package."""
    folder = resources.files("aloe.recipes")
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml"))


def read_recipe(recipe: str | Path, seen: tuple[str, ...] = ()) -> tuple[dict[str, Any], str]:
    """The recipe's raw table and where it came from: a packaged name, or a path.

    A top-level ``extends = "paper"`` (or a file beside it) is read first, and the recipe's own keys go on top.

    Args:
        seen: recipes that extend this one, to find circles.

    Raises:
        ConfigError: no such recipe, or not TOML.
    """
    path = Path(recipe)
    if str(recipe) in recipe_names():  # before a file or folder of that name, which ./NAME means
        text = resources.files("aloe.recipes").joinpath(f"{recipe}.toml").read_text("utf-8")
        where, path = f"recipe '{recipe}'", Path()
    elif path.suffix == ".toml" or path.exists():
        if not path.is_file():
            raise ConfigError(
                f"recipe file {path} does not exist", f"give a path or one of: {', '.join(recipe_names())}"
            )
        text, where = read_small_text(path, "recipe file"), str(path)
    else:
        raise ConfigError(
            f"no recipe named '{recipe}'{nearest(str(recipe), recipe_names())}",
            f"give a path to a .toml file or one of: {', '.join(recipe_names())}",
        )
    try:
        table = parse_toml(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where} is not valid TOML: {error}", "correct that line") from error
    return _extended(table, where, path.parent if path.is_file() else None, seen), where


def _extended(table: dict[str, Any], where: str, folder: Path | None, seen: tuple[str, ...]) -> dict[str, Any]:
    """The table on top of the recipe that ``extends`` names: a packaged name, or a path from the recipe's folder."""
    below = table.pop("extends", None)
    if below is None:
        return table
    if not isinstance(below, str):
        raise ConfigError(f"{where}: extends = {below!r}", "name one recipe, as text")
    if folder is not None and below.endswith(".toml"):
        below = str(folder / below)
    if below in seen:
        raise ConfigError(f"{where}: extends '{below}', which extends it", "remove one of the two lines")
    return merge(read_recipe(below, (*seen, below))[0], table)


def parse_overrides(arguments: list[str]) -> dict[str, Any]:
    """``["--trees.n-turns", "5", "--seed=1"]`` as a nested table. Values are read as TOML, else as strings."""
    table: dict[str, Any] = {}
    pending = list(arguments)
    while pending:
        option = pending.pop(0)
        if not option.startswith("--"):
            raise ConfigError(f"unexpected argument '{option}'", "options look like --trees.n_turns 5")
        name, equals, value = option[2:].partition("=")
        if not equals:
            if not pending:
                raise ConfigError(f"option --{name} has no value", f"write --{name} VALUE")
            value = pending.pop(0)
        target = table
        *parents, leaf = name.replace("-", "_").split(".")
        for parent in parents:
            target = target.setdefault(parent, {})
            if not isinstance(target, dict):
                raise ConfigError(f"option --{name} clashes with an earlier one", "give one of them")
        target[leaf] = _toml_value(value)
    return table


def _toml_value(text: str) -> Any:
    if text.lower() in ("none", "null"):
        return None
    try:
        return parse_toml(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError as error:
        if text.startswith("{"):
            raise ConfigError(
                f"'{text}' is not a valid TOML table ({error})",
                "write it like '{uri = \"openai:MODEL\", temperature = 0}'",
            ) from error
        return text


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """``over`` on top of ``base``, table by table."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def load_config(recipe: str | Path | None = None, overrides: dict[str, Any] | None = None) -> Config:
    """Recipe plus overrides, validated.

    Raises:
        ConfigError: one line that names the key, what was got, what is expected and the nearest valid name.
    """
    table, where = read_recipe(recipe) if recipe is not None else ({}, "the built-in defaults")
    if recipe is not None and "world" in (overrides or {}) and "world" not in table:
        raise ConfigError(
            f"{where} has no [world] whose options could be changed",
            "set them in the roles' URIs, for example --roles.user 'world:user?values=16'",
        )
    return validate(merge(table, overrides or {}), where)


def validate(table: dict[str, Any], where: str) -> Config:
    """A raw table as a config.

    Raises:
        ConfigError: one line that names the key, what was got, what is expected and the nearest valid name.
    """
    try:
        return Config.model_validate(_with_start(with_world(table, where), where))
    except ValidationError as error:
        raise ConfigError(*_explain(error, where)) from None


def _with_start(table: dict[str, Any], where: str) -> dict[str, Any]:
    """``table`` with ``hf:{sft.model}`` in bench.models as the model that SFT starts from.

    Raises:
        ConfigError: it stands there, but sft.model is not set.
    """
    bench, sft = table.get("bench"), table.get("sft")
    models = bench.get("models") if isinstance(bench, dict) else None
    if START not in repr(models):
        return table
    start = sft.get("model") if isinstance(sft, dict) else None
    if not isinstance(start, str):
        raise ConfigError(f"{where}: bench.models names {START}, but sft.model is not set", "set sft.model, or name it")
    uri = f"hf:{start.removeprefix('hf:')}"

    def put(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [put(inner) for inner in value]
        if isinstance(value, dict):
            return {key: put(inner) for key, inner in value.items()}
        return uri if value == START else value

    return {**table, "bench": {**bench, "models": put(models)}} if isinstance(bench, dict) else table


def make_model(**fields: Any) -> ModelConfig:
    """A model from options of the command line.

    Raises:
        ConfigError: one line, as :func:`validate`.
    """
    try:
        return ModelConfig.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"{'.'.join(map(str, first['loc']))} {first['msg'].partition(';')[0]}", HINT) from None


def _explain(error: ValidationError, where: str) -> tuple[str, str]:
    first = error.errors()[0]
    names = [str(part) for part in first["loc"]]
    dotted = ".".join(names)
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        valid = list(_section_at(names[:-1]).model_fields)
        parent = ".".join(names[:-1])
        near = nearest(names[-1], valid)
        if not near:  # perhaps it belongs to another section
            everywhere = {path.rpartition(".")[2]: path for path, _ in fields()}
            near = nearest(names[-1], everywhere)
            for name, path in everywhere.items():
                near = near.replace(f"'{name}'", f"'{path}'")
        inside = f"[{parent}]" if parent else "the top level"
        return f"{where}: unknown key '{dotted}'{near}{more}", f"valid in {inside}: {', '.join(valid)}"
    if first["type"] == "secret":  # what was got is not repeated
        said, _, hint = first["msg"].rpartition("; ")
        return f"{where}: {dotted} {said}{more}", hint
    got, said = f"{first['input']!r}", first["msg"].lower()
    if first["type"] == "string_pattern_mismatch":  # the option's own words instead of a regular expression
        said = f"expected {_section_at(names[:-1]).model_fields[names[-1]].description or said}"
    return (
        f"{where}: {dotted} = {got[:80]}: {said}{more}",
        "'aloe run --help-all' lists every option with its type",
    )


def _section_at(names: list[str]) -> type[BaseModel]:
    section: type[BaseModel] = Config
    for name in names:
        if name.isdigit() or name not in section.model_fields:
            continue
        inner = _inner_section(section.model_fields[name].annotation)
        if inner is not None:
            section = inner
    return section


def _inner_section(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in get_args(annotation):
        found = _inner_section(part)
        if found is not None:
            return found
    return None


def type_name(annotation: Any) -> str:
    """A short name of a field's type for help texts."""
    if annotation is type(None):
        return "none"
    if get_origin(annotation) is Literal:
        return "|".join(str(a) for a in get_args(annotation))
    if get_origin(annotation) is Union or str(type(annotation)).endswith("UnionType'>"):
        return "|".join(type_name(a) for a in get_args(annotation))
    if get_origin(annotation) is Annotated:
        return type_name(get_args(annotation)[0])
    if get_origin(annotation) in (tuple, list):
        return f"[{type_name(get_args(annotation)[0])}, ...]"
    if get_origin(annotation) is dict:
        return "table"
    if isinstance(annotation, type) and issubclass(annotation, ModelConfig):
        return "model"
    return getattr(annotation, "__name__", str(annotation))


def fields(section: type[BaseModel] = Config, prefix: str = "") -> list[tuple[str, Any]]:
    """All leaf options as (dotted name, pydantic FieldInfo), in order of declaration."""
    found: list[tuple[str, Any]] = []
    for name, info in section.model_fields.items():
        annotation = info.annotation
        if isinstance(annotation, type) and issubclass(annotation, Section) and annotation is not ModelConfig:
            found.extend(fields(annotation, f"{prefix}{name}."))
        else:
            found.append((f"{prefix}{name}", info))
    return found


def dump_toml(config: Config) -> str:
    """The resolved config as TOML (None fields left out); loading it gives the same config back."""
    lines: list[str] = ["# resolved by aloe; every option, defaults included"]
    _dump_table(config.model_dump(mode="json"), "", lines)
    return "\n".join(lines) + "\n"


def _dump_table(table: dict[str, Any], prefix: str, lines: list[str]) -> None:
    for key, value in table.items():
        if value is not None and not isinstance(value, dict):
            lines.append(f"{key} = {_toml(value)}")
    for key, value in table.items():
        if isinstance(value, dict) and (value or not prefix):
            lines.extend(["", f"[{prefix}{key}]"])
            _dump_table(value, f"{prefix}{key}.", lines)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    if isinstance(value, dict):
        return (
            "{" + ", ".join(f"{orjson.dumps(k).decode()} = {_toml(v)}" for k, v in value.items() if v is not None) + "}"
        )
    if isinstance(value, str):
        return orjson.dumps(value).decode().replace("\x7f", "\\u007f")
    return repr(value)


def digest(value: Any) -> str:
    """Short content hash of a config (section) or any JSON-able value; independent of dict order."""
    data = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    return hashlib.blake2b(orjson.dumps(data, option=orjson.OPT_SORT_KEYS), digest_size=8).hexdigest()
