"""Novelty thresholds: calibrated ones for known embedders, and ``aloe pool calibrate`` for others.

The same cosine, 0.6 for instance, means different things under different embedders. Two sets of similarities bound
the choice: those between texts that are taken to be different people (each to its nearest neighbour), and those
between a text and the same person described slightly differently (sentences reordered, numbers changed, a
clause left out). The proposal keeps the wanted share of the former and stays below the latter.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aloe.errors import ConfigError, DataError
from aloe.personas.checks import split_sentences
from aloe.personas.cosines import nearest_others, on_grid, products
from aloe.personas.lexical import Vectors
from aloe.personas.novelty import filter_bulk
from aloe.protocols import Embedder

GRID = tuple(round(0.3 + 0.05 * i, 2) for i in range(14))
_QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
_NUMBER = re.compile(r"\d+")
_CLAUSE = re.compile(r"(?<=,)\s[^,.]+,")
# (embedder, kind) -> highest cosine at which two descriptions still count as different people.
CALIBRATED: dict[tuple[str, str], float] = {
    ("lexical", "profile"): 0.5,
    ("lexical", "personality"): 0.6,
    ("world", "profile"): 0.6,
    ("world", "personality"): 0.9,
    ("all-minilm-l6-v2", "profile"): 0.8,
    ("all-minilm-l6-v2", "personality"): 0.9,
}


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


@dataclass(frozen=True, slots=True)
class ThresholdCalibration:
    """What the similarities look like, and a threshold.

    Attributes:
        nearest: quantiles of the cosine to the nearest neighbour, at ``_QUANTILES``.
        retold: the 5% quantile of the cosine between a text and itself told slightly differently.
        kept: (threshold, how many a greedy filter keeps), over a grid.
        proposal: the threshold proposed, rounded to 0.01.
        separable: whether it both keeps the wanted share and stays below ``retold``.
    """

    embedder: str
    n_texts: int
    mean: float
    nearest: tuple[float, ...]
    retold: float
    kept: tuple[tuple[float, int], ...]
    proposal: float
    n_kept: int
    separable: bool
    closest: tuple[tuple[float, str, str], ...]

    def format(self) -> str:
        """The calibration as text."""
        spread = "  ".join(f"{q:.0%} {v:.3f}" for q, v in zip(_QUANTILES, self.nearest, strict=True))
        lines = [
            f"{self.n_texts} texts under {self.embedder}",
            f"mean cosine between two: {self.mean:.3f}",
            f"cosine to the nearest: {spread}",
            f"the same text told slightly differently: {self.retold:.3f} or more (95%)",
            "threshold -> kept: " + "  ".join(f"{t:.2f} {n}" for t, n in self.kept),
            f"proposed threshold: {self.proposal:.2f} keeps {self.n_kept} of {self.n_texts}",
        ]
        if not self.separable:
            lines.append("these texts are as close to each other as retellings of one: look at the closest pairs")
        for similarity, one, other in self.closest:
            lines.extend([f"  {similarity:.3f}  {one}", f"         {other}"])
        return "\n".join(lines)


def retell(text: str) -> list[str]:
    """The same person described slightly differently, by rules: up to three versions."""
    sentences = split_sentences(text)
    versions = [" ".join(reversed(sentences))] if len(sentences) > 1 else []
    versions.append(_NUMBER.sub(lambda m: str(int(m.group(0)) + 1) if len(m.group(0)) < 9 else m.group(0), text))
    versions.append(_CLAUSE.sub("", text, count=1))
    return [v for v in versions if v != text]


def count_kept(vectors: Vectors, threshold: float) -> int:
    return int(filter_bulk(vectors, threshold).kept.sum())


def calibrate(texts: Sequence[str], embedder: Embedder, keep: float = 0.9, n_closest: int = 3) -> ThresholdCalibration:
    """Propose a threshold for texts that are taken to be different people.

    Args:
        texts: descriptions of one kind; at least ten.
        keep: share of them that the proposal lets a greedy filter keep, at least.
        n_closest: nearest pairs to show.

    Raises:
        DataError: fewer than ten texts.
    """
    texts = list(dict.fromkeys(texts))
    if len(texts) < 10:
        raise DataError(f"{len(texts)} different texts are too few to calibrate with", "give at least ten of one kind")
    vectors = embedder.embed(texts)
    similarities, neighbours = nearest_others(vectors)
    grid = on_grid(vectors)
    pairs = products(grid, grid)[np.triu_indices(len(texts), 1)]
    proposal = next(t / 100 for t in range(5, 101) if count_kept(vectors, t / 100) >= keep * len(texts))
    retold = _retold_similarity(texts, vectors, embedder)
    closest: dict[tuple[int, int], float] = {}
    for i in np.argsort(-similarities, kind="stable")[: 2 * n_closest]:
        closest[min(int(i), int(neighbours[i])), max(int(i), int(neighbours[i]))] = float(similarities[i])
    return ThresholdCalibration(
        embedder.name,
        len(texts),
        float(pairs.mean()),
        tuple(float(v) for v in np.quantile(similarities, _QUANTILES)),
        retold,
        tuple((t, count_kept(vectors, t)) for t in GRID),
        proposal,
        count_kept(vectors, proposal),
        proposal < retold,
        tuple((s, texts[i], texts[j]) for (i, j), s in list(closest.items())[:n_closest]),
    )


def _retold_similarity(texts: Sequence[str], vectors: Vectors, embedder: Embedder) -> float:
    versions, origin = [], []
    for index, text in enumerate(texts[:200]):
        told = retell(text)
        versions.extend(told)
        origin.extend([index] * len(told))
    if not versions:
        return 1.0
    return float(np.quantile((embedder.embed(versions) * vectors[origin]).sum(axis=1), 0.05))
