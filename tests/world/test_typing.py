"""``world:user?typing=RATE``: form becomes more like people's, and what is said stays what it was."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from aloe.bench.users.features import FEATURES, count_features
from aloe.bench.users.people import world_personas
from aloe.types import Message
from aloe.world.actors import Utterance, play_generic
from aloe.world.assistant import ACTORS
from aloe.world.dialects.typing import as_typed
from aloe.world.lexicon.options import Options, parse_options
from aloe.world.reading import read_message

PEOPLE = world_personas(16, 3, "typing")
DIALECTS = ("", "terse", "learner", "indirect", "rambling", "moody", "forgetful", "adversarial")


def converse(number: int, options: Options, n_turns: int = 6) -> list[Utterance]:
    """A conversation with the generic assistant, the user's side first; the persona stands in the system message."""
    person = PEOPLE[number]
    about = f"<persona><profile>{person.profile}</profile><personality>{person.personality}</personality></persona>"
    opening = [Utterance("system", about), Utterance("user", "Write your opening message.")]
    seen: list[Utterance] = []
    rng = Random(number)
    for _ in range(n_turns):
        flipped = [Utterance("assistant" if t.role == "user" else "user", t.content) for t in seen]
        seen.append(Utterance("user", ACTORS["user"]([*opening, *flipped], rng.getrandbits(31), options)))
        seen.append(Utterance("assistant", play_generic(seen, rng.getrandbits(31), Options())))
    return seen


def meaning(text: str) -> tuple[object, ...]:
    found = read_message(text)
    sides = (found.mentions, found.ended, found.claimed)
    said = tuple(payload for side in sides for mention in side for payload in mention.payloads)
    return said, found.others, tuple((name, pole) for name, pole, _ in found.shown), found.topic


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("wording", ["", "wide"])
def test_a_typed_message_says_what_it_said_or_nothing(dialect: str, wording: str):
    options = parse_options(f"wording={wording}&dialect={dialect}", "test")
    n_changed = n_silent = 0
    for number in range(8):
        talk = converse(number, options)
        for at in range(0, len(talk), 2):
            text, reply = talk[at].content, talk[at - 1].content if at else ""
            for draw in range(3):
                typed = as_typed(text, reply, 1.0, number, Random(draw))
                n_changed += typed != text
                if meaning(typed) == ((), (), (), None) != meaning(text):
                    n_silent += 1  # it only takes up the reply
                    assert reply
                else:
                    assert meaning(typed) == meaning(text)
            assert as_typed(text, reply, 0.0, number, Random(1)) == text
    assert n_changed > 80 and n_silent > 20


def test_its_form_is_less_that_of_a_simulator():
    sides = []
    for query in ("", "typing=1"):
        options = parse_options(query, "test")
        talks = [[Message(role=t.role, content=t.content) for t in converse(n, options)] for n in range(16)]
        sides.append(dict(zip(FEATURES, np.mean(count_features(talks), axis=0), strict=True)))
    plain, typed = sides
    for name in ("questions", "alike", "first_person"):  # people: 0.24, 0.04, 0.04
        assert typed[name] < 0.7 * plain[name]
    for name in ("echoes", "rare_words", "words_spread", "digits", "no_stop", "small_start"):
        assert typed[name] > plain[name] + 0.01


def test_the_same_seed_types_the_same_and_habits_are_the_persons():
    options = parse_options("typing=1", "test")
    assert converse(2, options) == converse(2, options)
    starts = []
    for number in range(16):
        said = [t.content for t in converse(number, options) if t.role == "user"]
        starts.append(np.mean([text[:1].islower() for text in said]))
    assert min(starts) == 0.0 and max(starts) > 0.6  # some always, some never begin with a small letter
