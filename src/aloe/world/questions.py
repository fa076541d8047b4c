"""Questions with exact answers about what a reply must decide, taken from the world's conversations.

A conversation's tailored replies (``world:tailored`` told everything that was revealed) are taken apart where they
decide. Each place becomes a :class:`Question`: the history, the reply as far as it is written, how it goes on, and how
it could have gone on instead:

- ``value``: the words that lead to a fact stand there already; the right value against other people's;
- ``fact``: a clause about a fact is due; the right one against facts of this user that are not called for now (of no
  use for the topic, or said already) and against the same clause with other people's values;
- ``style``: a style marker is due; it against those of the opposite manner;
- ``stop``: everything that matters has been said; the end of the sentence against one more clause.

A model answers by its log-probabilities (``aloe.training.probe``): nothing is decoded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Literal

from aloe.seeding import derive_seed
from aloe.types import Message
from aloe.world.actors import Utterance, play_generic, play_user, reply_with
from aloe.world.form import Form
from aloe.world.latent import (
    Item,
    article,
    draw_facts,
    draw_traits,
    fill,
    read_persona,
    write_personality,
    write_profile,
)
from aloe.world.lexicon.options import Lexicon, Options, narrow
from aloe.world.lexicon.scan import Span
from aloe.world.truth import Known, read_known

Kind = Literal["value", "fact", "style", "stop"]
EVERYTHING, STEADY = Options(), Options(steady=1)
_ENDS = ",.?!"


@dataclass(frozen=True, slots=True)
class Question:
    """A place in a reply at which something is decided.

    Attributes:
        persona: whose conversation it is of. turn: of the reply, from 1.
        name: the slot or trait that it is about; empty for ``stop``.
        status: ``stated`` or ``implied``, for facts.
        before: the reply so far. right: how it goes on. own, others: how it could have gone on, with a fact of this
            user that is not called for, and with something of somebody else's (``style``: the opposite manner).
    """

    persona: str
    turn: int
    kind: Kind
    name: str
    status: str
    history: tuple[Message, ...]
    before: str
    right: str
    own: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Writers:
    """Options of those who speak: persona-writer, user, tailored and generic responder."""

    persona: Options = EVERYTHING
    user: Options = EVERYTHING
    tailored: Options = STEADY
    generic: Options = EVERYTHING


@dataclass(frozen=True, slots=True)
class Setting:
    """How conversations go on: turns, the share of tailored replies in them, rivals of each kind per question."""

    n_turns: int = 7
    p_tailored: float = 0.7
    n_rivals: int = 3


def make_questions(
    n_personas: int, writers: Writers, *, seed: int = 0, setting: Setting = Setting()
) -> Iterator[Question]:
    """The questions of ``n_personas`` fresh personas, one conversation each, conversation by conversation.

    Args:
        writers: who speaks, and how; what they leave out is never asked.
        seed: of personas and conversations; no run draws its own from the same numbers.
    """
    lexicon = narrow(writers.persona)
    for number in range(n_personas):
        rng = Random(derive_seed(seed, "questions", number))
        profile = write_profile(draw_facts(rng, lexicon), "She", rng, lexicon)
        personality = write_personality(draw_traits(rng, lexicon), "She", rng, lexicon)
        yield from _converse(f"persona{number}", profile, personality, writers, rng, setting)


def _converse(
    name: str, profile: str, personality: str, writers: Writers, rng: Random, setting: Setting
) -> Iterator[Question]:
    latent = read_persona(profile, personality)
    prompt = f"<persona><profile>{profile}</profile><personality>{personality}</personality></persona>"
    opening = [Utterance("system", prompt), Utterance("user", "Write your opening message.")]
    history: list[Message] = []
    for _ in range(setting.n_turns):
        flipped = [Utterance("assistant" if m.role == "user" else "user", m.content) for m in history]
        said = play_user([*opening, *flipped], rng.randrange(1 << 32), writers.user)
        history.append(Message(role="user", content=said))
        known = read_known(latent, history)
        items = [*known.facts, *(latent.poles[trait] for trait in known.traits)]
        plain = [Utterance(m.role, m.content) for m in history]
        reply = reply_with(plain, rng.randrange(1 << 32), writers.tailored, items, asks=True)
        taken = _Taken(name, known, tuple(history), reply, rng, (narrow(writers.tailored), setting.n_rivals))
        yield from taken.questions()
        if rng.random() >= setting.p_tailored:
            reply = play_generic(plain, rng.randrange(1 << 32), writers.generic)
        history.append(Message(role="assistant", content=reply))


class _Taken:
    """A reply taken apart: its questions, in its order. ``rivals``: what they are made of, and how many of a kind."""

    def __init__(
        self,
        persona: str,
        known: Known,
        history: tuple[Message, ...],
        reply: str,
        rng: Random,
        rivals: tuple[Lexicon, int],
    ) -> None:
        self.lexicon, self.n = rivals
        self.about = (persona, known.turn)
        self.known, self.history, self.reply = known, history, reply
        self.rng = rng
        self.form = Form(reply)
        self.used: list[Item] = []

    def questions(self) -> Iterator[Question]:
        reply, end_of_last, in_core = self.reply, 0, False
        for span in self.form.spans:
            item = _item_of(span, self.known)
            if item is None:
                yield from self._style(span)
                continue
            start, end = _extent(self.form, span, reply)
            clause = _clause_start(reply, start)
            yield from self._fact(item, clause, start, end)
            self.used.append(item)
            end_of_last, in_core = _clause_end(reply, end), reply[:clause].rstrip()[-1:] not in ("", ".", "?", "!")
        if in_core and reply[end_of_last : end_of_last + 1] in (".", "?"):
            own = tuple("," + text for text in self._idle_clauses(None, True))
            yield Question(*self.about, "stop", "", "", self.history, reply[:end_of_last], reply[end_of_last], own)

    def _fact(self, item: Item, clause: int, start: int, end: int) -> Iterator[Question]:
        """Which fact now, and which value, the words that lead to it given."""
        reply, status = self.reply, self.known.facts[item][1]
        strangers = _strangers(item, reply[:start], self.rng, self.n)
        values = tuple(_like(reply[:start], value) for value in strangers)
        yield Question(
            *self.about, "value", item.name, status, self.history, reply[:start].rstrip(), _cut(reply, start, end),
            others=values,
        )  # fmt: skip
        lead = _cut(reply, clause, start).rstrip() if start > clause else ""
        own = self._idle_clauses(item, reply[:clause].rstrip()[-1:] == ",")
        yield Question(
            *self.about, "fact", item.name, status, self.history, reply[:clause].rstrip(), _cut(reply, clause, end),
            own=own, others=tuple(lead + value for value in values),
        )  # fmt: skip

    def _idle_clauses(self, right: Item | None, in_core: bool) -> tuple[str, ...]:
        """What could be said of facts that this user has told and that are not called for: beside the topic, or said in
        this reply already; up to the value, as replies have it behind a comma or at the beginning of a sentence."""
        known = self.known
        idle = [i for i in known.facts if i != right and i.is_world and (i in self.used or not known.matters(i))]
        found = []
        for item in self.rng.sample(idle, min(self.n, len(idle))):
            slot = self.lexicon.by_slot.get(item.name) or narrow().by_slot[item.name]
            templates = slot.uses if in_core else self.lexicon.follows.get(item.name) or slot.uses
            template = self.rng.choice(templates)
            head = template[: template.index("{v}") + 3]
            text = fill(head, item.value)
            found.append(" " + (text if head.startswith("{v}") or not in_core else text[:1].lower() + text[1:]))
        return tuple(found)

    def _style(self, span: Span) -> Iterator[Question]:
        """Which manner, where a style marker that suits the user is due."""
        for payload in span.payloads:
            if payload.kind != "fits" or self.known.traits.get(payload.name) != payload.value:
                continue
            start, end = _extent(self.form, span, self.reply)
            trait = self.lexicon.by_trait.get(payload.name) or narrow().by_trait[payload.name]
            texts = [text for pole in trait.poles if pole.name != payload.value for text in pole.fits]
            rivals = self.rng.sample(texts, min(self.n, len(texts)))
            right = self.reply[start:end]
            if right[:1].isupper():
                rivals = [text[:1].upper() + text[1:] for text in rivals]
            space = " " if start else ""
            yield Question(
                *self.about, "style", payload.name, "", self.history, self.reply[:start].rstrip(), space + right,
                others=tuple(space + text for text in rivals),
            )  # fmt: skip
            return


def _item_of(span: Span, known: Known) -> Item | None:
    """The revealed fact that a phrase of a reply names."""
    for payload in span.payloads:
        if payload.kind == "value":
            item = known.latent.by_value.get((payload.name, payload.value))
            if item is not None and item in known.facts:
                return item
    return None


def _extent(form: Form, span: Span, reply: str) -> tuple[int, int]:
    """Where a phrase begins and ends in the reply, as characters."""
    start = form.starts[span.start]
    end = form.starts[span.end] if span.end < len(form.starts) else len(reply)
    while end > start and not reply[end - 1].isalnum():
        end -= 1
    return start, end - 2 if reply[start:end].endswith(("'s", "’s")) else end


def _clause_start(reply: str, at: int) -> int:
    while at > 0 and reply[at - 1] not in _ENDS:
        at -= 1
    return at + (reply[at : at + 1] == " ")


def _clause_end(reply: str, at: int) -> int:
    while at < len(reply) and reply[at] not in _ENDS:
        at += 1
    return at


def _cut(reply: str, start: int, end: int) -> str:
    """A part of a reply with the space before it: words begin with their space, for tokenizers that join them."""
    return " " + reply[start:end] if start else reply[start:end]


def _like(before: str, value: str) -> str:
    return " " + value if before else value[:1].upper() + value[1:]


def _strangers(item: Item, before: str, rng: Random, n: int) -> list[str]:
    """Values that other people have in the same slot, and that the words before them allow."""
    values = [v.text for v in narrow().by_slot[item.name].values if v.text != item.value]
    if before.endswith((" a ", " an ")):
        values = [value for value in values if before.endswith(f" {article(value)} ")]
    return rng.sample(values, min(n, len(values)))
