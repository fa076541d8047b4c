"""What is written is read back exactly: every phrasing of the lexicon, and whole messages made of them."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aloe.world import language
from aloe.world.latent import (
    Item,
    Latent,
    draw_facts,
    draw_traits,
    fill,
    read_persona,
    read_sentence,
    write_personality,
    write_profile,
)
from aloe.world.lexicon.options import Options, narrow
from aloe.world.truth import read_message, read_reply, read_user_message

FULL = narrow()
SEEDS = st.integers(0, 2**31 - 1)


def owner_of(slot: str, value: str) -> Latent:
    return Latent((Item("fact", slot, value, ""),), ())


@pytest.mark.parametrize("slot", FULL.slots, ids=lambda s: s.name)
def test_every_phrasing_of_a_fact_is_read_as_what_it_is(slot):
    for value in slot.values:
        owner = owner_of(slot.name, value.text)
        for kind, status in (("said", "stated"), ("hinted", "implied"), ("other", None)):
            if kind == "hinted" and not value.cue:
                continue
            for template in getattr(slot, kind):
                text = fill(template, value.text, value.cue)
                found = [(s.item.value, s.status, s.evidence) for s in read_user_message(text, owner)]
                assert found == ([(value.text, status, text)] if status else []), text
        for template in slot.profile:
            for pronoun in ("She", "He"):
                item = read_sentence("fact", fill(template, value.text, pronoun=pronoun))
                assert (item.name, item.value) == (slot.name, value.text)
        for template in slot.uses:
            reading = read_reply(f"You could try a hot bath, {fill(template, value.text)}.")
            assert [[(p.name, p.value) for p in ps] for ps in reading.values] == [[(slot.name, value.text)]]
            assert not reading.fits


def test_every_manner_request_advice_and_question_is_read_as_what_it_is():
    for trait in FULL.traits:
        for pole in trait.poles:
            for sentence in pole.persona:
                for pronoun in ("She", "He"):
                    item = read_sentence("trait", fill(sentence, pronoun=pronoun))
                    assert (item.name, item.value) == (trait.name, pole.name)
            for phrase in pole.fits:
                assert read_reply(f"{phrase.capitalize()} a hot bath.").fits == ((trait.name, pole.name),)
            for phrase in pole.shown:
                assert [s[:2] for s in read_message(phrase.capitalize() + ".").shown] == [(trait.name, pole.name)]
    for topic in FULL.topics:
        assert {read_message(language.capital(r)).topic for r in topic.requests} == {topic.name}
        for advice in topic.advice:
            assert read_reply(f"You could try {advice}.").advised == {topic.name}
    for slot in FULL.slots:
        assert {read_reply(language.capital(q)).asked for q in slot.questions} == {(slot.name,)}


@settings(max_examples=150, deadline=None)
@given(SEEDS, st.sampled_from(["She", "He"]))
def test_reading_a_written_persona_gives_what_was_meant(seed, pronoun):
    rng = Random(seed)
    facts, traits = draw_facts(rng, FULL), draw_traits(rng, FULL)
    latent = read_persona(write_profile(facts, pronoun, rng, FULL), write_personality(traits, pronoun, rng, FULL))
    assert [(i.name, i.value) for i in latent.facts] == facts
    assert [(i.name, i.value) for i in latent.traits] == traits


@settings(max_examples=300, deadline=None)
@given(SEEDS)
def test_a_composed_message_gives_away_exactly_what_it_was_made_of(seed):
    rng = Random(seed)
    profile = write_profile(draw_facts(rng, FULL), "She", rng, FULL)
    latent = read_persona(profile, write_personality(draw_traits(rng, FULL), "He", rng, FULL))
    facts = [(f, language.can_hint(f) and rng.random() < 0.5) for f in rng.sample(latent.facts, rng.randint(0, 2))]
    traits = rng.sample(latent.traits, rng.randint(0, 2))
    markers = [rng.choice(next(p for p in FULL.by_trait[t.name].poles if p.name == t.value).shown) for t in traits]
    other = language.tell_of_other(frozenset(latent.by_value), rng, FULL) if rng.random() < 0.5 else ""
    topic = rng.choice(FULL.topics)
    told = [language.tell(f, hinted, rng, FULL) for f, hinted in facts]
    text = language.write_user_message(told, markers, other, rng.choice(topic.requests), rng)
    expected = {(f, "implied" if hinted else "stated") for f, hinted in facts} | {(t, "implied") for t in traits}
    assert {(s.item, s.status) for s in read_user_message(text, latent)} == expected
    assert all(s.evidence in text for s in read_user_message(text, latent))
    reading = read_message(text)
    assert reading.topic == topic.name
    assert bool(reading.others) == bool(other)
    assert text[0].isupper() or text[0].isdigit()
    assert text[-1] in ".?"
    assert "  " not in text and " ," not in text


@settings(max_examples=200, deadline=None)
@given(SEEDS)
def test_a_tailored_reply_holds_exactly_the_facts_and_manners_it_was_given(seed):
    rng = Random(seed)
    profile = write_profile(draw_facts(rng, FULL), "She", rng, FULL)
    latent = read_persona(profile, write_personality(draw_traits(rng, FULL), "She", rng, FULL))
    facts = rng.sample(latent.facts, rng.randint(0, 3))
    traits = language.pick_traits(latent.traits, rng)
    topic = rng.choice(FULL.topics)
    reading = read_reply(language.write_tailored(topic, facts, traits, "", rng, FULL))
    assert {(p.name, p.value) for ps in reading.values for p in ps} == {(f.name, f.value) for f in facts}
    assert set(reading.fits) == {(t.name, t.value) for t in traits}
    assert reading.advised == {topic.name}
    assert len(traits) >= 2


@settings(max_examples=200, deadline=None)
@given(SEEDS)
def test_a_generic_reply_holds_no_fact_and_no_manner(seed):
    rng = Random(seed)
    topic = rng.choice(FULL.topics)
    reading = read_reply(language.write_generic(topic, rng))
    assert reading.advised == {topic.name}
    assert not reading.values and not reading.fits and not reading.asked and not reading.asks_about_user


def test_free_words_about_oneself_count_and_about_others_do_not():
    owner = owner_of("pet", "ferret")
    assert read_user_message("Honestly, my old ferret bit me again!", owner)[0].status == "stated"
    assert read_user_message("My cousin's ferret bit her again!", owner) == ()
    assert read_user_message("Are ferrets or a ferret good at chess?", owner) == ()


def test_narrowing_keeps_the_first_and_holds_out_the_last():
    narrowed = narrow(Options(values=32, phrasings=3, slots=("pet", "diet"), traits=("warmth",)))
    assert [s.name for s in narrowed.slots] == ["pet", "diet"]
    assert [t.name for t in narrowed.traits] == ["warmth"]
    assert all(len(s.values) == 32 and all(v.is_single for v in s.values) for s in narrowed.slots)
    pet = FULL.by_slot["pet"]
    assert narrowed.by_slot["pet"].said == pet.said[:3]
    assert narrow(Options(phrasings=3, hold_out=1)).by_slot["pet"].said == pet.said[:2]
    assert narrow(Options(phrasings=3, held_out=1)).by_slot["pet"].said == pet.said[2:3]
    assert "pet" not in narrow(Options(without_slots=("pet",))).by_slot
