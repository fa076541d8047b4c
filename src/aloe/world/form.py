"""Parses the form of a reply: its clauses and sentences, what stands in them, what has no place.

A keyword alone does not count. A style marker counts where a sentence begins with it or a clause consists of it;
a fact is *used* where a phrase ties it to advice ("with your ferret by your side"), not where it is part of a list or
only repeated ("You keep a ferret."). Nothing here knows a persona.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from typing import NamedTuple

from aloe.world.lexicon.index import VALUE_MARK, reply_scanner, skeleton
from aloe.world.lexicon.plain import plain_words, verbs, words_that
from aloe.world.lexicon.scan import Payload, Span, Tokens, tokenize
from aloe.world.lexicon.slots import SLOTS
from aloe.world.lexicon.topics import TOPICS
from aloe.world.lexicon.traits import TRAITS
from aloe.world.lexicon.wording import every

_TOKEN = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_LIST = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s", re.MULTILINE)
_PAUSES = frozenset(',;:()[]{}<>—–"|/')
_DIVIDER = re.compile(r"([.!?…]+(?=[\s\"'”’)]|$)|\n|[,;:()\[\]{}<>—–\"|/])")
_PLACES = {trait.name: trait.place for trait in TRAITS}


class Form:
    """A text cut into tokens, clauses and sentences, with the lexicon's phrases in it.

    Attributes:
        text: lower-case. tokens: normalised words.
        spans: the lexicon's phrases.
        clause, sentence: for each token the number of its clause and sentence.
        asking: for each sentence whether it ends in a question mark. is_list: whether it has lines of a list.
        covered: for each token whether a phrase of the lexicon holds it, the words that tie a fact in included.
    """

    def __init__(self, text: str) -> None:
        self.text = text.lower().replace("’", "'")
        tokens: list[str] = []
        self.clause: list[int] = []
        self.sentence: list[int] = []
        self.asking: list[bool] = []
        clause = ended = 0
        for number, piece in enumerate(_DIVIDER.split(self.text)):
            if number % 2:  # what divides
                if len(tokens) > ended and piece not in _PAUSES:
                    self.asking.append("?" in piece)
                    ended = len(tokens)
            elif words := _TOKEN.findall(piece):
                tokens += words
                self.clause += [clause] * len(words)
                self.sentence += [len(self.asking)] * len(words)
                clause += 1
        if len(tokens) > ended:
            self.asking.append(False)
        self.is_list = bool(_LIST.search(self.text))
        self.tokens = tuple("a" if t == "an" else t[:-2] if t[-2:] == "'s" and len(t) > 2 else t for t in tokens)
        self.spans = reply_scanner().scan(self.tokens)
        self.covered = [False] * len(tokens)
        for span in self.spans:
            self.covered[span.start : span.end] = [True] * (span.end - span.start)

    @cached_property
    def starts(self) -> list[int]:
        """Where each token begins in the text."""
        return [found.start() for found in _TOKEN.finditer(self.text)]

    def begins(self, at: int) -> bool:
        """Whether a clause begins with this token."""
        return at == 0 or self.clause[at - 1] != self.clause[at]

    def ends(self, at: int) -> bool:
        """Whether a clause ends before this place."""
        return at == len(self.tokens) or self.clause[at - 1] != self.clause[at]

    def stands(self, span: Span, trait: str) -> bool:
        """Whether a style marker stands where a sentence puts it: at the beginning of a clause, a lead with something
        behind it, others by themselves or right before advice."""
        if not self.begins(span.start):
            return False
        alone = self.ends(span.end)
        if _PLACES[trait] == "lead":
            return not alone
        return alone or any(other.start == span.end and _of_kind(other, "advice") for other in self.spans)

    def clause_of(self, at: int) -> tuple[int, int]:
        """Where the clause of a token begins and ends."""
        first, last = at, at + 1
        while not self.begins(first):
            first -= 1
        while not self.ends(last):
            last += 1
        return first, last


@lru_cache(maxsize=8192)
def _kinds(payloads: tuple[Payload, ...]) -> frozenset[str]:
    return frozenset(p.kind for p in payloads)


def _of_kind(span: Span, kind: str) -> bool:
    return kind in _kinds(span.payloads)


@lru_cache(maxsize=1)
def _frames() -> Mapping[str, tuple[tuple[Tokens, Tokens], ...]]:
    """Slot -> the words before and behind the value in each phrase that uses it."""
    found = {}
    for slot in SLOTS:
        pairs = []
        for template in slot.uses:
            tokens = skeleton(template)
            at = tokens.index(VALUE_MARK)
            pairs.append((tokens[:at], tokens[at + 1 :]))
        found[slot.name] = tuple(pairs)
    return found


class Frame(NamedTuple):
    """A phrase or sentence of the wide wording around a value, and whether it looks back at advice given before."""

    start: int
    end: int
    looks_back: bool
    stencil: tuple[Tokens, Tokens]


@lru_cache(maxsize=1)
def _wide_frames() -> Mapping[str, Mapping[Tokens, tuple[tuple[Tokens, bool], ...]]]:
    """Slot -> the words before a value -> the words behind it, and whether that is a sentence that looks back."""
    found: dict[str, dict[Tokens, list[tuple[Tokens, bool]]]] = {}
    for kind in ("uses", "follows"):
        for slot, template in every(kind):
            tokens = skeleton(template)
            at = tokens.index(VALUE_MARK)
            found.setdefault(slot, {}).setdefault(tokens[:at], []).append((tokens[at + 1 :], kind == "follows"))
    return {
        slot: {before: tuple(sorted(behind, key=lambda b: -len(b[0]))) for before, behind in frames.items()}
        for slot, frames in found.items()
    }


@lru_cache(maxsize=1)
def _wide_reach() -> Mapping[str, tuple[int, ...]]:
    """Slot -> how many words stand before a value in its wide frames."""
    return {slot: tuple(sorted({len(before) for before in frames})) for slot, frames in _wide_frames().items()}


@lru_cache(maxsize=1)
def known_words() -> frozenset[str]:
    """Words that make sense in a reply: plain ones, and those of the lexicon's phrases for replies."""
    phrases = [use for slot in SLOTS for use in (*slot.uses, *slot.questions)]
    phrases += [text for topic in TOPICS for text in (*topic.requests, *topic.advice)]
    phrases += [text for trait in TRAITS for pole in trait.poles for text in pole.fits]
    words = tokenize(" ".join(phrases).replace("{a} ", " ").replace("{v}", " "))
    return plain_words() | frozenset(words)


class Structure:
    """What the phrases of a form do in it.

    Attributes:
        used: values that a phrase ties to advice. markers: style markers in their places.
        loose: values, n_loose: style markers that nothing holds. n_fragments: sentences without a predicate.
        whole: for each sentence whether it has a predicate.
    """

    def __init__(self, form: Form) -> None:
        self._form = form
        self.markers: dict[tuple[str, str], None] = {}
        self.used: list[tuple[Payload, ...]] = []
        self.loose: list[tuple[Payload, ...]] = []
        self.n_loose = 0
        loose = self._place_markers()
        self._find_predicates(loose)
        self._tie_values()
        found = [form.sentence[span.start] for span in form.spans]
        self.n_fragments = sum(
            not whole and (number in found or (form.sentence.count(number) > 2 and not form.is_list))
            for number, whole in enumerate(self.whole)
        )

    def _place_markers(self) -> set[int]:
        """Fill ``markers``; the tokens of those that hang loose."""
        loose: set[int] = set()
        for span in self._form.spans:
            placed = False
            markers = [p for p in span.payloads if p.kind == "fits"]
            for payload in markers:
                if self._form.stands(span, payload.name):
                    self.markers[payload.name, payload.value] = None
                    placed = True
            if markers and not placed:
                self.n_loose += 1
                loose.update(range(span.start, span.end))
        return loose

    def _find_predicates(self, loose: set[int]) -> None:
        """Which sentences have a verb, or say a whole phrase of manner; which advise; which clauses have a verb."""
        form, known = self._form, verbs()
        self.whole = [False] * len(form.asking)
        self._advises = [False] * len(form.asking)
        self._verbs = set()  # clauses
        for at, token in enumerate(form.tokens):
            if token in known and at not in loose:
                self.whole[form.sentence[at]] = True
                self._verbs.add(form.clause[at])
                self._advises[form.sentence[at]] |= token in words_that("propose") and not form.covered[at]
        for span in form.spans:
            number = form.sentence[span.start]
            if span.start not in loose and (_of_kind(span, "fits") or _of_kind(span, "question")):
                self.whole[number] = True
                self._verbs.add(form.clause[span.start])
            leads = any(p.kind == "fits" and _PLACES[p.name] == "lead" for p in span.payloads)
            self._advises[number] |= _of_kind(span, "advice") or (leads and span.start not in loose)

    def _tie_values(self) -> None:
        form = self._form
        seen: set[Tokens] = set()
        stencils: set[tuple[Tokens, Tokens]] = set()
        tied_in: set[int] = set()  # clauses with a value that is tied without a phrase of the lexicon
        for span in form.spans:
            values = tuple(p for p in span.payloads if p.kind == "value")
            if not values:
                continue
            advises = self._advises[form.sentence[span.start]]
            frame = self._frame_of(span, values)
            if frame is not None:
                form.covered[frame[0] : frame[1]] = [True] * (frame[1] - frame[0])
                whole = form.begins(frame[0]) or form.covered[frame[0] - 1]
                if whole and form.ends(frame[1]):
                    if advises:
                        self.used.append(values)
                    continue
            wide = self._wide_frame_of(span, values)
            if wide is not None:
                form.covered[wide.start : wide.end] = [True] * (wide.end - wide.start)
                looks_at = any(self._advises[: form.sentence[span.start]]) if wide.looks_back else advises
                if looks_at and wide.stencil not in stencils:
                    self.used.append(values)
                stencils.add(wide.stencil)
                continue
            if self._is_tied(span, seen, tied_in):
                if advises and self.whole[form.sentence[span.start]]:
                    self.used.append(values)
            elif form.clause[span.start] not in self._verbs:
                self.loose.append(values)

    def _frame_of(self, span: Span, values: Sequence[Payload]) -> tuple[int, int] | None:
        """Where the phrase that uses a value begins and ends, if one stands around it."""
        tokens = self._form.tokens
        for payload in values:
            for before, behind in _frames()[payload.name]:
                end = span.end + len(behind)
                if tokens[span.end : end] != behind:
                    continue
                for start in (span.start, span.start - 1):  # with an article, or without
                    first = start - len(before)
                    if first >= 0 and tokens[first:start] == before and tokens[start : span.start] in ((), ("a",)):
                        return first, end
        return None

    def _wide_frame_of(self, span: Span, values: Sequence[Payload]) -> Frame | None:
        """The clause or sentence of the wide wording that stands whole around a value, if one does."""
        form = self._form
        tokens = form.tokens
        for payload in values:
            frames, reach = _wide_frames().get(payload.name, {}), _wide_reach().get(payload.name, ())
            for start in (span.start, span.start - 1):  # with an article, or without
                if start < span.start and (start < 0 or tokens[start] != "a"):
                    continue
                for n_before in reach:
                    first = start - n_before
                    if first < 0:
                        break
                    before = tokens[first:start]
                    for behind, looks_back in frames.get(before, ()):
                        end = span.end + len(behind)
                        if tokens[span.end : end] == behind and self._is_whole(first, end, looks_back):
                            return Frame(first, end, looks_back, (before, behind))
        return None

    def _is_whole(self, first: int, end: int, is_sentence: bool) -> bool:
        """Whether a clause begins and ends with these tokens (behind other phrases, too), or a sentence does."""
        form = self._form
        if not is_sentence:
            return (form.begins(first) or form.covered[first - 1]) and form.ends(end)
        n = form.sentence
        return (first == 0 or n[first - 1] != n[first]) and (end == len(n) or n[end - 1] != n[end])

    def _is_tied(self, span: Span, seen: set[Tokens], tied_in: set[int]) -> bool:
        """Whether free words tie a value to what is said: not a row, not said back, not against it, not a stencil."""
        form = self._form
        first, last = form.clause_of(span.start)
        at = span.start - 1
        while at >= first and form.tokens[at] in ("a", "the"):
            at -= 1
        joined = at >= first and form.tokens[at] == "and" and form.clause[span.start] in tied_in
        if at < first or not (form.tokens[at] in words_that("tie") or joined):
            return False
        rest = [form.tokens[i] for i in range(first, last) if not span.start <= i < span.end]
        if any(
            token in words_that("deny") and not form.covered[i]
            for i, token in enumerate(form.tokens[first:last], first)
        ):
            return False
        if form.tokens[first] in words_that("retell") and not self._leads_on(first, last):
            return False
        stencil = tuple(rest)
        if stencil in seen or (form.clause[span.start] in tied_in and not joined):
            return False
        seen.add(stencil)
        tied_in.add(form.clause[span.start])
        return True

    def _leads_on(self, first: int, last: int) -> bool:
        """Whether a clause about the user holds the advice itself, or the sentence draws a conclusion from it."""
        form = self._form
        advises = any(_of_kind(s, "advice") and first <= s.start < last for s in form.spans)
        proposes = any(
            form.tokens[i] in words_that("propose") and not form.covered[i] for i in range(first, min(last, first + 3))
        )
        return advises or proposes or (last < len(form.tokens) and form.tokens[last] in words_that("conclude"))
