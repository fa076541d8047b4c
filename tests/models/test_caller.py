"""Calls: their keys, replay, single flight, budget, several models, and what a server does not take."""

from __future__ import annotations

import asyncio
import gc
import json
import random
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aloe.config import Config, ModelConfig
from aloe.errors import BudgetExceeded, ConfigError, EndpointError, ParseError
from aloe.models.caller import Caller, request_key
from aloe.models.calls import Reply
from aloe.models.local.model import weight_digest
from aloe.models.pricing import price_of
from aloe.models.registry import create_model, register_scheme
from aloe.prompts.catalog import RESPONDER, USER
from aloe.protocols import ChatRequest, Completion, PromptMessage
from aloe.seeding import derive_seed
from aloe.types import Persona, Usage
from models.faulty import HELLO, PROMPTS, Fault, answer, attempts, calling, model_at, refusal, serving


class Counting:
    """A model in this process that counts and keeps what it was asked."""

    revision = "1"

    def __init__(self, uri: str) -> None:
        self.name = uri
        self.asked: list[ChatRequest] = []

    async def complete(self, request: ChatRequest) -> Completion:
        self.asked.append(request)
        await asyncio.sleep(0)
        return Completion(f"{request.messages[-1].content}#{request.seed}", "stop", Usage(prompt_tokens=9))

    async def aclose(self) -> None:
        return None


counting: dict[str, Counting] = {}
register_scheme("counting", lambda config: counting.setdefault(config.uri, Counting(config.uri)))

# -- keys

FIELDS: dict[str, Any] = {
    "temperature": 0.5, "top_p": 0.9, "max_tokens": 7, "stop": ("END",),
    "extra": {"top_k": 5, "repeat": {"a": 1, "b": 2}},
}  # fmt: skip
leaf = st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.text(max_size=5))
table = st.dictionaries(
    st.text(max_size=5), st.recursive(leaf, lambda x: st.dictionaries(st.text(max_size=3), x, max_size=3), max_leaves=6)
)


def shuffled(value: Any, rng: random.Random) -> Any:
    if not isinstance(value, dict):
        return value
    names = list(value)
    rng.shuffle(names)
    return {name: shuffled(value[name], rng) for name in names}


@given(table, st.integers(0, 1000))
def test_a_key_does_not_depend_on_the_order_of_dicts(fixed: dict[str, Any], salt: int) -> None:
    other = shuffled(fixed, random.Random(salt))
    assert request_key(fixed, "p", 0, 1, HELLO) == request_key(other, "p", 0, 1, HELLO)


def key_of(fields: dict[str, Any], **place: Any) -> str:
    """The key that a call with this model config gets."""

    async def work() -> str:
        role = place.get("role", "user")
        config = ModelConfig.model_validate({"uri": place.get("uri", "counting:keys"), **fields})
        caller = Caller.open(Config(), None, seed=place.get("seed", 1), prompts=PROMPTS, models={role: (config,)})
        try:
            prompt = place.get("prompt", "user")
            messages = place.get("messages", HELLO)
            reply = await caller.call(role, place.get("path", "p"), prompt, messages, sample=place.get("sample", 0))
            return reply.generation.call_key
        finally:
            await caller.aclose()

    return asyncio.run(work())


@settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
@given(st.sets(st.sampled_from(sorted(FIELDS))), st.data())
def test_a_key_changes_with_every_field_that_is_sent(chosen: set[str], data: st.DataObject) -> None:
    fields = {name: FIELDS[name] for name in chosen}
    changed = data.draw(st.sampled_from(sorted(FIELDS)))
    other = dict(fields)
    if changed in other:
        del other[changed]
    else:
        other[changed] = FIELDS[changed]
    assert key_of(fields) == key_of(dict(reversed(fields.items())))
    assert key_of(fields) != key_of(other)


def test_a_key_changes_with_place_model_role_and_words_and_not_with_how_it_is_sent() -> None:
    base = key_of({})
    others: list[dict[str, Any]] = [
        {"path": "q"}, {"sample": 1}, {"seed": 2}, {"role": "judge"}, {"uri": "counting:other"},
        {"messages": HELLO[1:]}, {"messages": (HELLO[0], PromptMessage("user", ("Hello there!",)))},
        {"messages": (PromptMessage("user", ("Be kind.",)), HELLO[1])},
    ]  # fmt: skip
    keys = [base, *(key_of({}, **other) for other in others), key_of({"send_seed": False})]
    assert len(set(keys)) == len(keys)
    for how in ({"max_concurrency": 3}, {"timeout_seconds": 5}, {"max_attempts": 2}, {"requests_per_minute": 9e5},
                {"price_prompt": 1, "price_completion": 1}, {"weight": 3}):  # fmt: skip
        assert key_of(how) == base
    assert key_of({}, messages=(HELLO[0], PromptMessage("user", ("Hello ", "there")))) == base  # slots are joined


def test_the_schema_asked_for_is_part_of_the_key() -> None:
    assert key_of({}, role="judge", prompt="judge_compare") != key_of(
        {"structured": True}, role="judge", prompt="judge_compare"
    )


@settings(deadline=None, max_examples=20, suppress_health_check=list(HealthCheck))
@given(st.lists(st.integers(0, 11), max_size=12, unique=True), st.integers(0, 99))
def test_any_part_of_a_journal_resumes_to_the_same_end(done: list[int], salt: int) -> None:
    """Calls that depend on earlier answers, stopped after any subset, in any order."""
    import tempfile

    async def work(path: Path | None, order: list[int]) -> dict[int, tuple[str, str]]:
        config = ModelConfig(uri=f"counting:resume{salt}")
        async with calling(config, journal=path) as caller:
            found = {}
            for i in order:
                first = await caller.call("user", f"c/{i}", "user", (PromptMessage("user", (f"say {i}",)),))
                then = (*HELLO, PromptMessage("assistant", (first.text,)), PromptMessage("user", ("go on",)))
                second = await caller.call("user", f"c/{i}/2", "user", then)
                found[i] = (first.generation.call_key + second.generation.call_key, first.text + second.text)
            return found

    whole = asyncio.run(work(None, list(range(12))))
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "journal.sqlite"
        asyncio.run(work(path, done))
        model = counting[f"counting:resume{salt}"]
        n_before = len(model.asked)
        rest = list(range(12))
        random.Random(salt).shuffle(rest)
        assert asyncio.run(work(path, rest)) == whole
        assert len(model.asked) - n_before == 2 * (12 - len(done))


def test_a_retrained_checkpoint_at_the_same_path_answers_anew(tmp_path: Path) -> None:
    weights = tmp_path / "ckpt"
    weights.mkdir()

    async def ask(base_url: str, scheme: str) -> str:
        config = ModelConfig(uri=f"{scheme}:{weights}", base_url=base_url)
        async with calling(config, journal=tmp_path / "journal.sqlite") as caller:
            return (await caller.call("user", "p", "user", HELLO)).text

    async def work(scheme: str) -> None:
        async with serving(lambda body, n: f"answer {n}") as server:
            (weights / "model.safetensors").write_bytes(b"first weights" + scheme.encode())
            assert await ask(server.base_url, scheme) == "answer 0" == await ask(server.base_url, scheme)
            (weights / "model.safetensors").write_bytes(b"other weights" + scheme.encode())
            assert await ask(server.base_url, scheme) == "answer 1"
            (weights / "model.safetensors").write_bytes(b"first weights" + scheme.encode())
            assert await ask(server.base_url, scheme) == "answer 0"

    asyncio.run(work("openai"))
    asyncio.run(work("hf"))


def test_a_checkpoint_is_known_by_its_weights_wherever_it_lies(tmp_path: Path) -> None:
    """A run that is moved sends nothing again, and neither does one whose journal holds the place of earlier days."""
    weights = tmp_path / "here" / "sft"
    weights.mkdir(parents=True)
    (weights / "model.safetensors").write_bytes(b"weights")
    path = tmp_path / "journal.sqlite"

    async def ask(base_url: str, folder: Path) -> Reply:
        async with calling(ModelConfig(uri=f"hf:{folder}", base_url=base_url), journal=path) as caller:
            return await caller.call("user", "p", "user", HELLO)

    async def work() -> None:
        async with serving(lambda body, n: f"answer {n}") as server:
            first = await ask(server.base_url, weights)
            assert first.generation.model == "hf:sft" and first.text == "answer 0"
            moved = weights.parent.rename(tmp_path / "there") / "sft"
            assert await ask(server.base_url, moved) == first
            fixed = {"model": f"hf:{moved}", "revision": weight_digest(moved), "role": "user", "sampling": {}}
            old = request_key(fixed, "p", 0, derive_seed(1, "p", 0), HELLO)
            with closing(sqlite3.connect(path)) as database, database:
                database.execute("UPDATE calls SET key = ?", (old,))
                database.execute("DELETE FROM checks")  # a journal of that version had none
            again = await ask(server.base_url, moved)
            assert again.text == first.text and again.generation.call_key == old.hex() and len(server.requests) == 1

    asyncio.run(work())


# -- replay and single flight


def test_a_committed_call_is_never_sent_again_whatever_the_address(tmp_path: Path) -> None:
    async def work() -> None:
        journal = tmp_path / "journal.sqlite"
        async with serving(lambda b, n: "first") as one, serving(lambda b, n: "second") as two:
            async with calling(model_at(one.base_url, price_prompt=1, price_completion=2), journal=journal) as caller:
                before = await caller.call("user", "a", "user", HELLO)
            async with calling(model_at(two.base_url, price_prompt=9, price_completion=9), journal=journal) as caller:
                after = await caller.call("user", "a", "user", HELLO)
                assert caller.stats["user"].n_replayed == 1
            assert before == after and after.generation.cost == pytest.approx((20 * 1 + 5 * 2) / 1e6)
            assert len(one.requests) == 1 and two.requests == []

    asyncio.run(work())


def test_equal_calls_in_flight_are_sent_once_and_fail_together() -> None:
    async def work() -> None:
        async with serving(lambda b, n: "same") as server, calling(model_at(server.base_url)) as caller:
            server.delay = 0.05
            replies = await asyncio.gather(*(caller.call("user", "a", "user", HELLO) for _ in range(9)))
            assert len(server.requests) == 1 and {r.text for r in replies} == {"same"}
            server.script = lambda b, n: refusal("no", 400)
            found = await asyncio.gather(
                *(caller.call("user", "b", "user", HELLO) for _ in range(9)), return_exceptions=True
            )
            assert len(server.requests) == 2 and all(isinstance(e, EndpointError) for e in found)

    asyncio.run(work())


def test_a_cancelled_sender_leaves_the_call_to_those_who_wait_for_it() -> None:
    async def work() -> None:
        async with serving(lambda b, n: f"answer {n}") as server, calling(model_at(server.base_url)) as caller:
            server.delay = 0.1
            first = asyncio.create_task(caller.call("user", "a", "user", HELLO))
            second = asyncio.create_task(caller.call("user", "a", "user", HELLO))
            await asyncio.sleep(0.03)
            first.cancel()
            assert (await second).text == "answer 1"
            assert [row[2] for row in attempts(caller)] == ["cancelled"]
            with pytest.raises(asyncio.CancelledError):
                await first

    asyncio.run(work())


def test_what_cannot_be_read_is_asked_once_more_with_the_reason_and_then_unparsed() -> None:
    def parse(text: str) -> int:
        if not text.isdigit():
            raise ParseError("no digits found")
        return int(text)

    async def work() -> None:
        answers = ["hm", "7", "hm", "still hm"]
        async with serving(lambda b, n: answers[n]) as server, calling(model_at(server.base_url)) as caller:
            prompt = replace(RESPONDER, role="user", parse=parse)
            assert (await caller.ask(prompt, "a", history=HELLO))[0] == 7
            assert server.requests[0]["messages"] == [{"role": m.role, "content": m.content} for m in HELLO]
            assert server.requests[1]["messages"][2:][0] == {"role": "assistant", "content": "hm"}
            assert "no digits found" in server.requests[1]["messages"][3]["content"]
            value, reply = await caller.ask(prompt, "b", history=HELLO)
            assert value is None and reply.text == "still hm" and caller.stats["user"].n_unparsed == 1
            assert reply.generation.prompt_name == "responder" and reply.generation.role == "user"

    asyncio.run(work())


def test_a_user_that_echoes_the_assistant_is_asked_again() -> None:
    """What an answer may be depends on what was sent: the row's check is given the history."""
    persona = Persona(persona_id="p", profile="Lives.", personality="Warm.", profile_id="", personality_id="")
    said = (PromptMessage("assistant", ("Hi.",)), PromptMessage("user", ("Try a walk.",)))

    async def work() -> None:
        answers = ["Try a walk.", "I will."]
        async with serving(lambda b, n: answers[n]) as server, calling(model_at(server.base_url)) as caller:
            text, _ = await caller.ask(USER, "a", history=said, persona=persona, release="", task="")
            assert text == "I will." and "words back" in server.requests[1]["messages"][-1]["content"]

    asyncio.run(work())


def test_a_listener_is_told_of_every_answer_also_of_a_replayed_one() -> None:
    async def work() -> list[tuple[str, str, str, str]]:
        told: list[tuple[str, str, str, str]] = []
        async with calling(ModelConfig(uri="counting:told")) as caller:
            caller.listener = lambda model, path, messages, reply: told.append(
                (model.uri, path, messages[-1].content, reply.text)
            )
            first = await caller.call("user", "a", "user", HELLO)
            await caller.call("user", "a", "user", HELLO)
            assert caller.stats["user"].n_replayed == 1 and told[0][3] == first.text
        return told

    told = asyncio.run(work())
    assert len(told) == 2 and told[0] == told[1] and told[0][:3] == ("counting:told", "a", HELLO[-1].content)


def test_one_of_several_models_is_picked_by_place_and_weight() -> None:
    async def work(seed: int) -> list[str]:
        models = (ModelConfig(uri="counting:heavy", weight=3), ModelConfig(uri="counting:light"))
        async with calling(*models, seed=seed) as caller:
            return [(await caller.call("user", f"p/{i}", "user", HELLO)).generation.model for i in range(200)]

    picks = asyncio.run(work(5))
    assert picks == asyncio.run(work(5)) != asyncio.run(work(6))
    assert 120 < picks.count("counting:heavy") < 180


# -- budget


def test_the_budget_stops_the_run_before_it_is_passed(tmp_path: Path) -> None:
    async def work(budget: dict[str, Any], n: int) -> tuple[int, Caller]:
        async with serving(lambda b, i: "x") as server:
            server.delay = 0.005
            model = model_at(server.base_url, max_tokens=50, price_prompt=1000, price_completion=1000)
            async with calling(model, journal=tmp_path / f"{n}.sqlite", budget=budget) as caller:
                found = await asyncio.gather(
                    *(caller.call("user", f"p/{i}", "user", HELLO) for i in range(60)), return_exceptions=True
                )
                stopped = [e for e in found if isinstance(e, BaseException)]
                assert stopped and all(isinstance(e, BudgetExceeded) for e in stopped)
                assert "raise the budget" in str(stopped[0])
                assert 60 - len(stopped) == len(server.requests) + caller.stats["user"].n_replayed
                return len(server.requests), caller

    answered, caller = asyncio.run(work({"tokens": 500}, 1))
    assert caller.budget.spent_tokens == answered * 25 <= 500
    assert answered >= 15  # 25 a call, and room for the worst case of the last one: not stopped much too early
    more, caller = asyncio.run(work({"tokens": 700}, 1))  # what was spent before counts
    assert 500 < caller.budget.spent_tokens <= 700 and 4 <= more <= 8
    answered, caller = asyncio.run(work({"usd": 0.4}, 2))
    assert caller.budget.spent_usd == pytest.approx(answered * 25 * 1000 / 1e6) and caller.budget.spent_usd <= 0.4


def test_attempts_that_may_have_been_billed_count(tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(lambda b, n: Fault(hang=True)) as server:
            model = model_at(server.base_url, max_tokens=50, timeout_seconds=0.1)
            path = tmp_path / "journal.sqlite"
            async with calling(model, journal=path, budget={"tokens": 160}) as caller:
                with pytest.raises(BudgetExceeded):
                    await caller.call("user", "a", "user", HELLO)
                assert 1 <= len(server.requests) <= 2 and 60 < caller.budget.spent_tokens <= 160
                spent = caller.budget.spent_tokens
            async with calling(model, journal=path, budget={"tokens": 160}) as caller:
                assert caller.budget.spent_tokens == spent

    asyncio.run(work())


def test_a_money_budget_needs_prices() -> None:
    async def work(model: ModelConfig) -> None:
        async with calling(model, budget={"usd": 1.0}):
            return None

    with pytest.raises(ConfigError, match=r"price of openai:made-up.*price_prompt"):
        asyncio.run(work(model_at("http://127.0.0.1:9/v1")))
    asyncio.run(work(model_at("http://127.0.0.1:9/v1", price_prompt=0, price_completion=0)))
    asyncio.run(work(ModelConfig(uri="world:user")))


def test_prices_are_known_for_dated_names_overridden_and_cheaper_for_cached_tokens() -> None:
    known = price_of(ModelConfig(uri="openai:gpt-4o-mini-2024-07-18"))
    assert known == price_of(ModelConfig(uri="openai:gpt-4o-mini")) and known is not None
    assert known.cost(Usage(prompt_tokens=1_000_000)) == pytest.approx(0.15)
    assert known.cost(Usage(prompt_tokens=1_000_000, cached_tokens=1_000_000)) == pytest.approx(0.075)
    own = price_of(ModelConfig(uri="openai:gpt-4o", price_prompt=1, price_completion=2))
    assert own is not None and own.cost(Usage(prompt_tokens=10**6, completion_tokens=10**6)) == 3
    assert price_of(ModelConfig(uri="openai:gpt-4o", base_url="http://127.0.0.1:9/v1")) is None


# -- what a server does not take

QUIRKS = [
    (
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        lambda b: "max_tokens" in b,
        lambda b: b["max_completion_tokens"] == 9,
    ),
    (
        "Unsupported value: 'temperature' does not support 0.3 here. Only the default (1) value is supported.",
        lambda b: "temperature" in b,
        lambda b: b["max_tokens"] == 9,
    ),
    (
        "System role not supported",
        lambda b: b["messages"][0]["role"] == "system",
        lambda b: b["messages"] == [{"role": "user", "content": "Be kind.\n\nHello there"}],
    ),
    ("Unrecognized request argument supplied: seed", lambda b: "seed" in b, lambda b: b["temperature"] == 0.3),
]


@pytest.mark.parametrize("quirk", range(len(QUIRKS)))
def test_what_a_server_refuses_is_learnt_once(quirk: int) -> None:
    message, refuses, adapted = QUIRKS[quirk]

    async def work() -> None:
        async with serving(lambda b, n: refusal(message) if refuses(b) else "ok") as server:
            server.delay = 0.01
            async with calling(model_at(server.base_url, temperature=0.3, max_tokens=9)) as caller:
                await asyncio.gather(*(caller.call("user", f"p/{i}", "user", HELLO) for i in range(12)))
                assert len(server.requests) <= 25  # those that were in flight together, and one that found out
                n_before = len(server.requests)
                await asyncio.gather(*(caller.call("user", f"q/{i}", "user", HELLO) for i in range(12)))
                assert len(server.requests) == n_before + 12
                assert all(adapted(b) for b in server.requests[-12:]) and attempts(caller) == []

    asyncio.run(work())


def test_several_quirks_at_once_and_one_that_stays() -> None:
    def script(body: dict[str, Any], n: int) -> Fault | str:
        for message, refuses, _ in QUIRKS:
            if refuses(body):
                return refusal(message)
        return "ok"

    async def work() -> None:
        async with serving(script) as server, calling(model_at(server.base_url, temperature=0.3, max_tokens=9)) as c:
            assert (await c.call("user", "a", "user", HELLO)).text == "ok" and len(server.requests) == 6
            server.script = lambda b, n: refusal("max_completion_tokens is too large: 9")
            with pytest.raises(EndpointError, match="too large"):
                await c.call("user", "b", "user", HELLO)

    asyncio.run(work())


def test_extras_stop_and_schema_reach_the_wire() -> None:
    async def work() -> None:
        verdict = Fault(body=answer('{"reason": "", "verdict": "tie"}'))
        async with serving(lambda b, n: verdict) as server:
            model = model_at(server.base_url, extra={"top_k": 5}, stop=["END"], structured=True, top_p=0.9)
            async with calling(model) as caller:
                await caller.call("user", "a", "judge_compare", HELLO)
                (body,) = server.requests
                assert body["top_k"] == 5 and body["stop"] == ["END"] and body["top_p"] == 0.9
                schema = body["response_format"]["json_schema"]["schema"]
                assert schema["properties"]["verdict"]["enum"] == ["first", "second", "tie"]

    asyncio.run(work())


def test_log_probabilities_and_several_shapes_of_content_are_read() -> None:
    async def work() -> None:
        token = {"token": "4", "logprob": -0.1, "top_logprobs": []}
        parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
        bodies = [
            answer("4", logprobs={"content": [token]}),
            answer("", message={"role": "assistant", "content": parts}),
            answer("", message={"role": "assistant", "content": None}),
        ]
        async with serving(lambda b, n: Fault(body=bodies[n])) as server:
            model = create_model(model_at(server.base_url))
            request = ChatRequest(HELLO, logprobs=3)
            found = [await model.complete(request) for _ in bodies]
            await model.aclose()
            assert found[0].logprobs == [token] and server.requests[0]["top_logprobs"] == 3
            assert [c.text for c in found] == ["4", "ab", ""]

    asyncio.run(work())


def test_a_server_without_usage_is_estimated() -> None:
    async def work() -> None:
        body = json.loads(answer("x" * 40))
        del body["usage"]
        async with (
            serving(lambda b, n: Fault(body=json.dumps(body).encode())) as server,
            calling(model_at(server.base_url)) as caller,
        ):
            usage = (await caller.call("user", "a", "user", HELLO)).generation.usage
            assert usage.completion_tokens == 10 and usage.prompt_tokens == len("Be kind.Hello there") // 4

    asyncio.run(work())


def test_garbage_is_looked_for_less_often_while_a_caller_is_open() -> None:
    async def work() -> None:
        before = gc.get_threshold()
        first, second = (Caller.open(Config(), None, seed=0, prompts=PROMPTS) for _ in range(2))
        try:
            assert gc.get_threshold()[0] > before[0]
            await first.aclose()
            await first.aclose()
            assert gc.get_threshold()[0] > before[0], "the second is still open"
        finally:
            await second.aclose()
        assert gc.get_threshold() == before

    asyncio.run(work())
