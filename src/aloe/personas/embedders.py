"""Embedders for the persona pool: texts to unit vectors, compared by the novelty filter (paper section 3.1).

``lexical`` needs nothing but numpy (:mod:`aloe.personas.lexical`). ``world`` sees a description as the simulated world
does: as its facts and trait poles, so that the same meaning in other words is the same vector. ``st:NAME_OR_PATH`` is
sentence-transformers (extra ``embed``), ``openai:MODEL`` an embeddings endpoint.

A cosine means something only together with the embedder that made it: thresholds are per embedder and per kind of
text (:mod:`aloe.personas.threshold`).
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from aloe.config import Config, ModelConfig
from aloe.errors import ConfigError, nearest
from aloe.personas.lexical import LexicalEmbedder, Vectors, length_of, spread
from aloe.protocols import Embedder

if TYPE_CHECKING:
    from aloe.models.caller import Caller


FIRST_CHOICE = "sentence-transformers/all-MiniLM-L6-v2"  # small, and calibrated in personas/threshold.py
log = logging.getLogger(__name__)


class WorldEmbedder:
    """A description as its facts and trait poles in the simulated world; other texts fall back to ``lexical``.

    Two profiles of eight facts that share three have cosine 3/8; two personalities of four traits that differ in
    one pole have 3/4; the same poles in other words have 1. Directions of items are hashed and nearly orthogonal.
    """

    name = "world"
    dim = 1024
    _ENTRIES = 8  # non-zero entries per item

    def __init__(self) -> None:
        self._lexical = LexicalEmbedder(self.dim)

    def embed(self, texts: Sequence[str]) -> Vectors:
        return np.stack([self._embed_one(t) for t in texts]) if texts else np.zeros((0, self.dim), np.float32)

    def _embed_one(self, text: str) -> Vectors:
        from aloe.world.latent import read_persona  # the world reads its own language; not needed for real texts

        as_facts, as_traits = read_persona(text, "").facts, read_persona("", text).traits
        read = max(as_facts, as_traits, key=lambda items: sum(i.is_world for i in items) / len(items))
        items = sorted({(i.kind, i.name, i.value) for i in read if i.is_world})
        if 2 * len(items) < len(read):
            return self._lexical.embed([text])[0]
        vector = np.stack([_direction(*item, self.dim, self._ENTRIES) for item in items]).sum(axis=0)
        unit: Vectors = (vector / length_of(vector)).astype(np.float32)
        return unit


@lru_cache(maxsize=4096)
def _direction(kind: str, name: str, value: str, dim: int, n_entries: int) -> NDArray[np.float64]:
    start = np.array([zlib.crc32(f"{kind}\x1f{name}\x1f{value}".encode())], dtype=np.uint64)
    codes = (start << np.uint64(8)) + np.arange(1, n_entries + 1, dtype=np.uint64)
    mixed = spread(codes.astype(np.uint64))
    vector = np.zeros(dim)
    np.add.at(vector, (mixed & np.uint64(dim - 1)).astype(np.int64), np.where(mixed >> np.uint64(63), 1.0, -1.0))
    return vector


class SentenceEmbedder:
    """A sentence-transformers model by name or path, loaded at the first use.

    Raises:
        ConfigError: the extra is not installed, or there is no such model.
    """

    def __init__(self, model: str, batch_size: int = 32) -> None:
        self.name = f"st:{model}"
        self.model_name = model
        self._batch_size = batch_size
        self._model: Any = None

    def _load(self) -> Any:
        looks_local = self.model_name.startswith((".", "/", "~")) or self.model_name.count("/") > 1
        if looks_local and not Path(self.model_name).expanduser().is_dir():
            raise ConfigError(
                f"embedder '{self.name}' cannot be loaded: no such folder",
                "give a model name or the path of its folder",
            )
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise ConfigError(
                f"embedder '{self.name}' needs sentence-transformers", "pip install 'aloe-align[embed]'"
            ) from error
        try:
            return SentenceTransformer(
                str(Path(self.model_name).expanduser()) if looks_local else self.model_name,
                device="cpu",
                trust_remote_code=False,
            )
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"embedder '{self.name}' cannot be loaded: {str(error).splitlines()[0]}",
                "give a model name or the path of its folder",
            ) from error

    def embed(self, texts: Sequence[str]) -> Vectors:
        if self._model is None:
            self._model = self._load()
        found = self._model.encode(
            list(texts), batch_size=self._batch_size, normalize_embeddings=True, show_progress_bar=False
        )
        return np.asarray(found, dtype=np.float32)


def create_embedder(name: str, config: Config | None = None, caller: Caller | None = None) -> Embedder:
    """The embedder that a recipe names.

    Args:
        name: ``auto``, ``lexical``, ``world``, ``st:NAME_OR_PATH`` or ``openai:MODEL``.
        config: where ``openai:`` takes address and key from (the writer's, where that is an ``openai:`` model).
        caller: its journal keeps what an endpoint answers, so that no text is paid for twice.

    Raises:
        ConfigError: no such embedder, or a money budget and a price that is unknown.
    """
    scheme, _, rest = name.partition(":")
    if name == "lexical":
        return LexicalEmbedder()
    if name == "auto":
        return first_choice()
    if name == "world":
        return WorldEmbedder()
    if scheme == "st" and rest:
        return SentenceEmbedder(rest)
    if scheme == "openai" and rest:
        from aloe.models.embed.journaled import JournaledEmbedder
        from aloe.models.embed.openai import OpenAIEmbedder

        minutes = (config or Config()).execution.outage_minutes
        remote = OpenAIEmbedder(endpoint_of(name, config), patience=60 * minutes)
        return JournaledEmbedder(remote, caller) if caller is not None else remote
    known = ("auto", "lexical", "world", "st:NAME_OR_PATH", "openai:MODEL")
    raise ConfigError(
        f"no embedder '{name}'{nearest(scheme, ['auto', 'lexical', 'world', 'st', 'openai'])}",
        f"use one of: {', '.join(known)}",
    )


def first_choice() -> Embedder:
    """The embedder for real texts: a sentence model where there is one to load, else the lexical one; both calibrated.

    Which it was is in the stage's summary.
    """
    if find_spec("sentence_transformers") is None:
        log.info("the extra 'embed' is not installed: descriptions are compared by their words (lexical)")
        return LexicalEmbedder()
    model = SentenceEmbedder(FIRST_CHOICE)
    try:
        model.embed(["A description."])
    except ConfigError as error:
        log.warning("%s: descriptions are compared by their words (lexical)", error.message)
        return LexicalEmbedder()
    return model


def endpoint_of(name: str, config: Config | None) -> ModelConfig:
    """Where an ``openai:`` embedder is: at the writer's address with its key, else at OpenAI's."""
    for model in config.roles.writer if config else ():
        if model.uri.startswith("openai:"):
            kept = model.model_dump(
                include={"base_url", "api_key_env", "headers_env", "max_attempts", "timeout_seconds"}
            )
            if model.price_prompt == 0:  # a server of one's own asks nothing for embeddings either
                kept |= {"price_prompt": 0.0, "price_completion": 0.0}
            return ModelConfig(uri=name, **kept)
    return ModelConfig(uri=name)
