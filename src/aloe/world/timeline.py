"""Personas that change: what holds at a turn, what held before, how the user lets it be known, and the draw of changes.

A :class:`Latent` with a history says what holds now; its ``past`` is what no longer does. Facts change at one turn.
A manner that changes gradually is met in both ways from ``turn`` to ``until``, and both suit the user; one that depends
on the context is another one where the user asks about certain topics.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random
from typing import Literal

from aloe.seeding import derive_seed
from aloe.types import Change, Persona
from aloe.world import fallback, language
from aloe.world.character import character_of
from aloe.world.latent import History, Item, Latent, Step, fill, in_context, read_persona, read_sentence, same_item
from aloe.world.lexicon.changes import CONTEXTS, ENDED, GONE
from aloe.world.lexicon.options import Lexicon, Options, narrow, parse_options
from aloe.world.reading import read_message
from aloe.world.truth import Shown, suits

ENDS, BEGINS = 0.15, 0.15  # of the facts that change: those that end without another, and those that are new
MIN_TURNS = 4  # below which nothing can be told, change and matter again
SCHEME = "world:"


@dataclass(frozen=True, slots=True)
class ChangeScope:
    """What changes may be drawn from: the values of a recipe's world, and whether its users ever only imply a fact."""

    lexicon: Lexicon
    implied: bool = True


def scope_of(writer: str, user: str) -> ChangeScope:
    """The scope of a recipe, by the URIs of who writes its personas and who plays its users."""
    lexicon = narrow(_without_holdout(writer))
    return ChangeScope(lexicon, not user.startswith(SCHEME) or _without_holdout(user).hints > 0)


def _without_holdout(uri: str) -> Options:
    if not uri.startswith(SCHEME):
        return Options()
    return replace(parse_options(uri.partition("?")[2], f"model '{uri}'"), hold_out=0, held_out=0)


def latent_of(persona: Persona) -> Latent:
    """What a persona holds: at the turn that it is of, else before anything has changed."""
    if not persona.turn:
        return read_persona(persona.profile, persona.personality)
    return read_changed(persona.profile, persona.personality, persona.timeline, persona.turn)


@lru_cache(maxsize=16384)
def read_changed(profile: str, personality: str, changes: tuple[Change, ...], turn: int) -> Latent:
    """The latent persona of texts that hold at ``turn``, after ``changes``; without any, that of the texts."""
    now = read_persona(profile, personality)
    if not changes:
        return now
    steps = tuple(
        Step(
            turn=change.turn,
            how=change.how,
            was=read_sentence(change.kind, change.was) if change.was else None,
            now=read_sentence(change.kind, change.now) if change.now else None,
            since=change.since,
            topics=tuple(t for t in narrow().by_topic if t in change.context),
        )
        for change in changes
    )
    return Latent(now.facts, now.traits, History(_start(now, steps, turn), steps, turn))


def _start(now: Latent, steps: Sequence[Step], turn: int) -> Latent:
    """The persona before the steps, from what it is after them."""
    items: dict[str, list[Item]] = {"fact": list(now.facts), "trait": list(now.traits)}
    for step in reversed(steps):
        kind = items[(step.was or step.now).kind]  # type: ignore[union-attr]
        if step.how == "contextual" or step.since <= turn:
            at = next((n for n, i in enumerate(kind) if step.now and same_item(i, step.now)), None)
            if at is not None:
                kind.pop(at)
            if step.was and step.how != "contextual":
                kind.insert(len(kind) if at is None else at, step.was)
    return Latent(tuple(items["fact"]), tuple(items["trait"]))


# --- the user -------------------------------------------------------------------------------------------------


def due_now(latent: Latent, turn: int) -> list[Step]:
    """The facts that change with the user's message of ``turn``."""
    steps = latent.history.steps if latent.history else ()
    return [s for s in steps if s.turn == turn and (s.was or s.now).kind == "fact"]  # type: ignore[union-attr]


def tell_changes(steps: Iterable[Step], rng: Random, lexicon: Lexicon) -> list[language.Told]:
    """What the user says as facts change: what is over, then what there is now."""
    told = []
    for step in steps:
        implied = step.how == "implied"
        if step.was:
            told.append(language.Told(_tell_end(step.was, implied, rng), None))
        if step.now:
            told.append(language.tell(step.now, implied and language.can_hint(step.now), rng, lexicon))
    return told


def _tell_end(item: Item, implied: bool, rng: Random) -> str:
    if not item.is_world or item.name not in ENDED:
        return f"It is no longer true of me: {fallback.first_person(item.clause)}"
    if implied and item.name in GONE and language.can_hint(item):
        return fill(rng.choice(GONE[item.name]), item.value, language.cue_of(item))
    return fill(rng.choice(ENDED[item.name]), item.value)


def manners_at(latent: Latent, traits: Sequence[Item], turn: int, topic: str | None, rng: Random) -> list[Item]:
    """The traits as they show in the message of ``turn`` about ``topic``, in their order."""
    if latent.history is None:
        return list(traits)
    found = list(traits)
    for step in latent.history.steps:
        if step.was is None or step.now is None or step.was.kind != "trait":
            continue
        turning = step.how == "gradual" and step.turn <= turn < step.since
        new = turning and rng.random() < (turn - step.turn + 1) / (step.since - step.turn + 1)
        if new or topic in step.topics:
            found = [step.now if item.name == step.was.name else item for item in found]
    return found


def hold_now(shown: Sequence[Shown], latent: Latent, said: Sequence[str]) -> tuple[Shown, ...]:
    """Of what the user has revealed, what holds where its last message stands: one manner of each trait."""
    if latent.history is None:
        return tuple(shown)
    here = in_context(latent, read_message(said[-1]).topic if said else None)
    traits = {s.item.name: s for s in shown if s.item.kind == "trait" and suits(here, s.item.name, s.item.value)}
    return tuple(s for s in shown if s.item.kind == "fact" or traits.get(s.item.name) is s)


# --- the draw -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Material:
    """What a persona's changes are drawn from."""

    rng: Random
    latent: Latent
    pronoun: str
    told: tuple[Item, ...]  # facts in the order in which they come up
    n_turns: int
    starts: tuple[int, ...]  # first turns of the later sessions
    scope: ChangeScope


def with_timeline(
    persona: Persona, n_changes: int, n_turns: int, n_sessions: int, seed: int, scope: ChangeScope | None = None
) -> Persona:
    """``persona`` with a timeline drawn from (seed, persona), unless it has one of its own or nothing is to change.

    Facts and traits change by turns, a fact first. A fact is told before it changes, as far as the order in which
    they come up says; changes are spread over the conversation, and with several sessions about half of them happen
    in a gap. What is not in the world's language only ends.

    Args:
        n_changes: at most so many, as the persona has parts that can change.
        n_turns: of each session.
        scope: None: the whole world.
    """
    total = n_turns * n_sessions
    if persona.timeline or not n_changes or total < MIN_TURNS:
        return persona
    rng = Random(derive_seed(seed, "timeline", persona.profile, persona.personality))
    latent = read_persona(persona.profile, persona.personality)
    pronoun = "He" if persona.profile.startswith(("He ", "His ")) or " his " in persona.profile else "She"
    starts = tuple(1 + n_turns * number for number in range(1, n_sessions))
    draw = _Material(rng, latent, pronoun, character_of(latent).facts, total, starts, scope or ChangeScope(narrow()))
    changes: list[Change] = []
    n_changes = min(n_changes, total - 1)  # one a turn, and none in the first
    for number in range(n_changes):
        turn = _turn_of(draw, number, n_changes, {c.turn for c in changes})
        made = (_change_fact, _change_trait)[number % 2](draw, turn, changes)
        if made is not None:
            changes.append(made)
    return persona.model_copy(update={"timeline": tuple(sorted(changes, key=lambda c: c.turn))})


def _turn_of(draw: _Material, number: int, n_changes: int, taken: set[int]) -> int:
    """A turn in the middle of its share of the conversation, not the first, that nothing else has taken."""
    first, last = 3, max(3, draw.n_turns - 2)
    middle = first + (last - first) * (number + 0.5) / n_changes
    if draw.starts and draw.rng.random() < 0.5:
        wanted = min(draw.starts, key=lambda start: abs(start - middle))
    else:
        wanted = round(middle + draw.rng.uniform(-1, 1))
    free = [turn for turn in range(2, draw.n_turns + 1) if turn not in taken]
    return min(free, key=lambda turn: (abs(turn - wanted), turn))


def _change_fact(draw: _Material, turn: int, before: Sequence[Change]) -> Change | None:
    rng, latent, lexicon = draw.rng, draw.latent, draw.scope.lexicon
    gone = {change.was for change in before}
    known = draw.told[: max(1, turn - 1)]  # about one comes up in each message
    able = [item for item in known if item.clause not in gone and (not item.is_world or item.name in ENDED)]
    able = [item for item in able if item.name != "pet" or "pet_name" not in latent.by_slot]
    lot = rng.random()
    slots = [s for s in lexicon.slots if s.name not in latent.by_slot and s.name in ENDED and s.name != "pet"]
    slots = [s for s in slots if all(s.name not in read_sentence("fact", c.now).name for c in before if c.now)]
    if latent.clauses or not (able or slots):
        slots = []
    if slots and (lot < BEGINS or not able):
        slot = rng.choice(slots)
        now = fill(rng.choice(slot.profile), rng.choice(slot.values).text, pronoun=draw.pronoun)
        told = rng.choice(("announced", "implied"))
        return Change(turn=turn, kind="fact", how=told if draw.scope.implied else "announced", now=now)
    if not able:
        return None
    item = rng.choice(able)
    is_hint = draw.scope.implied and item.name in GONE and language.can_hint(item) and rng.random() < 0.5
    how: Literal["announced", "implied"] = "implied" if is_hint else "announced"
    now = ""
    if item.is_world and lot < 1 - ENDS:
        slot = lexicon.by_slot.get(item.name) or narrow().by_slot[item.name]
        value = rng.choice([v.text for v in slot.values if v.text != item.value])
        now = fill(rng.choice(slot.profile), value, pronoun=draw.pronoun)
    return Change(turn=turn, kind="fact", how=how, was=item.clause, now=now)


def _change_trait(draw: _Material, turn: int, before: Sequence[Change]) -> Change | None:
    rng = draw.rng
    gone = {change.was for change in before}
    able = [item for item in draw.latent.poles.values() if item.clause not in gone]
    if not able:
        return None
    item = rng.choice(able)
    pole = next(p for p in narrow().by_trait[item.name].poles if p.name != item.value)
    now = fill(rng.choice(pole.persona), pronoun=draw.pronoun)
    if rng.random() < 0.5:
        context = rng.choice(tuple(CONTEXTS))
        text = f"{context}: {', '.join(CONTEXTS[context])}"
        return Change(turn=turn, kind="trait", how="contextual", was=item.clause, now=now, context=text)
    until = min(draw.n_turns, turn + max(2, draw.n_turns // 5))
    return Change(turn=turn, kind="trait", how="gradual", was=item.clause, now=now, until=until)
