"""Logs of other tools: every form says the same conversations, into the benchmark and into personas."""

import json
from pathlib import Path

import pytest

from aloe.bench.logged import read_conversations, user_of
from aloe.errors import DataError
from aloe.privacy.chats import read_chats
from aloe.store.chat_logs import read_log
from aloe.store.messages import as_messages
from helpers import aloe

# two conversations of ann, of two turns and of one; one of ben
TALKS = [
    ("ann", [("Dinner?", "Soup."), ("Without meat, please.", "Lentil soup.")]),
    ("ann", [("And for Sunday?", "A lentil pie.")]),
    ("ben", [("A book on bees?", "The one by Seeley.")]),
]


def said(turns, answer=True):
    """The messages of some turns; without the last answer, what was sent to the model."""
    messages = [m for u, a in turns for m in ({"role": "user", "content": u}, {"role": "assistant", "content": a})]
    return messages if answer else messages[:-1]


SYSTEM = {"role": "system", "content": "Be brief."}


def sharegpt():
    names = {"user": "human", "assistant": "gpt"}
    return [
        {
            "conversations": [{"from": names[m["role"]], "value": m["content"]} for m in said(t)],
            "user": who,
            "model": "m",
        }
        for who, t in TALKS
    ]


def batch():
    asked = [
        {"custom_id": str(n), "url": "/v1/chat/completions",
         "body": {"model": "m", "messages": [SYSTEM, *said(t, False)], "user": who}}
        for n, (who, t) in enumerate(TALKS)
    ]  # fmt: skip
    asked.append({"custom_id": "bad", "body": {"model": "m", "messages": said(TALKS[0][1], False)}})
    answers = [
        {"custom_id": str(n), "error": None,
         "response": {"status_code": 200, "body": {"model": "m", "choices": [{"message": said(t)[-1]}]}}}
        for n, (_, t) in enumerate(TALKS)
    ]  # fmt: skip
    answers.append({"custom_id": "bad", "response": {"status_code": 400, "body": {"error": {"message": "no"}}}})
    return [*asked, *answers]


def responses():
    """A batch of the other endpoint."""
    rows = [
        {"custom_id": str(n), "body": {"model": "m", "input": said(t, False), "metadata": {"user_id": who}}}
        for n, (who, t) in enumerate(TALKS)
    ]
    for n, (_, t) in enumerate(TALKS):
        text = [{"type": "output_text", "text": said(t)[-1]["content"]}]
        output = [{"type": "reasoning", "summary": []}, {"type": "message", "role": "assistant", "content": text}]
        rows.append({"custom_id": str(n), "response": {"status_code": 200, "body": {"model": "m", "output": output}}})
    return rows


def langfuse():
    """Observations, the latest first; every call sends its whole history."""
    rows = [{"id": "x", "traceId": "t0-0", "type": "SPAN", "input": {"q": 1}, "output": None}]
    for s, (who, turns) in enumerate(TALKS):
        for k in range(len(turns)):
            sent = {"messages": [SYSTEM, *said(turns[: k + 1], False)]}
            rows.append(
                {"id": f"o{s}-{k}", "traceId": f"t{s}-{k}", "type": "GENERATION", "model": "m", "userId": who,
                 "sessionId": f"s{s}", "startTime": f"2026-01-0{s + 1}T10:0{k}:00Z",
                 "input": json.dumps(sent), "output": {"role": "assistant", "content": turns[k][1]}}
            )  # fmt: skip
    return rows[::-1]


def langfuse_session():
    """Traces of sessions as the interface saves them: only what is new, as plain texts."""
    return [
        {"id": f"t{s}-{k}", "timestamp": f"2026-01-0{s + 1}T10:0{k}:00Z", "sessionId": f"s{s}", "userId": who,
         "input": turns[k][0], "output": turns[k][1]}
        for s, (who, turns) in enumerate(TALKS) for k in range(len(turns))
    ]  # fmt: skip


def langsmith():
    """Chains that hold the model's run, with LangChain's serialised messages."""
    kinds = {"user": "HumanMessage", "assistant": "AIMessage", "system": "SystemMessage"}

    def stored(m):
        return {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages", kinds[m["role"]]],
                "kwargs": {"content": m["content"]}}  # fmt: skip

    rows = []
    for s, (who, turns) in enumerate(TALKS):
        for k in range(len(turns)):
            model = {"id": f"m{s}{k}", "run_type": "llm", "parent_run_id": f"c{s}{k}", "trace_id": f"c{s}{k}",
                     "start_time": f"2026-01-01T00:0{k}:00", "extra": {"metadata": {"ls_model_name": "m"}},
                     "inputs": {"messages": [[stored(m) for m in (SYSTEM, *said(turns[: k + 1], False))]]},
                     "outputs": {"generations": [[{"message": stored(said(turns)[2 * k + 1])}]]}}  # fmt: skip
            about = {"metadata": {"thread_id": f"s{s}", "user_id": who}}
            rows.append({"id": f"c{s}{k}", "run_type": "chain", "extra": about, "inputs": {"input": turns[k][0]},
                         "outputs": {"output": turns[k][1]}, "child_runs": [model]})  # fmt: skip
    return rows


def _attribute(name, value):
    return {"key": name, "value": {"stringValue": value}}


def otel():
    """OTLP's JSON with messages as attributes, and an agent's span that repeats them."""
    spans = []
    for s, (who, turns) in enumerate(TALKS):
        for k in range(len(turns)):
            parts = [{"role": m["role"], "parts": [{"type": "text", "content": m["content"]}]}
                     for m in said(turns[: k + 1])]  # fmt: skip
            about = [
                _attribute("gen_ai.operation.name", "chat"),
                _attribute("gen_ai.request.model", "m"),
                _attribute("gen_ai.conversation.id", f"s{s}"),
                _attribute("user.id", who),
                _attribute("gen_ai.input.messages", json.dumps(parts[:-1])),
                _attribute("gen_ai.output.messages", json.dumps(parts[-1:])),
            ]
            start = str(10**18 + 100 * s + k)
            spans.append({"traceId": f"t{s}{k}", "name": "chat m", "startTimeUnixNano": start, "attributes": about})
            agent = [_attribute("gen_ai.operation.name", "invoke_agent"), *about[1:]]
            spans.append({"traceId": f"t{s}{k}", "name": "agent", "startTimeUnixNano": start, "attributes": agent})
    return [{"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {}, "spans": spans}]}]}]


def otel_events():
    """A span a line, with messages as events, as earlier conventions had them."""
    rows = []
    for s, (who, turns) in enumerate(TALKS):
        events = [
            {"name": f"gen_ai.{m['role']}.message", "attributes": {"content": m["content"]}}
            for m in (SYSTEM, *said(turns, False))
        ]
        choice = {"index": 0, "message": json.dumps(said(turns)[-1])}
        rows.append(
            {"name": "chat m", "context": {"trace_id": f"t{s}"}, "start_time": f"2026-01-0{s + 1}",
             "attributes": {"gen_ai.request.model": "m", "enduser.id": who},
             "events": [*events, {"name": "gen_ai.choice", "attributes": choice}]}
        )  # fmt: skip
    return rows


def otel_numbered():
    """As instrumentations wrote it that came before the conventions."""
    rows = []
    for s, (who, turns) in enumerate(TALKS):
        about = {"llm.request.type": "chat", "gen_ai.request.model": "m", "user.id": who}
        for n, m in enumerate(said(turns, False)):
            about |= {f"gen_ai.prompt.{n}.role": m["role"], f"gen_ai.prompt.{n}.content": m["content"]}
        about["gen_ai.completion.0.content"] = said(turns)[-1]["content"]
        rows.append({"name": "openai.chat", "trace_id": str(s), "start_time": f"{s}", "attributes": about})
    return rows


FORMS = [sharegpt, batch, responses, langfuse, langfuse_session, langsmith, otel, otel_events, otel_numbered]


@pytest.mark.parametrize("shape", ["lines", "list"])
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_every_form_says_the_same(form, shape, tmp_path):
    path = tmp_path / ("log.jsonl" if shape == "lines" else "log.json")
    rows = form()
    path.write_text("".join(json.dumps(r) + "\n" for r in rows) if shape == "lines" else json.dumps(rows, indent=1))
    found = sorted(
        ([(m.role, m.content) for m in talk.messages], talk.model, talk.persona.persona_id, talk.sample)
        for talk in read_conversations(path)
    )
    wanted, seen = [], {}
    for who, turns in TALKS:
        name = user_of({"user": who})
        wanted.append(([(m["role"], m["content"]) for m in said(turns)], (form is not langfuse_session and "m") or "",
                       name, seen.get(name, 0)))  # fmt: skip
        seen[name] = seen.get(name, 0) + 1
    assert [row[:3] for row in found] == sorted(row[:3] for row in wanted)
    assert {row[2:] for row in found} == {row[2:] for row in wanted}
    people, problems = read_chats(path, b"s" * 32)
    assert {(p.user_id, p.n_chats, len(p.messages)) for p in people} == {("ann", 2, 6), ("ben", 1, 2)}
    assert not [p for p in problems if not p.used]


def test_a_batch_may_be_two_files_and_says_what_failed(tmp_path, caplog):
    rows = batch()
    half = len(rows) // 2
    for name, part in (("asked", rows[:half]), ("answered", rows[half:])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in part))
    assert len(read_conversations(tmp_path)) == 3
    assert "1 entries of this OpenAI batch log hold no conversation" in caplog.text
    with pytest.raises(DataError, match="an OpenAI batch without its requests; put the file of requests"):
        read_conversations(tmp_path / "answered.jsonl")


def test_a_session_file_and_an_answer_of_the_api(tmp_path):
    traces = [{k: v for k, v in t.items() if k != "sessionId"} for t in langfuse_session()[:2]]
    (tmp_path / "session.json").write_text(json.dumps({"id": "s0", "traces": traces}, indent=2))
    (talk,) = read_conversations(tmp_path / "session.json")
    assert [m.content for m in talk.messages] == [m["content"] for m in said(TALKS[0][1])]
    (tmp_path / "api.json").write_text(json.dumps({"data": langfuse(), "meta": {"page": 1}}))
    assert len(read_conversations(tmp_path / "api.json")) == 3


def test_own_logs_and_damaged_ones_are_told_as_before(tmp_path):
    own = tmp_path / "own.jsonl"
    own.write_text(json.dumps({"messages": said(TALKS[0][1]), "data": [{"input": 1, "output": 2}]}) + "\n")
    assert read_log(own) is None and len(read_conversations(own)) == 1
    bad = tmp_path / "bad.jsonl"
    bad.write_text(json.dumps(sharegpt()[0]) + "\n{no\n")
    with pytest.raises(DataError, match=r"bad.jsonl, line 2: not valid JSON"):
        read_conversations(bad)
    empty = tmp_path / "empty.jsonl"
    empty.write_text(json.dumps({"run_type": "llm", "id": "1", "inputs": {}, "outputs": {}}) + "\n")
    with pytest.raises(DataError, match="looks like a log of LangSmith, but holds no conversation"):
        read_conversations(empty)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("[not JSON", [("user", "[not JSON")]),
        ('{"plain": 1}', [("user", '{"plain": 1}')]),
        ([{"type": "human", "data": {"content": "Hi"}}], [("user", "Hi")]),
        ({"question": "Why?"}, [("user", "Why?")]),
        ({"role": "tool", "content": "42"}, [("tool", "42")]),
        ([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}]}], [("user", "a")]),
        (None, []),
        (7, []),
    ],
)
def test_messages_of_many_forms(value, wanted):
    assert [(m["role"], m["content"]) for m in as_messages(value)] == wanted


def test_two_versions_of_a_service_from_logs_to_a_report(tmp_path):
    run = tmp_path / "run"
    for version in ("one", "two"):
        rows = [
            {"messages": [{"role": "user", "content": f"I bake bread {n} {version}. What next?"},
                          {"role": "assistant", "content": f"Bread, then. {'Rye ' * n}"}], "user": f"{version}{n}"}
            for n in range(6)
        ]  # fmt: skip
        log = tmp_path / f"{version}.jsonl"
        log.write_text("".join(json.dumps(r) + "\n" for r in rows))
        done = aloe("bench", "--conversations", log, "--out", run, "--judge", "world:judge", "--quiet")
        assert done.returncode == 0, done.stderr
    said = aloe("compare", run).stdout
    assert "no personas in common, compared unpaired: " in said
    (row,) = [line for line in said.splitlines() if " - " in line and "unpaired" in line]
    assert "none" not in row.split()[4:6]  # AVG and its interval
    done = aloe("report", run)
    assert done.returncode == 0, done.stderr
    page = Path(run / "report" / "index.html").read_text("utf-8")
    assert "people took part in them" in page and "no people took part" not in page
    assert "talks with the same simulated users" not in page


def test_lines_without_names_pair_only_where_they_begin_alike(tmp_path):
    def log(name, opening):
        rows = [{"messages": said([(f"{opening} {n}?", f"{name} {n}.")])} for n in range(4)]
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(r) + "\n" for r in rows))
        done = aloe("bench", "--conversations", path, "--out", tmp_path / "run", "--judge", "world:judge", "--quiet")
        assert done.returncode == 0, done.stderr

    log("first", "Bread")
    log("again", "Bread")
    log("other", "Cake")
    lines = [line.split() for line in aloe("compare", tmp_path / "run").stdout.splitlines() if " - " in line]
    shared = {frozenset((cells[0], cells[2])): cells[3] for cells in lines}
    assert shared[frozenset(("first", "again"))] == "4"
    assert shared[frozenset(("first", "other"))] == shared[frozenset(("again", "other"))] == "unpaired"


def write(path, rows):
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


QUIET = [("One?", "A."), ("Two?", "B.")]


@pytest.mark.parametrize(
    "rows",
    [
        [{"input": q, "output": a} for q, a in QUIET],
        [{"run_type": "llm", "inputs": {"input": q}, "outputs": {"output": a}} for q, a in QUIET],
        [{"name": "chat", "attributes": {"gen_ai.prompt": q, "gen_ai.completion": a}} for q, a in QUIET],
    ],
    ids=["Langfuse", "LangSmith", "OpenTelemetry"],
)
def test_calls_without_session_or_trace_are_not_one_conversation(rows, tmp_path):
    log = read_log(write(tmp_path / "log.jsonl", rows))
    assert [row["messages"] for _, row in log.rows] == [said([turn]) for turn in QUIET]


ASKED = {"custom_id": "a", "body": {"messages": said(TALKS[1][1], answer=False)}}
SPAN = {"name": "chat", "attributes": {"gen_ai.prompt": "One?", "gen_ai.completion": "A."}}
EMPTY = {"key": "gen_ai.prompt", "value": {"arrayValue": {"values": None}}}


@pytest.mark.parametrize(
    ("rows", "n"),
    [
        ([ASKED, {"custom_id": "a", "response": "timed out", "error": None}], 0),
        ([{**SPAN, "context": "00-4bf9"}], 1),
        ([SPAN, {**SPAN, "attributes": [EMPTY]}], 1),
    ],
    ids=["answer", "context", "values"],
)
def test_fields_of_another_form_than_usual_are_passed_over(rows, n, tmp_path):
    path = write(tmp_path / "log.jsonl", rows)
    if n:
        assert len(read_log(path).rows) == n
    else:
        with pytest.raises(DataError, match="holds no conversation"):
            read_log(path)
