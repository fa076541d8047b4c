"""The wide wording of users: what they say is read back exactly, neutral talk calls for no fact, others' facts are no
disclosures."""

from __future__ import annotations

import re
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulate import ask, converse, draw_personas, induce, notes, say
from test_lexicon_data import fact_words, signals, stem, words

from aloe.types import Message
from aloe.world import language, wide
from aloe.world.judge import form_opinion
from aloe.world.latent import (
    Item,
    Latent,
    draw_facts,
    draw_traits,
    fill,
    read_persona,
    write_personality,
    write_profile,
)
from aloe.world.lexicon.options import Options, narrow
from aloe.world.lexicon.plain import find_offences
from aloe.world.lexicon.scan import tokenize
from aloe.world.lexicon.wording import compositions, every, grammar
from aloe.world.model import WorldModel
from aloe.world.truth import Shown, disclosed, read_known, read_message, read_reply, read_user_message

FULL = narrow()
PARTS = {"whole": Options(wording="wide"), "seen": Options(wording="wide", hold_out=1)}
PARTS["unseen"] = Options(wording="wide", held_out=1)
SEEDS = st.integers(0, 2**31 - 1)
USER_KINDS = ("said", "hinted", "other", "shown", "requests", "advice", "links")
USER = "world:user?wording=wide&neutral=0.2&distractors=0.3"
NEUTRAL = [topic.name for topic in FULL.neutral]

each_slot = pytest.mark.parametrize("slot", FULL.slots, ids=lambda s: s.name)


def test_users_have_enough_ways_without_those_held_out():
    for slot in FULL.slots:
        assert len(compositions("said", slot.name, held="out")) >= 8, slot.name
        assert len(compositions("other", slot.name, held="out")) >= 8, slot.name
        assert len(compositions("hinted", slot.name, held="out")) >= 5 or not slot.hinted, slot.name
    for trait in FULL.traits:
        for pole in trait.poles:
            assert len(compositions("shown", f"{trait.name} {pole.name}", held="out")) >= 8, pole.name
    for topic in (*FULL.topics, *FULL.neutral):
        assert len(compositions("requests", topic.name, held="out")) >= 6, topic.name
        assert len(compositions("advice", topic.name)) >= 6, topic.name


@pytest.mark.parametrize("kind", USER_KINDS)
def test_no_line_of_users_holds_a_fact_an_offence_or_another_person(kind):
    taken = {stem(word) for word, _ in fact_words()}
    for section, text in every(kind):
        assert not taken & {stem(word) for word in words(text)}, (section, text)
        assert not find_offences(tokenize(text)), text
        if kind in ("said", "hinted", "other"):
            assert not {"he", "him", "his", "they", "them", "their"} & set(words(text)), text
            assert len(re.findall(r"\{(?:v|cue)\}", text)) == 1 and text.endswith("."), text
    assert kind == "links" or set(grammar(kind)) >= {s.name for s in FULL.slots if kind in ("said", "other")}


def test_no_signal_of_a_user_is_part_of_anothers():
    meant = [(text, f"{section.replace(' ', ':')} shown") for section, text in every("shown")]
    meant += [(text, f"{section} request") for section, text in every("requests")]
    meant += [pair for pair in signals() if pair[1].endswith(("shown", "request"))]
    carriers = [(text, section) for kind in ("said", "hinted", "other", "links") for section, text in every(kind)]
    spoken = [(f" {' '.join(words(text))} ", text, what) for text, what in meant]
    around = spoken + [(f" {' '.join(words(text))} ", text, what) for text, what in carriers]
    assert [(a, b) for inner, a, what in spoken for outer, b, other in around if what != other and inner in outer] == []


@each_slot
def test_every_composition_of_a_users_sentence_is_read_as_what_it_is(slot):
    for kind, status in (("said", "stated"), ("hinted", "implied"), ("other", None)):
        for place, template in enumerate(compositions(kind, slot.name)):
            for value in slot.values[place % 5 :: 5]:
                owner = Latent((Item("fact", slot.name, value.text, ""),), ())
                plain = fill(template, value.text, value.cue)
                for text in (
                    plain,
                    f"Besides, {language.lower(plain, slot)}",
                    f"In brief, {language.lower(plain, slot)}",
                ):
                    found = [(s.item.value, s.status, s.evidence) for s in read_user_message(text, owner)]
                    assert found == ([(value.text, status, text)] if status else []), text
                    assert bool(read_message(text).others) == (kind == "other"), text
                assert not re.search(r"\ba [aeiou](?!ni)|\ban (?!hour|honour|[aeiou18])|  | [,.]", plain), plain


def test_every_manner_and_request_of_a_user_is_read_as_what_it_is():
    for section, phrase in every("shown"):
        assert [f"{s[0]} {s[1]}" for s in read_message(language.alone(phrase)).shown] == [section], phrase
    for topic, request in every("requests"):
        reading = read_message(language.capital(request))
        assert reading.topic == topic and not reading.mentions and not reading.others and not reading.shown, request
    for topic, advice in every("advice"):
        reading = read_reply(f"You could try {advice}.")
        assert reading.advice == (topic,) and not reading.strange and not reading.values, advice


@settings(max_examples=150, deadline=None)
@given(SEEDS, st.sampled_from(sorted(PARTS)))
def test_a_wide_message_gives_away_exactly_what_it_was_made_of(seed, part):
    rng, lexicon = Random(seed), narrow(PARTS[part])
    profile = write_profile(draw_facts(rng, FULL), "She", rng, FULL)
    latent = read_persona(profile, write_personality(draw_traits(rng, FULL), "He", rng, FULL))
    facts = [(f, language.can_hint(f) and rng.random() < 0.5) for f in rng.sample(latent.facts, rng.randint(0, 2))]
    traits = rng.sample(latent.traits, rng.randint(0, 2))
    poles = {(t.name, p.name): p for t in lexicon.traits for p in t.poles}
    markers = [rng.choice(poles[t.name, t.value].shown) for t in traits]
    other = language.tell_of_other(frozenset(latent.by_value), rng, lexicon) if rng.random() < 0.5 else ""
    topic = rng.choice((*lexicon.topics, *lexicon.neutral))
    request = rng.choice(topic.requests)
    told = [language.tell(f, hinted, rng, lexicon) for f, hinted in facts]
    text = wide.write_user_message(told, markers, other, request if topic.slots else wide.change_to(request, rng), rng)
    expected = {(f, "implied" if hinted else "stated") for f, hinted in facts} | {(t, "implied") for t in traits}
    assert {(s.item, s.status) for s in read_user_message(text, latent)} == expected, text
    assert read_message(text).topic == topic.name, text
    assert bool(read_message(text).others) == bool(other), text
    assert (text[0].isupper() or text[0].isdigit()) and text[-1] in ".?" and "  " not in text and " ," not in text, text
    assert not re.search(r", (?:A|An|The|My|It|At|There) ", text), text


def test_neutral_talk_is_had_at_its_rate_and_on_every_branch_alike():
    topics = []
    for number, person in enumerate(draw_personas(25, seed=5)):
        history = []
        for turn in range(6):
            text = say(person, history, seed=number * 10 + turn, uri=USER)
            again = say(person, history, seed=number * 10 + turn + 7777, uri=USER)
            assert read_message(text).topic == read_message(again).topic
            topics.append(read_message(text).topic)
            history += [Message(role="user", content=text), Message(role="assistant", content="Fine.")]
    share = sum(topic in NEUTRAL for topic in topics) / len(topics)
    assert 0.12 < share < 0.28 and len(set(topics) & set(NEUTRAL)) >= 5
    assert None not in topics


@pytest.mark.parametrize("wording", ["listed", "wide"])
def test_where_nothing_matters_a_tailored_reply_uses_nothing_and_the_judge_wants_nothing(wording):
    for number, person in enumerate(draw_personas(12, seed=6)):
        latent = read_persona(*person)
        told = notes([Shown(item, "stated", "") for item in (*latent.facts, *latent.traits)])
        last = language.capital(FULL.neutral[number % len(NEUTRAL)].requests[0])
        uri = f"world:tailored?wording={wording}&steady=1"
        text = ask(uri, "tailored", seed=number, last=last, revealed=told)
        reading = read_reply(text)
        assert not reading.values and reading.fits and reading.advised == {read_message(last).topic}, text
        talk = read_known(latent, [Message(role="user", content=f"{FULL.by_slot['age'].said[0]} {last}")])
        assert not any(map(talk.matters, latent.facts))
        item = next(i for i in latent.facts)
        dragged = text.replace(".", f", {fill(FULL.by_slot[item.name].uses[0], item.value)}.", 1)
        assert form_opinion(talk, text, "revealed").score >= form_opinion(talk, dragged, "revealed").score + 0.1


def test_a_clause_of_ones_own_words_does_not_matter_there_either():
    person = ("He repairs old clocks in Lyon.", "He is blunt.")
    told = notes([Shown(item, "stated", "") for item in read_persona(*person).facts])
    reply = ask("world:tailored", "tailored", last="My printer is stuck, what now?", revealed=told)
    assert "clocks" not in reply and "clocks" in ask("world:tailored", "tailored", last="Hm.", revealed=told)


def test_wide_users_converse_as_listed_ones_do_and_contradict_nothing():
    people = draw_personas(8, seed=8)
    talks = [converse("tailored?wording=wide", p, people[i - 1], seed=i, user=USER) for i, p in enumerate(people)]
    for person, talk in zip(people, talks, strict=True):
        own = set(read_persona(*person).by_value)
        said = [m for text in talk.said for m in read_message(text).mentions]
        truth = {s.item.clause for new in disclosed(read_persona(*person), talk.said) for s in new}
        assert {d.item for d in induce(person, talk.history[:-1], "world:inducer?miss=0")} == truth
        assert all(own & {(p.name, p.value) for p in mention.payloads} for mention in said)
        assert all(t.n_false == t.n_premature == t.n_style_mismatch == 0 and t.on_topic for t in talk.truths)
    lengths = [len(text.split()) for talk in talks for text in talk.said]
    assert 10 < sum(lengths) / len(lengths) < 26 and max(lengths) < 60


def test_a_change_of_the_grammars_changes_the_revision_of_who_writes_with_them_and_of_nobody_else():
    listed, wide_user = WorldModel("world:user"), WorldModel("world:user?wording=wide")
    assert listed.revision == WorldModel("world:judge").revision == WorldModel("world:user?wording=listed").revision
    assert wide_user.revision == WorldModel("world:user?neutral=0.1").revision != listed.revision
