"""The wide wording: enough ways to say each thing, all of them read back exactly."""

from __future__ import annotations

import re
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulate import ask, converse, draw_personas, notes
from test_lexicon_data import contains, fact_words, signals, stem, words

from aloe.world import language, wide
from aloe.world.judge import find_faults, form_opinion
from aloe.world.latent import draw_facts, draw_traits, fill, write_personality, write_profile
from aloe.world.lexicon.options import Options, narrow
from aloe.world.lexicon.plain import find_offences
from aloe.world.lexicon.scan import tokenize
from aloe.world.lexicon.wording import compositions, every, grammar, may_lead
from aloe.world.truth import disclosed, read_known, read_persona, read_reply, weigh

FULL, WIDE = narrow(), narrow(Options(wording="wide"))
SEEN, UNSEEN = narrow(Options(wording="wide", hold_out=1)), narrow(Options(wording="wide", held_out=1))
SEEDS = st.integers(0, 2**31 - 1)
MANNERS = [f"{trait.name} {pole.name}" for trait in FULL.traits for pole in trait.poles]
REPLY_KINDS = ("uses", "follows", "fits", "questions", "replies")

each_slot = pytest.mark.parametrize("slot", FULL.slots, ids=lambda s: s.name)


# --- enough of it, and held out --------------------------------------------------------------------------------


def test_each_fact_and_manner_has_a_dozen_ways_into_a_reply_without_those_held_out():
    for slot in FULL.slots:
        assert len(compositions("uses", slot.name, held="out")) >= 12, slot.name
        assert len(compositions("follows", slot.name, held="out")) >= 9, slot.name
        assert len(compositions("questions", slot.name, held="out")) >= 3, slot.name
    assert sorted(grammar("fits")) == sorted(MANNERS)
    for manner in MANNERS:
        assert len(compositions("fits", manner, held="out")) >= 12, manner


@pytest.mark.parametrize("kind", REPLY_KINDS)
def test_what_is_held_out_and_what_is_not_make_the_whole(kind):
    for section in grammar(kind):
        whole, seen, unseen = (set(compositions(kind, section, held=held)) for held in ("", "out", "only"))
        assert seen and unseen and not seen & unseen and seen | unseen == whole
        rare = set(compositions(kind, section, held="words"))
        assert rare and rare < unseen


def test_narrowing_keeps_the_first_lines_and_alternatives():
    one, two = (compositions("uses", "pet", most) for most in (1, 2))
    assert one == ("with your {v} by your side",)
    assert two[0] == one[0] and len(two) == 4 and set(two) < set(compositions("uses", "pet"))
    assert narrow(Options(wording="wide", phrasings=2)).by_slot["pet"].uses == two
    assert narrow(Options(wording="wide", held_out=2)).by_slot["pet"].uses == ("in the company of your {v}",)


# --- words -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", REPLY_KINDS)
def test_no_line_holds_a_fact_an_offence_or_somebody_else(kind):
    taken = {stem(word) for word, _ in fact_words()}
    for section, text in every(kind):
        assert not taken & {stem(word) for word in words(text)}, (section, text)
        assert not find_offences(tokenize(text)), text
        if kind in ("uses", "follows"):
            assert not {"he", "him", "his", "they", "them", "their"} & set(words(text)), text
            assert text.count("{v}") == 1 and text.count("{a}") == len(re.findall(r"\{a\} \{v\}", text)), text
            assert not re.search(r"\b(a|an|the|your|some)\s+\{a\}", text), text


def test_no_signal_of_a_reply_is_part_of_anothers():
    meant = [(text, f"{section.replace(' ', ':')} fits") for section, text in every("fits")]
    meant += [(text, f"{section} question") for section, text in every("questions")]
    meant += [pair for pair in signals() if pair[1].endswith(("fits", "advice", "question"))]
    carriers = [(text, section) for kind in ("uses", "follows", "replies") for section, text in every(kind)]
    spoken = [(f" {' '.join(words(text))} ", text, what) for text, what in meant]
    around = spoken + [(f" {' '.join(words(text))} ", text, what) for text, what in carriers]
    clashes = [(a, b) for inner, a, what in spoken for outer, b, other in around if what != other and inner in outer]
    assert clashes == [] and contains("how about a bath", "how about")


# --- reading ---------------------------------------------------------------------------------------------------


def replies_with(slot, value):
    """A reply in each shape for every composition of a fact."""
    for use in compositions("uses", slot):
        text = fill(use, value)
        text = text if use.startswith("{v}") else text[:1].lower() + text[1:]
        yield f"You could try a hot bath, {text}."
        if use in may_lead():
            yield f"You could try a hot bath {text}."
            yield f"{language.capital(text)}, you could try a hot bath."
    for sentence in compositions("follows", slot):
        yield f"You could try a hot bath. {fill(sentence, value)}"


@each_slot
def test_every_composition_is_read_as_the_fact_that_it_uses(slot):
    for number, value in enumerate(slot.values):
        for place, text in enumerate(replies_with(slot.name, value.text)):
            if (number + place) % 7:  # each composition with every seventh value, each value with every seventh
                continue
            reading = read_reply(text)
            assert [[(p.name, p.value) for p in ps] for ps in reading.values] == [[(slot.name, value.text)]], text
            assert reading.used == reading.values and not reading.fits and len(reading.advice) == 1, text
            assert not (reading.strange or reading.inventions or reading.claims or reading.loose), text
            assert not reading.n_fragments and not reading.n_questions, text
            assert not re.search(r"\ba [aeiou](?!ni)|\ban (?!hour|honour|[aeiou])|  | ,", text), text


@pytest.mark.parametrize("manner", MANNERS)
def test_every_composition_of_a_manner_is_read_as_it(manner):
    trait, pole = manner.split()
    place = FULL.by_trait[trait].place
    for phrase in compositions("fits", manner):
        text = {
            "lead": f"{language.capital(phrase)} a hot bath{language.stop_of(phrase)}",
            "reason": f"You could try a hot bath, {phrase}.",
        }.get(place, f"{language.alone(phrase)} You could try a hot bath.")
        reading = read_reply(text)
        assert reading.fits == ((trait, pole),) and reading.advised == {"evening"}, text
        assert not (reading.strange or reading.inventions or reading.claims or reading.n_fragments), text
        assert not reading.n_loose and not reading.n_questions, text


@settings(max_examples=120, deadline=None)
@given(SEEDS, st.sampled_from(["whole", "seen", "unseen"]))
def test_a_wide_reply_holds_exactly_what_it_was_given_and_has_no_fault_of_form(seed, part):
    rng, lexicon = Random(seed), {"whole": WIDE, "seen": SEEN, "unseen": UNSEEN}[part]
    profile = write_profile(draw_facts(rng, FULL), "She", rng, FULL)
    latent = read_persona(profile, write_personality(draw_traits(rng, FULL), "She", rng, FULL))
    facts, traits = rng.sample(latent.facts, rng.randint(0, 3)), language.pick_traits(latent.traits, rng)
    topic, asked = rng.choice(FULL.topics), rng.choice(FULL.slots).name
    question = rng.choice(lexicon.by_slot[asked].questions) if rng.random() < 0.5 else ""
    text = wide.write_tailored(topic, facts, traits, question, rng, lexicon)
    reading = read_reply(text)
    assert {(p.name, p.value) for ps in reading.used for p in ps} == {(f.name, f.value) for f in facts}, text
    assert len(reading.used) == len(facts)
    assert set(reading.fits) == {(t.name, t.value) for t in traits}, text
    assert reading.advised == {topic.name} and set(reading.asked) == ({asked} if question else set()), text
    known = read_known(latent, [])
    faults = find_faults(known, weigh(known, text), text)
    assert faults.cost == 0, (text, faults)
    generic = wide.write_generic(topic, rng, lexicon, 0, "")
    reading = read_reply(generic)
    assert reading.advised == {topic.name} and not reading.strange and not reading.n_fragments, generic
    assert not reading.values and not reading.fits and not reading.asked and not reading.asks_about_user, generic


def test_a_sentence_that_looks_back_needs_advice_before_it_and_says_nothing_twice():
    used = read_reply("You could try a hot bath. That leaves time for knitting.").used
    assert [ps[0].value for ps in used] == ["knitting"]
    assert not read_reply("That leaves time for knitting. You could try a hot bath.").used
    assert not read_reply("It is late. That leaves time for knitting.").used
    twice = read_reply("You could try a hot bath. That leaves time for knitting. That leaves time for pottery.")
    assert [ps[0].value for ps in twice.used] == ["knitting"] and len(twice.values) == 2
    broken = read_reply("You could try a hot bath. Sadly that leaves time for knitting and nothing else.")
    assert not broken.used


# --- whole conversations ---------------------------------------------------------------------------------------


def test_a_wide_reply_is_worth_what_the_listed_one_is_worth_in_its_place():
    people = draw_personas(8, seed=4)
    for number, person in enumerate(people):
        latent, talk = read_persona(*person), converse("tailored", person, person, seed=number, judged=False)
        for end in range(1, len(talk.history), 2):
            history = talk.history[:end]
            told = [s for new in disclosed(latent, [m.content for m in history[::2]]) for s in new]
            last = history[-1].content
            text = ask("world:oracle?wording=wide", "tailored", history[:-1], end, last=last, revealed=notes(told))
            known = read_known(latent, history)
            opinion = form_opinion(known, text, "revealed")
            assert opinion.natural == 5.0, text
            oracle = ask("world:oracle", "tailored", history[:-1], end, last=last, revealed=notes(told))
            assert opinion.score == form_opinion(known, oracle, "revealed").score, (oracle, text)
