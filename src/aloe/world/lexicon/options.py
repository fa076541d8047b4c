"""The options of a ``world:`` URI, and the part of the lexicon that they leave to writers.

Writers may be narrowed (fewer slots, values, phrasings); readers always know the whole lexicon, so that a text
means the same whoever wrote it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache

from aloe.errors import ConfigError, nearest
from aloe.world.lexicon.mixture import parse_mixture
from aloe.world.lexicon.schema import Pole, Slot, Topic, Trait, Value
from aloe.world.lexicon.slots import SLOTS
from aloe.world.lexicon.topics import TOPICS
from aloe.world.lexicon.traits import TRAITS
from aloe.world.lexicon.wording import Held, compositions, grammar

CHOICES = {
    "bias": ("first", "second"),
    "weighing": ("product", "sum", "style", "content", "tact"),
    "wording": ("listed", "wide"),
}


@dataclass(frozen=True, slots=True)
class Options:
    """What a world URI may say. Narrowing concerns writers only; 0 and () mean: everything.

    Attributes:
        wording: "wide" composes what is said from grammars (``wording.py``) instead of drawing from a list.
        values: first N values of each slot (single words first). phrasings: first N phrasings of each kind; under the
            wide wording the first N lines of a grammar and the first N alternatives of each choice.
        hold_out: never the last phrasing of a kind; under the wide wording never a composition of the quarter that is
            held out, nor a line whose words stand nowhere else. held_out: only what ``hold_out`` leaves out; 2 (wide
            wording): only those lines.
        steady: 1 makes replies that draw on notes predictable: of more than three facts that matter those that the
            topic lists first, in its order; every style marker; the first open question.
        hints, distractors: the user's rates. neutral: how often the user asks for something to which nothing matters
            that it told. flaws: the persona-writer's. miss, invent: the inducer's.
        lapse, slip: how often a reply that draws on notes leaves out a fact, or a style marker, that it could have
            used, each on its own.
        leak, repeat, flip: faults of a user (tells all at once, repeats itself, answers as an assistant).
        bias: "first" makes a judge that always says so.
        weighing: "sum" makes a judge that adds what manner and content earn instead of multiplying them; "style",
            "content" and "tact" make three that differ in what they care for.
        dialect: how the user speaks and behaves, or a mixture of such (``world/dialects``); empty: as ever.
        typing: how much of people's ways of typing the user's messages have (``world/dialects/typing.py``).
    """

    wording: str = ""
    values: int = 0
    phrasings: int = 0
    advice: int = 0
    hold_out: int = 0
    held_out: int = 0
    steady: int = 0
    slots: tuple[str, ...] = ()
    without_slots: tuple[str, ...] = ()
    traits: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    hints: float = 0.35
    distractors: float = 0.12
    neutral: float = 0.0
    flaws: float = 0.03
    miss: float = 0.15
    lapse: float = 0.0
    slip: float = 0.0
    invent: float = 0.0
    leak: float = 0.0
    repeat: float = 0.0
    flip: float = 0.0
    bias: str = ""
    weighing: str = ""
    dialect: str = ""
    typing: float = 0.0

    @property
    def is_wide(self) -> bool:
        return self.wording == "wide"

    @property
    def held(self) -> Held:
        """What of the wide wording these options leave to a writer."""
        if self.held_out:
            return "words" if self.held_out > 1 else "only"
        return "out" if self.hold_out else ""


def parse_options(query: str, where: str) -> Options:
    """``values=32&traits=formality,warmth`` as Options.

    Raises:
        ConfigError: an unknown option, slot, trait or topic (naming the nearest), or a value out of range.
    """
    types = {f.name: type(getattr(Options(), f.name)) for f in fields(Options)}
    names = {"slots": SLOTS, "without_slots": SLOTS, "traits": TRAITS, "topics": TOPICS}
    given: dict[str, object] = {}
    for part in filter(None, query.split("&")):
        key, _, text = part.partition("=")
        if key not in types:
            raise ConfigError(
                f"{where}: unknown option '{key}'{nearest(key, types)}", f"use one of: {', '.join(types)}"
            )
        if key in names:
            known = [item.name for item in names[key]]  # type: ignore[attr-defined]
            chosen = tuple(filter(None, text.split(",")))
            for name in chosen:
                if name not in known:
                    raise ConfigError(
                        f"{where}: no '{name}' among the {key.removeprefix('without_')}{nearest(name, known)}",
                        f"use some of: {', '.join(known)}",
                    )
            given[key] = chosen
        elif key in CHOICES:
            if text not in ("", *CHOICES[key]):
                raise ConfigError(f"{where}: {key} is '{text}'", f"use {' or '.join(CHOICES[key])}")
            given[key] = text
        elif key == "dialect":
            given[key] = parse_mixture(text, where)
        else:
            given[key] = _number(key, text, types[key], where)
    return Options(**given)  # type: ignore[arg-type]


def _number(key: str, text: str, kind: type, where: str) -> float | int:
    try:
        value = kind(text)
    except ValueError:
        value = -1
    if value < 0 or (kind is float and value > 1):
        expected = "a probability from 0 to 1" if kind is float else "a whole number, 0 or more"
        raise ConfigError(f"{where}: option {key} is '{text}', expected {expected}", "correct the model's URI")
    return value  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class Lexicon:
    """What a writer may use. ``by_slot`` etc. find an entry by name.

    Attributes:
        follows: in the wide wording, slot -> sentences that look back at the advice and use a fact; empty otherwise.
        leads: in the wide wording, how advice begins without a manner.
        neutral: topics to which no fact matters (also found in ``by_topic``, but not among ``topics``).
    """

    slots: tuple[Slot, ...]
    traits: tuple[Trait, ...]
    topics: tuple[Topic, ...]
    by_slot: Mapping[str, Slot]
    by_trait: Mapping[str, Trait]
    by_topic: Mapping[str, Topic]
    follows: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    leads: tuple[str, ...] = ()
    neutral: tuple[Topic, ...] = ()


def _cut(options: Options, phrasings: tuple[str, ...]) -> tuple[str, ...]:
    kept = phrasings[: options.phrasings] if options.phrasings else phrasings
    if options.held_out:
        return kept[-1:]
    return kept[:-1] if options.hold_out and len(kept) > 1 else kept


def _cut_values(options: Options, values: tuple[Value, ...]) -> tuple[Value, ...]:
    if not options.values:
        return values
    return tuple(sorted(values, key=lambda v: not v.is_single)[: options.values])


@lru_cache(maxsize=64)
def narrow(options: Options = Options()) -> Lexicon:
    """The part of the lexicon that the options allow. A slot or trait keeps its place among the others."""
    slots = tuple(
        replace(
            s,
            values=_cut_values(options, s.values),
            profile=_cut(options, s.profile),
            said=_cut(options, s.said),
            hinted=_cut(options, s.hinted),
            other=_cut(options, s.other),
            uses=_cut(options, s.uses),
            questions=_cut(options, s.questions),
        )
        for s in SLOTS
        if (not options.slots or s.name in options.slots) and s.name not in options.without_slots
    )
    traits = tuple(
        replace(t, poles=(_cut_pole(options, t.poles[0]), _cut_pole(options, t.poles[1])))
        for t in TRAITS
        if not options.traits or t.name in options.traits
    )
    topics = tuple(
        replace(
            t,
            requests=_cut(options, t.requests),
            advice=t.advice[: options.advice] if options.advice else t.advice,
        )
        for t in TOPICS
        if not options.topics or t.name in options.topics
    )
    if options.is_wide:
        slots = tuple(_widen_slot(options, slot) for slot in slots)
        traits = tuple(
            replace(t, poles=(_widen_pole(options, t, t.poles[0]), _widen_pole(options, t, t.poles[1]))) for t in traits
        )
        topics = tuple(
            replace(t, requests=_composed(options, "requests", t.name), advice=_composed_advice(options, t.name))
            for t in topics
        )
    neutral = _neutral(options)
    return Lexicon(
        slots, traits, topics,
        {s.name: s for s in slots}, {t.name: t for t in traits}, {t.name: t for t in (*neutral, *topics)},
        {s.name: _composed(options, "follows", s.name) for s in slots} if options.is_wide else {},
        _composed(options, "replies", "lead") if options.is_wide else (),
        neutral,
    )  # fmt: skip


def _composed(options: Options, kind: str, section: str) -> tuple[str, ...]:
    return compositions(kind, section, options.phrasings, options.held)


def _composed_advice(options: Options, topic: str) -> tuple[str, ...]:
    """What is advised: content rather than wording, so none of it is held out."""
    return compositions("advice", topic, options.phrasings)[: options.advice or None]


def _neutral(options: Options) -> tuple[Topic, ...]:
    known = {topic.name for topic in TOPICS}
    return tuple(
        Topic(name, _composed(options, "requests", name), _composed_advice(options, name), ())
        for name in grammar("requests")
        if name not in known
    )


def _widen_slot(options: Options, slot: Slot) -> Slot:
    return replace(
        slot,
        said=_composed(options, "said", slot.name),
        hinted=_composed(options, "hinted", slot.name),
        other=_composed(options, "other", slot.name),
        uses=_composed(options, "uses", slot.name),
        questions=_composed(options, "questions", slot.name),
    )


def _widen_pole(options: Options, trait: Trait, pole: Pole) -> Pole:
    manner = f"{trait.name} {pole.name}"
    return replace(pole, shown=_composed(options, "shown", manner), fits=_composed(options, "fits", manner))


def _cut_pole(options: Options, pole: Pole) -> Pole:
    return replace(
        pole,
        persona=_cut(options, pole.persona),
        shown=_cut(options, pole.shown),
        fits=_cut(options, pole.fits),
    )
