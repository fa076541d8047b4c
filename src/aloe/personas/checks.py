"""Mechanical checks of a candidate description, made before its novelty is measured.

Facts and traits are kept apart because the benchmark scores them apart: a trait told in the profile or a job
told in the personality would be counted twice. The word lists are English; for other languages only length,
script, markup and names are checked. Every rejection has one reason in words.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Literal

from aloe.personas.language import guess_language, script_matches

Kind = Literal["profile", "personality"]

_SENTENCE = re.compile(r"(?<=[.!?。！？])\s*(?=\S)")
_META = re.compile(
    r"\b(?:as an ai|language model|chatbot|this (?:profile|persona|personality|description)"
    r"|the (?:persona|user) (?:is|has|likes)|here (?:is|are) (?:the|a|some|\d+)|placeholder|lorem ipsum"
    r"|fictional (?:person|character)|descriptions?\":|json)\b"
    r"|\[(?:name|age|city|occupation|hobby)\]",
    re.IGNORECASE,
)
_INJECTION = re.compile(
    r"\b(?:ignore|disregard|forget|override)\b[^.]{0,40}\b(?:instructions?|prompts?|rules|above)\b"
    r"|\bsystem prompt\b|\byou (?:must|will) now\b|\bnew instructions?:"
    r"|\b(?:always|must) (?:answer|output|reply|score|rate)\b[^.]{0,40}"
    r"\b(?:first|second|five|5|score)\b",
    re.IGNORECASE,
)
_MARKUP = re.compile(
    r"\{\{|\}\}|\{%|%\}|\{#|</?[a-z][a-z0-9-]*(?:\s[^<>]*)?/?>|<!--|<\?|&lt;/?[a-z]|```|\]\(|<\|", re.IGNORECASE
)
_AGE = re.compile(
    r"\b\d{1,3}[- ]year[- ]olds?\b|\b(?:is|am|are|aged?) \d{1,3}\b(?!%)|\b\d{1,3} years old\b", re.IGNORECASE
)
_FACTS = re.compile(
    r"\b(?:works? (?:as|at|in|for) (?:an?|the)?\s*\w+|lives? (?:in|on|near|alone|with)\b"
    r"|(?:is|are) (?:married|divorced|widowed|retired|engaged)"
    r"|(?:his|her|their) (?:wife|husband|sons?|daughters?|children|parents|brothers?|sisters?)\b"
    r"|born in|studies \w+ at|graduated"
    r"|owns? an?\b|(?:has|have) (?:an?|one|two|three|four) (?:\w+ )?(?:dog|cat|pet|child|kid|son|daughter|degree)s?\b"
    r"|vegetarian|vegan|plays the|employed)",
    re.IGNORECASE,
)
_TRAITS_TEXT = """
    adaptable affectionate aggressive ambitious analytical anxious argumentative arrogant assertive
    blunt bold boastful calm caring cautious charismatic charming cheerful clumsy compassionate
    competitive confident conscientious considerate courageous creative cynical decisive dependable
    detached determined diplomatic direct disciplined disorganised disorganized distrustful dramatic
    dutiful easygoing easy-going empathetic energetic enthusiastic extroverted forgetful forgiving
    formal frank friendly generous gentle grumpy hardworking hard-working helpful honest humble
    idealistic impatient impulsive indecisive independent informal insecure insensitive introverted
    introspective intuitive irritable jealous kind kind-hearted lazy logical loyal meticulous modest
    moody naive nervous nurturing observant open-minded optimistic orderly organised organized outgoing
    passive patient perfectionist persistent pessimistic playful polite practical proud quick-tempered
    rational rebellious reckless reflective reliable reserved resilient rude sarcastic sceptical
    self-centered self-conscious self-disciplined selfish sensitive sentimental serious shy skeptical
    sociable spontaneous stubborn supportive suspicious sympathetic tactful talkative temperamental
    thoughtful tolerant trusting unreliable vain warm warm-hearted withdrawn witty worried
"""
_TRAITS = frozenset(_TRAITS_TEXT.split())
_TRAIT_PHRASE = re.compile(
    r"\b(?:very|quite|rather|always|often|never|deeply|naturally|extremely|highly)?\s*([a-z]+(?:-[a-z]+)*)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a description may be, in words (about two characters a word where a script has no spaces)."""

    low: int
    high: int

    @classmethod
    def around(cls, words: int) -> Limits:
        """From two fifths to two and a half times the length that was asked for."""
        return cls(max(3, round(0.4 * words)), round(2.5 * words))


def tidy(text: str) -> str:
    """One line, Unicode-composed, without control and invisible formatting characters."""
    text = unicodedata.normalize("NFC", text)
    kept = (
        " " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c
        for c in text
        if unicodedata.category(c) != "Cf" or c in "\u200c\u200d"
    )
    return " ".join("".join(kept).split())


def count_words(text: str) -> int:
    """Words; for scripts written without spaces, half the characters."""
    unspaced = sum(
        1 for c in text if "\u3040" <= c <= "\u30ff" or "\u4e00" <= c <= "\u9fff" or "\u0e00" <= c <= "\u0e7f"
    )
    return len(text.split()) + unspaced // 2


def split_sentences(text: str) -> list[str]:
    return [s for s in _SENTENCE.split(text) if s.strip()]


def find_hostile(text: str) -> str:
    """Why a text must not be used as a description at all: markup, template code, orders to a model; or ''."""
    found = _MARKUP.search(text)
    if found:
        return f"markup or template code: {found.group(0)[:20]!r}"
    found = _INJECTION.search(text)
    return f"gives orders to a model: {found.group(0)[:60]!r}" if found else ""


def find_trait_words(sentence: str) -> list[str]:
    """Words of a sentence that name a trait of character."""
    return [w for w in (m.group(1).lower() for m in _TRAIT_PHRASE.finditer(sentence)) if w in _TRAITS]


def find_facts(text: str) -> list[str]:
    """Phrases that state facts of a life: age, work, home, family."""
    return [m.group(0).strip() for p in (_AGE, _FACTS) for m in p.finditer(text)]


def check_description(text: str, kind: Kind, limits: Limits, language: str = "en") -> str:
    """The first reason why a tidied text is not a description of this kind, or ''."""
    n_words = count_words(text)
    if n_words < limits.low:
        return f"too short: {n_words} words, at least {limits.low}"
    if n_words > limits.high:
        return f"too long: {n_words} words, at most {limits.high}"
    hostile = find_hostile(text)
    if hostile:
        return hostile
    found = _META.search(text)
    if found:
        return f"talks about the task: {found.group(0)[:40]!r}"
    wrong = check_language(text, language)
    if wrong:
        return wrong
    famous = find_celebrity(text)
    if famous:
        return f"names a real person: {famous}"
    return check_kind(text, kind) if language.startswith("en") else ""


def check_kind(text: str, kind: Kind) -> str:
    """English only: facts in a personality or traits in a profile, judged by most of the text; or ''."""
    if kind == "personality":
        facts = find_facts(text)
        if _AGE.search(text) or len(facts) > 1:
            return f"states facts: {', '.join(repr(f) for f in facts[:3])}"
        return ""
    sentences = split_sentences(text)
    about_character = [s for s in sentences if find_trait_words(s) and not find_facts(s)]
    words = [w for s in about_character for w in find_trait_words(s)]
    if 3 * len(about_character) > len(sentences) and len(words) > 1:
        return f"tells traits instead of facts: {', '.join(words[:4])}"
    return ""


def check_language(text: str, language: str) -> str:
    """Wrong script, or clearly another language; or ''."""
    if not script_matches(text, language):
        return f"not written in the script of '{language}'"
    guessed = guess_language(text)
    wanted = language.split("-")[0].lower()
    return f"seems to be '{guessed}', not '{wanted}'" if guessed and guessed != wanted else ""


@lru_cache(maxsize=1)
def _celebrities() -> dict[str, str]:
    text = resources.files("aloe.personas").joinpath("celebrities.txt").read_text("utf-8")
    return {line.casefold(): line for line in text.splitlines() if line.strip()}


def find_celebrity(text: str) -> str:
    """The first well-known real person named in full, or ''."""
    lowered = text.casefold()
    for key, name in _celebrities().items():
        start = lowered.find(key)
        if start >= 0 and not lowered[start + len(key) : start + len(key) + 1].isalpha():
            return name
    return ""
