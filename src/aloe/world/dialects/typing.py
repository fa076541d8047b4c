"""``world:user?typing=RATE``: the same messages as people type them, without a change to what they say.

What gives the world's users away is form: every message asks with a question mark, ends with a stop, begins with a
capital; nothing that was replied is taken up; no names, numbers or times; all messages are of one length. ``typing``
is how much of people's ways is put on: habits of a person (small letters, no stops, lines instead of sentences, lost
apostrophes), and beside the message now and then a reaction, words of the last reply, asides about names, times and
amounts that are nobody's facts. A change after which the message would be read in another way is not made.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random

from aloe.world.character import digest, roll
from aloe.world.dialects.mood import has_walked_out
from aloe.world.lexicon.scan import split_sentences
from aloe.world.reading import UserReading, read_message

#: How many asides go with a message: cumulative chances of at least 1, 2, ... More often none, now and then many.
_MANY = (0.5, 0.36, 0.28, 0.22, 0.18, 0.15, 0.12, 0.1, 0.08, 0.06)
_FOLLOWS, _ECHOES, _REACTIONS, _QUESTIONS, _EXCLAIMS = 0.65, 0.6, 0.2, 0.75, 0.06
_HABITS = {"small": 0.4, "open": 0.05, "lines": 0.7, "loose": 0.35}
_LONG = re.compile(r"[^\W\d_]{3,}")
_SYLLABLES = (
    "ba", "dor", "kel", "mi", "ron", "sha", "tam", "vel", "wick", "yar", "zo", "lin", "gar", "fen", "hol", "pra",
    "un", "ev", "ock", "ridge", "ton", "ley", "quin", "bran", "cor", "dul", "esk", "thwa", "nor", "pel", "sto", "ster",
)  # fmt: skip
_REACTIONS_SAID = (
    "ok", "yes", "hmm", "no", "wait", "ah", "well", "right", "mm", "fair", "huh", "next", "go on", "great", "yeah",
    "what", "how so", "and then", "hold on", "anything more", "as above", "same here", "one more", "last one", "ha",
)  # fmt: skip
_ECHOES_SAID = (
    "{w}?",
    "the {w} {x}",
    "{w} and {x}",
    "about {w}",
    "that {w} {x}",
    "so {w} {x}",
    "{w} or {x}",
    "the {w}",
)
_ASIDES = (
    "it's {n} by {name}'s count", "{name} said {n}", "see {name} {name2} {n}", "{name} at {time}",
    "that's {n} for {name}",
    "{n}/{n2} so far", "{name} road {time}", "it's {name} v{n}", "{n} for {name}'s", "{day} {time} {name}",
    "don't skip {name}", "ask {name} {name2}", "{name} {name2} {n}", "{n} {name} = {n2}", "until {day} the {n}",
    "{name}'s one says {n2}", "per {name} {n}%", "{name} {name2} or {name}", "#{n} is on {name}",
)  # fmt: skip
_NAMES = 6
_DAYS = ("monday", "tuesday", "wed", "thursday", "fri", "saturday", "sunday")


def as_typed(text: str, reply: str, rate: float, person: int, rng: Random) -> str:
    """A user's message as somebody would type it.

    Args:
        reply: what it answers; empty at the beginning. rate: how much is changed, in [0, 1]. person: whose habits.
        rng: of this message.
    """
    if not text.strip() or has_walked_out(text):
        return text
    if reply and rng.random() < rate * _FOLLOWS:
        text = _follow_up(reply, _names(person), rng) or text
    reading = _meaning(read_message(text))
    names = _names(person)

    def has(habit: str) -> bool:
        return roll(person, "typing", habit) < rate * _HABITS[habit]

    lines = list(split_sentences(text))
    for change in (
        lambda now: [_without_mark(s) if s.endswith("?") and rng.random() < rate * _QUESTIONS else s for s in now],
        lambda now: _with_beside(now, reply, rate, names, rng),
        lambda now: [_without_apostrophes(s) for s in now] if has("loose") else now,
    ):
        lines = _if_same(lines, change, reading)
    forms: list[Callable[[str], str]] = []
    if has("small"):
        forms.append(lambda s: s[:1].lower() + s[1:] if not s[:2].isupper() else s)
    if has("loose"):
        forms.append(lambda s: re.sub(r"\bI\b", "i", s))
    for form in forms:
        lines = [form(line) for line in lines]
    separator = "\n" if has("lines") else " "
    if separator == "\n":
        lines = [line[:-1] if line.endswith(".") else line for line in lines]
    typed = separator.join(lines)
    if has("open") and typed.endswith("."):
        typed = typed[:-1]
    elif rng.random() < rate * _EXCLAIMS and typed.endswith("."):
        typed = typed[:-1] + "!"
    return typed if _meaning(read_message(typed)) == reading else text


def _if_same(lines: list[str], change: Callable[[list[str]], list[str]], reading: object) -> list[str]:
    """The changed lines where they are read alike, else the lines as they were."""
    changed = change(lines)
    return changed if changed == lines or _meaning(read_message("\n".join(changed))) == reading else lines


def _meaning(found: UserReading) -> object:
    """What a message says, whatever its words: facts by whom they are of, manners, the request."""
    sides = (found.mentions, found.ended, found.claimed)
    facts = tuple(tuple(mention.payloads for mention in side) for side in sides)
    return facts, found.others, tuple((name, pole) for name, pole, _ in found.shown), found.topic


def _without_mark(sentence: str) -> str:
    return sentence.rstrip("?") + "."


def _without_apostrophes(sentence: str) -> str:
    return re.sub(r"(?<=\w)['’](?=(?:t|m|s|re|ve|ll|d)\b)", "", sentence)


def _with_beside(lines: Sequence[str], reply: str, rate: float, names: Sequence[str], rng: Random) -> list[str]:
    """Sentences that say nothing of the user, before, between and behind its own."""
    found = list(lines)
    heard = list(dict.fromkeys(_LONG.findall(reply)))
    point = rng.random()
    for chance in _MANY:
        if point >= (rate if reply else rate / 2) * chance:
            break
        takes_up = len(heard) >= 3 and rng.random() < _ECHOES
        said = _echo(heard, rng) if takes_up else _aside(names, rng)
        found.insert(rng.randint(0, len(found)), said[:1].upper() + said[1:] + ("" if said[-1] in "?!" else "."))
    if reply and rng.random() < rate * _REACTIONS:
        said = rng.choice(_REACTIONS_SAID)
        found.insert(0, said[:1].upper() + said[1:] + ("" if said[-1] in "?!" else "."))
    return found


def _follow_up(reply: str, names: Sequence[str], rng: Random) -> str:
    """A short message that only takes up the reply and tells nothing; empty where the reply gives no words for it."""
    heard = list(dict.fromkeys(_LONG.findall(reply)))
    if len(heard) < 3:
        return ""
    said = [rng.choice(_REACTIONS_SAID)] if rng.random() < 0.5 else []
    said += [_echo(heard, rng)] if not said or rng.random() < 0.6 else []
    said += [_aside(names, rng)] if rng.random() < 0.3 else []
    text = " ".join(part.rstrip("!?") for part in said)
    text = f"{text[:1].upper()}{text[1:]}{'?' if rng.random() < 0.3 else '.'}"
    found = read_message(text)
    return "" if found.mentions or found.others or found.shown or found.topic else text


def _echo(heard: Sequence[str], rng: Random) -> str:
    w, x, y = rng.sample(heard, 3)
    return rng.choice(_ECHOES_SAID).format(w=w.lower(), x=x.lower(), y=y.lower())


def _names(person: int) -> list[str]:
    """Names of people, places and things that somebody speaks of again and again."""
    rng = Random(digest(person, "typing", "names"))
    return ["".join(rng.choice(_SYLLABLES) for _ in range(2)).capitalize() for _ in range(_NAMES)]


def _aside(names: Sequence[str], rng: Random) -> str:
    def number() -> int:
        return rng.choice((rng.randint(2, 30), rng.randint(31, 999), rng.randint(1000, 9999)))

    name, other = rng.sample(names, 2)
    return rng.choice(_ASIDES).format(
        name=name, name2=other, n=number(), n2=number(), time=f"{rng.randint(6, 22)}:{rng.randint(10, 59)}",
        day=rng.choice(_DAYS),
    )  # fmt: skip
