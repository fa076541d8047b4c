"""Reads conversations that were logged elsewhere, with or without personas, for ``bench/offline.py`` to score.

A line is ``{"messages": [...]}`` and may hold ``persona`` (an object with ``profile`` and ``personality``, or a text),
or ``profile`` and ``personality``, or a ``persona_id`` of a persona file; ``user``, whose conversations are of one
person; and ``model`` (each is scored on its own). System messages are left out, neighbours of one role are joined, and
what comes before the first user message cannot be judged.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from aloe.config.files import refuse_special
from aloe.dialogue.state import content_id
from aloe.errors import DataError
from aloe.prompts.faults import is_blank
from aloe.store.chat_logs import ChatLog, read_log
from aloe.types import Judgement, Message, NodeError, Persona

logger = logging.getLogger(__name__)
UNKNOWN = "Nothing is known of this user beforehand. Go by what the user's own messages show."


@dataclass(slots=True)
class Logged:
    """One logged conversation. ``judgements``: one per reply, None where the call failed for good (``errors``)."""

    persona: Persona
    is_known: bool  # whether the log told who the user was
    messages: list[Message]
    sample: int = 0
    model: str = ""
    judgements: list[Judgement | None] = field(default_factory=list)
    errors: list[NodeError] = field(default_factory=list)

    @property
    def n_replies(self) -> int:
        return len(self.messages) // 2


def read_conversations(path: str | Path, personas: Sequence[Persona] = ()) -> list[Logged]:
    """The conversations of a JSONL file, or of another tool's log (``store/chat_logs.py``).

    Raises:
        DataError: a line that is not a conversation (with its number and what is wrong), two personas of one id, or no
            reply in the whole file.
    """
    path = Path(path)
    log = read_log(path)
    if log is None:
        return conversations_of(((f"{path}, line {n}", row) for n, row in _read_lines(path)), personas, str(path))
    if log.n_left_out:
        logger.warning("%s: %d entries of this %s log hold no conversation", path, log.n_left_out, log.tool)
    return conversations_of(((f"{path}, conversation {n}", row) for n, row in _numbered(log)), personas, str(path))


def _numbered(log: ChatLog) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows by their place among the conversations: one entry of a log may hold several."""
    for number, (_, row) in enumerate(log.rows, 1):
        yield number, row


def conversations_of(
    rows: Iterable[tuple[str, Any]], personas: Sequence[Persona] = (), source: str = "the rows"
) -> list[Logged]:
    """Conversations from rows, each with the words that name its place, which end with its number.

    Raises:
        DataError: as ``read_conversations``.
    """
    by_id = {p.persona_id: p for p in personas}
    found: list[Logged] = []
    samples: Counter[tuple[str, str]] = Counter()
    named: dict[str, Persona] = {}
    for where, row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("messages"), list):
            raise DataError(f"{where}: no object with a list 'messages'", 'a line looks like {"messages": [...]}')
        messages = tidy(row["messages"], where)
        if len(messages) < 2:
            continue
        persona, is_known = _persona_of(row, by_id, int(where.rpartition(" ")[2]), where)
        if named.setdefault(persona.persona_id, persona) != persona:
            raise DataError(
                f"{where}: persona_id '{persona.persona_id}' is used for two different personas",
                "give each persona its own id",
            )
        model = str(row.get("model") or "")
        found.append(Logged(persona, is_known, messages, samples[model, persona.persona_id], model))
        samples[model, persona.persona_id] += 1
    if not found:
        raise DataError(f"{source} contains no reply to a user message", 'a line looks like {"messages": [...]}')
    return found


def _read_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """(line number, parsed value) of each line; strict to the last one (no writer of ours was killed)."""
    refuse_special(path)
    try:
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}", "give a JSONL file") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start + 1})", "give a JSONL file in UTF-8") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield number, orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise DataError(f"{path}, line {number}: not valid JSON ({error})", "correct or remove the line") from None


def by_model(talks: Sequence[Logged]) -> dict[str, list[Logged]]:
    """The conversations of each model that the log names, in order; those without a name are under ``""``."""
    found: dict[str, list[Logged]] = defaultdict(list)
    for talk in talks:
        found[talk.model].append(talk)
    return dict(found)


def tidy(messages: Sequence[Any], where: str) -> list[Message]:
    """User and assistant in turn, beginning with the user and ending with a reply, which may be empty.

    Raises:
        DataError: an entry without role or content.
    """
    kept: list[Message] = []
    for entry in messages:
        if not isinstance(entry, dict) or "role" not in entry:
            raise DataError(f"{where}: a message is {str(entry)[:40]!r}", "it needs role and content")
        role, text = entry["role"], _text(entry.get("content"))
        text = "" if is_blank(text) else text
        if role not in ("user", "assistant") or (not kept and role == "assistant"):
            continue
        if not text and (role == "user" or kept[-1].role == role or entry.get("tool_calls")):
            continue
        if kept and kept[-1].role == role:
            kept[-1] = Message(role=role, content=f"{kept[-1].content}\n{text}".lstrip("\n"))
        else:
            kept.append(Message(role=role, content=text))
    return kept[: len(kept) // 2 * 2]


def _text(content: Any) -> str:
    """A message's text; of content given in parts, the text parts."""
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return "" if content is None else str(content)


def _persona_of(row: Mapping[str, Any], by_id: Mapping[str, Persona], number: int, where: str) -> tuple[Persona, bool]:
    """Whose conversation it is, and whether the row says what is to be known of them.

    Conversations of one ``user`` are of one person, and share a group even where their personas differ.
    """
    user = user_of(row)
    own = row.get("persona")
    if own is not None and not isinstance(own, dict | str):
        raise DataError(
            f"{where}: persona is {str(own)[:40]!r}", "write a text, or an object of profile and personality"
        )
    fields: Mapping[str, Any] = own if isinstance(own, dict) else row
    profile = own if isinstance(own, str) else str(fields.get("profile") or "")
    personality = str(fields.get("personality") or "")
    if profile or personality:
        name = str(row.get("persona_id") or content_id("persona", profile, personality, *filter(None, [user])))
        return _persona(name, profile, personality, user), True
    if row.get("persona_id") is None:
        return _persona(user or f"line-{number}", UNKNOWN, UNKNOWN, user), False
    asked = str(row["persona_id"])
    if asked not in by_id:
        raise DataError(
            f"{where}: persona_id '{asked}' is unknown", "give the persona file that contains it with --personas"
        )
    return by_id[asked], True


def user_of(row: Mapping[str, Any]) -> str:
    """A name for a row's ``user``, the same in every file, that does not show the id; empty where there is none."""
    user = row.get("user")
    is_known = isinstance(user, str | int) and not isinstance(user, bool) and str(user).strip()
    return f"user-{content_id('user', str(user).strip())}" if is_known else ""


def _persona(name: str, profile: str, personality: str, user: str) -> Persona:
    return Persona(
        persona_id=name,
        profile=profile,
        personality=personality,
        profile_id=user or (name if profile == UNKNOWN else content_id("profile", profile)),
        personality_id=user or (name if personality == UNKNOWN else content_id("personality", personality)),
        split="bench",
    )
