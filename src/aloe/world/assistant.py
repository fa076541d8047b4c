"""``world:assistant``: a capable model that gives generic replies unless its prompt asks for more.

Asked plainly it answers as ``world:generic`` does, word for word. It is what the benchmark's wrappers are tested on
(``world:assistant+inducer``), since ``world:generic`` ignores whatever it is told. How far each prompt takes it:

- a reminder: facts that the user stated; hints and manner pass it by;
- the revision of a draft: stated facts, and the user's manner;
- asked to infer: stated and implied facts, and the manner; answered with such notes: as ``world:tailored``;
- told the persona: everything, revealed or not, as ``world:knows-all``;
- given a memory: what it holds and what the messages before it tell; asked to keep one, it notes what it notices.

``world:attentive`` needs no prompt for any of it: what a trained model aims at.

It reads users' messages without knowing who they are, so an ambiguous hint may be read wrongly, and what a user says
of itself that is not so is believed until the user puts it right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import orjson

from aloe.prompts.sections import read_conversation, read_section
from aloe.world import actors, dealt, remembering
from aloe.world.actors import Actor, Utterance, Voiced
from aloe.world.latent import Item, fill
from aloe.world.lexicon.changes import CONTEXTS
from aloe.world.lexicon.options import Options, narrow
from aloe.world.reading import read_message
from aloe.world.remembering import Noticed

_DESCRIBE = '<task kind="describe"'
_INFER, _REVISE, _REMEMBER = '<task kind="infer"', '<reply id="draft">', '<task kind="remember"'


def notice(
    said: Sequence[str], *, hints: bool, manner: bool, before: Sequence[Noticed] = ()
) -> list[tuple[Item, str, str, int]]:
    """What messages tell of their writer, each once: item, ``stated`` or ``implied``, the words, the turn.

    What they say is over is gone; of a manner that changes the last counts, unless it comes and goes: then the one that
    was last met where the same kind of thing was asked for.

    Args:
        hints: also what is only implied.
        manner: also traits that show in how it is said.
        before: what is known from earlier messages.
    """
    state = _heard_so_far(tuple(said), hints, manner, tuple(before))
    found = dict(state.found)
    here = _context_of(read_message(said[-1]).topic) if said else None
    for trait, met in state.manners.items():
        if met.n_flips > 1:  # it comes and goes
            found["trait", trait] = met.by_context.get(here, met.last)
    return list(found.values())


class _Met(NamedTuple):
    """A manner so far: how often it turned, how it was last met, and how in each context."""

    n_flips: int
    last: Noticed
    by_context: Mapping[str | None, Noticed]


@dataclass(slots=True)
class _Noticing:
    """What some messages have told; one that others begin with is never changed."""

    found: dict[tuple[str, str], Noticed]
    doubted: frozenset[tuple[str, str]] = frozenset()  # claimed in words that later ones may take back
    manners: dict[str, _Met] = field(default_factory=dict)


_HEARD: dict[tuple[object, ...], _Noticing] = {}  # by the messages and how they were heard
_MOST_HEARD = 4096


def _heard_so_far(said: tuple[str, ...], hints: bool, manner: bool, before: tuple[Noticed, ...]) -> _Noticing:
    """What the messages tell, beginning with what was heard up to the last of them."""
    known = _HEARD.get((said[:-1], hints, manner, before)) if said else None
    start = len(said) - 1 if known is not None else 0
    state = known or _Noticing({(entry[0].kind, entry[0].name): entry for entry in before})
    for turn in range(start, len(said)):
        state = _hear(state, said[turn], turn + 1, hints, manner)
    if len(_HEARD) >= _MOST_HEARD:
        _HEARD.clear()
    _HEARD[said, hints, manner, before] = state
    return state


def _hear(before: _Noticing, text: str, turn: int, hints: bool, manner: bool) -> _Noticing:
    """What is known after one more message."""
    reading, found, doubted = read_message(text), dict(before.found), set(before.doubted)
    for mention in reading.ended:
        for payload in mention.payloads:
            if ("fact", payload.name) in found and found["fact", payload.name][0].value == payload.value:
                del found["fact", payload.name]
    for mention in (*reading.claimed, *reading.mentions):
        payload = mention.payloads[0]
        status = "stated" if payload.kind == "value" else "implied"
        key = ("fact", payload.name)
        is_news = key not in found or found[key][1] == "implied" != status or (key in doubted and status == "stated")
        if (status == "stated" or hints) and is_news:
            (doubted.add if mention in reading.claimed else doubted.discard)(key)
            found[key] = (_fact(payload.name, payload.value), status, mention.evidence, turn)
    manners, context = dict(before.manners), _context_of(reading.topic)
    for trait, pole, words in reading.shown if manner else ():
        entry = (_manner(trait, pole), "implied", words, turn)
        met = manners.get(trait)
        if met is None:
            manners[trait] = _Met(0, entry, {context: entry})
        else:
            n_flips = met.n_flips + (met.last[0].value != pole)
            manners[trait] = _Met(n_flips, entry, {**met.by_context, context: entry})
        if found.setdefault(("trait", trait), entry)[0].value != pole:
            found["trait", trait] = entry
    return _Noticing(found, frozenset(doubted), manners)


@lru_cache(maxsize=4096)
def _fact(slot: str, value: str) -> Item:
    return Item("fact", slot, value, fill(narrow().by_slot[slot].profile[0], value))


@lru_cache(maxsize=256)
def _manner(trait: str, pole: str) -> Item:
    which = next(p for p in narrow().by_trait[trait].poles if p.name == pole)
    return Item("trait", trait, pole, fill(which.persona[0]))


@lru_cache(maxsize=64)
def _context_of(topic: str | None) -> str | None:
    return next((name for name, topics in CONTEXTS.items() if topic in topics), None)


def play_assistant(messages: Sequence[Voiced], seed: int | None, options: Options) -> str:
    """Answer as the prompt asks."""
    last = messages[-1].content if messages else ""
    if any(_DESCRIBE in m.content for m in messages):
        return describe("\n".join(m.content for m in messages))
    if any(_INFER in m.content for m in messages):
        return _infer("\n".join(m.content for m in messages))
    if limit := remembering.limit_in(last):
        return _remember(last, limit)
    said = [m.content for m in messages if m.role == "user"]
    if "<memory>" in last:
        return _reply_from_memory(messages, seed, options)
    if _REVISE in last:
        text = last[: last.rfind(_REVISE)].strip()
        items = [entry[0] for entry in notice([*said[:-1], text], hints=False, manner=True)]
        draft = (read_section(last[last.rfind(_REVISE) :], "reply", 'id="draft"') or "").strip()
        return _revise(actors.reply_with(_with_last(messages, text), seed, options, items), draft, items)
    if _REMEMBER in last:
        text = last[: last.rfind(_REMEMBER)].strip()
        items = [entry[0] for entry in notice([*said[:-1], text], hints=False, manner=False)]
        if not items:
            return actors.play_generic(_with_last(messages, text), seed, options)
        return actors.reply_with(_with_last(messages, text), seed, options, items)
    if "<revealed>" in last:
        return actors.play_tailored(messages, seed, options)
    if any(m.role == "system" and "<persona>" in m.content for m in messages):
        return actors.play_knows_all(messages, seed, options)
    return actors.play_generic(messages, seed, options)


def play_attentive(messages: Sequence[Voiced], seed: int | None, options: Options) -> str:
    """What training aims at: told nothing, it notices by itself and answers as ``world:tailored`` does."""
    last = messages[-1].content if messages else ""
    if limit := remembering.limit_in(last):
        return _remember(last, limit)
    if "<memory>" in last:
        return _reply_from_memory(messages, seed, options)
    said = [m.content for m in messages if m.role == "user"]
    items = [entry[0] for entry in notice(said, hints=True, manner=True)]
    return actors.reply_with(messages, seed, options, items, asks=True)


def _remember(prompt: str, limit: int) -> str:
    """A memory rewritten after an exchange."""
    before = remembering.read_notes_of(remembering.memory_in(prompt))
    known = notice(remembering.exchange_in(prompt), hints=True, manner=True, before=before)
    return remembering.write_notes(known, limit)


def _reply_from_memory(messages: Sequence[Voiced], seed: int | None, options: Options) -> str:
    """The best reply on what a memory holds and the messages before it tell."""
    last = messages[-1].content
    memory, text = remembering.memory_in(last), last[: last.rfind("<memory>")].strip()
    said = [m.content for m in messages[:-1] if m.role == "user"]
    earlier = remembering.read_turns_of(memory)
    known = notice([*earlier, *said, text], hints=True, manner=True, before=remembering.read_notes_of(memory))
    return actors.reply_with(_with_last(messages, text), seed, options, [entry[0] for entry in known], asks=True)


def _with_last(messages: Sequence[Voiced], text: str) -> list[Voiced]:
    return [*messages[:-1], Utterance("user", text)]


def _infer(prompt: str) -> str:
    said = [m.content for m in read_conversation(prompt) if m.role == "user"]
    revealed = [
        {"item": item.clause, "kind": item.kind, "status": status, "evidence": words, "turn": turn}
        for item, status, words, turn in notice(said, hints=True, manner=True)
    ]
    return orjson.dumps({"revealed": revealed}).decode()


def describe(prompt: str) -> str:
    """A persona from what the user's own messages tell: ``{"profile": ..., "personality": ...}``, empty if nothing."""
    said = [m.content for m in read_conversation(prompt) if m.role == "user"]
    items = [entry[0] for entry in notice(said, hints=True, manner=True)]
    texts = {kind: " ".join(i.clause for i in items if i.kind == kind) for kind in ("fact", "trait")}
    return orjson.dumps({"profile": texts["fact"], "personality": texts["trait"]}).decode()


def play_inducer(messages: Sequence[Voiced], seed: int | None, options: Options) -> str:
    """The inducer; asked to describe a user whose persona nobody has given, it describes."""
    if messages and _DESCRIBE in messages[0].content:
        return describe("\n".join(m.content for m in messages))
    return actors.play_inducer(messages, seed, options)


def _revise(reply: str, draft: str, items: Sequence[Item]) -> str:
    if not items:
        return orjson.dumps({"critique": "Nothing to better yet.", "reply": draft}).decode()
    missing = ", ".join(item.value for item in items if item.value.lower() not in draft.lower())
    return orjson.dumps({"critique": f"The draft leaves out: {missing or 'nothing'}.", "reply": reply}).decode()


ACTORS: dict[str, Actor] = {
    **actors.ACTORS,
    "user": dealt.play_user,
    "inducer": play_inducer,
    "assistant": play_assistant,
    "attentive": play_attentive,
}
