"""Composes user messages and replies of many shapes, in the wide wording.

Replies: ``[opener.] [fact,] lead advice [fact][, fact][, reason]. [fact.] [closer.] [question]``; no clause or
beginning of one twice in a reply. Users: ``[manner.] [fact.] [link, fact.] [somebody else.] [link,] request [fact.]
[manner.]``. What is said is decided by ``actors.py`` and composed from ``lexicon/wide``.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from aloe.world import fallback, language
from aloe.world.latent import Item, fill
from aloe.world.lexicon.options import Lexicon, narrow
from aloe.world.lexicon.schema import Slot, Topic
from aloe.world.lexicon.wording import Held, compositions, may_lead, signed

_FRONT, _BEHIND, _AFTER = "front", "behind", "after"
_PLACES: dict[int, tuple[tuple[str, ...], ...]] = {
    0: ((),),
    1: ((_FRONT,), (_BEHIND,), (_BEHIND,), (_AFTER,)),
    2: (
        (_FRONT, _BEHIND), (_FRONT, _AFTER), (_BEHIND, _AFTER), (_BEHIND, _AFTER), (_BEHIND, _BEHIND), (_AFTER, _AFTER),
    ),
    3: (
        (_FRONT, _BEHIND, _AFTER), (_FRONT, _AFTER, _AFTER), (_BEHIND, _BEHIND, _AFTER), (_BEHIND, _AFTER, _AFTER),
        (_BEHIND, _BEHIND, _AFTER),
    ),
}  # fmt: skip
_TRIES = 4  # for a clause that begins like no other one of the reply
_WHEN = frozenset(("before", "after", "between", "once", "while"))
_WITH_COMMA = ("since ", "given ", "now that ", "while ", "as your ", "drawing ")


class _Draw:
    """Draws phrases that no other one of the reply resembles."""

    def __init__(self, rng: Random, said: Sequence[str]) -> None:
        self._rng = rng
        self._taken = set(map(self._beginning, said))

    def one(self, phrases: Sequence[str]) -> str:
        """One of the phrases, rather one whose beginning was not drawn before; never one that was."""
        fresh = ""
        for _ in range(_TRIES):
            phrase = self._rng.choice(phrases)
            if phrase.replace("{a} ", "") in self._taken:
                continue
            fresh = phrase
            if self._beginning(phrase) not in self._taken:
                break
        if not fresh:
            fresh = next((p for p in phrases if p.replace("{a} ", "") not in self._taken), phrases[0])
        self._taken.update((fresh.replace("{a} ", ""), self._beginning(fresh)))
        return fresh

    @staticmethod
    def _beginning(phrase: str) -> str:
        """What two phrases of a reply should not share: the first word, two of a sentence, or that both say when."""
        first, second = phrase.split(" ", 2)[:2]
        return "when" if first in _WHEN else f"{first} {second}" if first[:1].isupper() else first


def _value(template: str, value: str) -> str:
    """A template with its value; a clause keeps its small letter."""
    filled = fill(template, value)
    return filled if template.startswith("{v}") or not filled else template[:1] + filled[1:]


def _is_stiff(lead: str) -> bool:
    """Whether nothing should stand before a lead: it has a comma of its own, or names a choice among others."""
    return "," in lead or lead.endswith(" is")


def write_tailored(
    topic: Topic | None,
    facts: Sequence[Item],
    traits: Sequence[Item],
    question: str,
    rng: Random,
    lexicon: Lexicon,
) -> str:
    """A reply in the manner of the traits that puts the facts to use."""
    manner = language.phrases_of(traits, rng, lexicon)
    lead = manner["lead"][0] if manner["lead"] else rng.choice(lexicon.leads)
    draw = _Draw(rng, manner["reason"])
    front, behind, after = "", list[str](), list[str]()
    places = rng.choice(_PLACES[min(3, len(facts))]) + (_AFTER,) * max(0, len(facts) - 3)
    for place, item in zip(places, facts, strict=True):
        if not item.is_world:
            behind.append(f", {fallback.second_person(item.clause)}")
            continue
        slot = lexicon.by_slot.get(item.name) or narrow().by_slot[item.name]
        follows = lexicon.follows.get(item.name, ())
        leading = [use for use in slot.uses if use in may_lead()] if place == _FRONT and not _is_stiff(lead) else []
        if leading:
            front = _value(draw.one(leading), item.value)
        elif place == _AFTER and follows:
            after.append(fill(draw.one(follows), item.value))
        else:
            use = draw.one(slot.uses)
            close = not behind and use in may_lead() and not use.startswith(_WITH_COMMA) and rng.random() < 0.7
            behind.append(f"{' ' if close else ', '}{_value(use, item.value)}")
    core = f"{lead} {language.advice_on(topic, rng)}{''.join(behind)}"
    core = ", ".join(filter(None, (front, core, *manner["reason"]))) + language.stop_of(lead)
    sentences = [*map(language.alone, manner["opener"]), language.capital(core), *after]
    sentences += map(language.alone, manner["closer"])
    if question:
        sentences.append(language.capital(question))
    return " ".join(sentences)


def write_generic(topic: Topic | None, rng: Random, lexicon: Lexicon, most: int, held: Held) -> str:
    """A reply that would suit anybody: on topic, and without manner or facts."""

    def one(section: str) -> str:
        return rng.choice(compositions("replies", section, most, held))

    tail = f", {one('tail')}" if rng.random() < 0.7 else ""
    sentences = [f"{language.capital(rng.choice(lexicon.leads))} {language.advice_on(topic, rng)}{tail}."]
    sentences += [one("remark")] if rng.random() < 0.5 else []
    sentences += [one("offer")] if rng.random() < 0.2 else []
    return " ".join(sentences)


def change_to(request: str, rng: Random) -> str:
    """A request that has nothing to do with the talk before, more often than not announced as such."""
    change = rng.choice(compositions("links", "change")) if rng.random() < 0.6 else ""
    return f"{change} {request}" if change else request


def _small(sentence: str, slot: Slot | None = None) -> str:
    """A sentence as it goes on behind a link."""
    if sentence.startswith("A "):
        return f"a {sentence[2:]}"
    return language.lower(sentence, slot)


def write_user_message(
    told: Sequence[language.Told], markers: Sequence[str], distractor: str, request: str, rng: Random
) -> str:
    """The parts as one message: facts rather before the request, manner before or behind, links between."""
    facts = [(t.sentence, t.slot) for t in told]
    if distractor:
        facts.insert(rng.randint(0, len(facts)), (distractor, None))
    n_before = len(facts) if rng.random() < 0.75 else rng.randint(0, len(facts))
    joined = next((m for m in markers if m in signed("shown", "^")), "")
    links = {section: list(compositions("links", section)) for section in ("second", "beside")}
    sentences = []
    for number, (sentence, slot) in enumerate(facts):
        section = "second" if 0 < number < n_before else "beside"
        chance = 0.35 if section == "second" or number >= n_before else 0.12
        link = rng.choice(links[section]) if rng.random() < chance else ""
        links[section] = [other for other in links[section] if other != link]
        sentences.append(f"{language.capital(link)}, {_small(sentence, slot)}" if link else sentence)
    if joined:
        asked = f"{language.capital(joined)}, {_small(request)}"
    elif n_before and "," not in request and ":" not in request and rng.random() < 0.3:
        asked = f"{language.capital(rng.choice(compositions('links', 'request')))}, {_small(request)}"
    else:
        asked = language.capital(request)
    sentences.insert(n_before, asked)
    for number, marker in enumerate(m for m in markers if m != joined):
        ends = marker in signed("shown", "_") or ((number or rng.random() < 0.3) and marker not in signed("shown", "+"))
        sentences.insert(len(sentences) if ends else 0, language.alone(marker))
    return " ".join(sentences)
