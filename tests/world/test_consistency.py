"""Replies that contradict the user or the model itself, found by what was said alone."""

import pytest

from aloe.world.consistency import find_contradictions
from aloe.world.latent import fill
from aloe.world.lexicon.options import narrow


def uses(slot, value):
    """A reply that ties a fact to advice."""
    use = fill(narrow().by_slot[slot].uses[0], value)
    return f"{narrow().by_topic['dinner'].advice[0]}, {use[:1].lower()}{use[1:]}."


def told(slot, value):
    return fill(narrow().by_slot[slot].said[0], value)


NOTHING, USER, ITSELF = (False, False), (True, False), (False, True)
PET, OTHER = told("pet", "ferret"), told("pet", "parrot")
GONE = "I no longer have the ferret."


@pytest.mark.parametrize(
    ("said", "replies", "expected"),
    [
        ([PET, "Hello?"], [uses("pet", "ferret")] * 2, [NOTHING, NOTHING]),
        ([PET, "Hello?"], ["Good day.", uses("pet", "parrot")], [NOTHING, USER]),
        ([PET, GONE, "Hello?"], [uses("pet", "ferret")] * 3, [NOTHING, USER, USER]),
        ([PET, f"{GONE} {OTHER}"], [uses("pet", "ferret"), uses("pet", "parrot")], [NOTHING, NOTHING]),
        ([PET, GONE, PET], [uses("pet", "ferret"), "Oh.", uses("pet", "ferret")], [NOTHING] * 3),
        (["Hi.", "Hm."], [uses("pet", "ferret"), uses("pet", "parrot")], [NOTHING, ITSELF]),
        (["Hi.", OTHER], [uses("pet", "ferret"), uses("pet", "parrot")], [NOTHING, NOTHING]),
        (["Hi."], [f"{uses('pet', 'ferret')} {uses('pet', 'parrot')}"], [ITSELF]),
        (["Hi.", "Hm."], [uses("pet", "ferret"), uses("hobby", "chess")], [NOTHING, NOTHING]),
        ([PET], [], []),
    ],
)
def test_a_reply_contradicts_what_was_said_and_not_what_has_changed(said, replies, expected):
    assert [(found.user, found.itself) for found in find_contradictions(said, replies)] == expected


def test_to_speak_of_what_is_only_just_over_is_to_use_nothing():
    (first, second) = find_contradictions([PET, GONE], ["Well.", "A pity about your ferret."])
    assert not first.speaks and second.speaks
    assert not second.user
