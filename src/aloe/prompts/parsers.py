"""Parsers of model answers, tolerant of prose, code fences and broken JSON.

What can't be read raises ParseError. A caller records a ParseError as unparsed (unscored, no verdict). Nothing is ever
defaulted here.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from aloe.errors import ParseError
from aloe.protocols import PromptMessage
from aloe.types import Disclosure, ItemKind, Status, Verdict

Score = tuple[float, dict[str, float], str]  # score, its parts, the reason
MAX_READ = 20_000  # characters of an answer that are looked at
RECENT = 2048  # answers whose reading is kept: equal ones come close together, old ones only cost memory
_FENCE = re.compile(r"```(?:json)?\s*(.*?)```", re.DOTALL)
_NUMBERED = re.compile(r"^\s*(?:\d{1,3}[.):]|[-*•])\s+(.+?)\s*$", re.MULTILINE)
_STAGE = re.compile(r"(?<!\*)\*[^*\n]{1,80}\*(?!\*)|\((?:smil|laugh|sigh|nod|paus|grin|wink|shrug)[^)\n]{0,60}\)", re.I)
_LABEL = re.compile(r"^\s*(?:user|human|assistant|ai|me|you)\s*:\s*", re.IGNORECASE)
_THINK = re.compile(r"<think>.*?</think>", re.DOTALL)
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
_AS_ASSISTANT = re.compile(
    r"\b(?:as an ai\b|i(?: a|')m an? (?:ai|language model|assistant|chatbot)\b|as a language model|"
    r"how (?:can|may) i (?:help|assist) you|i(?: a|')m here to (?:help|assist)|is there anything else i can)",
    re.IGNORECASE,
)
_SHAPELESS = "\u115f\u1160\u2800\u3164\uffa0"  # blanks that Unicode counts among letters and symbols
_VERDICT = re.compile(r"verdict\W{0,12}(first|second|tie)\b", re.IGNORECASE)


def _head(raw: str) -> str:
    return _THINK.sub("", raw[:MAX_READ]).strip()


def find_json(raw: str) -> Any:
    """The first JSON object or array in an answer, or None."""
    text = _head(raw)
    fenced = _FENCE.search(text)
    for candidate in ((fenced.group(1),) if fenced else ()) + (text,):
        start = min((i for i in (candidate.find("{"), candidate.find("[")) if i >= 0), default=-1)
        if start < 0:
            continue
        try:
            return json.JSONDecoder().raw_decode(candidate[start:])[0]
        except (ValueError, RecursionError):
            continue
    return None


@lru_cache(maxsize=RECENT)
def parse_descriptions(raw: str) -> tuple[str, ...]:
    """The persona-writer's descriptions: ``{"descriptions": [...]}``, a bare list, or a numbered list."""
    data = find_json(raw)
    if isinstance(data, dict):
        data = next((v for v in data.values() if isinstance(v, list)), None)
    if isinstance(data, list):
        texts = [d if isinstance(d, str) else d.get("description", "") if isinstance(d, dict) else "" for d in data]
    else:
        texts = _NUMBERED.findall(_head(raw))
    found = tuple(" ".join(t.split()) for t in texts if t.strip())
    if not found:
        raise ParseError(f"no descriptions in the answer: {raw[:80]!r}")
    return found


@lru_cache(maxsize=RECENT)
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


@lru_cache(maxsize=RECENT)
def parse_verdict(raw: str) -> tuple[Verdict, str]:
    """A comparison's verdict and reason."""
    data = find_json(raw)
    if isinstance(data, dict):
        verdict = str(data.get("verdict", "")).strip().lower()
        if verdict in ("first", "second", "tie"):
            return verdict, str(data.get("reason", ""))  # type: ignore[return-value]
    found = _VERDICT.findall(_head(raw))
    bare = _head(raw).strip(" .\"'*`").lower()
    if len(set(map(str.lower, found))) == 1:
        return found[0].lower(), ""
    if bare in ("first", "second", "tie"):
        return bare, ""  # type: ignore[return-value]
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


@lru_cache(maxsize=RECENT)
def _parse_score(raw: str, low: float, high: float) -> tuple[float, tuple[tuple[str, float], ...], str]:
    data = find_json(raw)
    if isinstance(data, dict):
        parts = tuple(
            (name, number)
            for name in ("style", "content", "natural")
            if (number := _number(data.get(name), low, high)) is not None
        )
        score = _number(data.get("score"), low, high)
        if score is not None:
            return score, parts, str(data.get("reason", ""))
    text = _head(raw)
    numbers: set[float] = set()
    for labelled, over, out_of in _SCORE.findall(text):
        if over and _as_float(out_of) != high:
            continue
        numbers.add(_as_float(labelled or over))
    if not numbers and len(text) <= 12:
        number = _number(text, low, high)
        numbers = {number} if number is not None else set()
    if len(numbers) == 1 and low <= (only := numbers.pop()) <= high:
        return only, (), ""
    raise ParseError(f"no score from {low:g} to {high:g} in the judge's answer: {raw[:80]!r}")


def _as_float(digits_or_word: str) -> float:
    word = digits_or_word.lower()
    return _WORDS[word] if word in _WORDS else float(word)


def parse_score(raw: str, low: float = 1.0, high: float = 5.0) -> Score:
    """A score in [low, high], its parts where given, the reason. Out of range or ambiguous is unparsed."""
    score, parts, reason = _parse_score(raw, low, high)
    return score, dict(parts), reason


@lru_cache(maxsize=RECENT)
def clean_message(raw: str) -> str:
    """A chat message without stage directions, role labels, thinking blocks and wrapping quotes.

    Raises:
        ParseError: nothing is left.
    """
    text = _THINK.sub("", raw) if "<think>" in raw else raw  # most have none of these, and every call comes by here
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
    if _AS_ASSISTANT.search(text):
        raise ParseError("you spoke as the assistant; you are the user, in your persona's own voice")
    return text


def refuse_echo(message: str, history: Sequence[PromptMessage]) -> None:
    """The last message that was sent, said back word for word, is not an answer to it.

    Raises:
        ParseError: the two are the same.
    """
    if history and message == history[-1].content:
        raise ParseError("you said the assistant's words back; you are the user, in your persona's own voice")


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


def is_blank(text: str) -> bool:
    """Whether nothing of a text can be seen: spaces, control and format characters only, or letters without a shape."""
    return all(unicodedata.category(c)[0] in "ZC" or c in _SHAPELESS for c in text)


@lru_cache(maxsize=RECENT)
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
