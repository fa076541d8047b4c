"""Reads the chat logs of other tools as rows of messages: ShareGPT, OpenAI batches, and traces (``store/traces.py``).

A file is known by its first entry: JSON lines, one JSON list, or one JSON object that holds the entries. What comes out
are rows as aloe's own logs have them: ``messages``, and ``user`` and ``model`` where the log names them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aloe.config.files import parse_json, refuse_special
from aloe.errors import DataError
from aloe.store.messages import ASSISTANT, USER, as_messages, text_of
from aloe.store.traces import langfuse_rows, langsmith_rows, otel_rows

Entry = tuple[int, dict[str, Any]]  # its line, or its number in the file
Rows = Iterable[Entry]
HOLDERS = ("data", "traces", "runs", "rows")  # objects that hold the entries of a whole file in a list of such a name


@dataclass(slots=True)
class ChatLog:
    """Rows with their places in the log.

    Attributes:
        tool: whose log it is. n_left_out: entries without a conversation (failed requests, calls of other kinds).
    """

    tool: str
    rows: list[Entry] = field(default_factory=list)
    n_left_out: int = 0


def read_log(path: Path) -> ChatLog | None:
    """The conversations of another tool's log; None for what is not one (aloe's own form, or damaged).

    Args:
        path: a file, or a folder whose .json and .jsonl files are one log (a batch's requests and answers).

    Raises:
        DataError: it is known as a tool's log, but damaged, or nothing in it is a conversation.
    """
    files = sorted(f for f in path.iterdir() if f.suffix in (".json", ".jsonl")) if path.is_dir() else [path]
    first = next((entry for file in files for _, entry in _entries(file, is_probe=True)), None)
    tool = None if first is None else _tool_of(first)
    if tool is None:
        return None
    entries = [entry for file in files for entry in _entries(file)]
    log = ChatLog(tool)
    log.rows, log.n_left_out = READERS[tool](entries)
    if not log.rows:
        raise DataError(
            f"{path} looks like a log of {tool}, but holds no conversation", "export what was said: inputs and outputs"
        )
    return log


def _entries(path: Path, is_probe: bool = False) -> Iterator[Entry]:
    """The objects of a file with their lines or numbers.

    Args:
        is_probe: what can't be read ends it without a word.

    Raises:
        DataError: not UTF-8, or not JSON.
    """
    refuse_special(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}", "give a chat log") from None
    except UnicodeDecodeError as error:
        if is_probe:
            return
        raise DataError(f"{path} is not UTF-8 text (byte {error.start + 1})", "give a chat log in UTF-8") from None
    try:
        whole = parse_json(text)
    except (json.JSONDecodeError, RecursionError):
        yield from _lines(text, path, is_probe)
        return
    if isinstance(whole, dict):
        is_row = "messages" in whole
        held = next((whole[name] for name in HOLDERS if isinstance(whole.get(name), list) and not is_row), None)
        whole = [whole] if held is None else [_with_context(entry, whole) for entry in held]
    for number, entry in enumerate(whole if isinstance(whole, list) else (), 1):
        if isinstance(entry, dict):
            yield number, entry


def _with_context(entry: Any, holder: Mapping[str, Any]) -> Any:
    """An entry of a session's file: the session is what its traces have in common."""
    is_session = isinstance(entry, dict) and isinstance(holder.get("traces"), list) and "id" in holder
    return {"sessionId": holder["id"], **entry} if is_session else entry


def _lines(text: str, path: Path, is_probe: bool) -> Iterator[Entry]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            entry = parse_json(line)
        except (json.JSONDecodeError, RecursionError) as error:
            if is_probe:
                return
            what = getattr(error, "msg", "nested too deep")
            raise DataError(f"{path}, line {number}: not valid JSON ({what})", "correct or remove the line") from None
        if isinstance(entry, dict):
            yield number, entry


def _tool_of(entry: Mapping[str, Any]) -> str | None:
    """Whose log an entry is of; None: aloe's own form, or unknown."""
    if isinstance(entry.get("messages"), list):
        return None
    if _turns(entry) is not None:
        return "ShareGPT"
    if "custom_id" in entry:
        return "OpenAI batch"
    if "resourceSpans" in entry or "resourceLogs" in entry or ("attributes" in entry and "name" in entry):
        return "OpenTelemetry"
    if "run_type" in entry:
        return "LangSmith"
    if "trace" in entry or "observations" in entry or ("input" in entry and "output" in entry):
        return "Langfuse"
    return None


def _turns(entry: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The turns of a ShareGPT entry."""
    for name in ("conversations", "conversation", "items"):
        turns = entry.get(name)
        if isinstance(turns, list) and turns and all(isinstance(t, dict) and "from" in t for t in turns):
            return turns
    return None


def sharegpt_rows(entries: Iterable[Entry]) -> tuple[list[Entry], int]:
    """``{"conversations": [{"from": "human", "value": ...}, ...]}``."""
    rows, n_left_out = [], 0
    for number, entry in entries:
        turns = _turns(entry)
        if turns is None:
            n_left_out += 1
            continue
        messages = [{"role": t["from"], "content": t.get("value", t.get("text"))} for t in turns]
        rows.append((number, named(as_messages(messages), entry.get("model"), entry.get("user", entry.get("user_id")))))
    return rows, n_left_out


def batch_rows(entries: Iterable[Entry]) -> tuple[list[Entry], int]:
    """An OpenAI batch: lines of requests and lines of answers, joined by ``custom_id``; of both endpoints for chats."""
    asked: dict[str, dict[str, Any]] = {}
    answered: list[tuple[int, str, Any]] = []
    for number, entry in entries:
        name, body = str(entry.get("custom_id")), entry.get("body")
        if isinstance(body, dict):
            asked[name] = body
        if isinstance(entry.get("response"), dict) or "error" in entry:
            response = entry["response"] if isinstance(entry.get("response"), dict) else {}
            answered.append((number, name, response.get("body") if response.get("status_code", 200) == 200 else None))
    if not asked or not answered:
        missing = "requests" if not asked else "answers"
        raise DataError(
            f"an OpenAI batch without its {missing}", "put the file of requests and the file of answers into one folder"
        )
    rows, n_left_out = [], len(set(asked) - {name for _, name, _ in answered})
    for number, name, body in answered:
        request = asked.get(name)
        said = as_messages(body.get("output") or body, ASSISTANT) if isinstance(body, dict) else []
        if request is None or not said:
            n_left_out += 1
            continue
        history = as_messages(request.get("messages") or request.get("input"), USER)
        about = request.get("metadata") if isinstance(request.get("metadata"), dict) else {}
        user = request.get("user") or request.get("safety_identifier") or (about or {}).get("user_id")
        rows.append((number, named([*history, *said], (body or {}).get("model") or request.get("model"), user)))
    return rows, n_left_out


def named(messages: list[dict[str, str]], model: object, user: object) -> dict[str, Any]:
    """A row as aloe's own logs have it."""
    row: dict[str, Any] = {"messages": messages}
    if text := text_of(model):
        row["model"] = text
    if text := text_of(user):
        row["user"] = text
    return row


READERS: dict[str, Callable[[Iterable[Entry]], tuple[list[Entry], int]]] = {
    "ShareGPT": sharegpt_rows,
    "OpenAI batch": batch_rows,
    "Langfuse": langfuse_rows,
    "LangSmith": langsmith_rows,
    "OpenTelemetry": otel_rows,
}
