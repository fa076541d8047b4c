"""Parsers of model answers, tolerant of prose, code fences and broken JSON.

What can't be read raises ParseError. A caller records a ParseError as unparsed (unscored, no verdict). Nothing is ever
defaulted here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from aloe.errors import ParseError
from aloe.prompts.faults import (
    AS_ASSISTANT,
    FOR_BOTH,
    QUOTING,
    REFUSAL,
    ROLE,
    THINKING,
    holds_tags,
    is_blank,
    is_refusal,
    split_thoughts,
)
from aloe.prompts.reading import find_json, find_objects, head, remembered
from aloe.protocols import PromptMessage
from aloe.types import Disclosure, ItemKind, Status, Verdict

Score = tuple[float, dict[str, float], str]  # score, its parts, the reason
_NUMBER_OF_LINE = re.compile(r"(?:\d{1,3}[.):]|[-*•])\s")
_STAGE = re.compile(r"(?<!\*)\*[^*\n]{1,80}\*(?!\*)|\((?:smil|laugh|sigh|nod|paus|grin|wink|shrug)[^)\n]{0,60}\)", re.I)
_LABEL = re.compile(r"^\s*(?:user|human|assistant|ai|me|you)\s*:\s*", re.IGNORECASE)
_SPACES = re.compile(r"[ \t]{2,}")
_WORDS = {"zero": 0.0, "one": 1.0, "two": 2.0, "three": 3.0, "four": 4.0, "five": 5.0}
_YES = {"yes": 1.0, "no": 0.0, "true": 1.0, "false": 0.0}  # where the scale is 0 or 1
_DIGITS = r"-?\d{1,9}(?:\.\d{1,9})?(?!\d|[.,]\d|e[+-]?\d)"
_WORD = "|".join(_WORDS)
_SCORE = re.compile(
    r"\b(?:score|rating|overall|total|(?:rate|give) (?:it|this|this reply|the reply))\W{0,12}(?:is\s+|of\s+|as?\s+)*"
    rf"({_DIGITS}|(?:{_WORD})\b)(?!\s*(?:/|out of\b|\(of\b|(?:to|-)\s*\d))"
    rf"|({_DIGITS}|\b(?:{_WORD}))\s*(?:/|out of|\(of)\s*(\d{{1,9}}|(?:{_WORD})\b)",
    re.I,
)
_VERDICTS = ("first", "second", "tie")
_VERDICT = re.compile(r"verdict\W{0,12}(first|second|tie)\b", re.IGNORECASE)


@remembered
def parse_descriptions(raw: str) -> tuple[str, ...]:
    """The persona-writer's descriptions: ``{"descriptions": [...]}``, a bare list, or a numbered list."""
    data = find_json(raw)
    if isinstance(data, dict):
        data = next((v for v in data.values() if isinstance(v, list)), None)
    if isinstance(data, list):
        texts = [d if isinstance(d, str) else d.get("description", "") if isinstance(d, dict) else "" for d in data]
    else:
        texts = _numbered(head(raw))
    found = tuple(" ".join(t.split()) for t in texts if t.strip())
    if not found:
        raise ParseError(f"no descriptions in the answer: {raw[:80]!r}")
    return found


def _numbered(text: str) -> list[str]:
    """The lines that begin with a number or a bullet, without it."""
    lines = map(str.strip, text.splitlines())
    return [line[match.end() :] for line in lines if (match := _NUMBER_OF_LINE.match(line))]


@remembered
def parse_disclosures(raw: str) -> tuple[Disclosure, ...]:
    """The inducer's list. ``node_id`` holds ``turn:<k>`` (or is empty): the caller knows the nodes.

    Raises:
        ParseError: no list at all. Malformed items inside a list are left out.
    """
    data = find_json(raw)
    if isinstance(data, dict):
        data = data.get("revealed")
    if not isinstance(data, list):
        raise ParseError(f"no 'revealed' list in the inducer's answer: {raw[:80]!r}")
    found = []
    for entry in data:
        if not isinstance(entry, dict) or not isinstance(entry.get("item"), str) or not entry["item"].strip():
            continue
        kind: ItemKind = "trait" if entry.get("kind") == "trait" else "fact"
        status: Status = "implied" if entry.get("status") == "implied" else "stated"
        turn = entry.get("turn")
        found.append(
            Disclosure.model_construct(
                node_id=f"turn:{turn}" if isinstance(turn, int) else "",
                item=entry["item"].strip(),
                kind=kind,
                status=status,
                evidence=str(entry.get("evidence", "")),
            )
        )
    return tuple(found)


@remembered
def parse_verdict(raw: str) -> tuple[Verdict, str]:
    """A comparison's verdict and reason. Verdicts that differ, one of them perhaps quoted from a reply, are none."""
    text = head(raw)
    given: dict[str, str] = {}  # verdict -> the first reason for it
    end = 0
    for data, end in find_objects(text, "verdict"):  # noqa: B007 - where the last one ends
        given.setdefault(str(data["verdict"]).strip().lower(), str(data.get("reason", "")))
    said = {word.lower() for word in _VERDICT.findall(text[end:])}
    bare = text.strip(" .\"'*`").lower()
    if not given and bare in _VERDICTS:
        said = {bare}
    if len(found := said | set(given)) == 1 and (verdict := found.pop()) in _VERDICTS:
        return verdict, given.get(verdict, "")  # type: ignore[return-value]
    raise ParseError(f"no verdict in the judge's answer: {raw[:80]!r}")


def _number(value: Any, low: float, high: float) -> float | None:
    """A number in [low, high] from JSON or a few words (``4``, ``"4/5"``, ``"four."``), None where it is not one."""
    if isinstance(value, bool) and (low, high) == (0.0, 1.0):
        return float(value)
    if isinstance(value, str):
        value = _from_words(value, low, high)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if low <= value <= high else None  # also refuses NaN, infinities and endless integers


def _from_words(text: str, low: float, high: float) -> float | None:
    word = text.strip(" \t\r\n.*`\"'").lower()
    if word in _WORDS:
        return _WORDS[word]
    if (low, high) == (0.0, 1.0) and word in _YES:
        return _YES[word]
    if high == 100:
        word = word.removesuffix("%").rstrip()
    match = re.fullmatch(r"(-?\d{1,9}(?:\.\d{1,9})?)\s*(?:(?:/|out of)\s*(\d{1,9}))?", word)
    if match is None or (match.group(2) and float(match.group(2)) != high):
        return None
    return float(match.group(1))


@remembered
def _parse_score(raw: str, low: float, high: float) -> tuple[float, tuple[tuple[str, float], ...], str]:
    text = head(raw)
    given: dict[float | None, tuple[tuple[tuple[str, float], ...], str]] = {}  # score -> its parts and reason
    end = 0
    for data, end in find_objects(text, "score"):  # noqa: B007 - where the last one ends
        parts = tuple(
            (name, number)
            for name in ("style", "content", "natural")
            if (number := _number(data.get(name), low, high)) is not None
        )
        given.setdefault(_number(data["score"], low, high), (parts, str(data.get("reason", ""))))
    # What is said after an object may take it back; what came before may be thinking aloud.
    said = _said_scores(text[end:], low, high)
    if len(found := said | set(given)) == 1 and (score := found.pop()) is not None and low <= score <= high:
        return score, *given.get(score, ((), ""))
    raise ParseError(f"no score from {low:g} to {high:g} in the judge's answer: {raw[:80]!r}")


def _said_scores(text: str, low: float, high: float) -> set[float | None]:
    """The scores that prose gives."""
    numbers: set[float | None] = set()
    for labelled, over, out_of in _SCORE.findall(text):
        if over and _as_float(out_of) != high:
            continue
        numbers.add(_as_float(labelled or over))
    if not numbers and len(text) <= 12 and (number := _number(text, low, high)) is not None:
        numbers = {number}
    return numbers


def _as_float(digits_or_word: str) -> float:
    word = digits_or_word.lower()
    return _WORDS[word] if word in _WORDS else float(word)


def parse_score(raw: str, low: float = 1.0, high: float = 5.0) -> Score:
    """A score in [low, high], its parts where given, the reason. Out of range or ambiguous is unparsed."""
    score, parts, reason = _parse_score(raw, low, high)
    return score, dict(parts), reason


@remembered
def clean_message(raw: str) -> str:
    """A chat message without stage directions, role labels, thinking blocks and wrapping quotes.

    Raises:
        ParseError: nothing is left.
    """
    text, is_open = split_thoughts(raw)
    if is_open:
        raise ParseError("only thoughts, and no answer after them", kind=THINKING)
    if "*" in text or "(" in text:
        text = _STAGE.sub("", text)
    text = _LABEL.sub("", text).strip()
    if len(text) > 1 and text[0] == text[-1] == '"' and text.count('"') == 2:
        text = text[1:-1].strip()
    if "  " in text or "\t" in text:
        text = _SPACES.sub(" ", text)
    if is_blank(text):
        raise ParseError("the reply is empty")
    return text


def parse_user_message(raw: str) -> str:
    """The user's message, cleaned.

    Raises:
        ParseError: it is empty, or the simulator spoke as the assistant.
    """
    text = clean_message(raw)
    if AS_ASSISTANT.search(text):
        raise ParseError("you spoke as the assistant; you are the user, in your persona's own voice", kind=ROLE)
    if FOR_BOTH.search(text):
        raise ParseError("you wrote the assistant's part too; write your own next message only", kind=ROLE)
    if is_refusal(text):
        raise ParseError("you declined to play; you are the user, in your persona's own voice", kind=REFUSAL)
    return text


def parse_asking_message(raw: str) -> str:
    """The message of a user that is dealt cards: ``{"mention": ..., "ask": ...}`` as one text, or a message as it is.

    Raises:
        ParseError: as for any message of the user, or nothing is asked in an object.
    """
    data = find_json(raw) if raw.lstrip().startswith(("{", "```")) else None
    if not isinstance(data, dict):
        return parse_user_message(raw)
    parts = [data.get(name) for name in ("mention", "ask")]
    if not isinstance(parts[1], str) or is_blank(parts[1]):
        raise ParseError(f"no text 'ask' in the answer: {raw[:80]!r}")
    return parse_user_message(" ".join(part.strip() for part in parts if isinstance(part, str) and part.strip()))


def refuse_echo(message: str, history: Sequence[PromptMessage]) -> None:
    """The last message that was sent, said back word for word, is not an answer to it.

    Raises:
        ParseError: the two are the same.
    """
    if history and message == history[-1].content:
        raise ParseError(
            "you said the assistant's words back; you are the user, in your persona's own voice", kind=ROLE
        )
    refuse_tags(message)


def refuse_tags(message: str, history: Sequence[PromptMessage] = ()) -> None:
    """A message that holds tags of its prompt is not meant for the one it is sent to.

    Raises:
        ParseError: it does.
    """
    if holds_tags(message):
        raise ParseError("you copied tags of the instructions; write the message only", kind=QUOTING)


def parse_described(raw: str) -> tuple[str, str]:
    """A person's profile and personality, each on one line.

    Raises:
        ParseError: no object with these two texts.
    """
    data = find_json(raw)
    profile, personality = (data.get(k) if isinstance(data, dict) else None for k in ("profile", "personality"))
    if not isinstance(profile, str) or not isinstance(personality, str):
        raise ParseError("no object with the texts 'profile' and 'personality' in the answer")
    return _one_line(profile), _one_line(personality)


def _one_line(text: str) -> str:
    """Without line breaks, and without half characters, which no file takes."""
    return " ".join(text.encode("utf-8", "replace").decode("utf-8").split())


@remembered
def parse_revision(raw: str) -> str:
    """The reply of a self-critic's ``{"critique": ..., "reply": ...}``, cleaned.

    Raises:
        ParseError: no such object, or an empty reply.
    """
    data = find_json(raw)
    reply = data.get("reply") if isinstance(data, dict) else None
    if not isinstance(reply, str):
        raise ParseError(f"no reply in the answer: {raw[:80]!r}")
    return clean_message(reply)
