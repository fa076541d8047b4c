"""Lists what a config makes this computer do: send secrets, ask hosts, render prompts, load plug-ins.

A recipe of one's own is trusted. A run directory may come from anybody, and its config names variables of the
environment, addresses, prompt files and plug-ins; ``exposures`` lists them, so that they can be shown and confirmed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from aloe.config.files import read_small_text
from aloe.config.options import Config, ModelConfig
from aloe.errors import ConfigError

OPENAI_URL = "https://api.openai.com/v1"
OPENAI_BASE = "OPENAI_BASE_URL"  # where it is set, models without an address are asked there
OPENAI_KEY = "OPENAI_API_KEY"  # used where a config names no variable, for OpenAI's own address and that one
IN_PROCESS = ("world", "hf")
Kind = Literal["secret", "endpoint", "prompts", "plug-in", "code", "folder"]


@dataclass(frozen=True, slots=True, order=True)
class Exposure:
    """One thing that a config brings about.

    Attributes:
        name: tells it from others, for the list of what was confirmed. text: for people.
    """

    kind: Kind
    name: str
    text: str

    @property
    def key(self) -> str:
        """As it is kept."""
        return f"{self.kind} {self.name}"


def address_of(model: ModelConfig) -> str | None:
    """The address that a model is asked at; None where it answers in this process."""
    if model.base_url is not None:
        return model.base_url
    return usual_address() if model.uri.partition(":")[0] == "openai" else None


def usual_address() -> str:
    """Where ``openai:`` models without an address are asked: at ``$OPENAI_BASE_URL``, else at OpenAI's own."""
    return os.environ.get(OPENAI_BASE, "").strip() or OPENAI_URL


def usual_key(model: ModelConfig) -> str | None:
    """The variable of the key where a config names none: OpenAI's, for its own address and the environment's."""
    if is_openais(address_of(model)):
        return OPENAI_KEY
    return OPENAI_KEY if model.base_url is None and os.environ.get(OPENAI_KEY, "").strip() else None


def is_openais(address: str | None) -> bool:
    """Whether an address is OpenAI's own."""
    return urlsplit(address or "").hostname == urlsplit(OPENAI_URL).hostname


def host_of(model: ModelConfig) -> str:
    """Host and port that a model's calls go to; empty where it answers in this process."""
    address = address_of(model)
    return urlsplit(address).netloc if address else ""


def told(model: ModelConfig) -> str:
    """A model as it is shown to people: its URI, and the host that its calls go to."""
    host = host_of(model)
    return f"{model.uri} at {host}" if host else model.uri


def secrets_of(model: ModelConfig) -> dict[str, str]:
    """Header -> variable of the environment, for every secret that goes to the model's host."""
    if address_of(model) is None:
        return {}
    key = model.api_key_env or usual_key(model)
    return ({"Authorization": key} if key else {}) | model.headers_env


def exposures(config: Config) -> tuple[Exposure, ...]:
    """Everything of a config that is to be confirmed before it is used, each once, in order."""
    return tuple(sorted(set(_find(config))))


def _find(config: Config) -> Iterator[Exposure]:
    for model in models_of(config):
        scheme = model.uri.partition(":")[0]
        host = host_of(model)
        if host:
            yield Exposure("endpoint", host, f"send conversations to {host}")
        for header, variable in secrets_of(model).items():
            yield Exposure("secret", f"{variable} {header} {host}", f"send ${variable} to {host} ({header})")
        if not host and scheme not in IN_PROCESS:
            yield Exposure("plug-in", scheme, f"use the plug-in that brings '{scheme}:'")
    for section, names in (("methods", config.methods), ("suites", config.suites)):
        for name in names:
            yield Exposure("plug-in", f"{section} {name}", f"use the plug-in '{name}' of [{section}]")
    if config.rl.weights_command:
        command = config.rl.weights_command
        yield Exposure("code", f"weights {command}", f"run the command '{command}' after every iteration of rl")
    if config.rl.weights_dir:
        place = config.rl.weights_dir
        yield Exposure("folder", f"weights {Path(place).resolve()}", f"write weights to {place}")
    if config.prompts_dir is not None:
        yield Exposure(
            "prompts", f"{Path(config.prompts_dir).resolve()} {_digest(Path(config.prompts_dir))}",
            f"use the prompt files of {config.prompts_dir}",
        )  # fmt: skip
    if config.personas.embedder.startswith("st:"):
        yield Exposure("code", config.personas.embedder, f"load the sentence model {config.personas.embedder[3:]}")
    if config.execution.executor == "ray" and config.execution.address is not None:
        where = config.execution.address
        yield Exposure("code", f"ray {where}", f"run its shards on the Ray cluster at {where}")
    if config.execution.journal_dir is not None:
        folder = config.execution.journal_dir
        yield Exposure("folder", str(Path(folder).resolve()), f"keep its journal in {folder}")


def models_of(config: Config) -> Iterator[ModelConfig]:
    """Every model that a config names, for whatever purpose."""
    for role in type(config.roles).model_fields:
        yield from getattr(config.roles, role)
    yield from (*config.bench.models, *(config.bench.judge or ()), *(config.bench.user or ()))
    if config.rl.server is not None:
        yield ModelConfig(uri="openai:policy", base_url=config.rl.server, api_key_env=config.rl.server_key_env)
    if config.personas.embedder.startswith("openai:") and not any(
        model.uri.startswith("openai:") for model in config.roles.writer
    ):
        yield ModelConfig(uri=config.personas.embedder)  # at the usual address


def _digest(folder: Path) -> str:
    """Of the prompt files' texts: confirmed is what stands there now."""
    texts = hashlib.blake2b(digest_size=8)
    for file in sorted(folder.glob("*.jinja")) if folder.is_dir() else ():
        try:
            texts.update(f"{file.name}\0{read_small_text(file, 'prompt')}\0".encode())
        except ConfigError as error:  # whoever reads the prompts complains
            texts.update(str(error).encode())
    return texts.hexdigest()
