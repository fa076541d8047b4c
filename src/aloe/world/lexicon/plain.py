"""Plain English words for the reading of replies: neutral words, verbs, insults and dangers."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files

from aloe.world.lexicon.scan import Payload, Scanner, Tokens, tokenize


@lru_cache(maxsize=4)
def _paragraphs(name: str) -> dict[str, str]:
    """The kinds of a data file with their text, comments left out."""
    found: dict[str, list[str]] = {}
    kind = ""
    for line in (files("aloe.world.lexicon") / name).read_text("utf-8").splitlines():
        if line.startswith("["):
            kind = line.strip("[] ")
        elif line.strip() and not line.startswith("#"):
            found.setdefault(kind, []).append(line)
    return {kind: "\n".join(lines) for kind, lines in found.items()}


@lru_cache(maxsize=16)
def words_that(kind: str) -> frozenset[str]:
    """The words of one kind: those that tie, propose, deny, retell, conclude, state, or leave open."""
    return frozenset(_paragraphs("plain.txt")[kind].split())


@lru_cache(maxsize=1)
def verbs() -> frozenset[str]:
    """Finite verbs and imperatives, as tokens, with the regular forms of each."""
    listed = tokenize(_paragraphs("plain.txt")["verbs"])
    return frozenset(listed) | {f"{verb}{ending}" for verb in listed for ending in ("s", "es", "d", "ed")}


@lru_cache(maxsize=1)
def plain_words() -> frozenset[str]:
    """Words that say nothing of anybody, verbs among them, as tokens, with their regular plurals."""
    listed = tokenize(_paragraphs("plain.txt")["words"])
    return frozenset(listed) | {f"{word}{ending}" for word in listed for ending in ("s", "es")} | verbs()


@lru_cache(maxsize=1)
def _offences() -> tuple[frozenset[str], Scanner]:
    """A word of each offence, one that is not plain if there is any; and what finds them."""
    phrases: dict[Tokens, tuple[Payload, ...]] = {}
    for kind, text in _paragraphs("offences.txt").items():
        for phrase in text.replace("\n", "|").split("|"):
            if tokens := tokenize(phrase):
                phrases[tokens] = (Payload(kind, phrase.strip(), ""),)
    telling = (next((t for t in tokens if t not in plain_words()), tokens[0]) for tokens in phrases)
    return frozenset(telling), Scanner(phrases)


def find_offences(tokens: Tokens) -> tuple[Payload, ...]:
    """Insults and dangers among a text's tokens: payloads of kind ``insult`` or ``danger``, named by the phrase."""
    telling, scanner = _offences()
    return () if telling.isdisjoint(tokens) else tuple(span.payloads[0] for span in scanner.scan(tokens))
