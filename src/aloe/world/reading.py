"""What a text says, whoever it is by or for: users' messages and replies read with the whole lexicon.

A sentence of a known template is read exactly, by its skeleton; free words count as the user's own where they speak
of I or my and of nobody else first. Readings are cached by text: no message is scanned twice.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from aloe.world import fallback
from aloe.world.lexicon.index import reply_scanner, said_skeletons, skeletons_around, user_scanner
from aloe.world.lexicon.scan import Payload, Span, Tokens, split_sentences, tokenize

_FIRST_PERSON = frozenset({"i", "my", "me", "mine", "i'm", "i've", "i'd", "i'll", "we", "our", "myself"})
_SOMEBODY = frozenset(
    {
        "cousin",
        "friend",
        "neighbour",
        "neighbor",
        "colleague",
        "boss",
        "roommate",
        "coworker",
        "landlord",
        "doctor",
        "teacher",
        "coach",
    }
)
_CLAIM = re.compile(r"\b(?:since|because|given that) you\b[^,.!?;]*|you (?:told me|mentioned|said) \([^)]*", re.I)


class Mention(NamedTuple):
    """A value or cue in a user's sentence that is about the user."""

    payloads: tuple[Payload, ...]
    evidence: str


@dataclass(frozen=True, slots=True)
class UserReading:
    """What a user's message says, whoever the user is."""

    mentions: tuple[Mention, ...]
    others: tuple[Payload, ...]  # said of somebody else
    shown: tuple[tuple[str, str, str], ...]  # trait, pole, the user's words
    topic: str | None
    text: str
    own_text: str  # the sentences that are about the user


@dataclass(frozen=True, slots=True)
class ReplyReading:
    """What a reply says, whoever it is for."""

    values: tuple[tuple[Payload, ...], ...]
    fits: tuple[tuple[str, str], ...]  # trait, pole; each once
    advised: frozenset[str]  # topics whose advice it gives
    asked: tuple[str, ...]  # slots it asks for
    asks_about_user: bool
    claims: tuple[frozenset[str], ...]  # content words of what it says the user is or does
    text: str


def _words_of(sentence: str, tokens: Tokens) -> str:
    """The original words of a phrase; the sentence where they can't be told apart."""
    found = re.search(r"[\W_]+".join(map(re.escape, tokens)), sentence, re.IGNORECASE)
    return found.group() if found else sentence


def _read_fact(tokens: Tokens, spans: Sequence[Span], sentence: str) -> tuple[list[Mention], list[Payload]]:
    """Values and cues of one sentence: about the user, and about somebody else."""
    known = said_skeletons()
    marks = [s for s in spans if s.payloads[0].kind in ("shown", "request")]
    for span in spans:
        candidates = tuple(p for p in span.payloads if p.kind in ("value", "cue"))
        if not candidates:
            continue
        rest, start = list(tokens), span.start
        for mark in reversed(marks):
            del rest[mark.start : mark.end]
            start -= (mark.end - mark.start) if mark.start < span.start else 0
        frame = skeletons_around(tuple(rest), start, start + span.end - span.start)
        for kind, slot in known.get(frame, ()):
            fitting = tuple(p for p in candidates if p.name == slot and (p.kind == "cue") == (kind == "hinted"))
            if kind == "other":
                fitting = tuple(p for p in candidates if p.name == slot)
            if fitting:
                return ([], list(fitting)) if kind == "other" else ([Mention(fitting, sentence)], [])
    return _read_free(tokens, spans, sentence)


def _read_free(tokens: Tokens, spans: Sequence[Span], sentence: str) -> tuple[list[Mention], list[Payload]]:
    """A sentence of nobody's template: about the user if it speaks of I or my, and of nobody else first."""
    head = tokens[:4]
    somebody = any(t in _SOMEBODY for t in head) and not any(t[:2] in ("i", "i'") for t in head)
    own = not somebody and any(t in _FIRST_PERSON for t in tokens)
    mentions: list[Mention] = []
    others: list[Payload] = []
    for span in spans:
        candidates = tuple(p for p in span.payloads if p.kind in ("value", "cue"))
        if candidates and own:
            mentions.append(Mention(candidates, sentence))
        elif somebody:
            others.extend(candidates)
    return mentions, others


@lru_cache(maxsize=16384)
def read_message(text: str) -> UserReading:
    """Everything that a user's message says."""
    scanner = user_scanner()
    mentions: list[Mention] = []
    others: list[Payload] = []
    shown: list[tuple[str, str, str]] = []
    own: list[str] = []
    topic: str | None = None
    for sentence in split_sentences(text):
        tokens = tokenize(sentence)
        spans = scanner.scan(tokens)
        about_user, about_others = _read_fact(tokens, spans, sentence) if spans else ([], [])
        mentions += about_user
        others += about_others
        if not about_others:
            own.append(sentence)
        for span in spans:
            for payload in span.payloads:
                if payload.kind == "shown":
                    words = _words_of(sentence, tokens[span.start : span.end])
                    shown.append((payload.name, payload.value, words))
                elif payload.kind == "request":
                    topic = payload.name
    return UserReading(tuple(mentions), tuple(others), tuple(shown), topic, text, " ".join(own))


def _is_known(text: str) -> bool:
    """Whether a claim holds a phrase of the lexicon, which is counted as what it is."""
    return bool(reply_scanner().scan(tokenize(text)))


@lru_cache(maxsize=16384)
def read_reply(text: str) -> ReplyReading:
    """Everything that a reply says."""
    tokens = tokenize(text)
    values: list[tuple[Payload, ...]] = []
    fits: dict[tuple[str, str], None] = {}
    advised: set[str] = set()
    asked: dict[str, None] = {}
    for span in reply_scanner().scan(tokens):
        held = tuple(p for p in span.payloads if p.kind == "value")
        if held:
            values.append(held)
        for payload in span.payloads:
            if payload.kind == "fits":
                fits[(payload.name, payload.value)] = None
            elif payload.kind == "advice":
                advised.add(payload.name)
            elif payload.kind == "question":
                asked[payload.name] = None
    said = _CLAIM.findall(text)
    claims = tuple(fallback.stems(c) for c in said if not _is_known(c))
    question = text.rsplit("?", 1)[0] if "?" in text else ""
    about_user = bool(asked) or "about you" in question.lower()
    return ReplyReading(tuple(values), tuple(fits), frozenset(advised), tuple(asked), about_user, claims, text)
