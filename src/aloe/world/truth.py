"""Exact ground truth: what a persona holds, what a message reveals, how a reply uses it.

The benchmark's ground-truth figures and the world's judge read with this module; reply writers compose with
``language.py`` and share no more with it than the lexicon. Readings of a text do not depend on a persona and
are cached; a persona only filters them. What a user says of somebody else is never a disclosure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from aloe.types import Message, Status
from aloe.world import fallback
from aloe.world.latent import Item, Latent, in_context, read_persona, read_sentence, recall
from aloe.world.lexicon.options import narrow
from aloe.world.lexicon.scan import Payload, split_sentences
from aloe.world.lies import Lie, believed, find_lies
from aloe.world.reading import UserReading, read_message
from aloe.world.reply import ReplyReading, read_reply

_STEP = 3  # turns by which one reading of a conversation is ahead of another
MAX_EXPECTED = 3  # facts and style markers that a reply can be expected to hold


@dataclass(frozen=True, slots=True)
class Shown:
    """An item that a message revealed, with the words that revealed it."""

    item: Item
    status: Status
    evidence: str


def read_user_message(text: str, latent: Latent) -> tuple[Shown, ...]:
    """What a message reveals of a persona, each item once, in the order of the words."""
    return recall(latent, text, lambda: _read_user_message(text, latent))


def _read_user_message(text: str, latent: Latent) -> tuple[Shown, ...]:
    reading = read_message(text)
    if latent.history is not None:
        latent = in_context(latent, reading.topic)
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
        if item is not None and item.value != pole:
            item = latent.turning.get(trait)
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
    return _disclosed(latent, tuple(user_messages))[0]


_Heard = tuple[tuple[tuple["Shown", ...], ...], frozenset[tuple[str, str, str]]]


def _disclosed(latent: Latent, said: tuple[str, ...]) -> _Heard:
    """What each message newly reveals, and all that was revealed; begins with what an earlier turn has read."""
    start = len(said)
    while start and said[:start] not in latent.read and len(said) - start < _STEP:
        start -= 1
    known: _Heard | None = latent.read.get(said[:start]) if start else ((), frozenset())
    if known is None:
        start, known = 0, ((), frozenset())
    turns, seen = list(known[0]), set(known[1])
    for text in said[start:]:
        new: list[Shown] = []
        for shown in read_user_message(text, latent):
            key = (shown.item.kind, shown.item.name, shown.item.value)
            if key not in seen:
                seen.add(key)
                new.append(shown)
        turns.append(tuple(new))
    return recall(latent, said, lambda: (tuple(turns), frozenset(seen)))


def told_by(said: tuple[str, ...], latent: Latent) -> Mapping[Item, Status]:
    """What messages tell of a persona, each item as plainly as any of them does, in order of arrival."""
    before: dict[Item, Status] | None = latent.read.get(("told", said[:-1])) if said else {}
    told = dict(before or {})
    for text in said if before is None else said[-1:]:
        for shown in read_user_message(text, latent):
            if told.get(shown.item) != "stated":
                told[shown.item] = shown.status
    return recall(latent, ("told", said), lambda: told)  # not to be changed by anybody


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
    """What a conversation has revealed before a reply is due."""

    latent: Latent
    turn: int
    facts: dict[Item, tuple[int, Status]]  # item -> turn it was revealed at, and how
    traits: dict[str, str]  # trait shown -> the persona's pole
    topic: str | None
    slots: tuple[str, ...] | None  # those that matter to the topic; None: all
    said: tuple[str, ...] = ()  # the user's messages
    replies: tuple[str, ...] = ()  # those before
    lies: tuple[Lie, ...] = ()  # what the user said of itself that is not so, and when it put that right

    def matters(self, item: Item) -> bool:
        """Whether a fact has to do with what the user asks. Clauses may, unless nothing does."""
        return self.slots is None or item.name in self.slots or (bool(self.slots) and not item.is_world)


def read_known(latent: Latent, conversation: Sequence[Message]) -> Known:
    """The state of a conversation that ends with the user's message."""
    said = [m.content for m in conversation if m.role == "user"]
    topic = read_message(said[-1]).topic if said else None
    facts: dict[Item, tuple[int, Status]] = {}
    traits: dict[str, str] = {}
    here = in_context(latent, topic) if latent.history is not None else latent
    for turn, new in enumerate(disclosed(latent, said), 1):
        for shown in new:
            if shown.item.kind == "fact":
                facts[shown.item] = (turn, shown.status)
            elif here is latent or suits(here, shown.item.name, shown.item.value):
                traits[shown.item.name] = shown.item.value
    slots = narrow().by_topic[topic].slots if topic else None
    replies = tuple(m.content for m in conversation if m.role == "assistant")
    lies = find_lies(said, {slot: item.value for slot, item in latent.by_slot.items()})
    return Known(here, len(said), facts, traits, topic, slots, tuple(said), replies, lies)


def suits(latent: Latent, trait: str, pole: str) -> bool:
    """Whether a manner is the persona's, or one that is coming in."""
    turning = latent.turning.get(trait)
    return latent.poles[trait].value == pole or (turning is not None and turning.value == pole)


def count_failed(known: Known) -> int:
    """How many of the replies before said nothing, offended, or told the user of itself what is not true only."""
    latent, n_failed = known.latent, 0
    if latent.history is None and not known.lies:
        return _count_failed(latent, known.replies)
    steps = latent.history.steps if latent.history else ()
    for turn, reply in enumerate(known.replies, 1):
        then = {(s.was.name, s.was.value) for s in steps if s.was and turn < s.since}
        n_failed += _has_failed(latent, reply, believed(known.lies, turn) | then)
    return n_failed


def _count_failed(latent: Latent, replies: tuple[str, ...]) -> int:
    """The same where nothing is excused; each reply is read once."""
    if not replies:
        return 0
    before = latent.read.get(("failed", replies[:-1]))
    if before is None:
        before = sum(_has_failed(latent, reply, frozenset()) for reply in replies[:-1])
    return recall(latent, ("failed", replies), lambda: before + _has_failed(latent, replies[-1], frozenset()))


def _has_failed(latent: Latent, reply: str, excused: frozenset[tuple[str, str]]) -> bool:
    reading = read_reply(reply)
    if reading.values and not reading.offences:
        mine, _, n_false = _own_facts(latent, reading, excused=excused)
        return n_false > 0 and not mine
    return bool(reading.offences) or not reading.n_tokens


@dataclass(frozen=True, slots=True)
class Weighed:
    """What a reply makes of what is known. Each item counts once.

    Attributes:
        used: revealed, relevant, and tied to the advice. recited: revealed and relevant, but only said.
        forced: revealed, but beside the topic. premature: true, but not revealed yet; tied: those of them that are
            tied to the advice.
        n_false: facts that are not the user's, claims and inventions among them. n_invented: inventions.
        fits: trait, whether it suits, whether the trait was shown.
        n_loose: facts and style markers that nothing holds. n_both: traits met in both their manners.
        strange: share of the words that neither the lexicon, nor plain English, nor the user accounts for.
        offences: insults and dangers.
    """

    used: tuple[Item, ...]
    recited: tuple[Item, ...]
    forced: tuple[Item, ...]
    premature: tuple[Item, ...]
    tied: tuple[Item, ...]
    n_false: int
    n_invented: int
    fits: tuple[tuple[str, bool, bool], ...]
    on_topic: bool
    n_loose: int
    n_both: int
    strange: float
    offences: tuple[Payload, ...]
    reading: ReplyReading


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
    mine, tied, n_false = _own_facts(
        latent, reading, known.said[-1] if known.said and latent.past else "", believed(known.lies, known.turn)
    )
    n_claims = sum(len(c) >= 2 and _is_news(c, latent) for c in reading.claims)
    n_invented = sum(
        _is_news(content, latent)
        and not _was_said(content, known)
        and not (claim >= 0 and _is_news(reading.claims[claim], latent))  # a part of it, then
        for content, claim in reading.inventions
    )
    revealed = [item for item in mine if item in known.facts]
    premature = tuple(item for item in mine if item not in known.facts)
    fits = tuple(
        (trait, suits(latent, trait, pole), trait in known.traits)
        for trait, pole in reading.fits
        if trait in latent.poles
    )
    return Weighed(
        used=tuple(i for i in revealed if known.matters(i) and i in tied),
        recited=tuple(i for i in revealed if known.matters(i) and i not in tied),
        forced=tuple(i for i in revealed if not known.matters(i)),
        premature=premature,
        tied=tuple(i for i in premature if i in tied),
        n_false=n_false + n_claims + n_invented,
        n_invented=n_invented,
        fits=fits,
        on_topic=_is_on_topic(known.topic, reading),
        n_loose=reading.n_loose + (0 if latent.clauses else len(reading.loose)),  # a clause's words may be anybody's
        n_both=_count_both(latent, reading),
        strange=_share_strange(known, reading),
        offences=tuple(o for o in reading.offences if not fallback.stems(o.name) <= _own_words(latent)),
        reading=reading,
    )


def _own_facts(
    latent: Latent, reading: ReplyReading, said: str = "", excused: frozenset[tuple[str, str]] = frozenset()
) -> tuple[dict[Item, None], set[Item], int]:
    """The persona's facts that a reply mentions, those of them that it ties to advice, and how many are not its own.

    Args:
        said: the user's last message, where something has changed: to speak of what it says is over is not untrue.
        excused: slots and values that the user has claimed of itself and not put right; a reply may believe them.
    """
    over = {(p.name, p.value) for mention in read_message(said).ended for p in mention.payloads} if said else set()
    mine: dict[Item, None] = {}
    tied: set[Item] = set()
    n_false = 0
    for payloads in reading.values:
        item = next((i for p in payloads if (i := latent.by_value.get((p.name, p.value)))), None)
        if item is None:
            spoken_of = payloads not in reading.used and any((p.name, p.value) in over for p in payloads)
            is_excused = spoken_of or any((p.name, p.value) in excused for p in payloads)
            n_false += not is_excused and not _is_own(latent, payloads)
            continue
        mine[item] = None
        if payloads in reading.used:
            tied.add(item)
    words = fallback.stems(reading.sound) if latent.clauses else frozenset()
    for item, content in latent.clauses:
        if content and fallback.share(content, words) >= fallback.USED:
            mine[item] = None
            tied.add(item)
    return mine, tied, n_false


def _is_own(latent: Latent, payloads: tuple[Payload, ...]) -> bool:
    """Whether a value stands in a persona's own words that are not in the world's language."""
    return bool(latent.clauses) and fallback.stems(payloads[0].value) <= _own_words(latent)


def _count_both(latent: Latent, reading: ReplyReading) -> int:
    """Traits that a reply meets in both their manners, those aside that the persona's own text tells in both."""
    met = [trait for trait, _ in reading.fits]
    told = [item.name for item in latent.traits]
    return sum(met.count(trait) > 1 >= told.count(trait) for trait in dict.fromkeys(met))


def _is_news(claim: frozenset[str], latent: Latent) -> bool:
    """Whether a claim about the user has next to nothing to do with the persona."""
    return fallback.share(claim, _own_words(latent)) < 0.3


def _was_said(claim: frozenset[str], known: Known) -> bool:
    """Whether the user's own messages hold a claim's words."""
    return any(fallback.share(claim, fallback.stems(text)) >= 0.5 for text in known.said)


def _share_strange(known: Known, reading: ReplyReading) -> float:
    """The share of a reply's words that nobody accounts for."""
    strange = [word for word in reading.strange if not fallback.stems(word) <= _own_words(known.latent)]
    if strange:
        said = frozenset().union(*(fallback.stems(text) for text in known.said))
        strange = [word for word in strange if not fallback.stems(word) <= said]
    return len(strange) / reading.n_tokens if strange else 0.0


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
        n_misled: what it says that the user claimed and that is not so. n_outdated: that the user had put right before.
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
    n_misled: int = 0
    n_outdated: int = 0


def expected_facts(known: Known, seen: Weighed) -> list[tuple[Item, bool]]:
    """The facts that a reply could be expected to use, at least those that it used, and whether it did.

    A reply can't use everything: with more than three relevant facts, those it left out for others are not missed.
    """
    recent_first = sorted(known.facts, key=lambda i: -known.facts[i][0])
    missed = [i for i in recent_first if known.matters(i) and i not in seen.used]
    expected = [*((i, True) for i in seen.used), *((i, False) for i in missed)]
    return expected[: max(MAX_EXPECTED, len(seen.used))]


def assess_reply(latent: Latent, conversation: Sequence[Message], reply: str) -> ReplyTruth:
    """Ground truth of a reply to a conversation that ends with the user's message."""
    known = read_known(latent, conversation)
    return assess_weighed(known, weigh(known, reply))


def assess_weighed(known: Known, seen: Weighed) -> ReplyTruth:
    """Ground truth of a reply that was held against what is known."""
    expected = expected_facts(known, seen)
    implied = [used for item, used in expected if known.facts[item][1] == "implied"]
    shown = [suits for _, suits, was_shown in seen.fits if was_shown]
    said = {(p.name, p.value) for payloads in seen.reading.values for p in payloads}
    open_lies = believed(known.lies, known.turn)
    return ReplyTruth(
        n_relevant=min(MAX_EXPECTED, sum(map(known.matters, known.facts))),
        n_used=min(MAX_EXPECTED, len(seen.used)),
        n_false=seen.n_false,
        n_premature=len(seen.premature),
        n_mentions=len(seen.used) + len(seen.recited) + len(seen.forced) + len(seen.premature) + seen.n_false,
        n_style_expected=min(MAX_EXPECTED, len(known.traits)),
        n_style_match=sum(shown),
        n_style_mismatch=len(shown) - sum(shown),
        on_topic=seen.on_topic,
        lags=tuple((known.turn - known.facts[item][0], used) for item, used in expected),
        n_implied=len(implied),
        n_implied_used=sum(implied),
        n_misled=len(said & open_lies),
        n_outdated=len(said & {(lie.slot, lie.value) for lie in known.lies} - open_lies),
    )


Scope = Literal["persona", "revealed"]
__all__ = [
    "Item", "Known", "Latent", "ReplyReading", "ReplyTruth", "Scope", "Shown", "UserReading", "Weighed",
    "assess_reply", "assess_weighed", "disclosed", "expected_facts", "read_known", "read_message", "read_persona",
    "read_reply", "read_sentence", "read_user_message", "swap", "told_by", "weigh",
]  # fmt: skip
