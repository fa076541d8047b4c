"""Texts as tokens and sentences, and one longest-match scanner that finds known phrases in them.

Phrases are matched on normalised tokens (lower case, ``an`` as ``a``, no possessive ending) through a trie: the cost
is that of the text, not of the lexicon.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

Tokens = tuple[str, ...]
_TOKEN = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_SENTENCE = re.compile(r"(?<=[.!?…])[\s\"'”’)]+|(?<=[。！？])\s*|\n+")
_PERSON = {
    "he": "she", "they": "she", "his": "her", "their": "her", "him": "her", "them": "her",
    "himself": "herself", "themselves": "herself",
}  # fmt: skip


@lru_cache(maxsize=8192)
def tokenize(text: str) -> Tokens:
    """Normalised tokens: what two phrasings of the same words have in common."""
    text = text.lower()
    if "’" in text:
        text = text.replace("’", "'")
    return tuple("a" if t == "an" else t[:-2] if t[-2:] == "'s" and len(t) > 2 else t for t in _TOKEN.findall(text))


@lru_cache(maxsize=8192)
def split_sentences(text: str) -> tuple[str, ...]:
    """Sentences of a text, by their final punctuation and by line breaks; never an empty one."""
    return tuple(s for piece in _SENTENCE.split(text) if (s := piece.strip(" \t\r\n-*•·")))


def neutral_person(tokens: Iterable[str]) -> Tokens:
    """The same sentence whoever it is about: he, she and they alike."""
    return tuple(_PERSON.get(t, t) for t in tokens)


class Payload(NamedTuple):
    """What a phrase means. ``kind``: value, cue, shown, fits, advice, request or question."""

    kind: str
    name: str  # slot, trait or topic
    value: str  # value, pole, or empty


class Span(NamedTuple):
    start: int
    end: int
    payloads: tuple[Payload, ...]


_END = ""  # never a token


class Scanner:
    """Finds known phrases in tokens: at each place the longest one, never overlapping."""

    def __init__(self, phrases: Mapping[Tokens, Sequence[Payload]]) -> None:
        self._root: dict[str, object] = {}
        for phrase, payloads in phrases.items():
            node = self._root
            for token in phrase:
                node = node.setdefault(token, {})  # type: ignore[assignment]
            node[_END] = tuple(payloads)

    def scan(self, tokens: Tokens) -> list[Span]:
        found: list[Span] = []
        root = self._root
        i, n = 0, len(tokens)
        while i < n:
            node = root.get(tokens[i])
            if node is None:
                i += 1
                continue
            j, best, payloads = i + 1, 0, ()
            while True:
                if _END in node:  # type: ignore[operator]
                    best, payloads = j, node[_END]  # type: ignore[index]
                if j >= n or (node := node.get(tokens[j])) is None:  # type: ignore[attr-defined]
                    break
                j += 1
            if best:
                found.append(Span(i, best, payloads))
                i = best
            else:
                i += 1
        return found
