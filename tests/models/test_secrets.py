"""Keys and secret headers are nowhere: not in the run directory, the journal, the logs, the report or an error."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aloe.config import Config, ModelConfig, load_config
from aloe.config.exposure import exposures, told
from aloe.errors import ConfigError, EndpointError, EndpointStopped
from aloe.models.pricing import price_of
from aloe.models.registry import create_model
from aloe.models.server import read_request
from aloe.personas.embedders import create_embedder
from aloe.protocols import ChatRequest
from aloe.world.model import WorldModel
from models.faulty import HELLO, Fault, FaultyServer, answer, calling, model_at, refusal, serving

KEY = "sk-live-0123456789abcdefSECRET"
TOKEN = "org-secret-header-value-77"
SECRETS = {"MY_TEST_KEY": KEY, "MY_TEST_HEADER": TOKEN}


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


def leaks(text: bytes) -> list[str]:
    """Which secrets (or good parts of them) are in ``text``."""
    return [s for s in (KEY, TOKEN, KEY[:16], KEY[-12:], TOKEN[4:16]) if s.encode() in text]


FAULTS = [
    refusal(f"Incorrect API key provided: {KEY}", 401),
    refusal(f"bad header X-Org: {TOKEN}, Authorization: Bearer {KEY}", 400),
    refusal(f"overloaded, {KEY}", 500),
    Fault(429, f"{KEY} is too fast".encode(), {"Retry_After": "0"}),
    Fault(502, f"<html>{'x' * 280}{KEY}</html>".encode()),  # cut by our own limit in the middle of the key
    Fault(body=b"x" * 290 + KEY.encode()),
    Fault(body=f'{{"note": "{TOKEN}"}}'.encode()),
    Fault(body=f'{{"error": {{"code": 503, "message": "{KEY}"}}}}'.encode()),
    Fault(body=answer(KEY)[:-20]),
    Fault(body=answer("x"), cut=0.5),
    Fault(302, b"", {"Location": f"http://127.0.0.1:9/?key={KEY}"}),
    Fault(hang=True),
    Fault(body=answer("x"), drip=0.1),
    Fault(body=f'{{"choices": [], "key": "{KEY}"}}'.encode()),
    Fault(body=f"<html>{TOKEN}</html>".encode(), headers={"Content_Type": "text/html"}),
    Fault(409, f'{{"detail": "conflict, {KEY}"}}'.encode(), {"X_Echo": KEY}),
    Fault(500, f'["{KEY}", {{"message": "{TOKEN}"}}]'.encode()),
]


def test_no_error_log_or_journal_holds_a_secret(
    tmp_path: Path, secrets: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def work() -> None:
        async with serving(lambda b, n: FAULTS[int(b["messages"][1]["content"])]) as server:
            model = model_at(
                server.base_url, api_key_env="MY_TEST_KEY", headers_env={"X-Org": "MY_TEST_HEADER"},
                max_attempts=2, timeout_seconds=0.5,
            )  # fmt: skip
            async with calling(model, journal=tmp_path / "journal.sqlite") as caller:
                for i in range(len(FAULTS)):
                    messages = (HELLO[0], type(HELLO[1])("user", (str(i),)))
                    with pytest.raises((EndpointError, EndpointStopped)) as caught:
                        await caller.call("user", f"p/{i}", "user", messages)
                    assert not leaks(f"{caught.value!r} {caught.value}".encode()), i
                caller.journal.flush()
                held = b"".join(p.read_bytes() for p in tmp_path.iterdir())
                assert b"overloaded" in held and not leaks(held)
            assert all(h["authorization"] == f"Bearer {KEY}" and h["x-org"] == TOKEN for h in server.headers)

    asyncio.run(work())
    assert not leaks(caplog.text.encode())


def test_no_connection_no_host_and_embeddings_hold_no_secret(
    tmp_path: Path, secrets: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    names = {"api_key_env": "MY_TEST_KEY", "headers_env": {"X-Org": "MY_TEST_HEADER"}, "timeout_seconds": 0.5}
    says: list[str] = []

    async def call(base_url: str, folder: str) -> None:
        async with calling(model_at(base_url, **names), journal=tmp_path / folder / "journal.sqlite") as caller:
            with pytest.raises((EndpointError, EndpointStopped), match=r"no connection|is down") as caught:
                await caller.call("user", "p", "user", HELLO)
            says.append(f"{caught.value!r} {caught.value}")

    async def embed(server: FaultyServer) -> None:
        writer = {"uri": "openai:w", "base_url": server.base_url, "max_attempts": 2, **names}
        short = {"outage_minutes": 0.02}  # a gateway without a server is waited out so long
        config = Config.model_validate({"roles": {"writer": [writer]}, "execution": short})
        async with calling(model_at(server.base_url), journal=tmp_path / "e" / "journal.sqlite") as caller:
            embedder = create_embedder("openai:e", config, caller)
            for i in range(len(FAULTS)):
                with pytest.raises((EndpointError, EndpointStopped)) as caught:
                    await asyncio.to_thread(embedder.embed, [str(i)])
                says.append(f"{caught.value!r} {caught.value}")
        assert all(h["authorization"] == f"Bearer {KEY}" and h["x-org"] == TOKEN for h in server.headers)

    async def work() -> None:
        async with serving(lambda b, n: "x") as gone:
            port = gone.port
        async with serving(lambda b, n: FAULTS[int(b["input"][0])]) as server:
            await asyncio.gather(
                call(f"http://127.0.0.1:{port}/v1", "refused"), call("http://no-such-host.invalid/v1", "dns"),
                embed(server),
            )  # fmt: skip

    asyncio.run(work())
    held = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert len(says) == len(FAULTS) + 2 and sum(p.name == "journal.sqlite" for p in held) == 3
    assert any(b"no-such-host.invalid" in text for text in held.values())
    for text in (*held.values(), *(line.encode() for line in says), caplog.text.encode()):
        assert not leaks(text)


def test_a_whole_run_with_faults_leaves_no_secret_behind(tmp_path: Path) -> None:
    """Stages, benchmark and report by subprocess: everything that it prints and writes is searched."""
    import os
    import threading

    actors: dict[str, object] = {}
    ready = threading.Event()
    found: list[str] = []
    met: list[int] = []
    faults = FAULTS[1:]  # a refused key ends the stage at once
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    def script(body: dict, n: int):
        if n % 6 == 3 and n // 6 < 2 * len(faults):  # each fault twice, spread over the run
            met.append(n // 6 % len(faults))
            return faults[met[-1]]
        request, name, _ = read_request(body)
        return actors.setdefault(name, WorldModel(name)).answer(request).text  # type: ignore[attr-defined]

    async def serve() -> None:
        async with serving(script) as server:
            found.append(server.base_url)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert ready.wait(10)
    config = load_config("demo")
    lines = ["[personas]", 'seeds = "world"', 'embedder = "world"', "n_profiles = 24", "n_personalities = 16",
             "n_personas = 16", "n_bench_profiles = 4", "n_bench_personalities = 4", "n_bench = 4",
             "personality_words = 25", "[trees]", "n_turns = 2", "[bench]", "n_turns = 2"]  # fmt: skip
    for role in ("writer", "user", "inducer", "judge", "tailored", "generic"):
        (model,) = getattr(config.roles, role)
        lines += [f"[[roles.{role}]]", f'uri = "{model.uri}"', f'base_url = "{found[0]}"', "timeout_seconds = 1.0",
                  'api_key_env = "MY_TEST_KEY"', 'headers_env = {"X-Org" = "MY_TEST_HEADER"}']  # fmt: skip
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("\n".join(lines))
    command = [sys.executable, "-m", "aloe", "run", recipe, "--out", tmp_path / "run", "--skip", "base,sft,rollout,dpo"]
    printed = b""
    try:
        for _ in range(6):  # calls that a fault ended for good leave a stage incomplete; the next run completes it
            done = subprocess.run(command, capture_output=True, timeout=120, env={**os.environ, **SECRETS}, check=False)
            printed += done.stdout + done.stderr
            if done.returncode != 4:
                break
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
    assert done.returncode == 0, done.stderr
    assert sorted(met) == sorted([*range(len(faults))] * 2)
    assert not leaks(printed)
    files = [p for p in (tmp_path / "run").rglob("*") if p.is_file()]
    assert {"journal.sqlite", "log.jsonl", "config.toml", "index.html"} <= {p.name for p in files}
    assert b"MY_TEST_KEY" in (tmp_path / "run" / "config.toml").read_bytes()  # the name, and only the name
    for path in files:
        assert not leaks(path.read_bytes()), path


def test_unset_variables_and_secrets_in_addresses_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOT_SET_ANYWHERE", raising=False)
    with pytest.raises(ConfigError, match="export NOT_SET_ANYWHERE"):
        create_model(model_at("http://127.0.0.1:9/v1", api_key_env="NOT_SET_ANYWHERE"))
    with pytest.raises(ValueError, match="user name or password") as caught:
        create_model(model_at("http://me:pass-word-9@127.0.0.1:9/v1"))
    assert "pass-word-9" not in str(caught.value)
    monkeypatch.setenv("ODD_KEY", "two\nlines")
    with pytest.raises(ConfigError, match="line break") as caught:
        create_model(model_at("http://127.0.0.1:9/v1", api_key_env="ODD_KEY"))
    assert "two" not in str(caught.value)
    with pytest.raises(ConfigError, match="is not a valid address"):
        create_model(model_at("127.0.0.1:9"))


def test_the_usual_variable_is_used_for_the_usual_address(secrets: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    model = create_model(ModelConfig(uri="openai:gpt-4o"))
    assert KEY not in repr(vars(model.endpoint).get("host")) and model.endpoint.host == "api.openai.com"  # type: ignore[attr-defined]
    assert not leaks(repr(ChatRequest(HELLO)).encode())


def test_the_usual_variables_of_address_and_key_are_honoured_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ModelConfig(uri="openai:gpt-4o")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ConfigError, match=r"OPENAI_API_KEY, which is not set; .* or OPENAI_BASE_URL for another"):
        create_model(model)

    async def ask() -> list[str | None]:
        async with serving(lambda body, n: "hello") as server:
            monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
            for key in ("", KEY):
                monkeypatch.setenv("OPENAI_API_KEY", key)
                async with calling(model) as caller:
                    assert (await caller.call("user", f"p{key}", "user", HELLO)).text == "hello"
            return [heads.get("authorization") for heads in server.headers]

    assert asyncio.run(ask()) == [None, f"Bearer {KEY}"]
    host = os.environ["OPENAI_BASE_URL"].split("/")[2]
    assert told(model) == f"openai:gpt-4o at {host}" and price_of(model) is None  # another server has other prices
    assert [e.text for e in exposures(load_config(None, {"roles": {"user": "openai:gpt-4o"}}))] == [
        f"send conversations to {host}", f"send $OPENAI_API_KEY to {host} (Authorization)",
    ]  # fmt: skip
    monkeypatch.setenv("OPENAI_BASE_URL", "localhost:8000")
    with pytest.raises(ConfigError, match=r"\$OPENAI_BASE_URL 'localhost:8000' .* is not a valid address"):
        create_model(model)
