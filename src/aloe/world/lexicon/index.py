"""The index of the world's words: scanners of phrases and skeletons of sentences.

Nothing is built on import.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Literal

from aloe.world.lexicon.changes import ENDED, GONE
from aloe.world.lexicon.dialect_wording import SAID_KINDS, every_phrase, said_sentences
from aloe.world.lexicon.scan import Payload, Scanner, Tokens, neutral_person, tokenize
from aloe.world.lexicon.slots import SLOTS
from aloe.world.lexicon.topics import TOPICS
from aloe.world.lexicon.traits import TRAITS
from aloe.world.lexicon.wording import every

VALUE_MARK = "\0"


def _collect(entries: Iterable[tuple[str, Payload]]) -> dict[Tokens, list[Payload]]:
    phrases: dict[Tokens, list[Payload]] = {}
    for text, payload in entries:
        if (tokens := tokenize(text)) and payload not in phrases.setdefault(tokens, []):
            phrases[tokens].append(payload)
    return phrases


def _values() -> Iterable[tuple[str, Payload]]:
    for slot in SLOTS:
        for value in slot.values:
            yield value.text, Payload("value", slot.name, value.text)


def _manner(kind: str, section: str) -> Payload:
    trait, _, pole = section.partition(" ")
    return Payload(kind, trait, pole)


@lru_cache(maxsize=1)
def user_scanner() -> Scanner:
    """Finds in a user's words: values, cues, what shows a trait, requests."""
    entries = list(_values())
    entries += [(v.cue, Payload("cue", s.name, v.text)) for s in SLOTS if s.hinted for v in s.values if v.cue]
    entries += [(shown, Payload("shown", t.name, p.name)) for t in TRAITS for p in t.poles for shown in p.shown]
    entries += [(request, Payload("request", t.name, "")) for t in TOPICS for request in t.requests]
    entries += [(request, Payload("request", topic, "")) for topic, request in every("requests")]
    entries += [(shown, _manner("shown", section)) for section, shown in every("shown")]
    entries += [(request, Payload("request", topic, "")) for topic, request in every_phrase("requests")]
    entries += [(shown, _manner("shown", section)) for section, shown in every_phrase("shown")]
    return Scanner(_collect(entries))


@lru_cache(maxsize=1)
def reply_scanner() -> Scanner:
    """Finds in a reply: values, what fits a trait, advice, questions about a slot."""
    entries = list(_values())
    entries += [(fits, Payload("fits", t.name, p.name)) for t in TRAITS for p in t.poles for fits in p.fits]
    entries += [(advice, Payload("advice", t.name, "")) for t in TOPICS for advice in t.advice]
    entries += [(question, Payload("question", s.name, "")) for s in SLOTS for question in s.questions]
    entries += [(question, Payload("question", slot, "")) for slot, question in every("questions")]
    entries += [(advice, Payload("advice", topic, "")) for topic, advice in every("advice")]
    entries += [(fits, _manner("fits", section)) for section, fits in every("fits")]
    return Scanner(_collect(entries))


@lru_cache(maxsize=1)
def value_scanner() -> Scanner:
    """Finds values only (persona texts)."""
    return Scanner(_collect(_values()))


@lru_cache(maxsize=4096)
def skeleton(template: str) -> Tokens:
    """A template's tokens with a mark where its value or cue goes, for whoever it speaks of."""
    text = template.replace("{a} ", "").replace("{v}", "\1").replace("{cue}", "\1").replace("\1's", "\1")
    text = text.replace("{Her}", "her").replace("{She}", "she").replace("{she}", "she").replace("{her}", "her")
    tokens: list[str] = []
    for number, piece in enumerate(text.split("\1")):
        tokens += ([VALUE_MARK] if number else []) + list(tokenize(piece))
    return neutral_person(tokens)


def skeletons_around(tokens: Tokens, start: int, end: int) -> Tokens:
    """Tokens with ``start:end`` replaced by the mark; an article directly before it belongs to it."""
    if start and tokens[start - 1] == "a":
        start -= 1
    return (*tokens[:start], VALUE_MARK, *tokens[end:])


SaidKind = Literal["said", "hinted", "other", "wry", "slipped"]


@lru_cache(maxsize=1)
def said_skeletons() -> Mapping[Tokens, tuple[tuple[SaidKind, str], ...]]:
    """How users speak: skeleton of a sentence -> (said, hinted, other, wry or slipped; slot)."""
    table: dict[Tokens, list[tuple[SaidKind, str]]] = {}
    kinds: tuple[SaidKind, ...] = ("said", "hinted", "other")
    for slot in SLOTS:
        for kind in kinds:
            for template in getattr(slot, kind):
                table.setdefault(_marked(template), []).append((kind, slot.name))
    for kind in kinds:
        for name, template in every(kind):
            entry = (kind, name)
            if entry not in table.setdefault(_marked(template), []):
                table[_marked(template)].append(entry)
    for section, name, template in said_sentences():
        table.setdefault(_marked(template), []).append((SAID_KINDS[section], name))
    return {key: tuple(found) for key, found in table.items()}


@lru_cache(maxsize=1)
def ended_skeletons() -> Mapping[Tokens, tuple[tuple[str, str], ...]]:
    """How users tell that a fact is over: skeleton of a sentence -> (value or cue, slot)."""
    table: dict[Tokens, list[tuple[str, str]]] = {}
    for kind, by_slot in (("value", ENDED), ("cue", GONE)):
        for slot, templates in by_slot.items():
            for template in templates:
                table.setdefault(_marked(template), []).append((kind, slot))
    return {key: tuple(found) for key, found in table.items()}


@lru_cache(maxsize=1)
def links() -> tuple[Tokens, ...]:
    """What joins a user's sentence to the one before it, the longest first."""
    return tuple(sorted({tokenize(link) for _, link in every("links")}, key=len, reverse=True))


@lru_cache(maxsize=1)
def profile_skeletons() -> Mapping[Tokens, tuple[str, ...]]:
    """How profiles state facts: skeleton of a sentence -> slots."""
    table: dict[Tokens, list[str]] = {}
    for slot in SLOTS:
        for template in slot.profile:
            table.setdefault(neutral_person(_marked(template)), []).append(slot.name)
    return {key: tuple(found) for key, found in table.items()}


def _marked(template: str) -> Tokens:
    """The skeleton as a reader sees it: a literal article before the value is absorbed, too."""
    tokens = skeleton(template)
    at = tokens.index(VALUE_MARK)
    return skeletons_around(tokens, at, at + 1)


@lru_cache(maxsize=1)
def persona_sentences() -> Mapping[Tokens, tuple[str, str]]:
    """How personalities state traits: sentence -> (trait, pole)."""
    return {
        skeleton(sentence): (trait.name, pole.name)
        for trait in TRAITS
        for pole in trait.poles
        for sentence in pole.persona
    }
