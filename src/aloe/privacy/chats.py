"""Reads chat logs (OpenAI messages, one conversation per line, or another tool's), by user under a keyed hash.

A user is known by a keyed hash of the id; the key ("salt") is kept beside the output, readable by its owner only.
Without it a hash cannot be traced back by trying ids. Damaged lines are reported and skipped.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aloe.config.files import parse_json
from aloe.errors import DataError
from aloe.personas.importer import Problem, read_lines
from aloe.store.chat_logs import read_log
from aloe.types import Message, Role

SALT_NAME = ".chats-salt"
MAX_CHARACTERS = 24_000  # of one user's chats that are read; later ones are left out
_SALT_BYTES = 32


@dataclass(slots=True)
class UserChats:
    """What one user wrote, and what was answered, in the order of the file."""

    user_id: str  # empty: the line names nobody
    user_hash: str
    messages: list[Message] = field(default_factory=list)  # user first, alternating
    n_chats: int = 0
    n_left_out: int = 0  # chats beyond MAX_CHARACTERS

    def size(self) -> int:
        return sum(len(m.content) for m in self.messages)


def hash_user(user_id: str, salt: bytes) -> str:
    """A user's id as 32 hexadecimal digits that only the salt's owner can compute."""
    return hashlib.blake2b(user_id.encode("utf-8", "surrogatepass"), key=salt, digest_size=16).hexdigest()


def read_salt(path: Path) -> bytes | None:
    """The salt in a file, or None where there is none.

    Raises:
        DataError: the file holds something else.
    """
    if not path.is_file():
        return None
    try:
        salt = bytes.fromhex(path.read_text("ascii").strip())
    except (ValueError, UnicodeDecodeError):
        salt = b""
    if len(salt) != _SALT_BYTES:
        raise DataError(
            f"{path} does not contain a salt of {_SALT_BYTES} bytes in hexadecimal", "restore it from a backup"
        )
    return salt


def open_salt(folder: Path) -> bytes:
    """The folder's salt, drawn once and kept with mode 0600.

    Raises:
        DataError: it is damaged, or can't be written.
    """
    path = folder / SALT_NAME
    found = read_salt(path)
    if found is not None:
        return found
    salt = secrets.token_bytes(_SALT_BYTES)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:  # another process was first
        return read_salt(path) or salt
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}", "choose another --out") from error
    with os.fdopen(handle, "w") as file:
        file.write(salt.hex() + "\n")
    return salt


def read_chats(path: Path, salt: bytes, user_field: str = "user") -> tuple[list[UserChats], list[Problem]]:
    """Users in order of appearance, and what is wrong with the file.

    A line without an id is a user of its own, known by a hash of the line.

    Raises:
        DataError: no such file, or a damaged log of another tool.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist", "give a chat log")
    users: dict[str, UserChats] = {}
    problems: list[Problem] = []
    log = read_log(path)
    lines: Iterable[tuple[int, str]]
    if log is None:
        lines = read_lines(path, problems)
    else:  # another tool's
        lines = ((number, json.dumps(row)) for number, row in log.rows)
        if log.n_left_out:
            what = f"{log.n_left_out} entries of this {log.tool} log hold no conversation"
            problems.append(Problem(str(path), 0, what, used=True))
        user_field = "user"
    for number, line in lines:
        if not line.strip():
            continue
        row, wrong = _read_row(line)
        messages = [] if wrong else _messages(row["messages"])
        if not wrong and not any(m.role == "user" for m in messages):
            wrong = "no message of a user"
        if wrong:
            problems.append(Problem(str(path), number, wrong))
            continue
        user_id = _user_id(row.get(user_field))
        if not user_id:
            problems.append(Problem(str(path), number, f"no '{user_field}': taken as a user of its own", used=True))
        user_hash = hash_user(user_id if user_id else f"line\x1f{line.strip()}", salt)
        user = users.setdefault(user_hash, UserChats(user_id, user_hash))
        user.n_chats += 1
        if user.size() + sum(len(m.content) for m in messages) > MAX_CHARACTERS and user.messages:
            user.n_left_out += 1
        else:
            user.messages = merge([*user.messages, *messages])
    return list(users.values()), problems


def _read_row(line: str) -> tuple[dict[str, Any], str]:
    """A line's object, and what is wrong with it (or '')."""
    try:
        row = parse_json(line)
    except (json.JSONDecodeError, RecursionError) as error:
        return {}, f"not valid JSON ({getattr(error, 'msg', 'nested too deep')})"
    if not isinstance(row, dict) or not isinstance(row.get("messages"), list):
        return {}, "no object with a list 'messages'"
    return row, ""


def _user_id(value: Any) -> str:
    return str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""


def _messages(raw: list[Any]) -> list[Message]:
    """What user and assistant said; tools, systems and pictures are left out."""
    found = []
    for entry in raw:
        role = entry.get("role") if isinstance(entry, dict) else None
        text = _text(entry.get("content")).strip() if role in ("user", "assistant") else ""
        if text:
            spoken: Role = "user" if role == "user" else "assistant"
            found.append(Message(role=spoken, content=text.encode("utf-8", "replace").decode("utf-8")))
    return merge(found)


def _text(content: Any) -> str:
    if isinstance(content, list):
        parts = (p.get("text") for p in content if isinstance(p, dict))
        return "\n".join(p for p in parts if isinstance(p, str))
    return content if isinstance(content, str) else ""


def merge(messages: Iterable[Message]) -> list[Message]:
    """User first, then alternating: messages of one role in a row become one."""
    merged: list[Message] = []
    for message in messages:
        if merged and merged[-1].role == message.role:
            text = f"{merged[-1].content}\n\n{message.content}"
            merged[-1] = Message(role=message.role, content=text)
        elif merged or message.role == "user":
            merged.append(message)
    return merged
