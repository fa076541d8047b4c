"""What of a user's way of writing can be counted: a row of numbers for each conversation.

Form only: nothing here looks at what is talked about, since people and simulators are seldom asked to talk of the same
things. English word lists; shares are in [0, 1], of messages unless said otherwise.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import log
from statistics import fmean, pstdev

from aloe.dialogue.user import plays_assistant
from aloe.types import Message

#: What each number is.
FEATURES: Mapping[str, str] = {
    "words": "log of the mean number of words in a message",
    "words_spread": "standard deviation of the log number of words",
    "first_longer": "log words of the first message minus the mean of the later ones: what is said up front",
    "sentences": "sentences in a message, mean",
    "questions": "messages that hold a question mark",
    "polite": "messages with please, thanks, sorry, could you",
    "agrees": "messages that go along: yes, great, perfect, sounds good, I like it",
    "objects": "messages that object: no, not, wrong, but, instead, too",
    "frustrated": "messages of somebody who is fed up: again, still, already told you, useless, forget it",
    "first_person": "of the words, I, me, my, mine",
    "second_person": "of the words, you and your",
    "diversity": "different words among 25 running ones, mean",
    "rare_words": "of the words, those that no other conversation of either side has",
    "word_length": "letters in a word, mean",
    "exclaims": "messages with an exclamation mark",
    "commas": "commas per word",
    "contractions": "of the words, those with an apostrophe",
    "small_start": "messages that begin with a small letter",
    "no_stop": "messages that end without . ? ! or similar",
    "slips": "messages with signs of typing: a lone i, doubled spaces, a space before a comma, missing apostrophes",
    "digits": "of the characters, digits",
    "echoes": "of the words of four letters and more, those that the last reply holds",
    "repeats": "of the runs of three words, those that the same user had said before",
    "alike": "of the runs of four words, those that another conversation of the same side has",
    "role_flips": "messages that an assistant would write",
    "leaks": "messages that speak of a persona, a profile, a role to play, instructions or tags",
}
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_POLITE = re.compile(r"\b(?:please|thanks?|thank you|sorry|appreciate|grateful|(?:could|would) you|kindly)\b", re.I)
_AGREES = re.compile(
    r"\b(?:yes|yeah|yep|sure|ok(?:ay)?|great|perfect|awesome|wonderful|excellent|exactly|sounds? (?:good|great|like)|"
    r"love (?:it|that|this)|like (?:it|that|this)|good (?:idea|point)|makes sense|that works|agree)\b",
    re.I,
)
_OBJECTS = re.compile(
    r"\b(?:no|nope|not|don'?t|doesn'?t|isn'?t|wasn'?t|never|wrong|incorrect|but|instead|rather|too|less|unfortunately|"
    r"however|actually|change|remove)\b",
    re.I,
)
_FRUSTRATED = re.compile(
    r"\b(?:again|still|already (?:told|said)|i (?:told|said)|forget it|useless|annoy\w*|frustrat\w*|confus\w*|"
    r"waste of|give up|are you even|not help\w*|ridiculous|ugh|seriously)\b",
    re.I,
)
_SLIPS = re.compile(
    r"(?:^|\s)i(?:\s|$|'|’)|\S {2,}\S|\s,|\b(?:dont|cant|wont|im|ive|didnt|doesnt|isnt|thats|youre|its a)\b|,\w"
)
_LEAKS = re.compile(
    r"\b(?:persona|role-?play|my profile|my personality|as an ai|language model|system prompt|"
    r"instructions? (?:say|tell)|in character|simulat\w+)\b|</?[a-z]+>",
    re.I,
)
_END = (".", "?", "!", "…", '"', "”", ")", "'", ":", "*")
_FIRST, _SECOND = frozenset(("i", "me", "my", "mine", "i'm", "i've", "i'd", "i'll")), frozenset(("you", "your"))
_WINDOW = 25


@lru_cache(maxsize=65536)
def tokens_of(text: str) -> tuple[str, ...]:
    """Lower-case words of a text."""
    return tuple(word.replace("’", "'") for word in _WORD.findall(text.lower()))


@lru_cache(maxsize=65536)
def _signs(text: str) -> Mapping[str, bool]:
    """What a message shows or does not; read once, however often conversations are drawn."""
    return {
        "questions": "?" in text,
        "polite": _POLITE.search(text) is not None,
        "agrees": _AGREES.search(text) is not None,
        "objects": _OBJECTS.search(text) is not None,
        "frustrated": _FRUSTRATED.search(text) is not None,
        "exclaims": "!" in text,
        "small_start": text.strip()[:1].islower(),
        "no_stop": not text.rstrip().endswith(_END),
        "slips": _SLIPS.search(text) is not None,
        "role_flips": plays_assistant(text),
        "leaks": _LEAKS.search(text) is not None,
    }


def _runs(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(words[at : at + n]) for at in range(len(words) - n + 1)]


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _diversity(words: Sequence[str]) -> float:
    windows = [words[at : at + _WINDOW] for at in range(max(1, len(words) - _WINDOW + 1))]
    return fmean(_share(len(set(window)), len(window)) for window in windows)


def count_features(side: Sequence[Sequence[Message]], other: Sequence[Sequence[Message]] = ()) -> list[list[float]]:
    """A row of ``FEATURES``, in their order, for each conversation of a side.

    Args:
        side: conversations that begin with the user; at least one message of the user in each.
        other: those that they are compared with, which also tell which words are rare.
    """
    vocabulary: Counter[str] = Counter()
    for talk in (*side, *other):
        vocabulary.update({word for m in talk if m.role == "user" for word in tokens_of(m.content)})
    runs: Counter[tuple[str, ...]] = Counter()
    for talk in side:
        runs.update({run for m in talk if m.role == "user" for run in _runs(tokens_of(m.content), 4)})
    return [_row(talk, vocabulary, runs) for talk in side]


def _row(talk: Sequence[Message], vocabulary: Mapping[str, int], runs: Mapping[tuple[str, ...], int]) -> list[float]:
    said = [m.content for m in talk if m.role == "user"]
    words = [tokens_of(text) for text in said]
    every = [word for message in words for word in message]
    lengths = [log(1 + len(message)) for message in words]
    fours = [run for message in words for run in _runs(message, 4)]

    signs = [_signs(text) for text in said]
    row = {
        "words": log(1 + _share(len(every), len(said))),
        "words_spread": pstdev(lengths),
        "first_longer": lengths[0] - fmean(lengths[1:]) if len(lengths) > 1 else 0.0,
        "sentences": fmean(len(re.findall(r"[.!?…]+(?:\s|$)", text)) for text in said),
        "first_person": _share(sum(word in _FIRST for word in every), len(every)),
        "second_person": _share(sum(word in _SECOND for word in every), len(every)),
        "diversity": _diversity(every),
        "rare_words": _share(sum(vocabulary[word] == 1 for word in every), len(every)),
        "word_length": _share(sum(map(len, every)), len(every)),
        "commas": _share(sum(text.count(",") for text in said), len(every)),
        "contractions": _share(sum("'" in word for word in every), len(every)),
        "digits": _share(sum(c.isdigit() for text in said for c in text), sum(map(len, said))),
        "echoes": _echoes(talk),
        "repeats": _repeats(words),
        "alike": _share(sum(runs[run] > 1 for run in fours), len(fours)),
    }
    row |= {name: fmean(sign[name] for sign in signs) for name in signs[0]}
    return [row[name] for name in FEATURES]


def _echoes(talk: Sequence[Message]) -> float:
    """Of the user's longer words, those that stand in the reply before."""
    n = n_echoed = 0
    heard: frozenset[str] = frozenset()
    for message in talk:
        if message.role != "user":
            heard = frozenset(tokens_of(message.content))
        elif heard:
            mine = [word for word in tokens_of(message.content) if len(word) >= 4]
            n += len(mine)
            n_echoed += sum(word in heard for word in mine)
    return _share(n_echoed, n)


def _repeats(words: Sequence[Sequence[str]]) -> float:
    seen: set[tuple[str, ...]] = set()
    n = n_seen = 0
    for message in words:
        runs = _runs(message, 3)
        n += len(runs)
        n_seen += sum(run in seen for run in runs)
        seen.update(runs)
    return _share(n_seen, n)
