"""Questions with exact answers: what is right was revealed and is called for, what is wrong is not."""

from __future__ import annotations

import pytest

from aloe.world.lexicon.options import narrow, parse_options
from aloe.world.questions import Question, Setting, Writers, make_questions
from aloe.world.reply import read_reply

WIDE = Writers(tailored=parse_options("wording=wide&steady=1", "test"), generic=parse_options("wording=wide", "test"))


@pytest.fixture(scope="module", params=["listed", "wide"])
def questions(request: pytest.FixtureRequest) -> list[Question]:
    return list(make_questions(12, WIDE if request.param == "wide" else Writers(), seed=3))


def said(question: Question) -> str:
    return " ".join(m.content for m in question.history if m.role == "user").lower()


def test_every_kind_is_asked_and_equal_seeds_ask_equally(questions: list[Question]) -> None:
    assert {q.kind for q in questions} == {"value", "fact", "style", "stop"}
    assert {q.status for q in questions if q.kind == "value"} == {"stated", "implied"}
    assert {q.turn for q in questions} == set(range(1, 8))
    again = list(make_questions(2, Writers(), seed=3, setting=Setting(n_turns=3)))
    assert again == list(make_questions(2, Writers(), seed=3, setting=Setting(n_turns=3)))
    assert again != list(make_questions(2, Writers(), seed=4, setting=Setting(n_turns=3)))


def test_a_stated_value_stands_in_what_the_user_said_and_an_implied_one_does_not(questions: list[Question]) -> None:
    for question in questions:
        if question.kind == "value":
            value = question.right.strip().lower()
            assert (value in said(question)) == (question.status == "stated"), question
            assert value not in [other.strip().lower() for other in question.others]


def test_a_fact_is_due_where_it_matters_and_its_rivals_are_not(questions: list[Question]) -> None:
    for question in questions:
        if question.kind != "fact":
            continue
        named = {p.name for group in read_reply(question.before + question.right).values for p in group}
        assert question.name in named
        values = {v.text.lower() for v in narrow().by_slot[question.name].values}
        for other in question.others:  # the same words with another value of the same kind
            assert any(other.lower().endswith(value) for value in values) and other != question.right
        for own in question.own:  # something the user told, in words of a reply
            (payload, *_), *_ = read_reply(own).values
            assert payload.name in {s.name for s in narrow().slots} and own.strip() != question.right.strip()


def test_a_sentence_ends_only_where_nothing_of_the_topic_is_left_to_say(questions: list[Question]) -> None:
    stops = [q for q in questions if q.kind == "stop"]
    assert stops and all(q.right in (".", "?") and q.before[-1].isalnum() for q in stops)
    for question in stops:
        assert read_reply(question.before + question.right).used, question


def test_a_style_marker_is_of_the_users_manner_and_its_rivals_of_the_opposite_one(questions: list[Question]) -> None:
    asked = [q for q in questions if q.kind == "style"]
    for question in asked:
        poles = {p.name: {f.lower() for f in p.fits} for p in narrow(WIDE.tailored).by_trait[question.name].poles}
        poles = {
            name: fits | {f.lower() for p in narrow().by_trait[question.name].poles if p.name == name for f in p.fits}
            for name, fits in poles.items()
        }
        right = {name for name, fits in poles.items() if question.right.strip().lower() in fits}
        wrong = {name for name, fits in poles.items() for o in question.others if o.strip().lower() in fits}
        assert len(right) == 1 and wrong and not right & wrong
