"""The actors of the world: functions from what a model sees (messages, options, seed) to its answer.

An actor knows only its prompt: it reads the tagged sections as a language model would, keeps no state between calls,
and reads its own earlier messages from the history. Every random choice comes from the
request's own content and seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from random import Random
from typing import NamedTuple, Protocol

import orjson

from aloe.prompts.sections import read_attribute, read_changes, read_conversation, read_section, unescape
from aloe.world import language, wide
from aloe.world.character import Character, character_of, digest, roll
from aloe.world.judge import judge
from aloe.world.latent import (
    Item,
    Latent,
    draw_facts,
    draw_traits,
    in_context,
    read_persona,
    read_sentence,
    write_personality,
    write_profile,
)
from aloe.world.lexicon.options import Lexicon, Options, narrow
from aloe.world.lexicon.schema import Topic
from aloe.world.reading import read_message
from aloe.world.reply import read_reply
from aloe.world.timeline import due_now, manners_at, read_changed, tell_changes
from aloe.world.truth import disclosed, read_user_message, told_by

SECOND_FACT = 0.25  # an engaged user sometimes tells two things
SECOND_MARKER = 0.15
SILENT = 0.6  # an ignored user says nothing of itself
AGAIN = 0.3  # with nothing new to tell, something known is told again
QUESTION = 0.6  # a tailored reply asks for something it does not know yet
MAX_NEW = 200  # descriptions per call


class Voiced(Protocol):
    """A message as an actor sees it."""

    @property
    def role(self) -> str: ...

    @property
    def content(self) -> str: ...


class Utterance(NamedTuple):
    """A message of an actor's own making."""

    role: str
    content: str


Actor = Callable[[Sequence[Voiced], "int | None", Options], str]


def _system(messages: Sequence[Voiced]) -> str:
    """All text outside the dialogue: where a prompt keeps its sections."""
    return messages[0].content if messages else ""


@lru_cache(maxsize=8192)
def _persona_in(prompt: str) -> Latent:
    """The persona in a message's text, found by its tags."""
    profile = read_section(prompt, "profile")
    personality = read_section(prompt, "personality")
    if profile is None and personality is None:
        profile, personality = read_section(prompt, "persona") or "", ""
    changes, turn = read_changes(prompt)
    return read_changed((profile or "").strip(), (personality or "").strip(), changes, turn)


def find_persona(messages: Sequence[Voiced]) -> Latent:
    for message in messages:
        if "<persona>" in message.content:
            return _persona_in(message.content)
    return read_persona("", "")


# --- the user -------------------------------------------------------------------------------------------------


@lru_cache(maxsize=16384)
def _character(prompt: str) -> tuple[Latent, Character]:
    latent = _persona_in(prompt)
    return latent, character_of(latent)


@lru_cache(maxsize=16384)
def topic_at(prompt: str, turn: int, options: Options) -> Topic:
    """What the user asks in a turn: the same on every branch, never twice in a row, rather what concerns it."""
    latent, character = _character(prompt)
    lexicon = narrow(options)
    if options.neutral and roll(character.key, "neutral", turn) < options.neutral:
        return Random(digest(character.key, "neutral", turn)).choice(lexicon.neutral)
    topics = lexicon.topics
    start = latent.history.start if latent.history else latent
    slots = {item.name for item in start.facts}
    ranked = sorted(topics, key=lambda t: -min(3, len(slots.intersection(t.slots))))
    n_best = max(len(topics) // 2, sum(len(slots.intersection(t.slots)) >= 3 for t in topics))
    best = ranked[:n_best] or ranked
    order = list(best)
    round_, place = divmod(turn - 1, len(order))
    Random(digest(character.key, "topics", round_)).shuffle(order)
    return order[place]


class Scene(NamedTuple):
    """What a user sees of its conversation before it speaks.

    Attributes:
        prompt: where its persona stands. own: its messages so far. reply: the last one to it; empty at the beginning.
        told: what it has revealed, and how. release: how many facts it may tell now; None: as many as it likes.
    """

    prompt: str
    latent: Latent
    character: Character
    own: tuple[str, ...]
    reply: str
    turn: int
    told: Mapping[Item, str]
    release: int | None
    rng: Random


def read_scene(messages: Sequence[Voiced], seed: int | None) -> Scene:
    """The user's side of a conversation, with the generator of its next message."""
    own = tuple(m.content for m in messages if m.role == "assistant")
    last, release = _split_notes_of_user(messages[-1].content if messages else "")
    reply = last if own and messages[-1].role == "user" else ""
    prompt = next((m.content for m in messages if "<persona>" in m.content), _system(messages))
    latent, character = _character(prompt)
    turn = len(own) + 1
    told = told_by(own, latent)
    rng = Random(digest(seed, character.key, turn, reply))
    return Scene(prompt, latent, character, own, reply, turn, told, release, rng)


def play_user(messages: Sequence[Voiced], seed: int | None, options: Options) -> str:
    """The user's next message: a little of itself, in its manner, and a request."""
    scene = read_scene(messages, seed)
    character, turn, rng, lexicon = scene.character, scene.turn, scene.rng, narrow(options)
    fault = faulty_user(scene.own, scene.reply, rng, options)
    if fault:
        return fault
    topic = topic_at(scene.prompt, turn, options)
    due = due_now(scene.latent, turn)
    chosen = [] if due else choose_facts(scene, options)[: scene.release]
    told = tell_changes(due, rng, lexicon) + [language.tell(item, implied, rng, lexicon) for item, implied in chosen]
    traits = manners_at(scene.latent, character.traits, turn, topic.name, rng)
    markers = choose_markers(traits, turn, rng, lexicon)
    distractor = ""
    if (told or turn == 1) and rng.random() < options.distractors:
        distractor = language.tell_of_other(character.own, rng, lexicon)
    request = rng.choice(topic.requests)
    if not topic.slots:
        request = wide.change_to(request, rng)
    write = wide.write_user_message if options.is_wide else language.write_user_message
    return write(told, markers, distractor, request, rng)


def _split_notes_of_user(text: str) -> tuple[str, int | None]:
    """The last message without its notes, and how much may be told now (None: no note on that)."""
    start, release = text.find("<task kind="), text.rfind('<task kind="release"')
    if start < 0:
        return text, None
    n = (read_attribute(text[release:], "task", "n") or "") if release >= 0 else ""
    return text[:start].strip(), int(n) if n.isdigit() else None


def faulty_user(own: Sequence[str], reply: str, rng: Random, options: Options) -> str:
    """Faults on demand, so that what finds them can be tested."""
    if own and options.repeat and rng.random() < options.repeat:
        return own[-1]
    if own and options.flip and rng.random() < options.flip:
        return language.write_generic(None, rng)
    return ""


def choose_facts(scene: Scene, options: Options) -> list[tuple[Item, bool]]:
    """Which facts to tell now, and whether only by implication. What was asked for comes first, named."""
    character, told, turn, reply, rng = scene.character, scene.told, scene.turn, scene.reply, scene.rng

    def is_hinted(item: Item) -> bool:
        return language.can_hint(item) and roll(character.key, item.clause, "hint") < options.hints

    untold = [item for item in character.facts if item not in told]
    if options.leak and turn == 1 and roll(character.key, "leak") < options.leak:
        return [(item, False) for item in untold]
    if turn == 1:
        return [(item, is_hinted(item)) for item in untold[:1]]
    heard = read_reply(reply)
    asked = [i for i in character.facts if i.name in heard.asked and told.get(i) != "stated"]
    mentioned = {(p.name, p.value) for payloads in heard.values for p in payloads}
    engaged = heard.asks_about_user or any((i.name, i.value) in mentioned for i in told) or _echoes(told, reply)
    n_facts = 1 if engaged or rng.random() >= SILENT else 0
    if engaged and rng.random() < SECOND_FACT:
        n_facts = 2
    chosen = [(item, False) for item in asked[:1]]
    chosen += [(item, is_hinted(item)) for item in untold if item not in asked[:1]]
    if not untold and not asked and n_facts and rng.random() < AGAIN:
        known = [item for item in character.facts if told.get(item) == "stated"]
        chosen = [(rng.choice(known), False)] if known else []
    return chosen[:n_facts]


def _echoes(told: Mapping[Item, str], reply: str) -> bool:
    """Whether a reply takes up a clause that was told (personas outside the world's language)."""
    clauses = [item for item in told if item.kind == "fact" and not item.is_world]
    return any(language.is_used(item, reply) for item in clauses)


def choose_markers(traits: Sequence[Item], turn: int, rng: Random, lexicon: Lexicon) -> list[str]:
    """How the user lets its traits show: one a turn, in rotation, sometimes a second."""
    n = len(traits)
    if not n:
        return []
    n_shown = 2 if n > 1 and rng.random() < SECOND_MARKER else 1
    markers = []
    for item in (traits[(turn - 1 + i) % n] for i in range(n_shown)):
        trait = lexicon.by_trait.get(item.name) or narrow().by_trait[item.name]
        pole = next(p for p in trait.poles if p.name == item.value)
        markers.append(rng.choice(pole.shown))
    return markers


# --- the inducer ----------------------------------------------------------------------------------------------


def play_inducer(messages: Sequence[Voiced], seed: int | None, options: Options) -> str:
    """What the conversation revealed, with evidence. Misses some implications, each one always or never."""
    latent = find_persona(messages)
    prompt = next((m.content for m in reversed(messages) if "<conversation>" in m.content), "")
    said = [m.content for m in read_conversation(prompt) if m.role == "user"]
    key = digest(*(item.clause for item in latent.facts))
    found = []
    seen = set()
    for turn, new in enumerate(disclosed(latent, said), 1):
        for shown in new:
            item = shown.item
            seen.add(item)
            if item.kind == "fact" and shown.status == "implied" and roll(key, item.clause) < options.miss:
                later = _stated_later(latent, item, said, turn)
                if later is None:
                    continue
                found.append(_entry(item, "stated", *later))
                continue
            found.append(_entry(item, shown.status, shown.evidence, turn))
    if options.invent:
        for item in (*latent.facts, *latent.traits):
            if item not in seen and roll(key, item.clause, "invent", len(said)) < options.invent:
                found.append(_entry(item, "stated", "", max(1, len(said))))
    return orjson.dumps({"revealed": found}).decode()


def _entry(item: Item, status: str, evidence: str, turn: int) -> dict[str, object]:
    return {"item": item.clause, "kind": item.kind, "status": status, "evidence": evidence, "turn": turn}


def _stated_later(latent: Latent, item: Item, said: Sequence[str], turn: int) -> tuple[str, int] | None:
    for later in range(turn + 1, len(said) + 1):
        for shown in read_user_message(said[later - 1], latent):
            if shown.item == item and shown.status == "stated":
                return shown.evidence, later
    return None


# --- those who reply ------------------------------------------------------------------------------------------


@lru_cache(maxsize=16384)
def _read_note(line: str) -> Item | None:
    """One line of the <revealed> section."""
    for kind in ("fact", "trait"):
        if line.startswith(f"<{kind}") and line.endswith(f"</{kind}>"):
            return read_sentence(kind, unescape(line[line.find(">") + 1 : -len(kind) - 3]))
    return None


@lru_cache(maxsize=16384)
def read_notes(section: str) -> tuple[Item, ...]:
    lines = section.replace("</fact>", "</fact>\x1d").replace("</trait>", "</trait>\x1d").split("\x1d")
    found = [_read_note(line.strip()) for line in lines]
    return tuple(dict.fromkeys(item for item in found if item is not None))


def _last_user(messages: Sequence[Voiced]) -> str:
    return next((m.content for m in reversed(messages) if m.role == "user"), "")


def _split_notes(text: str) -> tuple[str, str]:
    """The user's last message and the content of the <revealed> section that follows it."""
    start = text.rfind("<revealed>")
    if start < 0:
        return text.strip(), ""
    end = text.find("</revealed>", start)
    return text[:start].strip(), text[start + len("<revealed>") : end if end >= 0 else None]


def _reply(
    messages: Sequence[Voiced], seed: int | None, options: Options, items: Sequence[Item], last: str, asks: bool
) -> str:
    """The best reply on what is known: up to three facts that matter, up to three style markers."""
    lexicon = narrow(options)
    name = read_message(last).topic
    topic = (lexicon.by_topic.get(name) or narrow().by_topic[name]) if name else None
    place = (last, len(messages), *(item.value for item in items))
    rng = Random(digest(seed, *place))
    relevant = [
        item
        for item in items
        if item.kind == "fact"
        and (topic is None or item.name in topic.slots or (bool(topic.slots) and not item.is_world))
    ]
    if options.steady and topic is not None:
        rank = {slot: number for number, slot in enumerate(topic.slots)}
        relevant = sorted(relevant, key=lambda item: rank.get(item.name, len(rank)))[:3]
    elif len(relevant) > 3:
        kept = set(rng.sample(range(len(relevant)), 3))
        relevant = [item for number, item in enumerate(relevant) if number in kept]
    relevant = _thinned(relevant, options.lapse, seed, "lapse", *place)
    by_trait = narrow().by_trait
    shown = [item for item in items if item.kind == "trait" and item.name in by_trait]
    traits = language.pick_traits(shown, rng, len(shown) if options.steady else 3)
    traits = _thinned(traits, options.slip, seed, "slip", *place)
    asks = asks and rng.random() < QUESTION
    question = _question(messages, items, topic, rng, lexicon, bool(options.steady)) if asks else ""
    write = wide.write_tailored if options.is_wide else language.write_tailored
    return write(topic, relevant, traits, question, rng, lexicon)


def _thinned(items: list[Item], chance: float, *where: object) -> list[Item]:
    """The items without those left out, each on its own with that chance."""
    if not chance:
        return items
    rng = Random(digest(*where))
    return [item for item in items if rng.random() >= chance]


def _question(
    messages: Sequence[Voiced],
    items: Sequence[Item],
    topic: Topic | None,
    rng: Random,
    lexicon: Lexicon,
    steady: bool,
) -> str:
    """Asks for a fact that would matter here, is not known, and was not asked for before."""
    if topic is None:
        return ""
    known = {item.name for item in items}
    for message in messages:
        if message.role == "assistant":
            known.update(read_reply(message.content).asked)
    open_slots = [lexicon.by_slot[s] for s in topic.slots if s in lexicon.by_slot and s not in known]
    if not open_slots:
        return ""
    return rng.choice((open_slots[0] if steady else rng.choice(open_slots)).questions)


def play_tailored(messages: Sequence[Voiced], seed: int | None, options: Options) -> str:
    """A reply that makes use of the notes; also the oracle and the swapped control, whose notes are made so."""
    last, notes = _split_notes(_last_user(messages))
    return _reply(messages, seed, options, read_notes(notes), last, asks=True)


def reply_with(
    messages: Sequence[Voiced], seed: int | None, options: Options, items: Sequence[Item], asks: bool = False
) -> str:
    """The best reply to the last message on the items given; ``asks``: with a question now and then."""
    return _reply(messages, seed, options, items, _last_user(messages), asks)


def play_knows_all(messages: Sequence[Voiced], seed: int | None, options: Options) -> str:
    """A reply that uses the whole persona from the first turn on, revealed or not."""
    latent = find_persona(messages)
    last, _ = _split_notes(_last_user(messages))
    traits = latent.traits
    if latent.history is not None:
        traits = tuple(in_context(latent, read_message(last).topic).poles.values())
    return _reply(messages, seed, options, (*latent.facts, *traits), last, asks=False)


def play_generic(messages: Sequence[Voiced], seed: int | None, options: Options) -> str:
    """A reply that would suit anybody."""
    last, _ = _split_notes(_last_user(messages))
    lexicon = narrow(options)
    name = read_message(last).topic
    topic = (lexicon.by_topic.get(name) or narrow().by_topic[name]) if name else None
    rng = Random(digest(seed, last, len(messages)))
    if options.is_wide:
        return wide.write_generic(topic, rng, lexicon, options.phrasings, options.held)
    return language.write_generic(topic, rng, options.phrasings)


# --- the persona-writer ---------------------------------------------------------------------------------------


def play_writer(messages: Sequence[Voiced], seed: int | None, options: Options) -> str:
    """New profiles or personalities, every value and pole as common as any other."""
    prompt = "\n".join(m.content for m in messages)
    kind = read_attribute(prompt, "task", "kind") or "profile"
    wanted = read_attribute(prompt, "task", "n") or "1"
    n = min(int(wanted), MAX_NEW) if wanted.isdigit() else 1
    lexicon = narrow(options)
    rng = Random(digest(seed, prompt))
    texts = []
    for _ in range(n):
        pronoun = rng.choice(("She", "He"))
        if kind == "personality":
            texts.append(write_personality(draw_traits(rng, lexicon), pronoun, rng, lexicon))
        else:
            texts.append(write_profile(draw_facts(rng, lexicon), pronoun, rng, lexicon))
    if texts and rng.random() < options.flaws:
        example = read_section(prompt, "example")
        texts[rng.randrange(n)] = example.strip() if example and rng.random() < 0.5 else texts[0].split(". ")[0]
    return orjson.dumps({"descriptions": texts}).decode()


def play_judge(messages: Sequence[Voiced], seed: int | None, options: Options) -> str:
    """See ``judge.py``."""
    prompt = "\n".join(m.content for m in messages)
    return judge(find_persona(messages), prompt, options)


ACTORS: dict[str, Actor] = {
    "persona-writer": play_writer,
    "user": play_user,
    "inducer": play_inducer,
    "tailored": play_tailored,
    "generic": play_generic,
    "judge": play_judge,
    "oracle": play_tailored,
    "frozen": play_tailored,
    "knows-all": play_knows_all,
    "swapped": play_tailored,
}
