"""The novelty filter: exact, the same decisions in bulk, its threshold never broken."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aloe.errors import DataError
from aloe.personas.novelty import NEAR, VectorSet, WordIndex, filter_bulk, pairwise_above


def unit(rng: np.random.Generator, n: int, dim: int, spread: float) -> np.ndarray:
    """Unit vectors; a small spread puts them close to each other."""
    vectors = rng.standard_normal((1, dim)) + spread * rng.standard_normal((n, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def filter_naively(vectors: np.ndarray, threshold: float) -> list[bool]:
    """The definition, in float64 and without any cleverness."""
    exact = vectors.astype(np.float64)
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    kept: list[int] = []
    for i in range(len(exact)):
        if all(float(exact[i] @ exact[j]) <= threshold for j in kept):
            kept.append(i)
    return [i in kept for i in range(len(exact))]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(0, 90),
    dim=st.integers(2, 24),
    spread=st.floats(0.05, 3.0),
    threshold=st.floats(0.1, 1.0),
    block=st.integers(1, 40),
)
def test_bulk_one_by_one_and_the_definition_agree(
    seed: int, n: int, dim: int, spread: float, threshold: float, block: int
) -> None:
    vectors = unit(np.random.default_rng(seed), n, dim, spread)
    bulk = filter_bulk(vectors, threshold, block=block, tile=16)
    single = VectorSet(dim, threshold)
    decisions = []
    for vector in vectors:
        accepted = not single.nearest(vector).too_close
        decisions.append(accepted)
        if accepted:
            single.add(vector)
    assert decisions == filter_naively(vectors, threshold)
    assert bulk.kept.tolist() == decisions
    assert pairwise_above(single.vectors, threshold + NEAR) == []


def test_every_decision_names_the_nearest_earlier_member() -> None:
    vectors = unit(np.random.default_rng(3), 200, 16, 1.6)
    result = filter_bulk(vectors, 0.7, block=32, tile=64)
    assert 20 < result.kept.sum() < 200
    for i in range(1, len(vectors)):
        earlier = [j for j in range(i) if result.kept[j]]
        cosines = vectors[earlier].astype(np.float64) @ vectors[i].astype(np.float64)
        assert result.similarity[i] == pytest.approx(cosines.max(), abs=1e-5)
        assert cosines[earlier.index(int(result.nearest[i]))] == pytest.approx(cosines.max(), abs=1e-5)
    assert result.nearest[0] == -1 and result.similarity[0] == -1


def test_decisions_at_the_threshold_are_made_in_float64() -> None:
    # A cosine of exactly 0.6 is allowed, one a hair above is not; float32 can't tell them apart.
    base = np.array([1.0, 0.0, 0.0], dtype=np.float32)
    at = np.array([0.6, 0.8, 0.0], dtype=np.float32)
    exact = float(at.astype(np.float64)[0] / np.linalg.norm(at.astype(np.float64)))
    for threshold, allowed in ((exact, True), (np.nextafter(exact, 0.0) - 1e-9, False)):
        members = VectorSet(3, threshold)
        members.add(base)
        assert members.nearest(at).too_close is not allowed
        result = filter_bulk(np.stack([base, at]), threshold)
        assert result.kept.tolist() == [True, allowed] and result.n_rechecked == 1


def test_bulk_wants_a_matrix() -> None:
    with pytest.raises(DataError, match="shape"):
        filter_bulk(np.zeros(3, dtype=np.float32), 0.5)


def test_word_check_sees_through_numbers_and_order() -> None:
    text = "She is 34, works as a baker in Lyon, keeps two cats and plays chess on Mondays with her uncle."
    index = WordIndex()
    index.add("He repairs clocks in Kyoto and grows bonsai trees on a roof above the shop.")
    index.add(text)
    assert index.find(text.replace("34", "35")) == (1, 1.0)
    assert (
        index.find("Plays chess on Mondays with her uncle: she is 61, keeps two cats, works as a baker in Lyon and.")[0]
        == 1
    )
    assert index.find("She sells insurance in Lyon and collects stamps with an uncle on Sundays.") == (-1, 0.0)
    assert index.find("!!!") == (-1, 0.0)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.sampled_from("abcdefghijklmnopqrst"), min_size=1, max_size=12), max_size=25))
def test_word_check_equals_the_definition(texts: list[list[str]]) -> None:
    index = WordIndex(limit=0.7)
    sets: list[frozenset[str]] = []
    for words in texts:
        own = frozenset(words)
        best = max((len(own & s) / len(own | s) for s in sets), default=0.0)
        found, overlap = index.find(" ".join(words))
        assert (found >= 0) == (best >= 0.7)
        assert overlap == (pytest.approx(best) if best >= 0.7 else 0.0)
        index.add(" ".join(words))
        sets.append(own)
