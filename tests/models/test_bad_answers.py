"""Models that think aloud, refuse, quote, ramble or stop short, in every role: counted by kind, and never defaulted."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from aloe.__main__ import main
from aloe.config import ModelConfig
from aloe.errors import DegradedError, EndpointError, ParseError
from aloe.models.calls import RoleStats, takes_schema
from aloe.models.quality import QualityGate, describe
from aloe.prompts.catalog import CATALOG, GENERIC, INDUCER, JUDGE_COMPARE, JUDGE_SCORE, TAILORED, USER, WRITER
from aloe.prompts.faults import kind_of, split_thoughts
from aloe.report.build import build_report
from aloe.types import Message, Persona
from models.faulty import Fault, FaultyServer, answer, calling, model_at, refusal, serving

ADA = Persona(persona_id="p", profile="She is a nurse.", personality="She is calm.", profile_id="", personality_id="")
TALK = (Message(role="user", content="Hello, what could I cook tonight?"),)
GIVEN: dict[str, dict[str, Any]] = {
    "writer": {"examples": ["One."], "kind": "profile", "n": 2, "words": 50, "population": ""},
    "user": {"persona": ADA, "release": "", "task": ""},
    "inducer": {"persona": ADA, "conversation": TALK},
    "tailored": {"last": TALK[0].content, "revealed": ()},
    "generic": {},
    "judge_compare": {"persona": ADA, "conversation": TALK, "first": "Soup.", "second": "Rice.", "scope": "persona"},
    "judge_score": {"persona": ADA, "conversation": TALK, "reply": "Soup.", "scope": "persona"},
}
ROWS = (WRITER, USER, INDUCER, TAILORED, GENERIC, JUDGE_COMPARE, JUDGE_SCORE)
THINKS = '<think> Okay, let me see. The verdict could be first, or {"score": 4}. So'
SHORT = '{"descriptions": ["She is 41 and wor'
AGAIN = 'The prompt says: answer with "first" or "second" or "tie", with 1 or 2 or 5.'
ESSAY = "There is much to be said for either. " * 200


def ask_each(text: str, finish: str = "stop", **message: Any) -> dict[str, RoleStats]:
    """What one bad answer, given to everything, comes to: the counters by prompt."""

    async def work() -> dict[str, RoleStats]:
        found = {}
        body = json.loads(answer(text, finish_reason=finish))
        body["choices"][0]["message"].update(message)
        async with serving(lambda request, n: Fault(body=json.dumps(body).encode())) as server:
            for row in ROWS:
                async with calling(model_at(server.base_url, max_attempts=1)) as caller:
                    try:
                        value, _ = await caller.ask(row, "x", role="user", history=(), **GIVEN[row.name])
                    except EndpointError:  # there was no text at all
                        value = None
                    stats = caller.stats["user"]
                    assert (value is None) == bool(stats.n_unparsed)
                    found[row.name] = stats
        return found

    return asyncio.run(work())


JSON_ROLES = ("writer", "inducer", "judge_compare", "judge_score")


@pytest.mark.parametrize(
    ("text", "finish", "kind", "roles"),
    [
        (THINKS, "length", "thinking", [row.name for row in ROWS]),
        ("", "length", "thinking", [row.name for row in ROWS]),
        (" \n", "stop", "empty", [row.name for row in ROWS]),
        ("I'm sorry, but I can't assist with that request.", "stop", "refusal", ("user", *JSON_ROLES)),
        (SHORT, "length", "cut", JSON_ROLES),
        (AGAIN, "stop", "form", JSON_ROLES),
        (ESSAY, "stop", "form", JSON_ROLES),
        ('<revealed>\n<fact status="stated">a nurse</fact>\n</revealed> Soup, then.', "stop", "quoting",
         ("user", "tailored")),
        ("Hi! I'm a nurse.\nAssistant: Hello! Try soup.", "stop", "role", ("user",)),
    ],
)  # fmt: skip
def test_what_is_of_no_use_is_counted_by_kind_in_every_role(text: str, finish: str, kind: str, roles: Any) -> None:
    for name, stats in ask_each(text, finish).items():
        assert stats.n_answers == 1
        if name in (*roles, *JSON_ROLES):  # a message is not the JSON that the others ask for
            assert stats.unusable == {kind if name in roles else "form": 1}, name
            assert (stats.n_unparsed, stats.n_again) == (1, kind != "empty")  # which is repeated without a word
        else:
            assert stats.unusable == {} and stats.n_cut == (finish == "length"), name


def test_thoughts_that_a_server_sends_apart_never_become_the_message() -> None:
    async def work() -> None:
        for name in ("reasoning_content", "reasoning"):
            body = json.loads(answer("Soup, then."))
            body["choices"][0]["message"][name] = "The user wants food. I'd say rice."
            async with (
                serving(lambda request, n, body=body: Fault(body=json.dumps(body).encode())) as server,
                calling(model_at(server.base_url)) as caller,
            ):
                text, reply = await caller.ask(GENERIC, "x", role="user")
                assert text == "Soup, then." and reply.reasoning.startswith("The user wants")

    asyncio.run(work())


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("<think>a</think> Soup.", " Soup."),
        ("a, then b</think>\n\nSoup.", "\n\nSoup."),  # the opening tag stood in the prompt
        ("<think>a</think>Soup? <think>b</think>Rice.", "Rice."),
        ("[THINK]a[/THINK]Soup.", "Soup."),
        ("<thinking>a</thinking>Soup. 1 < 2 > 0", "Soup. 1 < 2 > 0"),
        ("Soup.", "Soup."),
    ],
)
def test_thoughts_are_taken_out(raw: str, text: str) -> None:
    assert split_thoughts(raw) == (text, False)


def test_an_open_thought_is_no_answer_however_long_the_text() -> None:
    for raw in ("<think>hm", "Soup. <think>hm", "<think>a</think>b<think>c", "<think>" * 200_000):
        assert split_thoughts(raw) == ("", True) and kind_of(raw, "stop") == "thinking"
    with pytest.raises(ParseError, match="thoughts"):
        CATALOG["generic"].read("<think>hm")


def test_people_may_say_sorry() -> None:
    for text in ("I'm sorry, I can't make it to the party, what do I tell her?", "Sorry, I can't cook. Any ideas?"):
        assert USER.read(text) == text


@pytest.mark.parametrize(
    ("n_bad", "n", "stops"), [(15, 20, True), (14, 20, False), (12, 15, False), (60, 100, False), (61, 100, True)]
)
def test_a_stage_stops_early_only_where_it_can_not_be_chance(n_bad: int, n: int, stops: bool) -> None:
    stats = RoleStats(n_answers=n, n_unparsed=n_bad, unusable={"empty": n_bad})
    gate = QualityGate()
    if stops:
        with pytest.raises(DegradedError, match=f"{n_bad} of {n} answers .*{n_bad} empty"):
            gate.watch("user", stats)
    else:
        gate.watch("user", stats)
    QualityGate(allow=True).watch("user", stats)
    gate.watch("responder", stats)  # what is measured is the result


def test_at_the_end_of_a_stage_a_tenth_is_said_and_a_half_stops() -> None:
    gate = QualityGate()
    few, many = RoleStats(n_answers=100, n_cut=11), RoleStats(n_answers=100, n_cut=10)
    assert gate.finish({"user": few, "judge": many}) == [describe("user", few)]
    half, more = RoleStats(n_answers=10, n_cut=5), RoleStats(n_answers=10, n_cut=6)
    assert gate.finish({"user": half}) == [describe("user", half)]
    with pytest.raises(DegradedError, match="raise the role's max_tokens"):
        gate.finish({"user": more})
    assert QualityGate(allow=True).finish({"user": more}) == [describe("user", more)]


@contextmanager
def mock_server(text: str, finish: str) -> Iterator[str]:
    """A server that gives everybody one answer, in a thread of its own."""
    loop = asyncio.new_event_loop()
    server = FaultyServer(lambda request, n: Fault(body=answer(text, finish_reason=finish)))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(server.up(), loop).result(10)
    try:
        yield server.base_url
    finally:
        asyncio.run_coroutine_threadsafe(server.down(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


def test_a_run_whose_user_only_thinks_stops_with_one_line_or_goes_on_when_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["--personas.n_profiles=8", "--personas.n_personalities=8", "--personas.n_personas=12"]
    small += ["--personas.n_bench_profiles=2", "--personas.n_bench_personalities=2", "--personas.n_bench=2"]
    with mock_server(THINKS, "length") as address:
        user = f'{{uri="openai:thinker", base_url="{address}", max_tokens=300}}'
        command = ["trees", "demo", "--out", str(tmp_path / "run"), *small, "--trees.n_turns=2", "--roles.user", user]
        assert main(command) == 7
        said = capsys.readouterr().err
        error = next(line for line in said.splitlines() if line.startswith("aloe: error"))
        assert "in stage trees: user: 12 of 12 answers" in error and "12 thoughts that never came" in error
        assert "enable_thinking = false" in error and "--allow-degraded" in error
        manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
        assert "12 thoughts" in manifest["degraded"]["trees"][0] and "trees" not in manifest["stages"]
        assert manifest["calls"]["trees"]["user"]["unusable"] == {"thinking": 12}
        assert main([*command, "--allow-degraded"]) == 0
    assert "WARNING   user: 12 of 12" in capsys.readouterr().out
    assert "thoughts" not in (tmp_path / "run" / "trees" / "trees.jsonl").read_text()
    page = build_report(tmp_path / "run")
    assert "trees: user: 12 of 12 answers are unusable" in page.read_text()


def test_a_schema_is_asked_for_where_the_endpoint_can_and_left_out_where_it_refuses() -> None:
    def script(request: dict[str, Any], n: int) -> Fault | str:
        if "response_format" in request:
            return refusal("response_format of type json_schema is not supported by this model")
        return '{"reason": "a", "verdict": "second"}'

    async def work() -> None:
        async with serving(script) as server:
            quiet = {"chat_template_kwargs": {"enable_thinking": False}}
            model = model_at(server.base_url, structured="auto", extra=quiet)
            async with calling(model) as caller:
                for path in "ab":
                    answer, _ = await caller.ask(JUDGE_COMPARE, path, role="user", **GIVEN["judge_compare"])
                    assert answer == ("second", "a")
            assert ["response_format" in r for r in server.requests] == [True, True, False, False]
            assert all(r["chat_template_kwargs"] == quiet["chat_template_kwargs"] for r in server.requests)
        assert not takes_schema(ModelConfig(uri="world:judge", structured="auto"))

    asyncio.run(work())
