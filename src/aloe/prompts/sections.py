"""Tagged sections: the contract between prompt templates and everything that reads a rendered prompt.

Text that goes into a section is escaped just enough that it can neither close the section nor open one of
ours; everything else, HTML and template code included, goes through as it is. Reading is the exact inverse.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from aloe.types import Change, Disclosure, Message, Persona, Role

SECTION_NAMES = (
    "persona", "profile", "personality", "conversation", "user", "assistant", "revealed", "fact", "trait",
    "reply", "examples", "example", "population", "task", "rubric", "changes", "change", "was", "now",
    "memory",
)  # fmt: skip
_NAMES = "|".join(SECTION_NAMES)
_OPENS = re.compile(rf"(?:<|&((?:amp;)*)lt;)(?=/?(?:{_NAMES})\b)", re.IGNORECASE)
_ESCAPED = re.compile(rf"&((?:amp;)*)lt;(?=/?(?:{_NAMES})\b)", re.IGNORECASE)
_CONTROL = str.maketrans({chr(c): " " for c in (*range(9), 11, 12, *range(14, 32))})


def escape(text: str) -> str:
    """Make ``text`` safe inside a section. Control characters (they delimit slots) become spaces."""
    if not text.isprintable():
        text = text.translate(_CONTROL)
    if "<" not in text and "lt;" not in text:
        return text
    return _OPENS.sub(lambda m: "&lt;" if m.group(1) is None else f"&amp;{m.group(1)}lt;", text)


def unescape(text: str) -> str:
    """The exact inverse of ``escape`` (but for control characters)."""
    if "lt;" not in text:
        return text
    return _ESCAPED.sub(lambda m: f"&{m.group(1)[4:]}lt;" if m.group(1) else "<", text)


class Slots(NamedTuple):
    """A template variable made of several stored parts (already escaped)."""

    parts: tuple[str, ...]


@lru_cache(maxsize=16384)
def turn_part(role: str, turn: int, content: str) -> str:
    """A message of a ``<conversation>``; ``turn`` counts user messages from 1."""
    return f'<{role} turn="{turn}">{escape(content)}</{role}>\n'


def conversation_slots(messages: Sequence[Message] | Slots) -> Slots:
    """A conversation (user first, alternating) as one part per message; one that is in this form stays as it is."""
    if isinstance(messages, Slots):
        return messages
    return Slots(tuple(turn_part(m.role, i // 2 + 1, m.content) for i, m in enumerate(messages)))


def persona_slots(persona: Persona) -> Slots:
    if persona.turn and persona.timeline:
        return _described_changed(persona.profile, persona.personality, persona.timeline, persona.turn)
    return _described(persona.profile, persona.personality)


@lru_cache(maxsize=4096)
def _described(profile: str, personality: str) -> Slots:
    text = f"<profile>{escape(profile)}</profile>\n<personality>{escape(personality)}</personality>"
    return Slots((text,))


_CHANGED = (
    "The description above is of now, the user's message {turn}. These changes led to it; each has the number "
    "of the message with which it came. What was before no longer holds. announced: the user says so in that message. "
    "implied: the words of that message only show it, without naming it. gradual: from then on the manner shifts "
    "little by little, until message {until}. contextual: both hold, the new one only where it is about the given "
    "matters.\n"
)


@lru_cache(maxsize=4096)
def _described_changed(profile: str, personality: str, changes: tuple[Change, ...], turn: int) -> Slots:
    until = max((change.until for change in changes), default=0)
    lines = [
        f'<change turn="{c.turn}" kind="{c.kind}" how="{c.how}" until="{c.until}" context="{_quoted(c.context)}">'
        f"<was>{escape(c.was)}</was><now>{escape(c.now)}</now></change>"
        for c in changes
    ]
    body = "\n".join(lines)
    said = _CHANGED.format(turn=turn, until=until or "after")
    return Slots((*_described(profile, personality).parts, f'\n<changes turn="{turn}">\n{said}{body}\n</changes>'))


def _quoted(text: str) -> str:
    return escape(text).replace('"', "'")


_CHANGE = re.compile(
    r'<change turn="(\d+)" kind="(fact|trait)" how="(\w+)" until="(\d+)" context="([^"]*)">'
    r"<was>(.*?)</was><now>(.*?)</now></change>",
    re.DOTALL,
)


def read_changes(prompt: str) -> tuple[tuple[Change, ...], int]:
    """The changes of the persona in a rendered prompt, and the turn that it is of; none and 0 without a section."""
    start = prompt.find('<changes turn="')
    if start < 0:
        return (), 0
    section = prompt[start : prompt.find("</changes>", start)]
    turn = read_attribute(section, "changes", "turn") or "0"
    found = []
    for number, kind, how, until, context, was, now in _CHANGE.findall(section):
        texts = {"was": unescape(was), "now": unescape(now), "context": unescape(context)}
        found.append(Change(turn=int(number), kind=kind, how=how, until=int(until), **texts))
    return tuple(found), int(turn) if turn.isdigit() else 0


def revealed_slots(disclosures: Iterable[Disclosure]) -> Slots:
    """What was revealed, one part per item: ``<fact status="stated">...</fact>``; ``nothing yet`` if empty."""
    parts = tuple(f'<{d.kind} status="{d.status}">{escape(d.item)}</{d.kind}>\n' for d in disclosures)
    return Slots(parts or ("nothing yet",))


def card_slots(facts: Iterable[str]) -> Slots:
    """Facts that may come up now, one part each; ``nothing new`` if there are none."""
    parts = tuple(f'<fact status="new">{escape(text)}</fact>\n' for text in facts)
    return Slots(parts or ("nothing new",))


def example_slots(texts: Iterable[str]) -> Slots:
    return Slots(tuple(f"<example>{escape(t)}</example>\n" for t in texts))


# variable of a prompt -> how its value is shown; any other variable is shown as its text
SHOWN: dict[str, Callable[[Any], Slots]] = {
    "persona": persona_slots,
    "conversation": conversation_slots,
    "revealed": revealed_slots,
    "examples": example_slots,
    "cards": card_slots,
}


def read_section(prompt: str, name: str, attribute: str = "") -> str | None:
    """Content of the first ``<name ...attribute...>`` section of a rendered prompt, unescaped; None if absent.

    Positions, not regexes: prompts hold whole conversations and are read on every call of the world.
    """
    start = prompt.find(f"<{name} {attribute}" if attribute else f"<{name}")
    while start >= 0:
        after = prompt[start + len(name) + 1 : start + len(name) + 2]
        if after in (">", " ", "/"):
            break
        start = prompt.find(f"<{name}", start + 1)
    if start < 0:
        return None
    opened = prompt.find(">", start)
    closed = prompt.find(f"</{name}>", opened)
    if opened < 0 or closed < 0:
        return None
    return unescape(prompt[opened + 1 : closed])


def read_attribute(prompt: str, name: str, attribute: str) -> str | None:
    """Value of an attribute of the first ``<name ...>`` tag, None if absent."""
    start = prompt.find(f"<{name} ")
    if start < 0:
        return None
    tag = prompt[start : prompt.find(">", start)]
    found = re.search(rf'\b{attribute}="([^"]*)"', tag)
    return found.group(1) if found else None


_TURN = re.compile(r'<(user|assistant) turn="(\d+)">(.*)</\1>\Z', re.DOTALL)


@lru_cache(maxsize=8192)
def _read_turn(line: str) -> Message | None:
    found = _TURN.match(line.strip())
    if not found:
        return None
    role: Role = "user" if found.group(1) == "user" else "assistant"
    return Message.model_construct(role=role, content=unescape(found.group(3)))


def read_conversation(prompt: str) -> tuple[Message, ...]:
    """The ``<conversation>`` section of a rendered prompt as messages; empty if absent."""
    start = prompt.find("<conversation>")
    end = prompt.find("</conversation>", start)
    if start < 0 or end < 0:
        return ()
    body = prompt[start + len("<conversation>") : end].strip("\n") + "\n"
    first = body[: body.find("\n") + 1]
    before = _RECENT.get(first)
    rest = body[len(before[0]) :] if before is not None and body.startswith(before[0]) else None
    if before is not None and rest is not None and rest.startswith(_BEGINS):
        messages = (*before[1], *_read_turns(rest))
    else:
        messages = _read_turns(body)
    if len(_RECENT) >= _MOST_RECENT:
        _RECENT.clear()
    _RECENT[first] = (body, messages)
    return messages


_RECENT: dict[str, tuple[str, tuple[Message, ...]]] = {}  # first message -> the last body that began so, and as read
_MOST_RECENT = 512
_BEGINS = ('<user turn="', '<assistant turn="')


def _read_turns(body: str) -> tuple[Message, ...]:
    pieces = body.replace('\n<user turn="', '\n\x1d<user turn="').replace(
        '\n<assistant turn="', '\n\x1d<assistant turn="'
    )
    return tuple(m for m in map(_read_turn, pieces.split("\x1d")) if m is not None)
