"""The world's words, indexed: narrowing for those who write, one longest-match scanner for those who read.

Writers may be narrowed (fewer slots, values, phrasings); readers always know the whole lexicon, so that a text
means the same whoever wrote it. Phrases are matched on normalised tokens (lower case, ``an`` as ``a``, no
possessive ending) through a trie: the cost is that of the text, not of the lexicon. Nothing is built on import.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Literal, NamedTuple

from aloe.errors import ConfigError, nearest
from aloe.world.lexicon.schema import Pole, Slot, Topic, Trait, Value
from aloe.world.lexicon.slots import SLOTS
from aloe.world.lexicon.topics import TOPICS
from aloe.world.lexicon.traits import TRAITS

Tokens = tuple[str, ...]
_TOKEN = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_SENTENCE = re.compile(r"(?<=[.!?…])[\s\"'”’)]+|(?<=[。！？])\s*|\n+")
_PERSON = {
    "he": "she", "they": "she", "his": "her", "their": "her", "him": "her", "them": "her",
    "himself": "herself", "themselves": "herself",
}  # fmt: skip
VALUE_MARK = "\0"


@lru_cache(maxsize=8192)
def tokenize(text: str) -> Tokens:
    """Normalised tokens: what two phrasings of the same words have in common."""
    text = text.lower()
    if "’" in text:
        text = text.replace("’", "'")
    return tuple("a" if t == "an" else t[:-2] if t[-2:] == "'s" and len(t) > 2 else t for t in _TOKEN.findall(text))


@lru_cache(maxsize=8192)
def split_sentences(text: str) -> tuple[str, ...]:
    """Sentences of a text, by their final punctuation and by line breaks; never an empty one."""
    return tuple(s for piece in _SENTENCE.split(text) if (s := piece.strip(" \t\r\n-*•·")))


def neutral_person(tokens: Iterable[str]) -> Tokens:
    """The same sentence whoever it is about: he, she and they alike."""
    return tuple(_PERSON.get(t, t) for t in tokens)


class Payload(NamedTuple):
    """What a phrase means. ``kind``: value, cue, shown, fits, advice, request or question."""

    kind: str
    name: str  # slot, trait or topic
    value: str  # value, pole, or empty


class Span(NamedTuple):
    start: int
    end: int
    payloads: tuple[Payload, ...]


_END = ""  # never a token


class Scanner:
    """Finds known phrases in tokens: at each place the longest one, never overlapping."""

    def __init__(self, phrases: Mapping[Tokens, Sequence[Payload]]) -> None:
        self._root: dict[str, object] = {}
        for phrase, payloads in phrases.items():
            node = self._root
            for token in phrase:
                node = node.setdefault(token, {})  # type: ignore[assignment]
            node[_END] = tuple(payloads)

    def scan(self, tokens: Tokens) -> list[Span]:
        found: list[Span] = []
        root = self._root
        i, n = 0, len(tokens)
        while i < n:
            node = root.get(tokens[i])
            if node is None:
                i += 1
                continue
            j, best, payloads = i + 1, 0, ()
            while True:
                if _END in node:  # type: ignore[operator]
                    best, payloads = j, node[_END]  # type: ignore[index]
                if j >= n or (node := node.get(tokens[j])) is None:  # type: ignore[attr-defined]
                    break
                j += 1
            if best:
                found.append(Span(i, best, payloads))
                i = best
            else:
                i += 1
        return found


@dataclass(frozen=True, slots=True)
class Options:
    """What a world URI may say. Narrowing concerns writers only; 0 and () mean: everything.

    Attributes:
        values: first N values of each slot (single words first). phrasings: first N phrasings of each kind.
        hold_out: never the last phrasing of a kind. held_out: only the last one.
        steady: 1 makes replies that draw on notes predictable: of more than three facts that matter those that the
            topic lists first, in its order; every mark of manner; the first open question.
        hints, distractors: the user's rates. flaws: the persona-writer's. miss, invent: the inducer's.
        lapse, slip: how often a reply that draws on notes leaves out a fact, or a mark of manner, that it could have
            used, each on its own.
        leak, repeat, flip: faults of a user (tells all at once, repeats itself, answers as an assistant).
        bias: "first" makes a judge that always says so.
    """

    values: int = 0
    phrasings: int = 0
    advice: int = 0
    hold_out: int = 0
    held_out: int = 0
    steady: int = 0
    slots: tuple[str, ...] = ()
    without_slots: tuple[str, ...] = ()
    traits: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    hints: float = 0.35
    distractors: float = 0.12
    flaws: float = 0.03
    miss: float = 0.15
    lapse: float = 0.0
    slip: float = 0.0
    invent: float = 0.0
    leak: float = 0.0
    repeat: float = 0.0
    flip: float = 0.0
    bias: str = ""


def parse_options(query: str, where: str) -> Options:
    """``values=32&traits=formality,warmth`` as Options.

    Raises:
        ConfigError: an unknown option, slot, trait or topic (naming the nearest), or a value out of range.
    """
    types = {f.name: type(getattr(Options(), f.name)) for f in fields(Options)}
    names = {"slots": SLOTS, "without_slots": SLOTS, "traits": TRAITS, "topics": TOPICS}
    given: dict[str, object] = {}
    for part in filter(None, query.split("&")):
        key, _, text = part.partition("=")
        if key not in types:
            raise ConfigError(
                f"{where}: unknown option '{key}'{nearest(key, types)}", f"use one of: {', '.join(types)}"
            )
        if key in names:
            known = [item.name for item in names[key]]  # type: ignore[attr-defined]
            chosen = tuple(filter(None, text.split(",")))
            for name in chosen:
                if name not in known:
                    raise ConfigError(
                        f"{where}: no '{name}' among the {key.removeprefix('without_')}{nearest(name, known)}",
                        f"use some of: {', '.join(known)}",
                    )
            given[key] = chosen
        elif key == "bias":
            if text not in ("", "first", "second"):
                raise ConfigError(f"{where}: bias is '{text}'", "use first or second")
            given[key] = text
        else:
            given[key] = _number(key, text, types[key], where)
    return Options(**given)  # type: ignore[arg-type]


def _number(key: str, text: str, kind: type, where: str) -> float | int:
    try:
        value = kind(text)
    except ValueError:
        value = -1
    if value < 0 or (kind is float and value > 1):
        expected = "a probability from 0 to 1" if kind is float else "a whole number, 0 or more"
        raise ConfigError(f"{where}: option {key} is '{text}', expected {expected}", "correct the model's URI")
    return value  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class Lexicon:
    """What a writer may use. ``by_slot`` etc. find an entry by name."""

    slots: tuple[Slot, ...]
    traits: tuple[Trait, ...]
    topics: tuple[Topic, ...]
    by_slot: Mapping[str, Slot]
    by_trait: Mapping[str, Trait]
    by_topic: Mapping[str, Topic]


def _cut(options: Options, phrasings: tuple[str, ...]) -> tuple[str, ...]:
    kept = phrasings[: options.phrasings] if options.phrasings else phrasings
    if options.held_out:
        return kept[-1:]
    return kept[:-1] if options.hold_out and len(kept) > 1 else kept


def _cut_values(options: Options, values: tuple[Value, ...]) -> tuple[Value, ...]:
    if not options.values:
        return values
    return tuple(sorted(values, key=lambda v: not v.is_single)[: options.values])


@lru_cache(maxsize=64)
def narrow(options: Options = Options()) -> Lexicon:
    """The part of the lexicon that the options allow. A slot or trait keeps its place among the others."""
    slots = tuple(
        replace(
            s,
            values=_cut_values(options, s.values),
            profile=_cut(options, s.profile),
            said=_cut(options, s.said),
            hinted=_cut(options, s.hinted),
            other=_cut(options, s.other),
            uses=_cut(options, s.uses),
            questions=_cut(options, s.questions),
        )
        for s in SLOTS
        if (not options.slots or s.name in options.slots) and s.name not in options.without_slots
    )
    traits = tuple(
        replace(t, poles=(_cut_pole(options, t.poles[0]), _cut_pole(options, t.poles[1])))
        for t in TRAITS
        if not options.traits or t.name in options.traits
    )
    topics = tuple(
        replace(
            t,
            requests=_cut(options, t.requests),
            advice=t.advice[: options.advice] if options.advice else t.advice,
        )
        for t in TOPICS
        if not options.topics or t.name in options.topics
    )
    return Lexicon(
        slots, traits, topics,
        {s.name: s for s in slots}, {t.name: t for t in traits}, {t.name: t for t in topics},
    )  # fmt: skip


def _cut_pole(options: Options, pole: Pole) -> Pole:
    return replace(
        pole,
        persona=_cut(options, pole.persona),
        shown=_cut(options, pole.shown),
        fits=_cut(options, pole.fits),
    )


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


@lru_cache(maxsize=1)
def user_scanner() -> Scanner:
    """Finds in a user's words: values, cues, what shows a trait, requests."""
    entries = list(_values())
    entries += [(v.cue, Payload("cue", s.name, v.text)) for s in SLOTS if s.hinted for v in s.values if v.cue]
    entries += [(shown, Payload("shown", t.name, p.name)) for t in TRAITS for p in t.poles for shown in p.shown]
    entries += [(request, Payload("request", t.name, "")) for t in TOPICS for request in t.requests]
    return Scanner(_collect(entries))


@lru_cache(maxsize=1)
def reply_scanner() -> Scanner:
    """Finds in a reply: values, what fits a trait, advice, questions about a slot."""
    entries = list(_values())
    entries += [(fits, Payload("fits", t.name, p.name)) for t in TRAITS for p in t.poles for fits in p.fits]
    entries += [(advice, Payload("advice", t.name, "")) for t in TOPICS for advice in t.advice]
    entries += [(question, Payload("question", s.name, "")) for s in SLOTS for question in s.questions]
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


SaidKind = Literal["said", "hinted", "other"]


@lru_cache(maxsize=1)
def said_skeletons() -> Mapping[Tokens, tuple[tuple[SaidKind, str], ...]]:
    """How users speak: skeleton of a sentence -> (said, hinted or other; slot)."""
    table: dict[Tokens, list[tuple[SaidKind, str]]] = {}
    kinds: tuple[SaidKind, ...] = ("said", "hinted", "other")
    for slot in SLOTS:
        for kind in kinds:
            for template in getattr(slot, kind):
                table.setdefault(_marked(template), []).append((kind, slot.name))
    return {key: tuple(found) for key, found in table.items()}


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
