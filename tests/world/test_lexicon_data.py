"""The lexicon's invariants: readers go from words to facts and back only while every word means one thing."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterator

import pytest

from aloe.world.lexicon.schema import Pole, Slot, Topic, Trait
from aloe.world.lexicon.slots import SLOTS
from aloe.world.lexicon.topics import TOPICS
from aloe.world.lexicon.traits import TRAITS

SLOT_NAMES = (
    "occupation", "pet", "pet_name", "diet", "hobby", "home", "city", "family",
    "instrument", "drink", "vehicle", "sport", "plan", "studies", "age",
)  # fmt: skip
HINTED_SLOTS = ("occupation", "pet", "diet", "hobby", "home", "instrument", "drink", "sport")
CAPITALISED_SLOTS = ("pet_name", "city")
TRAIT_POLES = {
    "formality": ("lead", "formal", "casual"),
    "warmth": ("opener", "warm", "blunt"),
    "thinking": ("reason", "analytical", "intuitive"),
    "humour": ("closer", "playful", "serious"),
    "length": ("opener", "terse", "chatty"),
    "outlook": ("reason", "optimistic", "sceptical"),
    "pace": ("lead", "impatient", "patient"),
    "confidence": ("closer", "assertive", "anxious"),
    "novelty": ("reason", "adventurous", "cautious"),
    "sociability": ("opener", "outgoing", "withdrawn"),
    "order": ("closer", "planner", "spontaneous"),
    "modesty": ("lead", "modest", "proud"),
}
POLES = [(trait, pole) for trait in TRAITS for pole in trait.poles]

each_slot = pytest.mark.parametrize("slot", SLOTS, ids=lambda s: s.name)
each_trait = pytest.mark.parametrize("trait", TRAITS, ids=lambda t: t.name)
each_pole = pytest.mark.parametrize(("trait", "pole"), POLES, ids=[f"{t.name}-{p.name}" for t, p in POLES])
each_topic = pytest.mark.parametrize("topic", TOPICS, ids=lambda t: t.name)


def words(text: str) -> list[str]:
    """Lower-case words, placeholders left out, a hyphenated word whole, possessive endings dropped."""
    text = re.sub(r"\{\w+\}", " ", text).lower().replace("'s", " ")
    return re.findall(r"[a-z0-9']+(?:-[a-z0-9']+)*", text)


def stem(word: str) -> str:
    """One form for a word and its simple plural."""
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("ches", "shes", "sses", "xes", "zes")):
        return word[:-2]
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


def slot_templates(slot: Slot) -> Iterator[str]:
    for kind in ("profile", "said", "hinted", "other", "uses", "questions"):
        yield from getattr(slot, kind)


def fixed_texts() -> list[str]:
    """Everything in the lexicon that is not a value or a cue."""
    texts = [template for slot in SLOTS for template in slot_templates(slot)]
    texts += [text for _, pole in POLES for text in (*pole.persona, *pole.shown, *pole.fits)]
    return texts + [text for topic in TOPICS for text in (*topic.requests, *topic.advice)]


def placeholders(template: str) -> Counter[str]:
    return Counter(name for _, name, _, _ in string.Formatter().parse(template) if name is not None)


def contains(outer: str, inner: str) -> bool:
    """Whether the words of ``inner`` stand in a row in ``outer``."""
    return f" {' '.join(words(inner))} " in f" {' '.join(words(outer))} "


# slots ------------------------------------------------------------------------------------------------------


def test_slots_stand_in_order_of_importance() -> None:
    assert tuple(slot.name for slot in SLOTS) == SLOT_NAMES


@each_slot
def test_slot_has_enough_values_single_words_first(slot: Slot) -> None:
    assert len(slot.values) >= 34
    if slot.name == "age":
        assert [v.text for v in slot.values] == [str(age) for age in range(16, 86)]
        return
    pattern = r"[A-Z][a-z]+" if slot.name in CAPITALISED_SLOTS else r"[a-z]+"
    single = [re.fullmatch(pattern, v.text) is not None for v in slot.values]
    assert sum(single) >= 33
    assert single == sorted(single, reverse=True)
    if slot.name not in CAPITALISED_SLOTS:
        assert [v.is_single for v in slot.values] == single


@each_slot
def test_slot_has_cues_for_all_values_or_none(slot: Slot) -> None:
    wanted = slot.name in HINTED_SLOTS
    assert all(bool(v.cue) is wanted for v in slot.values)
    assert bool(slot.hinted) is wanted
    assert all(re.fullmatch(r"[a-z]+", v.cue) for v in slot.values if wanted)


@each_slot
def test_slot_has_enough_phrasings_all_different(slot: Slot) -> None:
    least = {"profile": 3, "said": 5, "other": 3, "uses": 4, "questions": 3}
    if slot.hinted:
        least["hinted"] = 4
    assert {kind for kind, n in least.items() if len(getattr(slot, kind)) < n} == set()
    templates = list(slot_templates(slot))
    assert len({" ".join(words(t)) for t in templates}) == len(templates)


@each_slot
def test_placeholders_are_valid(slot: Slot) -> None:
    person = {"She", "she", "her"}
    for kind, needed, optional in (
        ("profile", {"v"}, {"a"} | person),
        ("said", {"v"}, {"a"}),
        ("hinted", {"cue"}, set()),
        ("other", {"v"}, {"a"}),
        ("uses", {"v"}, {"a"}),
        ("questions", set(), set()),
    ):
        for template in getattr(slot, kind):
            found = placeholders(template)
            assert needed <= set(found) <= needed | optional, template
            assert all(found[name] == 1 for name in needed), template
            if kind == "profile":
                assert template.startswith(("{She} ", "At ", "Next ")), template


@each_slot
def test_articles_are_neither_doubled_nor_wrong(slot: Slot) -> None:
    templates = list(slot_templates(slot))
    for template in templates:
        assert template.count("{a}") == len(re.findall(r"\{a\} \{v\}", template)), template
        assert not re.search(r"\b(a|an|the|my|your)\s+\{a\}", template), template
        assert not re.search(r"\b(a|an)\s+\{(v|cue)\}", template) or not any(
            v.text[0].lower() in "aeiou" for v in slot.values
        ), template
    if any("{a}" in template for template in templates):
        # the article goes by the first letter, so sound and letter must agree
        odd = [v.text for v in slot.values if re.match(r"(u[^n]|uni|eu|one\b|hour|hono|heir)", v.text)]
        assert odd == []


@each_slot
def test_sentences_are_sentences_and_uses_are_not(slot: Slot) -> None:
    for sentence in (*slot.profile, *slot.said, *slot.hinted, *slot.other):
        assert sentence.endswith(".") and sentence.count(".") == 1, sentence
        assert sentence[0].isupper() or sentence.startswith(("{She}", "{v}")), sentence
    for sentence in (*slot.said, *slot.hinted):
        assert 3 <= len(sentence.replace("{a} ", "").split()) <= 10, sentence
    for use in slot.uses:
        assert use[0].islower() and use[-1] not in ".,!?", use
        assert 2 <= len(use.split()) <= 8, use
    for question in slot.questions:
        assert question.endswith("?") and question[0].islower() and "," not in question, question


@pytest.mark.parametrize("kind", ["profile", "said", "hinted", "other", "questions"])
def test_fixed_words_tell_the_slot(kind: str) -> None:
    owner: dict[str, str] = {}
    for slot in SLOTS:
        for template in getattr(slot, kind):
            marked = re.sub(r"(?:\b(?:a|an)|\{a\}) \{v\}|\{v\}|\{cue\}", "#", template).lower()
            assert marked not in owner, f"{template}: {owner.get(marked)} and {slot.name}"
            owner[marked] = slot.name


def test_only_sentences_about_others_begin_with_somebody_else() -> None:
    others = ("My cousin", "My neighbour", "My colleague", "My boss", "A colleague", "A friend")
    for slot in SLOTS:
        assert all(sentence.startswith(others) for sentence in slot.other), slot.name
        assert not any(s.startswith(others) for s in (*slot.said, *slot.hinted)), slot.name


@each_slot
def test_users_speak_of_no_he_or_they(slot: Slot) -> None:
    # readers take he, she and they for one person, so sentences may use one of them only
    sentences = (*slot.said, *slot.hinted, *slot.other)
    assert [s for s in sentences if {"he", "him", "his", "they", "them", "their"} & set(words(s))] == []


# words ------------------------------------------------------------------------------------------------------


def fact_words() -> list[tuple[str, str]]:
    """(word, where) for every word of a value (hyphenated ones whole) and every cue."""
    found = []
    for slot in SLOTS:
        for value in slot.values:
            found += [(word, f"{slot.name}:{value.text}") for word in words(value.text)]
            found += [(value.cue, f"{slot.name}:{value.text} (cue)")] if value.cue else []
    return found


def test_no_value_or_cue_word_means_two_things() -> None:
    places: dict[str, list[str]] = {}
    for word, where in fact_words():
        places.setdefault(stem(word), []).append(where)
    assert {word: where for word, where in places.items() if len(where) > 1} == {}


def test_no_template_or_phrase_holds_a_value_or_cue() -> None:
    taken = {stem(word): where for word, where in fact_words()}
    clashes = [(text, taken[stem(w)]) for text in fixed_texts() for w in words(text) if stem(w) in taken]
    assert clashes == []


# traits -----------------------------------------------------------------------------------------------------


def test_traits_are_the_twelve_with_their_places() -> None:
    assert {t.name: (t.place, *(p.name for p in t.poles)) for t in TRAITS} == TRAIT_POLES
    assert [t.name for t in TRAITS] == list(TRAIT_POLES)


@each_pole
def test_pole_has_enough_phrases(trait: Trait, pole: Pole) -> None:
    assert len(set(pole.persona)) >= 4 and len(set(pole.shown)) >= 5 and len(set(pole.fits)) >= 5
    for sentence in pole.persona:
        assert sentence.startswith("{She} ") and sentence.endswith(".") and sentence.count(".") == 1
        assert set(placeholders(sentence)) <= {"She", "she", "her"}
    for shown in pole.shown:
        assert 2 <= len(shown.split()) <= 5, shown
    for phrase in (*pole.shown, *pole.fits):
        assert phrase[-1] not in ".,!?" and "{" not in phrase, phrase
        assert phrase[0].islower() or re.match(r"I\b", phrase), phrase
        assert "." not in phrase and len(phrase.split()) >= 2, phrase


@each_pole
def test_pole_is_shown_and_met_without_its_name(trait: Trait, pole: Pole) -> None:
    named = [p for p in (*pole.shown, *pole.fits) if pole.name in words(p) or trait.name in words(p)]
    assert named == []


@each_pole
def test_persona_sentences_of_a_pole_name_no_other(trait: Trait, pole: Pole) -> None:
    other = {p.name for _, p in POLES} - {pole.name}
    assert [s for s in pole.persona if other & set(words(s))] == []


def test_persona_sentences_are_unique() -> None:
    sentences = [s for _, pole in POLES for s in pole.persona]
    assert len(set(sentences)) == len(sentences)


def signals() -> list[tuple[str, str]]:
    """Everything a scanner looks for beside values and cues, with what it stands for."""
    found = [(text, f"{t.name}:{p.name} shown") for t, p in POLES for text in p.shown]
    found += [(text, f"{t.name}:{p.name} fits") for t, p in POLES for text in p.fits]
    found += [(text, f"{t.name} advice") for t in TOPICS for text in t.advice]
    found += [(text, f"{t.name} request") for t in TOPICS for text in t.requests]
    return found + [(text, f"{s.name} question") for s in SLOTS for text in s.questions]


def test_no_signal_is_part_of_another() -> None:
    found = signals()
    clashes = [
        (inner, outer)
        for i, (inner, _) in enumerate(found)
        for j, (outer, _) in enumerate(found)
        if i != j and contains(outer, inner)
    ]
    assert clashes == []


def test_no_sentence_about_facts_holds_a_signal() -> None:
    sentences = [t for s in SLOTS for t in (*s.said, *s.hinted, *s.other, *s.uses)]
    assert [(t, text) for t in sentences for text, _ in signals() if contains(t, text)] == []


# topics -----------------------------------------------------------------------------------------------------


def test_there_are_ten_topics() -> None:
    assert len(TOPICS) == len({t.name for t in TOPICS}) == 10


@each_topic
def test_topic_has_requests_and_advice(topic: Topic) -> None:
    assert len(topic.requests) >= 6 and len(topic.advice) >= 6
    for request in topic.requests:
        assert request.endswith("?") and 5 <= len(request.split()) <= 8, request
    for advice in topic.advice:
        assert re.match(r"(an (?=[aeiou])|a (?![aeiou]))", advice), advice
        assert 3 <= len(advice.split()) <= 6, advice


@each_topic
def test_topic_has_six_or_seven_known_slots(topic: Topic) -> None:
    assert 6 <= len(topic.slots) <= 7 and len(set(topic.slots)) == len(topic.slots)
    assert set(topic.slots) <= set(SLOT_NAMES)


def test_every_slot_matters_in_three_topics() -> None:
    counts = Counter(slot for topic in TOPICS for slot in topic.slots)
    assert {name: counts[name] for name in SLOT_NAMES if counts[name] < 3} == {}
