"""Composes user messages and replies from the lexicon.

Users: ``[manner,] facts, [about somebody else,] request``, one to three sentences. Replies: ``[opener.] lead advice,
use, use, use[, reason]. [closer.] [question]``. Only composing happens here; what is said is decided by
``actors.py``, and what was said is read by ``truth.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from aloe.world import fallback
from aloe.world.latent import Item, fill
from aloe.world.lexicon.options import Lexicon, narrow
from aloe.world.lexicon.schema import Slot, Topic

# Phrases that can't stand alone; they are joined to the next sentence by a comma.
_JOINED = (
    "if ", "in ", "on ", "by ", "just between", "laughter ", "quickly ", "slowly ", "call it", "my gut",
    "something tells", "first things", "plot twist", "as scheduled", "whenever ", "spur of",
)  # fmt: skip
_CLOSING = ("with kind", "gotta ", "that is all", "thank you", "fingers ", "no hurry", "take all", "sending ")
_ASKING = (
    "how about", "why not", "may i", "might i", "what if", "who needs", "what could", "hey, why not",
)  # fmt: skip  # these end in a question mark
LEADS = ("you could try", "one option is", "many people like", "a common choice is", "you might look at")
_TAILS = ("", "which works for most people", "if you have the time", "which is easy to arrange", "to begin with")
_REMARKS = (
    "", "It does not take much.", "There are many ways to do it.", "That is a common answer.",
    "It usually works out.", "Most people manage it.",
)  # fmt: skip
_OFFERS = ("Would you like more ideas?", "Does that help?", "Shall I go into detail?")
_ANY_ADVICE = ("a small first step", "a fresh look at it", "a simple plan", "a second opinion", "a short break")


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def stop_of(phrase: str) -> str:
    """The mark at the end of a sentence that begins, or consists of, a phrase."""
    return "?" if phrase.lower().startswith(_ASKING) else "."


def alone(phrase: str) -> str:
    """A phrase as a sentence of its own."""
    return capital(phrase) + stop_of(phrase)


def lower(sentence: str, slot: Slot | None = None) -> str:
    """The sentence as it goes on after a comma: its first letter small, unless it is I or a name."""
    first = sentence.split(" ", 1)[0]
    if first in ("I", "I'm", "I've", "I'd", "I'll") or first.isupper():
        return sentence
    if slot is not None and any(v.text.split(" ", 1)[0] == first and first[:1].isupper() for v in slot.values):
        return sentence
    return sentence[:1].lower() + sentence[1:]


@lru_cache(maxsize=1)
def _cues() -> dict[tuple[str, str], str]:
    return {(s.name, v.text): v.cue for s in narrow().slots for v in s.values if s.hinted and v.cue}


def can_hint(item: Item) -> bool:
    """Whether a fact can be implied without being named."""
    return (item.name, item.value) in _cues()


def cue_of(item: Item) -> str:
    """What implies a fact without naming it; empty where nothing does."""
    return _cues().get((item.name, item.value), "")


@dataclass(frozen=True, slots=True)
class Told:
    """A sentence about the user, and the slot it is about (None for a clause)."""

    sentence: str
    slot: Slot | None


def is_used(item: Item, reply: str) -> bool:
    """Whether a reply takes up a clause."""
    return fallback.share(fallback.stems(item.value), fallback.stems(reply)) >= fallback.USED


def tell(item: Item, implied: bool, rng: Random, lexicon: Lexicon) -> Told:
    """A fact in the first person, named or only hinted at."""
    if not item.is_world:
        return Told(fallback.first_person(item.clause), None)
    slot = lexicon.by_slot.get(item.name) or narrow().by_slot[item.name]
    if implied:
        return Told(fill(rng.choice(slot.hinted), item.value, _cues()[(item.name, item.value)]), slot)
    return Told(fill(rng.choice(slot.said), item.value), slot)


def tell_of_other(own: frozenset[tuple[str, str]], rng: Random, lexicon: Lexicon) -> str:
    """A fact of somebody else; never with a value that the user has, too."""
    slot = rng.choice(lexicon.slots)
    values = [v.text for v in slot.values if (slot.name, v.text) not in own]
    return fill(rng.choice(slot.other), rng.choice(values)) if values else ""


def write_user_message(told: Sequence[Told], markers: Sequence[str], distractor: str, request: str, rng: Random) -> str:
    """The parts as one message, in a natural order."""
    request = capital(request)
    body = [(t.sentence, t.slot) for t in told]
    if distractor:
        body.append((distractor, None))
    body.insert(0 if body and rng.random() < 0.12 else len(body), (request, None))
    sentences: list[str] = []
    closing: list[str] = []
    for number, marker in enumerate(markers):
        if marker.startswith(_JOINED) and number < len(body):
            at = number if number == 0 else len(body) - 1
            sentence, slot = body[at]
            body[at] = (f"{capital(marker)}, {lower(sentence, slot)}", None)
        elif marker.startswith(_CLOSING) or number:
            closing.append(alone(marker))
        else:
            sentences.append(alone(marker))
    return " ".join([*sentences, *(s for s, _ in body), *closing])


def pick_traits(traits: Sequence[Item], rng: Random, most: int = 3) -> list[Item]:
    """At most ``most`` traits whose phrases fit into one reply: one lead, others by place, doubled if need be."""
    by_trait = narrow().by_trait
    waiting = list(traits)
    rng.shuffle(waiting)
    chosen: list[Item] = []
    for repeated in (False, True):
        for item in list(waiting):
            place = by_trait[item.name].place
            taken = any(by_trait[c.name].place == place for c in chosen)
            if len(chosen) < most and (not taken or (repeated and place != "lead")):
                chosen.append(item)
                waiting.remove(item)
    return chosen


def phrases_of(traits: Sequence[Item], rng: Random, lexicon: Lexicon) -> dict[str, list[str]]:
    """A phrase of manner for each trait, by its place in a reply."""
    by_place: dict[str, list[str]] = {"opener": [], "lead": [], "reason": [], "closer": []}
    for item in traits:
        trait = lexicon.by_trait.get(item.name) or narrow().by_trait[item.name]
        pole = next(p for p in trait.poles if p.name == item.value)
        by_place[trait.place].append(rng.choice(pole.fits))
    return by_place


def _use(item: Item, rng: Random, lexicon: Lexicon) -> str:
    if not item.is_world:
        return fallback.second_person(item.clause)
    slot = lexicon.by_slot.get(item.name) or narrow().by_slot[item.name]
    template = rng.choice(slot.uses)
    filled = fill(template, item.value)
    return filled if template.startswith("{v}") else template[:1] + filled[1:] if filled else ""


def advice_on(topic: Topic | None, rng: Random) -> str:
    """What is advised; where the topic is not known, what would do for anything."""
    return rng.choice(topic.advice if topic else _ANY_ADVICE)


def write_tailored(
    topic: Topic | None,
    facts: Sequence[Item],
    traits: Sequence[Item],
    question: str,
    rng: Random,
    lexicon: Lexicon,
) -> str:
    """A reply in the manner of the traits, with the facts woven into its advice."""
    manner = phrases_of(traits, rng, lexicon)
    lead = manner["lead"][0] if manner["lead"] else LEADS[0]
    uses = [_use(item, rng, lexicon) for item in facts]
    for number, again in enumerate(("given that", "and because"), 1):  # clauses: not "since" three times
        if len(uses) > number and uses[number].startswith("since you ") and not facts[number].is_world:
            uses[number] = again + uses[number].removeprefix("since")
    core = ", ".join([f"{capital(lead)} {advice_on(topic, rng)}", *uses, *manner["reason"]])
    sentences = [alone(opener) for opener in manner["opener"]]
    sentences.append(core + stop_of(lead))
    sentences += [alone(closer) for closer in manner["closer"]]
    if question:
        sentences.append(capital(question))
    return " ".join(sentences)


def write_generic(topic: Topic | None, rng: Random, n_phrasings: int = 0) -> str:
    """A reply that would suit anybody: on topic, and without manner or facts."""
    cut = n_phrasings or None
    text = f"{capital(rng.choice(LEADS[:cut]))} {advice_on(topic, rng)}"
    tail = rng.choice(_TAILS[:cut])
    text += (f", {tail}" if tail else "") + "."
    remark = rng.choice(_REMARKS[:cut]) if rng.random() < 0.5 else ""
    offer = rng.choice(_OFFERS[:cut]) if rng.random() < 0.2 else ""
    return " ".join(filter(None, (text, remark, offer)))
