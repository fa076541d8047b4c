"""Exact ground truth: what a persona holds, what a message gives away, what a reply makes of it.

The benchmark's ground-truth figures and the world's judge read with this module; reply writers compose with
``language.py`` and share no more with it than the lexicon. Readings of a text do not depend on a persona and
are cached; a persona only filters them. What a user says of somebody else is never a disclosure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from aloe.types import Message, Status
from aloe.world import fallback
from aloe.world.latent import Item, Latent, read_persona, read_sentence
from aloe.world.lexicon.options import narrow
from aloe.world.lexicon.scan import split_sentences
from aloe.world.reading import ReplyReading, UserReading, read_message, read_reply

MAX_EXPECTED = 3  # facts and style markers that a reply can be expected to hold


@dataclass(frozen=True, slots=True)
class Shown:
    """An item that a message gave away, with the words that did it."""

    item: Item
    status: Status
    evidence: str


def read_user_message(text: str, latent: Latent) -> tuple[Shown, ...]:
    """What a message gives away of a persona, each item once, in the order of the words."""
    reading = read_message(text)
    found: dict[tuple[str, str, str], Shown] = {}
    for mention in reading.mentions:
        for payload in mention.payloads:
            item = latent.by_value.get((payload.name, payload.value))
            if item is not None:
                status: Status = "stated" if payload.kind == "value" else "implied"
                key = (item.kind, item.name, item.value)
                if key not in found or status == "stated":
                    found[key] = Shown(item, status, mention.evidence)
                break
    for trait, pole, words in reading.shown:
        item = latent.poles.get(trait)
        if item is not None and item.value == pole:
            found.setdefault((item.kind, item.name, item.value), Shown(item, "implied", words))
    if latent.clauses:
        own = reading.own_text
        words_said = fallback.stems(own)
        for item, content in latent.clauses:
            if fallback.is_told(item.clause, content, own, words_said):
                found[(item.kind, item.name, item.value)] = Shown(item, "stated", _telling(own, content))
    return tuple(found.values())


def _telling(text: str, words: frozenset[str]) -> str:
    """The sentence of a message that tells most of a clause."""
    return max(split_sentences(text) or (text,), key=lambda s: len(words & fallback.stems(s)))


def disclosed(latent: Latent, user_messages: Sequence[str]) -> tuple[tuple[Shown, ...], ...]:
    """Per turn, what is new."""
    seen: set[tuple[str, str, str]] = set()
    turns: list[tuple[Shown, ...]] = []
    for text in user_messages:
        new: list[Shown] = []
        for shown in read_user_message(text, latent):
            key = (shown.item.kind, shown.item.name, shown.item.value)
            if key not in seen:
                seen.add(key)
                new.append(shown)
        turns.append(tuple(new))
    return tuple(turns)


def swap(shown: Iterable[Shown], other: Latent) -> tuple[Shown, ...]:
    """The same revelations as if of another persona: same slot or trait where it has one, else in order.

    Nothing of the other persona is given twice; where it has nothing left, a revelation is dropped.
    """
    asked = list(shown)
    given: dict[int, Item] = {}
    for number, entry in enumerate(asked):
        same = (other.by_slot if entry.item.kind == "fact" else other.poles).get(entry.item.name)
        if same is not None:
            given[number] = same
    taken = set(given.values())
    for number, entry in enumerate(asked):
        if number in given:
            continue
        pool = other.facts if entry.item.kind == "fact" else other.traits
        free = next((item for item in pool if item not in taken), None)
        if free is not None:
            given[number] = free
            taken.add(free)
    return tuple(Shown(given[n], entry.status, entry.evidence) for n, entry in enumerate(asked) if n in given)


@dataclass(frozen=True, slots=True)
class Known:
    """What a conversation has given away before a reply is due."""

    latent: Latent
    turn: int
    facts: dict[Item, tuple[int, Status]]  # item -> turn it was revealed at, and how
    traits: dict[str, str]  # trait shown -> the persona's pole
    topic: str | None
    slots: tuple[str, ...] | None  # those that matter to the topic; None: all

    def matters(self, item: Item) -> bool:
        """Whether a fact has to do with what the user asks. Clauses may always."""
        return self.slots is None or item.name in self.slots or not item.is_world


def read_known(latent: Latent, conversation: Sequence[Message]) -> Known:
    """The state of a conversation that ends with the user's message."""
    said = [m.content for m in conversation if m.role == "user"]
    facts: dict[Item, tuple[int, Status]] = {}
    traits: dict[str, str] = {}
    for turn, new in enumerate(disclosed(latent, said), 1):
        for shown in new:
            if shown.item.kind == "fact":
                facts[shown.item] = (turn, shown.status)
            else:
                traits[shown.item.name] = shown.item.value
    topic = read_message(said[-1]).topic if said else None
    slots = narrow().by_topic[topic].slots if topic else None
    return Known(latent, len(said), facts, traits, topic, slots)


@dataclass(frozen=True, slots=True)
class Weighed:
    """What a reply makes of what is known. Each item counts once."""

    used: tuple[Item, ...]  # revealed and relevant
    forced: tuple[Item, ...]  # revealed, but beside the topic
    premature: tuple[Item, ...]  # true, but not revealed yet
    n_false: int
    fits: tuple[tuple[str, bool, bool], ...]  # trait, whether it suits, whether the trait was shown
    on_topic: bool


@lru_cache(maxsize=256)
def _topic_words(name: str) -> frozenset[str]:
    topic = narrow().by_topic[name]
    return frozenset().union(*(fallback.stems(text) for text in (*topic.requests, *topic.advice)))


def _is_on_topic(topic: str | None, reading: ReplyReading) -> bool:
    if not any(c.isalnum() for c in reading.text):
        return False
    if topic is None or topic in reading.advised:
        return True
    return not reading.advised and len(_topic_words(topic) & fallback.stems(reading.text)) >= 2


def weigh(known: Known, reply: str) -> Weighed:
    """Hold a reply against the persona and what was revealed of it so far."""
    reading = read_reply(reply)
    latent = known.latent
    mine: dict[Item, None] = {}
    n_false = 0
    own_words = _own_words(latent) if latent.clauses or reading.claims else frozenset()
    words = fallback.stems(reply) if latent.clauses else frozenset()
    for payloads in reading.values:
        item = next((i for p in payloads if (i := latent.by_value.get((p.name, p.value)))), None)
        if item is not None:
            mine[item] = None
        elif not (latent.clauses and fallback.stems(payloads[0].value) <= own_words):
            n_false += 1
    for item, content in latent.clauses:
        if content and fallback.share(content, words) >= fallback.USED:
            mine[item] = None
    n_claims = sum(len(c) >= 2 and fallback.share(c, own_words) < 0.3 for c in reading.claims)
    used = tuple(i for i in mine if i in known.facts and known.matters(i))
    forced = tuple(i for i in mine if i in known.facts and not known.matters(i))
    premature = tuple(i for i in mine if i not in known.facts)
    fits = tuple(
        (trait, latent.poles[trait].value == pole, trait in known.traits)
        for trait, pole in reading.fits
        if trait in latent.poles
    )
    return Weighed(used, forced, premature, n_false + n_claims, fits, _is_on_topic(known.topic, reading))


@lru_cache(maxsize=16384)
def _words_of_items(items: tuple[Item, ...]) -> frozenset[str]:
    return frozenset().union(*(fallback.stems(f"{item.clause} {item.value}") for item in items))


def _own_words(latent: Latent) -> frozenset[str]:
    return _words_of_items(latent.facts)


@dataclass(frozen=True, slots=True)
class ReplyTruth:
    """Ground-truth figures of one reply (counts; see the module for what counts as what).

    Attributes:
        n_relevant: revealed facts that matter to the topic, at most 3. n_used: those the reply uses, at most 3.
        n_false, n_premature: facts that are not the user's, or not revealed yet. n_mentions: all facts mentioned.
        n_style_expected: min(3, traits shown so far); match and mismatch are over traits shown so far.
        lags: (turns since revealed, used) of the relevant facts that could be expected, used ones first.
        n_implied, n_implied_used: those of them that were only implied.
    """

    n_relevant: int
    n_used: int
    n_false: int
    n_premature: int
    n_mentions: int
    n_style_expected: int
    n_style_match: int
    n_style_mismatch: int
    on_topic: bool
    lags: tuple[tuple[int, bool], ...]
    n_implied: int
    n_implied_used: int


def assess_reply(latent: Latent, conversation: Sequence[Message], reply: str) -> ReplyTruth:
    """Ground truth of a reply to a conversation that ends with the user's message."""
    known = read_known(latent, conversation)
    seen = weigh(known, reply)
    # A reply can't use everything: with more than three relevant facts, those it left out for others are not missed.
    recent_first = sorted(known.facts, key=lambda i: -known.facts[i][0])
    missed = [i for i in recent_first if known.matters(i) and i not in seen.used]
    expected = [*((i, True) for i in seen.used), *((i, False) for i in missed)]
    expected = expected[: max(MAX_EXPECTED, len(seen.used))]
    implied = [used for item, used in expected if known.facts[item][1] == "implied"]
    shown = [suits for _, suits, was_shown in seen.fits if was_shown]
    return ReplyTruth(
        n_relevant=min(MAX_EXPECTED, sum(map(known.matters, known.facts))),
        n_used=min(MAX_EXPECTED, len(seen.used)),
        n_false=seen.n_false,
        n_premature=len(seen.premature),
        n_mentions=len(seen.used) + len(seen.forced) + len(seen.premature) + seen.n_false,
        n_style_expected=min(MAX_EXPECTED, len(known.traits)),
        n_style_match=sum(shown),
        n_style_mismatch=len(shown) - sum(shown),
        on_topic=seen.on_topic,
        lags=tuple((known.turn - known.facts[item][0], used) for item, used in expected),
        n_implied=len(implied),
        n_implied_used=sum(implied),
    )


Scope = Literal["persona", "revealed"]
__all__ = [
    "Item", "Known", "Latent", "ReplyReading", "ReplyTruth", "Scope", "Shown", "UserReading", "Weighed",
    "assess_reply", "disclosed", "read_known", "read_message", "read_persona", "read_reply", "read_sentence",
    "read_user_message", "swap", "weigh",
]  # fmt: skip
