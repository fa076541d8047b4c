"""Every server of ours has the same guard: other names, other pages, other forms and strangers are refused."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aloe.__main__ import main
from aloe.models.server import BadRequest, read_request

ASK = {"model": "world:user", "messages": [{"role": "user", "content": "hello"}]}
PATHS = {"serve": "v1/chat/completions", "world": "v1/chat/completions", "studio": "api/talks", "env": "reset"}
KEY = "a-key-of-ones-own-0123456789"


@contextmanager
def serving(*command: str, **environment: str) -> Iterator[tuple[str, str]]:
    """A server started by its command; gives the address and everything that was printed up to it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "aloe", *command, "--port", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | environment,
    )  # fmt: skip
    said = ""
    try:
        assert process.stdout is not None
        for line in process.stdout:
            said += line
            if found := [word for word in line.split() if word.startswith("http://")]:
                yield found[0], said
                return
        pytest.fail(said)
    finally:
        process.terminate()
        process.communicate(timeout=20)


def send(address: str, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    """Status and body of one request; headers as they are, the Host header too."""
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 0, timeout=20)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def ask(address: str, path: str, **headers: str) -> tuple[int, bytes]:
    headers.setdefault("Content_Type", "application/json")
    return send(address, path, "POST", json.dumps(ASK).encode(), **headers)


@pytest.fixture(scope="module", params=["serve", "world", "studio", "env"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The printed address of each server, and a path that asks for something."""
    run = tmp_path_factory.mktemp("run")
    command = {"serve": ("serve", "world:user"), "world": ("world", "serve"), "studio": ("studio", str(run))}
    command["env"] = ("env", "serve", "--user", "world:user", "--judge", "world:judge")
    with serving(*command[request.param]) as (address, _):
        path = urlsplit(address).path.rstrip("/").removesuffix("/v1")
        yield address, f"{path}/{PATHS[request.param]}"


def test_the_printed_address_answers(server: tuple[str, str]) -> None:
    status, body = ask(*server)
    assert status in (200, 400) and b"token is missing" not in body, body  # the studio knows no such model


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"}, {"Host": "evil.example:80"}, {"Host": "["}, {"Host": "localhost.evil.example"},
        {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec_Fetch_Site": "cross-site"},
        {"Content_Type": "text/plain"}, {"Content_Type": "application/x-www-form-urlencoded"},
        {"Content_Type": "multipart/form-data; boundary=x"},
    ],
    ids=str,
)  # fmt: skip
def test_other_names_pages_and_forms_are_refused(server: tuple[str, str], headers: dict[str, str]) -> None:
    assert ask(*server, **headers)[0] in (400, 403)
    status, body = ask(*server, **headers)
    assert status != 200 and b"hello" not in body


def test_without_the_token_nothing_is_told(server: tuple[str, str]) -> None:
    address, path = server
    bare = "/" + path.split("/", 2)[2]
    wrong = path.replace(path.split("/")[1], "x" * 24)
    for tried in (bare, wrong, "/", "/v1/models", "/api/run", "/api/personas", "/health", "//"):
        assert send(address, tried)[0] == 403
        assert ask(address, tried)[0] == 403
        assert ask(address, tried, Authorization="Bearer wrong")[0] == 403
        assert send(address, tried, "PUT")[0] == send(address, tried, "OPTIONS")[0] == 403
    token = path.split("/")[1]
    assert len(token) >= 20 and ask(address, bare, Authorization=f"Bearer {token}")[0] != 403


def test_a_key_of_ones_own_takes_the_tokens_place() -> None:
    with serving("world", "serve", "--key-env", "OUR_KEY", OUR_KEY=KEY) as (address, said):
        assert KEY not in said and urlsplit(address).path == "/v1"
        assert ask(address, "/v1/chat/completions")[0] == 403
        assert ask(address, f"/{KEY}/v1/chat/completions")[0] == 403
        assert ask(address, "/v1/chat/completions", Authorization=f"Bearer {KEY}")[0] == 200


def test_an_outer_address_is_warned_of_and_other_names_can_be_allowed() -> None:
    with serving("world", "serve", "--host", "0.0.0.0", "--allow-host", "box.example") as (address, said):
        assert "warning: 0.0.0.0 is not loopback" in said
        path = urlsplit(address).path + "/models"
        local = f"http://127.0.0.1:{urlsplit(address).port}"
        assert send(local, path, Host="box.example")[0] == 200
        assert send(local, path, Host="evil.example")[0] == 403


@pytest.mark.parametrize("uri", ["openai:gpt-4o", "openai:anything"])
def test_a_paid_model_is_not_served_without_a_key_of_ones_own(
    uri: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-a-real-one")
    assert main(["serve", uri, "--port", "0"]) == 2
    assert "--key-env NAME" in capsys.readouterr().err
    monkeypatch.setenv("SHORT", "abc")
    assert main(["serve", uri, "--port", "0", "--key-env", "SHORT"]) == 2
    assert "at least 16" in capsys.readouterr().err


@settings(max_examples=60)
@given(
    st.dictionaries(
        st.sampled_from(["model", "messages", "temperature", "max_tokens", "stop", "n", "seed", "stream", "logprobs"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=2)
                | st.dictionaries(st.sampled_from(["role", "content", "text"]), inner, max_size=2)
            ),
            max_leaves=4,
        ),
    )
)
def test_any_request_is_read_or_refused_in_one_line(body: dict[str, object]) -> None:
    with contextlib.suppress(BadRequest):
        read_request(body)
