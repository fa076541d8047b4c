"""How a capable model of the world keeps and uses a memory: notes of its own, or earlier turns that it is shown.

A note is a line, the kind of thing and a sentence: ``fact: ...`` (said), ``hint: ...`` (only implied), ``manner: ...``.
The newest stand first, so that a memory that is too short loses the oldest. Earlier turns are ``Turn N, user: ...``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from aloe.prompts.sections import read_attribute, read_conversation, read_section
from aloe.world.latent import Item, read_sentence

PER_TOKEN = 4  # characters
Noticed = tuple[Item, str, str, int]  # item, stated or implied, the words, the turn
_LINE = re.compile(r"^(fact|hint|manner): (.+)$")
_TURN = re.compile(r"^Turn \d+, user: (.*)$")


def read_notes_of(memory: str) -> list[Noticed]:
    """The notes of a memory, the oldest first; nothing of lines in any other form."""
    found: list[Noticed] = []
    for line in reversed(memory.splitlines()):
        if match := _LINE.match(line.strip()):
            kind, text = match.groups()
            item = read_sentence("trait" if kind == "manner" else "fact", text)
            found.append((item, "stated" if kind == "fact" else "implied", "", 0))
    return found


def read_turns_of(memory: str) -> list[str]:
    """The user's messages among the earlier turns of a memory."""
    return [match.group(1) for line in memory.splitlines() if (match := _TURN.match(line.strip()))]


def write_notes(noticed: Iterable[Noticed], limit: int) -> str:
    """What was noticed as a memory of at most ``limit`` tokens."""
    lines: list[str] = []
    left = limit * PER_TOKEN
    for item, status, _, _ in reversed(list(noticed)):
        kind = "manner" if item.kind == "trait" else "fact" if status == "stated" else "hint"
        line = f"{kind}: {item.clause}"
        if len(line) + 1 > left:
            break
        left -= len(line) + 1
        lines.append(line)
    return "\n".join(lines) or "nothing yet"


def memory_in(text: str) -> str:
    """The memory that a prompt shows; empty where it shows none."""
    return (read_section(text, "memory") or "").strip() if "<memory" in text else ""


def limit_in(text: str) -> int:
    """How many tokens the memory that a prompt asks for may have; 0 where it asks for none."""
    limit = read_attribute(text, "memory", "limit") or "" if "<memory limit=" in text else ""
    return int(limit) if limit.isdigit() else 0


def exchange_in(text: str) -> Sequence[str]:
    """The user's messages in the exchange that a memory is to be brought up to date with."""
    return [m.content for m in read_conversation(text) if m.role == "user"]
