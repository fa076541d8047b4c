"""Personas of the Python API: made from two texts, read from files, and told apart by the pool's novelty filter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from aloe.api.settings import EVERYBODY
from aloe.errors import DataError
from aloe.protocols import Embedder
from aloe.types import Persona, PoolEntry


def make_persona(profile: str, personality: str, *, split: Literal["train", "bench"] = "train") -> Persona:
    """A persona of two descriptions; equal texts have equal ids.

    Args:
        profile: everyday facts. personality: how the person is and writes.
        split: personas of the benchmark are never trained on.

    Raises:
        DataError: one of the texts is empty.
    """
    from aloe.personas.pairing import make_persona as pair
    from aloe.personas.stage import to_entry

    if not profile.strip() or not personality.strip():
        raise DataError("a persona needs a profile and a personality", "give a text for each")
    return pair(to_entry(profile, "profile", "own"), to_entry(personality, "personality", "own"), split)


def read_personas(source: str | Path = "packaged", n: int | None = None, *, seed: int = 0) -> list[Persona]:
    """The benchmark's packaged personas, or those of a file (docs/personas.md).

    Args:
        n: at most so many; None: all.
        seed: pairs texts, where the file holds profiles and personalities that are not paired.

    Raises:
        DataError: no such file, or no whole persona in it.
    """
    from aloe.personas.stage import read_bench_file

    return read_bench_file(str(source), EVERYBODY if n is None else n, seed)


def novel(
    texts: Sequence[str],
    *,
    kind: Literal["profile", "personality"] = "profile",
    known: Sequence[str] = (),
    embedder: str | Embedder = "lexical",
    threshold: float | None = None,
) -> list[PoolEntry]:
    """Which of ``texts`` are new, each against ``known`` and the new ones before it, as the pool decides it.

    Args:
        kind: whose calibrated threshold is used.
        embedder: ``lexical``, ``auto``, ``world``, ``st:NAME``, ``openai:MODEL``, or an object of your own.
        threshold: highest cosine that counts as new, (0, 1]; None: the embedder's calibrated one.

    Returns:
        A record for each text: ``reason`` is empty for a new one and says otherwise why not; ``nearest_id`` and
        ``max_similarity`` (cosine, [-1, 1]) name the most similar text that was there.

    Raises:
        ConfigError: no such embedder, a threshold out of range, or none calibrated for the embedder.
        DataError: a text is empty.
    """
    from aloe.api.settings import config_for
    from aloe.personas.checks import tidy
    from aloe.personas.embedders import create_embedder
    from aloe.personas.pool import open_pool

    if isinstance(texts, str):
        raise DataError("novel takes a list of texts, got one text", "put it into a list")
    config = config_for(None, None, {"personas": {f"{kind}_threshold": threshold}})
    with_texts = embedder if isinstance(embedder, Embedder) else create_embedder(embedder, config)
    pool = open_pool(config.personas, with_texts, kind)
    wanted = [tidy(text) for text in (*known, *texts)]
    for place, text in enumerate(wanted, 1):
        if not text:
            raise DataError(f"text {place} of {len(wanted)} is empty", "leave it out")
    if not wanted:
        return []
    return pool.judge(wanted, with_texts.embed(wanted), trusted=True)[len(known) :]
