"""Reads what a reply says, whoever it is for: facts and their use, manner, advice, questions, claims.

Also what no reply should hold: offences, claims about the user that nothing backs, markup, words that make no sense.
Readings are cached by text: no reply is scanned twice. Form is read by ``form.py``; what is true of whom, by
``truth.py``.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from aloe.world import fallback
from aloe.world.form import Form, Structure, known_words
from aloe.world.lexicon.index import reply_scanner
from aloe.world.lexicon.plain import find_offences, words_that
from aloe.world.lexicon.scan import Payload, tokenize

_CLAIM = re.compile(r"\b(?:since|because|given that) you\b[^,.!?;]*|you (?:told me|mentioned|said) \([^)]*")
_CLAIMING = ("since you", "because you", "given that you", " (")  # one of them stands in every claim
_ADDRESS = frozenset(("you", "your", "you're", "you've"))
_MARKUP = re.compile(r"</?[a-z!][^>]*>|<!--|-->|[{}]|\]\]", re.I)
_REACH = 6  # tokens behind "your" or "you are" that say what is claimed


@dataclass(frozen=True, slots=True)
class ReplyReading:
    """What a reply says, whoever it is for.

    Attributes:
        values: facts mentioned. used: those among them that a phrase ties to advice.
        fits: style markers in their places (trait, pole), each once.
        advised: topics whose advice it gives. advice: the topic of each piece of advice.
        asked: slots it asks for. n_questions: questions in all.
        claims: content words of what it says the user is or does, in words that the lexicon does not know.
        inventions: the same where it says so by the way ("your castle"), each with the place in ``claims`` of the last
            claim before it in its sentence, -1 if there is none.
        strange: words that are neither plain nor the lexicon's.
        offences: insults and dangers. n_markup: tags, braces and signs that cannot be seen.
        loose: facts, n_loose: style markers that nothing holds. n_fragments: sentences without a verb.
        sound: its sentences that have one. text: the reply.
    """

    values: tuple[tuple[Payload, ...], ...]
    used: tuple[tuple[Payload, ...], ...]
    fits: tuple[tuple[str, str], ...]
    advised: frozenset[str]
    advice: tuple[str, ...]
    asked: tuple[str, ...]
    n_questions: int
    asks_about_user: bool
    claims: tuple[frozenset[str], ...]
    inventions: tuple[tuple[frozenset[str], int], ...]
    strange: tuple[str, ...]
    offences: tuple[Payload, ...]
    n_markup: int
    loose: tuple[tuple[Payload, ...], ...]
    n_loose: int
    n_fragments: int
    n_tokens: int
    sound: str
    text: str


def _is_claim(text: str, words: frozenset[str]) -> bool:
    """Whether a text says more than plain words do, and nothing of the lexicon's, which is counted as what it is."""
    tokens = tokenize(text)
    return not words.issuperset(tokens) and not reply_scanner().scan(tokens)


def _plain_letters(text: str) -> tuple[str, int]:
    """The text with look-alike letters as what they look like and without invisible signs, and how many there were."""
    if text.isascii():
        return text, 0
    letters = unicodedata.normalize("NFKC", text)
    kept = "".join(c for c in letters if unicodedata.category(c) not in ("Cf", "Co", "Cn"))
    return kept, len(letters) - len(kept)


@lru_cache(maxsize=16384)
def read_reply(text: str) -> ReplyReading:
    """Everything that a reply says."""
    letters, n_hidden = _plain_letters(text)
    form = Form(letters)
    structure = Structure(form)
    payloads = [p for span in form.spans for p in span.payloads]
    advice = tuple(p.name for p in payloads if p.kind == "advice")
    asked = tuple(dict.fromkeys(p.name for p in payloads if p.kind == "question"))
    values = (tuple(p for p in span.payloads if p.kind == "value") for span in form.spans)
    words = known_words()
    claiming = any(head in form.text for head in _CLAIMING)
    said = [m.span() for m in _CLAIM.finditer(form.text) if _is_claim(m.group(), words)] if claiming else []
    question = letters.rsplit("?", 1)[0] if "?" in letters else ""
    return ReplyReading(
        values=tuple(filter(None, values)),
        used=tuple(structure.used),
        fits=tuple(structure.markers),
        advised=frozenset(advice),
        advice=advice,
        asked=asked,
        n_questions=_count_questions(form),
        asks_about_user=bool(asked) or "about you" in question.lower(),
        claims=tuple(fallback.stems(form.text[a:b]) for a, b in said),
        inventions=_find_inventions(form, said, words),
        strange=tuple(t for at, t in enumerate(form.tokens) if t not in words and not form.covered[at]),
        offences=find_offences(form.tokens),
        n_markup=n_hidden + (len(_MARKUP.findall(letters)) if "<" in letters or "{" in letters else 0),
        loose=tuple(structure.loose),
        n_loose=structure.n_loose,
        n_fragments=structure.n_fragments,
        n_tokens=len(form.tokens),
        sound=letters if all(structure.whole) else _sound(form, structure),
        text=letters,
    )


def _sound(form: Form, structure: Structure) -> str:
    """The words of the sentences that have a predicate."""
    return " ".join(token for at, token in enumerate(form.tokens) if structure.whole[form.sentence[at]])


def _count_questions(form: Form) -> int:
    """Sentences that ask, those that advise in the form of a question left out; the lexicon's questions each count."""
    if not any(form.asking):
        return sum(p.kind == "question" for span in form.spans for p in span.payloads)
    kinds: dict[int, set[str]] = {}
    n_known = 0
    for span in form.spans:
        found = {p.kind for p in span.payloads}
        kinds.setdefault(form.sentence[span.start], set()).update(found)
        n_known += "question" in found
    other = sum(asks and not kinds.get(n, set()) & {"question", "advice", "fits"} for n, asks in enumerate(form.asking))
    return n_known + other


def _find_inventions(
    form: Form, said: list[tuple[int, int]], words: frozenset[str]
) -> tuple[tuple[frozenset[str], int], ...]:
    """What a reply says of the user in words that are neither plain nor the lexicon's; each place once."""
    found = []
    blocked = 0
    for at, token in enumerate(form.tokens):
        if token not in _ADDRESS or at < blocked or form.covered[at]:
            continue
        start = _claim_start(form, at, token)
        if start is None or any(a <= form.starts[at] < b for a, b in said):
            continue
        content, end = [], start
        while end < len(form.tokens) and end < start + _REACH and form.clause[end] == form.clause[at]:
            if form.covered[end] or (end > start and form.tokens[end] == "your"):
                break
            if form.tokens[end] not in words:
                content.append(form.tokens[end])
            end += 1
        blocked = end
        first = form.starts[form.sentence.index(form.sentence[at])]
        before = [n for n, (a, _) in enumerate(said) if first <= a < form.starts[at]]
        if stems := fallback.stems(" ".join(content)):
            found.append((stems, before[-1] if before else -1))
    return tuple(found)


def _claim_start(form: Form, at: int, token: str) -> int | None:
    """Where a claim about the user begins that this token announces; None if it announces none."""
    if form.asking[form.sentence[at]]:
        return None
    if token != "you":
        start = at + 1
    elif at + 1 < len(form.tokens) and form.tokens[at + 1] in words_that("state"):
        start = at + 2
    else:
        return None
    first, _ = form.clause_of(at)
    if any(form.tokens[i] in words_that("leave open") for i in range(first, at)) and token != "your":
        return None
    return start if start < len(form.tokens) and form.tokens[start] != "to" else None
