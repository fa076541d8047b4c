"""Texts to unit vectors: what the persona pool's novelty filter compares (paper section 3.1).

``lexical`` needs nothing but numpy: hashed words, word pairs and character n-grams with signs, so that two
unrelated texts have an expected cosine near 0. ``world`` sees a description as the simulated world does: as its
facts and trait poles, so that the same meaning in other words is the same vector. ``st:NAME_OR_PATH`` is
sentence-transformers (extra ``embed``), ``openai:MODEL`` an embeddings endpoint.

A cosine means something only together with the embedder that made it: thresholds are per embedder and per kind
of text, and ``default_threshold`` holds the calibrated ones (how: docs/personas.md).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from aloe.config import Config, ModelConfig
from aloe.errors import ConfigError, nearest
from aloe.protocols import Embedder

if TYPE_CHECKING:
    from aloe.models.caller import Caller

Vectors = NDArray[np.float32]

_WORD = re.compile(r"\w+")
# Words that every English description has; counted in full they would make all texts look alike.
_COMMON_TEXT = """
    a about after all also always an and are as at be been before but by can for from get gets had has
    have he her hers him his how i in into is it its likes live lives loves more most my never not of
    often old on one or other others out own she so some than that the their theirs them then they
    things this to too up very was were what when which while who will with work works would year years
    you your
"""
_COMMON = frozenset(_COMMON_TEXT.split())

# (embedder, kind) -> highest cosine at which two descriptions still count as different people.
CALIBRATED: dict[tuple[str, str], float] = {
    ("lexical", "profile"): 0.5,
    ("lexical", "personality"): 0.6,
    ("world", "profile"): 0.6,
    ("world", "personality"): 0.9,
    ("all-minilm-l6-v2", "profile"): 0.8,
    ("all-minilm-l6-v2", "personality"): 0.9,
}


class LexicalEmbedder:
    """Signed feature hashing of words, word pairs and character 4-grams; about 0.1 ms a text.

    Args:
        dim: length of the vectors, a power of two.
    """

    name = "lexical"

    def __init__(self, dim: int = 1024) -> None:
        if dim < 16 or dim & (dim - 1):
            raise ConfigError(f"the lexical embedder's dimension is {dim}", "use a power of two from 16 up")
        self.dim = dim

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, float32, shape (n_texts, dim); a text without any letter or digit is all zeros."""
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            row += self._embed_one(text.lower())
        return vectors

    def _embed_one(self, text: str) -> NDArray[np.float64]:
        words = _WORD.findall(text)
        if not words:
            return np.zeros(self.dim)
        crc = zlib.crc32
        codes = [crc(w.encode()) for w in words]
        weights = [0.2 if w in _COMMON else 1.0 for w in words]
        pair_codes = [(a * 31 + b) & 0xFFFFFFFF for a, b in pairwise(codes)]
        pair_weights = [0.5 * a * b for a, b in pairwise(weights)]
        points = np.frombuffer(" ".join(words).encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
        grams = _gram_codes(points)
        # Character n-grams carry about as much weight as the words, whatever the script.
        gram_weight = 0.6 * np.sqrt(sum(w * w for w in weights) / max(1, len(grams)))
        hashed = np.concatenate([np.array(codes + pair_codes, dtype=np.uint64), grams])
        weight = np.concatenate([np.array(weights + pair_weights), np.full(len(grams), gram_weight)])
        mixed = _mix(hashed)
        signed = np.where(mixed >> np.uint64(63), weight, -weight)
        places = (mixed & np.uint64(self.dim - 1)).astype(np.int64)
        vector = np.bincount(places, signed, self.dim).astype(np.float64)
        norm = float(np.sqrt(vector @ vector))
        return vector / norm if norm > 0 else vector


def _gram_codes(points: NDArray[np.uint64], n: int = 4) -> NDArray[np.uint64]:
    if len(points) < n:
        return np.zeros(0, dtype=np.uint64)
    codes = np.full(len(points) - n + 1, 0x9E3779B9, dtype=np.uint64)
    for i in range(n):
        codes = codes * np.uint64(1_000_003) + points[i : len(points) - n + 1 + i]
    return codes


def _mix(codes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread codes evenly over 64 bits (a multiply-xorshift finaliser)."""
    codes = (codes ^ (codes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    codes = (codes ^ (codes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return codes ^ (codes >> np.uint64(31))


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
        unit: Vectors = (vector / np.linalg.norm(vector)).astype(np.float32)
        return unit


@lru_cache(maxsize=4096)
def _direction(kind: str, name: str, value: str, dim: int, n_entries: int) -> NDArray[np.float64]:
    start = np.array([zlib.crc32(f"{kind}\x1f{name}\x1f{value}".encode())], dtype=np.uint64)
    codes = (start << np.uint64(8)) + np.arange(1, n_entries + 1, dtype=np.uint64)
    mixed = _mix(codes.astype(np.uint64))
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
                str(Path(self.model_name).expanduser()) if looks_local else self.model_name, device="cpu"
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
        name: ``lexical``, ``world``, ``st:NAME_OR_PATH`` or ``openai:MODEL``.
        config: where ``openai:`` takes address and key from (the writer's, where that is an ``openai:`` model).
        caller: its journal keeps what an endpoint answers, so that no text is paid for twice.

    Raises:
        ConfigError: no such embedder, or a money budget and a price that is unknown.
    """
    scheme, _, rest = name.partition(":")
    if name == "lexical":
        return LexicalEmbedder()
    if name == "world":
        return WorldEmbedder()
    if scheme == "st" and rest:
        return SentenceEmbedder(rest)
    if scheme == "openai" and rest:
        from aloe.models.embed.journaled import JournaledEmbedder
        from aloe.models.embed.openai import OpenAIEmbedder

        remote = OpenAIEmbedder(endpoint_of(name, config))
        return JournaledEmbedder(remote, caller) if caller is not None else remote
    known = ("lexical", "world", "st:NAME_OR_PATH", "openai:MODEL")
    raise ConfigError(
        f"no embedder '{name}'{nearest(scheme, ['lexical', 'world', 'st', 'openai'])}",
        f"use one of: {', '.join(known)}",
    )


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


def default_threshold(embedder: str, kind: str) -> float:
    """The calibrated threshold of an embedder for ``profile`` or ``personality`` texts.

    Raises:
        ConfigError: nobody has calibrated this embedder yet.
    """
    plain = embedder.lower().replace("_", "-")
    for known, of_kind in CALIBRATED:
        if of_kind == kind and (plain == known or ("-" in known and known in plain)):
            return CALIBRATED[known, kind]
    raise ConfigError(
        f"embedder '{embedder}' has no calibrated threshold for a {kind}",
        f"set personas.{kind}_threshold; 'aloe pool calibrate' proposes one",
    )
