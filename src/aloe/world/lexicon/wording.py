"""The wide wording: sentences composed from small grammars (``wide/*.txt``) instead of listed ones.

A line of a grammar is a sentence with choices, ``with your {v} [by your side|close by]``, and stands for every
combination of them. A quarter of the compositions of each section, drawn by a digest of their words, and every line
marked ``~`` (with words that its section has in no other) can be held out of what writers say, so that a benchmark can
ask for what nobody has read.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.resources import files
from itertools import chain, product
from typing import Literal, NamedTuple

from aloe.errors import DataError

Held = Literal["", "out", "only", "words"]
_CHOICE = re.compile(r"\[([^\[\]]*)\]")
SHARE_HELD_OUT = 4  # one composition of so many


class GrammarLine(NamedTuple):
    """A line of a grammar: its texts and choices in turn (texts at even places, of one alternative each), its signs."""

    pieces: tuple[tuple[str, ...], ...]
    signs: frozenset[str]

    def compose(self, most: int = 0) -> Iterable[str]:
        """Every sentence that the line stands for, of the first ``most`` alternatives of each choice (0: of all)."""
        cut = most or None
        return (" ".join("".join(parts).split()) for parts in product(*(piece[:cut] for piece in self.pieces)))


def parse_line(line: str, where: str) -> GrammarLine:
    """A line of a grammar.

    Raises:
        DataError: a choice is not closed, or stands in another.
    """
    signs, text = set(), line
    while text[:2] in ("^ ", "_ ", "+ ", "~ "):
        signs.add(text[0])
        text = text[2:]
    pieces = tuple(
        tuple(piece.split("|")) if number % 2 else (piece,) for number, piece in enumerate(_CHOICE.split(text))
    )
    if any("[" in part or "]" in part or "|" in part for piece in pieces for part in piece):
        raise DataError(f"{where}: a choice is not closed: '{line}'", "write [one|other], and none in another")
    return GrammarLine(pieces, frozenset(signs))


_FILES = (
    "uses",
    "follows",
    "fits",
    "questions",
    "replies",
    "said",
    "hinted",
    "other",
    "shown",
    "requests",
    "advice",
    "links",
)


@lru_cache(maxsize=16)
def _text(kind: str) -> str:
    return (files("aloe.world.lexicon") / "wide" / f"{kind}.txt").read_text("utf-8")


@lru_cache(maxsize=1)
def digest_of_wording() -> str:
    """A digest of all grammars, so that answers composed from others are not taken for these."""
    return hashlib.blake2b("".join(map(_text, _FILES)).encode(), digest_size=4).hexdigest()


@lru_cache(maxsize=16)
def grammar(kind: str) -> Mapping[str, tuple[GrammarLine, ...]]:
    """The lines of one file of the wide wording, by section (a slot, a topic, or trait and pole)."""
    found: dict[str, list[GrammarLine]] = {}
    section = ""
    for line in _text(kind).splitlines():
        if line.startswith("[") and line.endswith("]") and "|" not in line:
            section = line.strip("[] ")
        elif line.strip() and not line.startswith("#"):
            found.setdefault(section, []).append(parse_line(line, f"{kind}.txt, [{section}]"))
    return {name: tuple(lines) for name, lines in found.items()}


@lru_cache(maxsize=4096)
def _held_out(kind: str, section: str) -> frozenset[str]:
    """The quarter of a section's compositions that can be held out: those whose words have the lowest digests."""
    lines = [line for line in grammar(kind).get(section, ()) if "~" not in line.signs]
    texts = dict.fromkeys(chain.from_iterable(line.compose() for line in lines))
    ranked = sorted(texts, key=lambda text: hashlib.blake2b(text.encode(), digest_size=8).digest())
    return frozenset(ranked[: len(ranked) // SHARE_HELD_OUT])


@lru_cache(maxsize=4096)
def compositions(kind: str, section: str, most: int = 0, held: Held = "") -> tuple[str, ...]:
    """What a writer may say of one kind, in the order of the grammar, each once.

    Args:
        kind: a file of the wide wording: ``uses``, ``follows``, ``fits``, ...
        section: slot, topic, or trait and pole.
        most: only the first so many lines, and alternatives of each choice; 0 means all.
        held: ``""`` all; ``out`` without what is held out; ``only`` nothing else; ``words`` only the lines whose words
            stand in no other.
    """
    lines = grammar(kind).get(section, ())
    marked = [line for line in lines if "~" in line.signs]
    plain = [line for line in lines if "~" not in line.signs][: most or None]
    rare = tuple(dict.fromkeys(chain.from_iterable(line.compose(most) for line in marked)))
    usual = tuple(dict.fromkeys(chain.from_iterable(line.compose(most) for line in plain)))
    if held == "words":
        return rare
    if held == "only":
        return (*(text for text in usual if text in _held_out(kind, section)), *rare)
    if held == "out":
        return tuple(text for text in usual if text not in _held_out(kind, section)) or usual[:1]
    return (*usual, *rare) if not most else usual


@lru_cache(maxsize=16)
def signed(kind: str, sign: str) -> frozenset[str]:
    """The compositions of one file whose lines have a sign (``^``, ``_`` or ``+``: the file says what it means)."""
    lines = chain.from_iterable(grammar(kind).values())
    return frozenset(text for line in lines if sign in line.signs for text in line.compose())


def may_lead() -> frozenset[str]:
    """The clauses for replies that may stand in front of the advice."""
    return signed("uses", "^")


def every(kind: str) -> Iterable[tuple[str, str]]:
    """(section, composition) of everything that one file can say."""
    for section in grammar(kind):
        for text in compositions(kind, section):
            yield section, text
