"""``world:user?dialect=...``: users who give themselves away in other ways than the usual one.

- ``terse``: fragments, one fact at most, now and then a request alone. ``rambling``: long detours, facts buried in
  them, other people's among them. ``learner``: English as a second language, with errors. ``indirect``: hints and irony
  instead of statements, requests that ask nothing. These four have a wording of their own.
- ``moody``: limited patience (``mood.py``): ignored, it complains and tells nothing more; in the end it walks out.
- ``forgetful``: tells things again, and wrong ones by mistake, which it puts right later.
- ``adversarial``: lies about a fact and owns up later, tests whether anybody listened, taunts.

Of a mixture each persona has its own draw, where nobody has settled it before (``world/lexicon/mixture.py``). What
changes of a persona (``world/timeline.py``) is told in the usual words. Truth is read from the messages alone: what was
said decides, not what was meant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import NamedTuple

from aloe.types import Message
from aloe.world import actors, language, wide
from aloe.world.actors import Scene, choose_facts, choose_markers, faulty_user, read_scene, topic_at
from aloe.world.character import roll
from aloe.world.dialects.mood import has_walked_out, read_mood
from aloe.world.dialects.speech import about_fact, aside, in_order, manner, spoken, wry
from aloe.world.latent import Item
from aloe.world.lexicon.dialect_wording import PLAIN
from aloe.world.lexicon.mixture import draw
from aloe.world.lexicon.options import Lexicon, Options, narrow
from aloe.world.lexicon.schema import Topic
from aloe.world.lies import find_lies
from aloe.world.timeline import due_now, manners_at, tell_changes

BARE = 0.3  # a terse user only asks
FILLED = 0.8  # a rambling user says something beside the point, each time it could
EXCUSES = 0.2  # a learner asks to be excused
FORGETS, SLIPS, SLIP_LASTS = 0.3, 0.25, 2  # tells a thing again; says a wrong one; turns until it notices
LIES, LIE_LASTS, TAUNTS, QUIZZES = 0.3, 3, 0.25, 0.3


class Said(NamedTuple):
    """A message and what it says: facts (and whether only by implication), and false ones that it claims."""

    text: str
    told: tuple[tuple[Item, bool], ...] = ()
    claimed: tuple[tuple[str, str], ...] = ()


class _Part(NamedTuple):
    """What the dialects' functions are given: the scene, its messages, and what may be said."""

    scene: Scene
    messages: Sequence[actors.Voiced]
    options: Options
    dialect: str
    lexicon: Lexicon

    @property
    def rng(self) -> Random:
        return self.scene.rng

    def facts(self) -> list[tuple[Item, bool]]:
        """The facts of this turn as the usual user would choose them; none where something changes."""
        if due_now(self.scene.latent, self.scene.turn):
            return []
        return choose_facts(self.scene, self.options)[: self.scene.release]

    def tell(self, item: Item, implied: bool) -> str:
        return language.tell(item, implied, self.rng, self.lexicon).sentence

    def markers(self) -> list[str]:
        scene = self.scene
        traits = manners_at(scene.latent, scene.character.traits, scene.turn, self.topic.name, self.rng)
        return choose_markers(traits, scene.turn, self.rng, self.lexicon)

    @property
    def topic(self) -> Topic:
        return topic_at(self.scene.prompt, self.scene.turn, replace(self.options, dialect=""))

    def request(self) -> str:
        topic = self.topic
        request = self.rng.choice(self.lexicon.by_topic[topic.name].requests)
        return language.capital(request if topic.slots else wide.change_to(request, self.rng))

    def of_other(self) -> str:
        """Now and then, a fact of somebody else."""
        if self.rng.random() >= self.options.distractors:
            return ""
        return language.tell_of_other(self.scene.character.own, self.rng, self.lexicon)

    def compose(
        self, told: Sequence[tuple[Item, bool]], beside: Sequence[str] = (), behind: Sequence[str] = ()
    ) -> Said:
        """A message as the usual user puts it together, ``beside`` before it and ``behind`` after it."""
        sentences = [language.tell(item, implied, self.rng, self.lexicon) for item, implied in told]
        write = wide.write_user_message if self.options.is_wide else language.write_user_message
        other = self.of_other() if told or self.scene.turn == 1 else ""
        text = write(sentences, self.markers(), other, self.request(), self.rng)
        return Said(in_order([*beside, text]), tuple(told))


def play_user(messages: Sequence[actors.Voiced], seed: int | None, options: Options) -> str:
    """The user's next message."""
    return speak(messages, seed, options).text


def speak(messages: Sequence[actors.Voiced], seed: int | None, options: Options) -> Said:
    """The user's next message, with what it is meant to say."""
    scene = read_scene(messages, seed)
    dialect = draw(options.dialect, roll(scene.character.key, "dialect", options.dialect))
    if dialect == PLAIN:
        return Said(actors.play_user(messages, seed, replace(options, dialect="")))
    fault = faulty_user(scene.own, scene.reply, scene.rng, options)
    if fault:
        return Said(fault)
    lexicon = spoken(options, dialect)
    said = _SPEAKERS[dialect](_Part(scene, messages, options, dialect, lexicon))
    changes = tell_changes(due_now(scene.latent, scene.turn), scene.rng, lexicon)
    if not changes or has_walked_out(said.text):
        return said
    return said._replace(text=in_order([*(change.sentence for change in changes), said.text]))


def _conversation(part: _Part) -> list[Message]:
    """What was said so far as the assistant sees it: the user's own messages, each with the reply to it."""
    talk: list[Message] = []
    for message, answer in pairwise(part.messages):
        if message.role == "assistant" and answer.role == "user":
            talk.append(Message.model_construct(role="user", content=message.content))
            talk.append(Message.model_construct(role="assistant", content=answer.content))
    if talk:
        talk[-1] = Message.model_construct(role="assistant", content=part.scene.reply)  # without the notes behind it
    return talk


def _terse(part: _Part) -> Said:
    chosen = part.facts()[:1]
    if part.scene.turn > 1 and part.rng.random() < BARE:
        chosen = []
    marks = manner(part.markers()[:1])
    return Said(in_order([*(part.tell(*told) for told in chosen), part.request(), *marks]), tuple(chosen))


def _rambling(part: _Part) -> Said:
    def filler() -> str:
        return aside(part.dialect, "filler", part.rng) if part.rng.random() < FILLED else ""

    chosen, marks = part.facts(), manner(part.markers())
    told = [part.tell(*one) for one in chosen]
    sentences = [filler(), *marks[:1]]
    for sentence in told[:1]:
        sentences += [sentence, filler()]
    sentences += [part.of_other(), part.request(), *told[1:], *marks[1:], filler()]
    return Said(in_order(list(dict.fromkeys(sentences))), tuple(chosen))


def _learner(part: _Part) -> Said:
    chosen, marks = part.facts(), manner(part.markers())
    excuse = aside(part.dialect, "filler", part.rng) if part.rng.random() < EXCUSES else ""
    body = [*marks[:1], *(part.tell(*told) for told in chosen), part.of_other(), part.request(), *marks[1:], excuse]
    return Said(in_order(body), tuple(chosen))


def _indirect(part: _Part) -> Said:
    chosen = [(item, True) for item, _ in part.facts() if item.is_world]
    told = [
        part.tell(item, True) if language.can_hint(item) else wry(part.dialect, item, part.rng) for item, _ in chosen
    ]
    return Said(in_order([*told, *manner(part.markers()), part.request()]), tuple(chosen))


def _moody(part: _Part) -> Said:
    mood = read_mood(part.scene.latent, _conversation(part))
    if mood == "leaving":
        return Said(aside(part.dialect, "leaving", part.rng))
    if mood == "calm":
        return part.compose(part.facts())
    said = aside(part.dialect, mood, part.rng)
    if mood == "thawed":
        return part.compose(part.facts(), [said])
    return Said(in_order([said, part.request()]))


def _forgetful(part: _Part) -> Said:
    right = _put_right(part, SLIP_LASTS)
    if right is not None:
        return right
    scene = part.scene
    known = [item for item, how in scene.told.items() if how == "stated" and item.kind == "fact" and item.is_world]
    if known and part.rng.random() < SLIPS:
        return _claim(part, part.rng.choice(known))
    chosen = part.facts()
    if known and part.rng.random() < FORGETS:
        again = part.rng.choice(known)
        return part.compose([*chosen[:1], (again, False)], [aside(part.dialect, "again", part.rng)])
    return part.compose(chosen)


def _adversarial(part: _Part) -> Said:
    right = _put_right(part, LIE_LASTS)
    if right is not None:
        return right
    scene, rng = part.scene, part.rng
    untold = [item for item in scene.character.facts if item not in scene.told and item.is_world]
    if scene.turn > 1 and untold and rng.random() < LIES and not _lies(part):
        return _claim(part, rng.choice(untold))
    known = [item for item in scene.told if item.kind == "fact" and item.is_world]
    beside = [aside(part.dialect, "taunt", rng)] if rng.random() < TAUNTS else []
    if known and rng.random() < QUIZZES:
        beside.append(about_fact(part.dialect, "quiz", rng.choice(known).name, "", rng))
    return part.compose(part.facts(), beside)


def _lies(part: _Part) -> list[tuple[Item, int]]:
    """The facts about which something false stands, and since when."""
    by_slot = part.scene.latent.by_slot
    found = find_lies(part.scene.own, {slot: item.value for slot, item in by_slot.items()})
    return [(by_slot[lie.slot], lie.told) for lie in found if lie.corrected is None]


def _put_right(part: _Part, lasts: int) -> Said | None:
    """The message that corrects what has stood long enough; None where nothing has."""
    due = [item for item, told in _lies(part) if part.scene.turn - told >= lasts]
    if not due:
        return None
    text = about_fact(part.dialect, "corrected", due[0].name, due[0].value, part.rng)
    said = part.compose([], [text])
    return said._replace(told=((due[0], False),))


def _claim(part: _Part, item: Item) -> Said:
    """A message that claims another value of a fact than the persona's."""
    values = [v.text for v in narrow().by_slot[item.name].values if v.text != item.value]
    false = part.rng.choice(values)
    said = part.compose([], [about_fact(part.dialect, "slipped", item.name, false, part.rng)])
    return said._replace(claimed=((item.name, false),))


_SPEAKERS: dict[str, Callable[[_Part], Said]] = {
    "terse": _terse,
    "rambling": _rambling,
    "learner": _learner,
    "indirect": _indirect,
    "moody": _moody,
    "forgetful": _forgetful,
    "adversarial": _adversarial,
}
