"""The wording of the users' dialects (``dialects/*.txt``), each its own file of small grammars as the wide wording's.

Some dialects have phrasings of their own for everything a user says (``OWN_WORDING``): they share no phrasing, and no
four words in a row, with what other users say. The others add what they say beside it: complaints, lies, corrections.
Readers know all of it, whoever they read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.resources import files
from typing import Literal

from aloe.world.lexicon.slots import SLOTS
from aloe.world.lexicon.wording import parse_line

OWN_WORDING = ("terse", "rambling", "learner", "indirect")
DIALECTS = (*OWN_WORDING, "moody", "forgetful", "adversarial")
PLAIN = "plain"  # today's user, as a part of a mixture
#: How a sentence about the user, or somebody else, is read: ``wry`` implies a fact by naming it, ``slipped`` is untrue.
SAID_KINDS: Mapping[str, Literal["said", "hinted", "other", "wry", "slipped"]] = {
    "said": "said", "hinted": "hinted", "other": "other", "wry": "wry", "slipped": "slipped", "corrected": "said",
}  # fmt: skip
ANY = "any"


@lru_cache(maxsize=16)
def _text(dialect: str) -> str:
    return (files("aloe.world.lexicon") / "dialects" / f"{dialect}.txt").read_text("utf-8")


@lru_cache(maxsize=1)
def digest_of_dialects() -> str:
    """A digest of all dialects' wording, so that answers composed from others are not taken for these."""
    return hashlib.blake2b("".join(map(_text, DIALECTS)).encode(), digest_size=4).hexdigest()


@lru_cache(maxsize=16)
def _sections(dialect: str) -> Mapping[str, tuple[str, ...]]:
    """The lines of a dialect's file by section; ``[nouns]`` are taken from ``forgetful``, for all."""
    found: dict[str, list[str]] = {}
    section = ""
    for line in _text(dialect).splitlines():
        if line.startswith("[") and line.endswith("]") and "|" not in line:
            section = line.strip("[] ")
            found.setdefault(section, [])
        elif line.strip() and not line.startswith("#"):
            found[section].append(line)
    return {name: tuple(lines) for name, lines in found.items()}


@lru_cache(maxsize=1)
def nouns() -> Mapping[str, str]:
    """What the user calls each kind of fact: ``"occupation" -> "my job"``."""
    return dict(line.split(" ", 1) for line in _sections("forgetful")["nouns"])  # type: ignore[misc]


@lru_cache(maxsize=4096)
def phrases(dialect: str, kind: str, section: str = "") -> tuple[str, ...]:
    """What a dialect says of one kind, each composition once; empty where it has no wording of its own for it.

    Args:
        kind: ``said``, ``hinted``, ``wry``, ``other``, ``slipped``, ``corrected``, ``shown``, ``requests``, or one
            without a kind of fact (``filler``, ``irritated``, ...).
        section: slot, trait and pole, or topic. Lines for any kind of fact are filled with its noun.
    """
    sections = _sections(dialect)
    lines = sections.get(f"{kind} {section}".strip(), ()) or sections.get(f"{kind} {ANY}", ())
    lines = lines or (sections.get(kind, ()) if section else ())
    noun = nouns().get(section, "")
    composed = (text for line in lines for text in parse_line(line, f"{dialect}.txt, [{kind}]").compose())
    return tuple(dict.fromkeys(text.replace("{noun}", noun) for text in composed))


def said_sentences() -> Iterable[tuple[str, str, str]]:
    """(kind, slot, template) of every sentence with a value or cue that any dialect says."""
    for dialect in DIALECTS:
        for kind in SAID_KINDS:
            for slot in SLOTS:
                for template in phrases(dialect, kind, slot.name):
                    yield kind, slot.name, template


def every_phrase(kind: str) -> Iterable[tuple[str, str]]:
    """(section, phrase) of everything of a kind without values: ``shown``, ``requests``."""
    for dialect in DIALECTS:
        for name in _sections(dialect):
            head, _, section = name.partition(" ")
            if head == kind:
                for phrase in phrases(dialect, kind, section):
                    yield section, phrase
