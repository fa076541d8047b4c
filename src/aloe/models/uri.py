"""Parses a model's URI: its scheme, its short name, the wrapper through which it is asked.

``SCHEME:REST``, and a wrapper as a suffix (``openai:NAME+inducer``). Nothing here opens a model:
:mod:`aloe.models.registry` does, and what a wrapper asks stands in :mod:`aloe.dialogue.wrappers`.
"""

from __future__ import annotations

from pathlib import Path

from aloe.config import ModelConfig
from aloe.config.plugins import plug_in_names
from aloe.errors import ConfigError

WRAPPERS = ("inducer", "selfcritic", "persona", "reminder")
MEMORIES = ("history", "window", "memory", "recall")  # what a model is given of earlier turns (dialogue.memory)
MEMORY_PLUG_INS = "aloe.memories"


def split_uri(uri: str) -> tuple[str, str]:
    """``"openai:gpt-4o"`` -> ``("openai", "gpt-4o")``.

    Raises:
        ConfigError: no scheme, or nothing after it.
    """
    scheme, colon, rest = uri.partition(":")
    if not colon or not rest:
        raise ConfigError(f"'{uri}' is not a valid model URI", "write world:ACTOR, openai:MODEL or hf:PATH_OR_ID")
    return scheme, rest


def plain_name(uri: str) -> str:
    """A short name for files and tables: ``"world:oracle?x=1"`` -> ``"oracle"``, a path -> its last part.

    A wrapper stays part of it: ``"hf:runs/a/checkpoints/sft+persona"`` -> ``"sft+persona"``.
    """
    inner, wrapper = split_wrapper(uri)
    _, rest = split_uri(inner)
    name = rest.partition("?")[0].rstrip("/").rpartition("/")[2]
    return f"{name}+{wrapper.replace(':', '-')}" if wrapper else name


def split_wrapper(uri: str) -> tuple[str, str | None]:
    """``"openai:x+inducer"`` -> ``("openai:x", "inducer")``; any other plus sign is part of the name.

    A memory may have an argument: ``"openai:x+memory:256"`` -> ``("openai:x", "memory:256")``.
    """
    inner, plus, suffix = uri.rpartition("+")
    return (inner, suffix) if plus and (suffix in WRAPPERS or is_memory(suffix)) else (uri, None)


def is_memory(wrapper: str | None) -> bool:
    """Whether a wrapper is a memory: one of ``MEMORIES``, or one that a plug-in brings."""
    name = (wrapper or "").partition(":")[0]
    return bool(name) and (name in MEMORIES or (name not in WRAPPERS and name in plug_in_names(MEMORY_PLUG_INS)))


def portable(uri: str) -> str:
    """A URI without the place of the checkpoint that it names: ``"hf:runs/a/checkpoints/sft"`` -> ``"hf:sft"``.

    What tells checkpoints apart is the digest of their weights. Ids of the hub, and everything else, stay as they are.
    """
    inner, wrapper = split_wrapper(uri)
    scheme, rest = split_uri(inner)
    if scheme not in ("hf", "openai") or not Path(rest).is_dir():
        return uri
    return f"{scheme}:{Path(rest).resolve().name}{f'+{wrapper}' if wrapper else ''}"


def unwrap(model: ModelConfig) -> tuple[ModelConfig, str | None]:
    """The model inside, with all its settings, and the wrapper's name; the model itself where there is none."""
    inner, wrapper = split_wrapper(model.uri)
    return (model.model_copy(update={"uri": inner}) if wrapper else model), wrapper


def is_in_process(config: ModelConfig) -> bool:
    """Whether calls stay in this process and need no limits: the world and local checkpoints without address."""
    return config.base_url is None and split_uri(config.uri)[0] in ("world", "hf")
