"""A pool of descriptions of one kind, and the decision which candidates enter (paper section 3.1).

A candidate enters if it is a usable description, new to the embedder (highest cosine to any member at most the
threshold) and not nearly the words of a member. Every candidate becomes a record, accepted or not: a rejection
carries its reason, the nearest member and the similarity, so that no decision has to be guessed at later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from aloe.config import PersonasConfig
from aloe.personas.checks import Kind, Limits, check_description
from aloe.personas.lexical import Vectors
from aloe.personas.novelty import VectorSet, WordIndex
from aloe.personas.pairing import make_entry_id
from aloe.personas.threshold import default_threshold
from aloe.protocols import Embedder
from aloe.types import PoolEntry

TOO_SIMILAR, SAME_WORDS, FULL = "too similar", "nearly the same words", "the pool was full"


@dataclass(slots=True)
class Pool:
    """Members of one kind and the judgement of candidates."""

    kind: Kind
    embedder: Embedder
    threshold: float
    limits: Limits
    language: str = "en"
    members: list[PoolEntry] = field(default_factory=list)
    rejected: list[PoolEntry] = field(default_factory=list)
    _texts: dict[str, str] = field(default_factory=dict)  # text, case folded -> entry id
    _vectors: VectorSet | None = None
    _words: WordIndex = field(default_factory=WordIndex)

    def judge(self, texts: Sequence[str], vectors: Vectors, **common: Any) -> list[PoolEntry]:
        """Judge tidied candidates in order, each against the members and the fellows that entered before it.

        Args:
            vectors: their embeddings, shape (n_texts, dim).
            common: further fields of their records (example_ids, round_index, provenance); ``trusted`` skips
                the check of form, for a user's own seeds; ``target`` closes the pool at that size.
        """
        trusted, target = common.pop("trusted", False), common.pop("target", None)
        records = []
        for text, vector in zip(texts, vectors, strict=True):
            reason = "" if trusted else check_description(text, self.kind, self.limits, self.language)
            record = self._judge_one(text, vector, reason, target is not None and len(self.members) >= target)
            record = record.model_copy(update=common)
            if record.reason:
                self.rejected.append(record)
            else:
                self._enter(record, vector)
            records.append(record)
        return records

    def _judge_one(self, text: str, vector: Vectors, reason: str, full: bool) -> PoolEntry:
        nearest_id, similarity = None, None
        same = self._texts.get(text.casefold())
        if self._vectors is not None and len(self._vectors) and not reason:
            near = self._vectors.nearest(vector)
            nearest_id, similarity = self.members[near.index].entry_id, round(near.similarity, 6)
            if same is not None:
                nearest_id, similarity, reason = same, 1.0, "the same text"
            elif near.too_close:
                reason = f"{TOO_SIMILAR}: cosine {near.similarity:.3f}, at most {self.threshold:g}"
            else:
                index, overlap = self._words.find(text)
                if index >= 0:
                    nearest_id = self.members[index].entry_id
                    reason = f"{SAME_WORDS}: {overlap:.0%} of the words, numbers aside"
        if full and not reason:
            reason = FULL
        return PoolEntry(
            entry_id=make_entry_id(self.kind, text),
            kind=self.kind,
            text=text,
            nearest_id=nearest_id,
            max_similarity=similarity,
            reason=reason,
        )

    def _enter(self, record: PoolEntry, vector: Vectors) -> None:
        if self._vectors is None:
            self._vectors = VectorSet(len(vector), self.threshold)
        self._vectors.add(vector)
        self._words.add(record.text)
        self._texts[record.text.casefold()] = record.entry_id
        self.members.append(record)


def open_pool(config: PersonasConfig, embedder: Embedder, kind: Kind) -> Pool:
    """An empty pool with the config's threshold (or the embedder's calibrated one) and lengths.

    Raises:
        ConfigError: no threshold is set and the embedder has no calibrated one.
    """
    wanted = config.profile_threshold if kind == "profile" else config.personality_threshold
    words = config.profile_words if kind == "profile" else config.personality_words
    threshold = wanted if wanted is not None else default_threshold(embedder.name, kind)
    return Pool(kind, embedder, threshold, Limits.around(words), config.language)
