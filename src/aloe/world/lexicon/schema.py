"""The shape of the world's lexicon: slots of facts, bipolar traits, topics. Data only.

Templates use ``{v}`` for a value, ``{a}`` for its article, ``{cue}`` for what implies it, ``{She}``/``{she}``/
``{her}`` for a person. No template may contain any value's or cue's words: the readers rely on it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Value:
    """One possible fact. ``cue`` implies it without naming it ("dough" for a baker); empty if nothing does."""

    text: str
    cue: str = ""

    @property
    def is_single(self) -> bool:
        """Whether value and cue are one lower-case word each, so that a narrow world may use it."""
        return (
            self.text.isalpha()
            and self.text.islower()
            and (not self.cue or (self.cue.isalpha() and self.cue.islower()))
        )


@dataclass(frozen=True, slots=True)
class Slot:
    """A kind of fact and how it is written, said, hinted at, said of others, used in replies and asked for.

    Attributes:
        profile: third-person sentences, ``{She} keeps {a} {v} as a pet.``
        said: first-person sentences, ``I have {a} {v} at home.``
        hinted: first-person sentences with ``{cue}`` only (empty if the slot's values have no cues).
        other: sentences about somebody else, ``My cousin keeps {a} {v}.``
        uses: second-person phrases that attach to advice, ``with your {v} in mind``.
        questions: what an assistant asks to learn it.
    """

    name: str
    values: tuple[Value, ...]
    profile: tuple[str, ...]
    said: tuple[str, ...]
    hinted: tuple[str, ...]
    other: tuple[str, ...]
    uses: tuple[str, ...]
    questions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pole:
    """One end of a trait. ``persona``: third-person sentences; ``shown``: how a user lets it show;
    ``fits``: what a reply does that suits such a user. Phrases of two to five words."""

    name: str
    persona: tuple[str, ...]
    shown: tuple[str, ...]
    fits: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Trait:
    """A bipolar trait; ``place`` is where its reply phrases go: opener, lead, reason or closer."""

    name: str
    place: str
    poles: tuple[Pole, Pole]


@dataclass(frozen=True, slots=True)
class Topic:
    """Something a user asks about. ``advice``: noun phrases with article that answer the request; ``slots``:
    which facts matter here."""

    name: str
    requests: tuple[str, ...]
    advice: tuple[str, ...]
    slots: tuple[str, ...]
