"""Control policies: who is swapped with whom, and who is told what."""

import random

import pytest

from aloe.bench.controls import control_of, derange
from aloe.config import ModelConfig
from aloe.errors import ConfigError, DataError
from aloe.types import Persona


def persona(profile, personality):
    return Persona(
        persona_id=f"{profile}/{personality}",
        profile=f"text of {profile}",
        personality=f"text of {personality}",
        profile_id=profile,
        personality_id=personality,
    )


@pytest.mark.parametrize(
    "pairs",
    [
        [(f"p{i}", f"t{j}") for i in range(20) for j in range(5)],
        [(f"p{i}", f"t{j}") for i in range(7) for j in range(2)],
        [(f"p{i}", f"t{i}") for i in range(9)],
        [(f"p{i}", f"t{i % 4}") for i in range(11)],
        [("a", "x"), ("a", "y"), ("b", "x"), ("b", "z")],
        [("a", "x"), ("b", "y")],
    ],
)
def test_everybody_is_swapped_with_somebody_else_in_both_respects(pairs):
    people = [persona(*pair) for pair in pairs]
    others = derange(people)
    assert set(others) == {p.persona_id for p in people}
    for p in people:
        other = others[p.persona_id]
        assert other.profile_id != p.profile_id
        assert other.personality_id != p.personality_id
    shuffled = people[:]
    random.Random(1).shuffle(shuffled)
    assert derange(shuffled) == others


def test_a_cross_product_is_permuted():
    people = [persona(f"p{i}", f"t{j}") for i in range(20) for j in range(5)]
    assert len({p.persona_id for p in derange(people).values()}) == 100


@pytest.mark.parametrize("pairs", [[("a", "x")], [("a", "x"), ("b", "x")], [("a", "x"), ("a", "y")]])
def test_nobody_to_swap_with(pairs):
    with pytest.raises(DataError, match="no other"):
        derange([persona(*pair) for pair in pairs])


@pytest.mark.parametrize(
    ("uri", "control"),
    [
        ("world:oracle", "oracle"),
        ("world:oracle?phrasings=2", "oracle"),
        ("world:knows-all", "knows-all"),
        ("world:swapped", "swapped"),
        ("world:generic", None),
        ("openai:oracle", None),
        ("hf:runs/x/checkpoints/dpo", None),
    ],
)
def test_only_the_worlds_policies_are_controls(uri, control):
    assert control_of(ModelConfig(uri=uri)) == control


@pytest.mark.parametrize(
    "uri", ["world:oracle+inducer", "world:knows-all?phrasings=2+reminder", "world:swapped+persona"]
)
def test_a_wrapper_around_a_control_means_nothing(uri, personas, bench, tmp_path):
    with pytest.raises(ConfigError, match="cannot be wrapped"):
        bench(personas, [uri], tmp_path)
