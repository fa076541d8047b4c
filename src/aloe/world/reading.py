"""Reads what a user's message says, whoever wrote it, with the whole lexicon (replies: ``reply.py``).

A sentence of a known template is read exactly, by its skeleton; other words count as the user's own if their sentence
speaks of "I" or "my" before anybody else. Readings are cached by text: no message is scanned twice.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from aloe.world.lexicon.index import ended_skeletons, links, said_skeletons, skeletons_around, user_scanner
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
    ended: tuple[Mention, ...] = ()  # what it says is over
    claimed: tuple[Mention, ...] = ()  # said of the user by mistake or as a lie, in words that only such a user has


def _words_of(sentence: str, tokens: Tokens) -> str:
    """The original words of a phrase; the sentence where they can't be told apart."""
    found = re.search(r"[\W_]+".join(map(re.escape, tokens)), sentence, re.IGNORECASE)
    return found.group() if found else sentence


class _Facts(NamedTuple):
    """The values and cues of one sentence: about the user, about somebody else, and untrue of the user."""

    mentions: Sequence[Mention] = ()
    others: Sequence[Payload] = ()
    claimed: Sequence[Mention] = ()


def _read_fact(tokens: Tokens, spans: Sequence[Span], sentence: str, ended: list[Mention]) -> _Facts:
    """What one sentence says of whom. What is over goes to ``ended``."""
    known, over = said_skeletons(), ended_skeletons()
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
        for kind, slot in over.get(frame) or over.get(_unlinked(frame), ()):
            if fitting := tuple(p for p in candidates if p.name == slot and p.kind == kind):
                ended.append(Mention(fitting, sentence))
                return _Facts()
        for kind, slot in known.get(frame) or known.get(_unlinked(frame), ()):
            fitting = tuple(p for p in candidates if p.name == slot and (p.kind == "cue") == (kind == "hinted"))
            if kind == "other":
                fitting = tuple(p for p in candidates if p.name == slot)
            elif kind == "wry":  # named, but only implied
                fitting = tuple(p._replace(kind="cue") for p in fitting)
            if fitting:
                mention = [Mention(fitting, sentence)]
                if kind == "other":
                    return _Facts(others=fitting)
                return _Facts(claimed=mention) if kind == "slipped" else _Facts(mention)
    return _Facts(*_read_free(tokens, spans, sentence))


def _unlinked(frame: Tokens) -> Tokens:
    """A sentence without what joins it to the one before."""
    return next((frame[len(link) :] for link in links() if frame[: len(link)] == link), frame)


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
    ended: list[Mention] = []
    others: list[Payload] = []
    claimed: list[Mention] = []
    shown: list[tuple[str, str, str]] = []
    own: list[str] = []
    topic: str | None = None
    for sentence in split_sentences(text):
        tokens = tokenize(sentence)
        spans = scanner.scan(tokens)
        facts = _read_fact(tokens, spans, sentence, ended) if spans else _Facts()
        mentions += facts.mentions
        others += facts.others
        claimed += facts.claimed
        if not facts.others:
            own.append(sentence)
        for span in spans:
            for payload in span.payloads:
                if payload.kind == "shown":
                    words = _words_of(sentence, tokens[span.start : span.end])
                    shown.append((payload.name, payload.value, words))
                elif payload.kind == "request":
                    topic = payload.name
    return UserReading(
        tuple(mentions), tuple(others), tuple(shown), topic, text, " ".join(own), tuple(ended), tuple(claimed)
    )
