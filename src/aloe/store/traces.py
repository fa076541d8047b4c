"""Conversations from traces: calls of models as Langfuse, LangSmith and OpenTelemetry (GenAI) export them.

A trace holds calls, not conversations. Calls of one session are put in the order of their time: one whose history is
longer than what was said before goes on from it, one that holds only the next message is appended, and any other begins
a conversation of its own. Calls that name neither session nor trace are conversations of their own, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from aloe.store.messages import ASSISTANT, USER, as_messages, text_of

Entry = tuple[int, dict[str, Any]]
Said = list[dict[str, str]]
CHATS = ("chat", "text_completion", "generate_content")  # OpenTelemetry's operations in which a model replies
_NUMBERED = re.compile(r"^(?:gen_ai|llm)\.(?:prompt|prompts|completion|completions)\.(\d+)\.(role|content)$")


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a model. ``session``: which calls may belong together; ``time`` orders them."""

    number: int
    session: str
    time: tuple[int, str]
    asked: Said
    answered: Said
    model: str = ""
    user: str = ""

    @property
    def whole(self) -> Said:
        """History and answer; some tools write the history into the answer again."""
        asked, answered = _spoken(self.asked), _spoken(self.answered)
        return answered if asked and answered[: len(asked)] == asked else [*asked, *answered]


def _spoken(messages: Said) -> Said:
    return [m for m in messages if m["role"] in (USER, ASSISTANT) and m["content"].strip()]


def conversations(calls: Iterable[Call]) -> list[Entry]:
    """Rows of the conversations that calls make up, in the order of the log."""
    sessions: dict[str | int, list[Call]] = {}
    for place, call in enumerate(calls):
        sessions.setdefault(call.session or place, []).append(call)
    rows: list[Entry] = []
    for session in sessions.values():
        said: Said = []
        made_by: list[Call] = []
        for call in sorted(session, key=lambda c: (c.time, c.number)):
            whole = call.whole
            goes_on = whole[: len(said)] == said
            is_next = sum(m["role"] == USER for m in _spoken(call.asked)) == 1 and len(_spoken(call.asked)) == 1
            if said and not goes_on and not is_next:
                rows.append(_row(said, made_by))
                said, made_by = [], []
            said = whole if goes_on or not said else [*said, *whole]
            made_by.append(call)
        rows.append(_row(said, made_by))
    return sorted(rows, key=lambda row: row[0])


def _row(said: Said, calls: list[Call]) -> Entry:
    row: dict[str, Any] = {"messages": said}
    models = list(dict.fromkeys(c.model for c in calls if c.model))
    if models:
        row["model"] = " + ".join(models)
    user = next((c.user for c in calls if c.user), "")
    if user:
        row["user"] = user
    return calls[0].number, row


def _first(*values: object) -> str:
    return next((text for value in values if (text := text_of(value))), "")


def _time(*values: object) -> tuple[int, str]:
    """A time that sorts: numbers by size, texts by their letters (all of one tool's are of one form)."""
    text = _first(*values)
    return (len(text), text) if text.isdigit() else (0, text)


def _counted(made: Iterable[Call | None]) -> tuple[list[Entry], int]:
    calls, n_left_out = [], 0
    for call in made:
        if call is None or not _spoken(call.asked) or not _spoken(call.answered):
            n_left_out += 1
        else:
            calls.append(call)
    return conversations(calls), n_left_out


# ------------------------------------------------------------------ Langfuse


def langfuse_rows(entries: Iterable[Entry]) -> tuple[list[Entry], int]:
    """Traces, observations (rows of the API, of the table's or the bucket's export), or a trace's file.

    Where there are generations, they are the calls; traces count only without any.
    """
    flat = [found for number, entry in entries for found in _langfuse_flat(number, entry)]
    generations = [found for found in flat if _first(found[1].get("type")).upper() == "GENERATION"]
    traces = {_first(e.get("id")): e for _, e in flat if "type" not in e}
    used = generations or [found for found in flat if "type" not in found[1]]
    rows, n_left_out = _counted(_langfuse_call(number, entry, traces) for number, entry in used)
    return rows, n_left_out + (len(flat) - len(used) - len(traces) if generations else 0)


def _langfuse_flat(number: int, entry: dict[str, Any]) -> Iterator[Entry]:
    trace = entry.get("trace") if isinstance(entry.get("trace"), dict) else None
    observations = entry.get("observations")
    below = [o for o in observations if isinstance(o, dict)] if isinstance(observations, list) else []
    own = trace if trace is not None else entry
    yield number, {k: v for k, v in own.items() if k != "observations"}
    about = {k: own[k] for k in ("sessionId", "session_id", "userId", "user_id") if own.get(k)}
    for observation in below:
        yield number, {**about, "traceId": own.get("id"), **observation}


def _langfuse_call(number: int, entry: Mapping[str, Any], traces: Mapping[str, Mapping[str, Any]]) -> Call:
    trace_id = _first(entry.get("traceId"), entry.get("trace_id"), entry.get("id"))
    trace = traces.get(trace_id, {})

    def named(*names: str) -> str:
        return _first(*(place.get(name) for place in (entry, trace) for name in names))

    return Call(
        number,
        named("sessionId", "session_id") or trace_id,
        _time(*(entry.get(name) for name in ("startTime", "start_time", "timestamp", "createdAt"))),
        as_messages(entry.get("input"), USER),
        as_messages(entry.get("output"), ASSISTANT),
        _first(*(entry.get(name) for name in ("model", "providedModelName", "provided_model_name"))),
        named("userId", "user_id"),
    )


# ------------------------------------------------------------------ LangSmith


def langsmith_rows(entries: Iterable[Entry]) -> tuple[list[Entry], int]:
    """Runs, with or without their child runs. Where there are runs of models, they are the calls, else the traces."""
    flat = [found for number, entry in entries for found in _langsmith_flat(number, entry)]
    models = [found for found in flat if found[1].get("run_type") == "llm"]
    used = models or [found for found in flat if not found[1].get("parent_run_id")]
    by_id = {_first(run.get("id")): run for _, run in flat}
    rows, n_left_out = _counted(_langsmith_call(number, run, by_id) for number, run in used)
    return rows, n_left_out


def _langsmith_flat(number: int, run: dict[str, Any]) -> Iterator[Entry]:
    yield number, run
    below = run.get("child_runs")
    for child in below if isinstance(below, list) else ():
        if isinstance(child, dict):
            yield from _langsmith_flat(number, {"trace_id": run.get("trace_id") or run.get("id"), **child})


def _langsmith_call(number: int, run: Mapping[str, Any], by_id: Mapping[str, Mapping[str, Any]]) -> Call | None:
    if run.get("error"):
        return None
    trace_id = _first(run.get("trace_id"), run.get("id"))
    places = [_metadata(run), _metadata(by_id.get(trace_id, {}))]
    session = _first(*(p.get(name) for p in places for name in ("session_id", "thread_id", "conversation_id")))
    user = _first(*(p.get(name) for p in places for name in ("user_id", "user", "userId")))
    model = _first(places[0].get("ls_model_name"), _options(run).get("model"), _options(run).get("model_name"))
    asked, answered = as_messages(run.get("inputs"), USER), as_messages(run.get("outputs"), ASSISTANT)
    return Call(number, session or trace_id, _time(run.get("start_time")), asked, answered, model, user)


def _metadata(run: Mapping[str, Any]) -> dict[str, Any]:
    extra = run.get("extra")
    found = extra.get("metadata") if isinstance(extra, dict) else run.get("metadata")
    return found if isinstance(found, dict) else {}


def _options(run: Mapping[str, Any]) -> dict[str, Any]:
    extra = run.get("extra")
    found = extra.get("invocation_params") if isinstance(extra, dict) else None
    return found if isinstance(found, dict) else {}


# ------------------------------------------------------------------ OpenTelemetry


def otel_rows(entries: Iterable[Entry]) -> tuple[list[Entry], int]:
    """Spans by the GenAI conventions: in OTLP's JSON, or one a line; messages as attributes or as events.

    Where spans of replies have messages, other operations (agents, tools), which repeat them, do not count.
    """
    spans = [(number, span) for number, entry in entries for span in _spans(entry)]
    calls = [(_otel_call(number, span), _attributes(span).get("gen_ai.operation.name")) for number, span in spans]
    whole = [(c, name) for c, name in calls if _spoken(c.asked) and _spoken(c.answered)]
    replies = [c for c, name in whole if name is None or name in CHATS]
    used = replies or [c for c, _ in whole]
    return conversations(used), len(spans) - len(used)


def _spans(entry: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    logs: dict[tuple[str, str], dict[str, Any]] = {}
    for resource in (*_list(entry, "resourceSpans"), *_list(entry, "resourceLogs")):
        for scope in (*_list(resource, "scopeSpans"), *_list(resource, "scopeLogs")):
            yield from _list(scope, "spans")
            for record in _list(scope, "logRecords"):
                place = _first(record.get("traceId")), _first(record.get("spanId"))
                span = logs.setdefault(place, {"traceId": place[0], "events": [], "startTimeUnixNano": ""})
                span["startTimeUnixNano"] = span["startTimeUnixNano"] or _first(record.get("timeUnixNano"))
                span["events"].append({**record, "name": record.get("eventName", record.get("name"))})
    yield from logs.values()
    if "resourceSpans" not in entry and "resourceLogs" not in entry:
        yield dict(entry)


def _list(holder: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found = holder.get(name)
    return [e for e in found if isinstance(e, dict)] if isinstance(found, list) else []


def _attributes(holder: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes by name, from OTLP's list or a plain table."""
    found = holder.get("attributes")
    if isinstance(found, dict):
        return found
    return {str(a.get("key")): _value(a.get("value")) for a in _list(holder, "attributes")}


def _value(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if isinstance(inner := value.get("arrayValue"), dict):
        return [_value(v) for v in inner.get("values") or ()]
    if isinstance(inner := value.get("kvlistValue"), dict):
        return {str(p.get("key")): _value(p.get("value")) for p in _list(inner, "values")}
    return next((v for k, v in value.items() if k.endswith("Value")), None)


def _otel_call(number: int, span: Mapping[str, Any]) -> Call:
    about = _attributes(span)
    asked: Said = []
    answered: Said = []
    for event in _list(span, "events"):
        own = _attributes(event)
        body = _value(event["body"]) if isinstance(event.get("body"), dict) else {}
        own = {**body, **own} if isinstance(body, dict) else own
        name = _first(event.get("name"), own.get("event.name"))
        if name in ("gen_ai.user.message", "gen_ai.assistant.message"):
            role = USER if "user" in name else ASSISTANT
            asked += as_messages(own.get("content"), role)
        elif name == "gen_ai.choice" and not answered:
            answered = as_messages(own.get("message") or own.get("content"), ASSISTANT)
        about = {**about, **{k: v for k, v in own.items() if k.startswith(("gen_ai.", "user.", "session."))}}
    asked = as_messages(about.get("gen_ai.input.messages", about.get("gen_ai.prompt")), USER) or asked
    answered = as_messages(about.get("gen_ai.output.messages", about.get("gen_ai.completion")), ASSISTANT) or answered
    asked, answered = asked or _numbered(about, "prompt"), answered or _numbered(about, "completion")
    context = span["context"] if isinstance(span.get("context"), dict) else {}
    trace = _first(span.get("traceId"), span.get("trace_id"), context.get("trace_id"))
    return Call(
        number,
        _first(*(about.get(k) for k in ("gen_ai.conversation.id", "session.id", "langfuse.session.id"))) or trace,
        _time(span.get("startTimeUnixNano"), span.get("start_time")),
        asked,
        answered,
        _first(about.get("gen_ai.request.model"), about.get("gen_ai.response.model")),
        _first(*(about.get(k) for k in ("user.id", "enduser.id", "langfuse.user.id"))),
    )


def _numbered(about: Mapping[str, Any], kind: str) -> Said:
    """Messages as ``gen_ai.prompt.0.role``, ``gen_ai.prompt.0.content``, ..."""
    parts: dict[int, dict[str, Any]] = {}
    for name, value in about.items():
        found = _NUMBERED.match(name)
        if found and kind in name:
            parts.setdefault(int(found[1]), {})[found[2]] = value
    usual = USER if kind == "prompt" else ASSISTANT
    return [m for _, part in sorted(parts.items()) for m in as_messages({"role": usual, **part})]
