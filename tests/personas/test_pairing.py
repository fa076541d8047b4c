"""Pairs: every prefix even, no repeats, pronouns in agreement."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aloe.personas.importer import read_packaged_seeds
from aloe.personas.pairing import choose_spread, draw_pairs, find_conflict, make_persona
from aloe.personas.pronouns import find_pronoun, set_pronoun
from aloe.personas.stage import to_entry


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 25), st.integers(1, 25), st.integers(0, 700), st.integers(0, 99))
def test_pairs_never_repeat_and_every_prefix_is_even(n_profiles: int, n_personalities: int, n: int, seed: int) -> None:
    drawn = list(islice(draw_pairs(n_profiles, n_personalities, np.random.default_rng(seed)), n))
    assert len(drawn) == len(set(drawn)) == min(n, n_profiles * n_personalities)
    profiles = Counter(i for i, _ in drawn)
    personalities = Counter(j for _, j in drawn)
    assert max(profiles.values(), default=0) - min([profiles[i] for i in range(n_profiles)]) <= 1
    assert max(personalities.values(), default=0) - min([personalities[j] for j in range(n_personalities)]) <= 2


@pytest.mark.parametrize(
    ("text", "pronoun", "expected"),
    [
        ("She trusts her gut and hates it when we rush her.", "he", "He trusts his gut and hates it when we rush him."),
        ("He keeps his word to himself. The fault is his.", "she", "She keeps her word to herself. The fault is hers."),
        ("He is shy, worries a lot and often says sorry.", "they", "They are shy, worry a lot and often say sorry."),
        ("They have patience, argue well and aren't proud.", "she", "She has patience, argues well and isn't proud."),
        ("He's calm and he doesn't mind noise.", "they", "They're calm and they don't mind noise."),
        ("They try hard, and they soon finish what they do", "he", "He tries hard, and he soon finishes what he does"),
        ("Blunt, proud and quick to laugh.", "they", "Blunt, proud and quick to laugh."),
    ],
)  # fmt: skip
def test_pronouns_and_verbs(text: str, pronoun: str, expected: str) -> None:
    assert set_pronoun(text, pronoun) == expected  # type: ignore[arg-type]


def test_packaged_personalities_survive_a_change_of_pronoun() -> None:
    for text in read_packaged_seeds("personality"):
        own = find_pronoun(text)
        assert own is not None
        for other in ("she", "he"):
            changed = set_pronoun(text, other)  # type: ignore[arg-type]
            assert find_pronoun(changed) == other
            if own != "they":
                assert set_pronoun(changed, own) == text


def test_the_personality_follows_the_profile() -> None:
    profile = to_entry("They are 41 and repair accordions in Lisbon.", "profile", "test")
    personality = to_entry("She is blunt and keeps her worries to herself.", "personality", "test")
    persona = make_persona(profile, personality, "bench")
    assert persona.personality == "They are blunt and keep their worries to themselves."
    assert persona.personality_id == personality.entry_id and persona.split == "bench"


def test_only_contradictions_are_conflicts() -> None:
    assert find_conflict("She is a coach who is energetic at all times.", "She is lazy and kind.")
    assert not find_conflict("He sells cars.", "He is shy and lazy.")


def test_the_benchmarks_share_is_as_mixed_as_the_whole() -> None:
    # All 16 combinations of four poles: four of them can hold every pole twice, a random four rarely do.
    signs = np.array([[1 if i >> b & 1 else -1 for b in range(4)] for i in range(16)], dtype=np.float32) / 2
    for seed in range(5):
        chosen = signs[choose_spread(signs, 4, np.random.default_rng(seed))]
        assert chosen.sum(axis=0).tolist() == [0, 0, 0, 0]
