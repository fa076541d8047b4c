"""The documents that the base model reads: plain ones for sub-skills, generic dialogues for fluency.

Plain language modelling does not learn to copy a fact in the time there is; dense documents do. Four kinds:

* notes: a few facts, each asked for several times ("drink: cider.") - copying;
* diary: longer, with other people's facts among one's own, then tips that use a stated fact or, where none
  matters, use nothing - copying where it is due;
* manner: lines as somebody would say them, then the word for that manner and what suits it - reading a style;
* dialogue: chat with generic replies, up to ten turns - the only kind in chat format, and never adaptive.

Nothing here shows an assistant that adapts to its user: that is left to SFT and DPO. Documents are drawn from
(seed, step), so that a resumed run reads what an uninterrupted one would have read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from aloe.training.tiny.tokenizer import BEGIN, DOCUMENT, END, ROLES
from aloe.world.language import capital
from aloe.world.latent import fill
from aloe.world.lexicon.options import Lexicon
from aloe.world.lexicon.schema import Slot, Value

DECISION = 0.9  # weight of what is nearly, but not fully, predictable: which fact comes next, or none
GIVEN = 0.1  # weight of what follows from the words before it, or from nothing
OTHERS = 0.15  # how often somebody else's fact stands among one's own

PLACES = ("opener", "lead", "reason", "closer")  # of what suits a manner, as in a reply

Encode = Callable[[str], tuple[int, ...]]


@dataclass(slots=True)
class Document:
    """Token ids and, for each, how much its prediction counts (0 = not at all)."""

    ids: list[int]
    weights: list[float]


@dataclass(frozen=True, slots=True)
class Difficulty:
    """How hard the documents are, from 0 (few facts) to 1 (as in the conversations to come)."""

    level: float

    def up_to(self, few: int, many: int) -> int:
        return round(few + (many - few) * self.level)


class Writer:
    """Writes documents in the words of a narrow world.

    Args:
        persona: lexicon of those who write personas: slots, values, traits.
        user: lexicon of users: how facts are said and manners shown.
        reply: lexicon of assistants: how facts are used, what fits, what is advised.
        dialogues: generic conversations as (role, content) lists.
        steady: tips use the facts that their topic lists first, in its order (as steady replies do), instead of
            any three, oldest first.
    """

    def __init__(
        self,
        persona: Lexicon,
        user: Lexicon,
        reply: Lexicon,
        dialogues: Sequence[Sequence[tuple[str, str]]],
        encode: Encode,
        special: Callable[[str], int],
        steady: bool = False,
    ) -> None:
        self.persona, self.user, self.reply = persona, user, reply
        self.dialogues = dialogues
        self.steady = steady
        self._encode = lru_cache(maxsize=200_000)(encode)
        self._begin, self._document, self._end = special(BEGIN), special(DOCUMENT), special(END)
        self._role = {role: special(token) for role, token in ROLES.items()}
        self._shared = self._shared_beginnings()

    # -- pieces ---------------------------------------------------------------------------------------------

    def _put(self, document: Document, text: str, weight: float) -> None:
        ids = self._encode(text)
        document.ids.extend(ids)
        document.weights.extend([weight] * len(ids))

    def _put_value(self, document: Document, text: str, value: str, weight: float) -> None:
        """Text in which only the tokens of ``value`` count."""
        ids, wanted = self._encode(text), set(self._encode(value))
        document.ids.extend(ids)
        document.weights.extend([weight if token in wanted else 0.0 for token in ids])

    def _shared_beginnings(self) -> frozenset[tuple[int, ...]]:
        """Beginnings (token ids) of the phrases that use a fact that leave open which phrase it will be."""
        counts: Counter[tuple[int, ...]] = Counter()
        for slot in self.reply.slots:
            for use in slot.uses:
                ids = self._encode(use[: use.find("{")].rstrip())
                counts.update(ids[:n] for n in range(len(ids) + 1))
        return frozenset(beginning for beginning, n in counts.items() if n > 1)

    def _put_use(self, document: Document, text: str, value: str) -> None:
        """A phrase that uses a fact: the value counts most, then what tells which fact it is and if more follow."""
        ids, wanted = self._encode(text), set(self._encode(value))
        document.ids.extend(ids)
        for at, token in enumerate(ids):
            decides = at == len(ids) - 1 or ids[:at] in self._shared
            document.weights.append(1.0 if token in wanted else DECISION if decides else GIVEN)

    def _facts(self, rng: Random, n: int) -> list[tuple[Slot, Value]]:
        slots = rng.sample(self.persona.slots, min(n, len(self.persona.slots)))
        return [(slot, rng.choice(slot.values)) for slot in slots]

    def _said(self, rng: Random, slot: Slot, value: Value) -> str:
        return fill(rng.choice(self.user.by_slot[slot.name].said), value.text)

    def _other(self, rng: Random) -> str:
        slot = rng.choice(self.persona.slots)
        return fill(rng.choice(self.user.by_slot[slot.name].other), rng.choice(slot.values).text)

    def _shown(self, rng: Random, trait: str, pole: int) -> str:
        text = rng.choice(self.user.by_trait[trait].poles[pole].shown)
        return capital(text) + "."

    def _open(self) -> Document:
        return Document([self._begin, self._document], [0.0, 0.0])

    # -- kinds of documents ---------------------------------------------------------------------------------

    def notes(self, rng: Random, difficulty: Difficulty) -> Document:
        """Facts, then questions about them, each answered with its value."""
        document = self._open()
        facts = self._facts(rng, rng.randint(1, difficulty.up_to(3, 8)))
        for slot, value in facts:
            if rng.random() < OTHERS * difficulty.level:
                self._put(document, self._other(rng), 0.0)
            self._put(document, self._said(rng, slot, value), 0.0)
        for _ in range(3):
            for slot, value in rng.sample(facts, len(facts)):
                self._put(document, f"{slot.name}:", 0.0)
                self._put_value(document, value.text + ".", value.text, 1.0)
        return document

    def diary(self, rng: Random, difficulty: Difficulty) -> Document:
        """Days of somebody's life, each with a question and a tip that may use what was said so far."""
        document = self._open()
        facts = self._facts(rng, rng.randint(2, difficulty.up_to(3, 8)))
        poles = {trait.name: int(rng.random() < 0.5) for trait in self.persona.traits}
        known: dict[str, Value] = {}
        for slot, value in facts:
            if rng.random() < 0.3:
                name = rng.choice(list(poles))
                self._put(document, self._shown(rng, name, poles[name]), 0.0)
            if rng.random() < OTHERS:
                self._put(document, self._other(rng), 0.0)
            self._put(document, self._said(rng, slot, value), 0.0)
            known[slot.name] = value
            for _ in range(rng.choice((0, 1, 1, 2))):
                self._tip(document, rng, known)
        self._tip(document, rng, known)
        return document

    def _tip(self, document: Document, rng: Random, known: dict[str, Value]) -> None:
        """A question and what may be done, with the facts that matter for it (three at most)."""
        topic = rng.choice(self.user.topics)
        if self.steady:
            matters = [name for name in topic.slots if name in known][:3]
        else:
            matters = [name for name in known if name in topic.slots]
        if len(matters) > 3:
            kept = set(rng.sample(matters, 3))
            matters = [name for name in matters if name in kept]
        self._put(document, capital(rng.choice(topic.requests)), 0.0)
        advice = capital(rng.choice(self.reply.by_topic[topic.name].advice))
        self._put(document, advice + ("," if matters else "."), GIVEN)
        document.weights[-1] = DECISION
        for number, name in enumerate(matters, 1):
            use = rng.choice(self.reply.by_slot[name].uses)
            text = fill(use, known[name].text)
            text = (text if use.startswith("{v}") else use[:1] + text[1:]) + ("." if number == len(matters) else ",")
            self._put_use(document, text, known[name].text)

    def manner(self, rng: Random, difficulty: Difficulty) -> Document:
        """Lines in somebody's manner among facts, then each manner by name with what suits it, then only what suits."""
        document = self._open()
        n = difficulty.up_to(1, len(self.persona.traits))
        traits = rng.sample(self.persona.traits, n)
        poles = {trait.name: int(rng.random() < 0.5) for trait in traits}
        for trait in rng.sample(traits, n):
            self._put(document, self._shown(rng, trait.name, poles[trait.name]), 0.0)
            if rng.random() < difficulty.level:
                ((slot, value),) = self._facts(rng, 1)
                self._put(document, self._said(rng, slot, value), 0.0)
        for trait in rng.sample(traits, n):
            pole = self.reply.by_trait[trait.name].poles[poles[trait.name]]
            self._put(document, f"{trait.name}:", GIVEN)
            self._put(document, f"{pole.name}:", 1.0)
            self._put(document, rng.choice(pole.fits) + ".", 0.5)
        for trait in sorted(traits, key=lambda trait: PLACES.index(trait.place)):
            pole = self.reply.by_trait[trait.name].poles[poles[trait.name]]
            self._put(document, capital(rng.choice(pole.fits)) + ".", DECISION)
        return document

    def dialogue(self, rng: Random, difficulty: Difficulty) -> Document:
        """A generic conversation in chat format, cut to the turns of this difficulty."""
        messages = rng.choice(self.dialogues)
        n_turns = rng.randint(1, difficulty.up_to(2, 10))
        document = Document([self._begin], [0.0])
        for role, content in messages[: 2 * n_turns]:
            document.ids.append(self._role[role])
            document.weights.append(0.0)
            self._put(document, content, 1.0 if role == "assistant" else 0.0)
            if role == "assistant":
                document.ids.append(self._end)
                document.weights.append(1.0)
        return document
