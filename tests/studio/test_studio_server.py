"""The studio's server: who may ask, what a fault looks like, what a growing run shows. Real requests, real files."""

from __future__ import annotations

import json
import shutil
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from aloe.__main__ import main
from aloe.config import ModelConfig
from aloe.models.guard import own_hosts
from aloe.studio.choices import Choice, best_choice

Serve = Callable[..., AbstractContextManager[str]]


def ask(url: str, body: Any = None, **headers: str) -> tuple[int, dict[str, Any]]:
    """Status and JSON of a GET, or of a POST where there is a body (sent as it is where it is bytes)."""
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    if data is not None:
        headers.setdefault("Content_Type", "application/json")
    request = urllib.request.Request(url, data, {k.replace("_", "-"): v for k, v in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


@pytest.fixture(scope="module")
def address(whole_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from conftest import studio

    run = shutil.copytree(whole_run, tmp_path_factory.mktemp("served") / "spring")
    with studio(Path(run)) as url:
        yield url


def test_it_listens_on_loopback_only(address: str) -> None:
    parts = urlsplit(address)
    assert parts.hostname == "127.0.0.1"
    probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        probe.connect(("192.0.2.1", 9))  # no packet is sent: it only tells this machine's outer address
        outer = probe.getsockname()[0]
    except OSError:
        outer = "127.0.0.2"
    finally:
        probe.close()
    with pytest.raises(OSError):
        socket.create_connection((outer, parts.port or 0), timeout=2).close()


def test_the_best_model_is_named_and_what_a_tiny_one_can_talk_about(run: Path, serve: Serve, address: str) -> None:
    found = ask(f"{address}api/run")[1]
    assert found["best"] == "dpo" and not any(model["limits"] for model in found["models"])  # of an unknown base
    for name in ("base", "sft"):
        shutil.copytree(run / "checkpoints" / "dpo", run / "checkpoints" / name)
    with serve(run) as other:
        found = ask(f"{other}api/run")[1]
    limits = {model["name"]: model["limits"] for model in found["models"]}
    assert list(limits)[:2] == ["base", "sft"] and found["best"] == "dpo"  # what was trained last
    assert "dinner, weekend" in limits["base"] and "occupation, pet" in limits["dpo"] and not limits["generic"]


def test_without_training_the_best_of_the_benchmark_is_begun_with(run: Path) -> None:
    models = [ModelConfig(uri=f"world:{name}") for name in ("swapped", "generic", "assistant", "tailored")]
    choices = [Choice(m.uri[6:], m, "benchmark", needs_persona=m.uri == "world:swapped") for m in models]
    assert best_choice(choices[:2], run) == "generic" and best_choice([], run) is None
    for name, average in (("swapped", 4.9), ("assistant", 3.0), ("tailored", 2.5)):
        (run / "bench" / name).mkdir(exist_ok=True)
        (run / "bench" / name / "result.json").write_text(json.dumps({"avg": average}))
    assert best_choice(choices, run) == "assistant"
    (run / "bench" / "assistant" / "result.json").write_text("{half")
    assert best_choice(choices, run) == "tailored"


@pytest.mark.parametrize("name", ["evil.example", "127.0.0.1.evil.example", "localhost.", "10.0.0.1", "a b"])
def test_other_names_for_the_server_are_refused(address: str, name: str) -> None:
    status, found = ask(f"{address}api/run", Host=name)
    assert status == 403 and "not called" in found["error"]


def test_its_own_names_are_taken(address: str) -> None:
    port = urlsplit(address).port
    for name in ("127.0.0.1", "localhost", "LOCALHOST", "[::1]"):
        assert ask(f"{address}api/run", Host=f"{name}:{port}")[0] == 200


def test_an_outer_address_takes_addresses_but_no_foreign_names() -> None:
    own = own_hosts("0.0.0.0")
    assert own("192.0.2.7") and own("localhost") and own(socket.gethostname().lower())
    assert not own("evil.example") and not own("")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Content_Type": "text/plain"},
        {"Content_Type": "application/x-www-form-urlencoded"},
    ],
    ids=str,
)
def test_changes_asked_for_by_other_pages_are_refused(address: str, headers: dict[str, str]) -> None:
    status, found = ask(f"{address}api/talks", {"models": ["dpo"]}, **headers)
    assert status == 403 and found["error"]


def test_reading_from_another_page_is_refused_too(address: str) -> None:
    assert ask(f"{address}api/run", Origin="http://evil.example")[0] == 403
    assert ask(f"{address}api/run", Origin=address.rsplit("/", 2)[0])[0] == 200


def test_every_answer_has_the_policy(address: str) -> None:
    for path in ("", "studio.js", "studio.css", "api/run", "report", "nothing/here"):
        try:
            with urllib.request.urlopen(address + path) as answer:
                headers = answer.headers
        except urllib.error.HTTPError as error:
            headers = error.headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and headers["X-Content-Type-Options"] == "nosniff"
        assert ("sandbox" in policy) == (path == "report")
        if path != "report":
            assert "unsafe" not in policy


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("api/talks", {"models": ["nobody"]}, "no model 'nobody'"),
        ("api/talks", {"models": []}, "0 models chosen"),
        ("api/talks", {"models": ["dpo"], "persona": "nobody"}, "no persona 'nobody'"),
        ("api/talks", {"models": ["oracle"]}, "reads the persona"),
        ("api/talks", b"{", "not JSON"),
        ("api/talks", [1, 2], "0 models chosen"),
        ("api/talks/xyz/say", {"text": "hi"}, "has ended"),
        ("api/search?source=../../etc", None, "no conversations called"),
        ("api/conversation?source=trees&id=../../etc/passwd", None, "does not exist"),
        ("nothing/here", None, "Not Found"),
        ("../../etc/passwd", None, "Not Found"),
    ],
    ids=str,
)
def test_what_is_asked_wrongly_is_said(address: str, path: str, body: Any, words: str) -> None:
    status, found = ask(address + path, body)
    assert 400 <= status < 500 and words in found["error"]


def test_a_talk_is_refused_what_it_cannot_take(address: str) -> None:
    _, talk = ask(f"{address}api/talks", {"models": ["generic"]})
    base = f"{address}api/talks/{talk['id']}/"
    assert "write 1 to 20,000" in ask(base + "say", {"text": "x" * 1_000_000})[1]["error"]
    assert "write 1 to 20,000" in ask(base + "say", {"text": "  "})[1]["error"]
    assert ask(base + "say", {"text": "x" * 9_000_000})[0] == 413
    assert "the conversation is empty" in ask(base + "rate", {"choice": "A"})[1]["error"]
    assert "invalid choice" in ask(base + "rate", {"choice": "C"})[1]["error"]
    assert "no user to simulate" in ask(base + "propose", {})[1]["error"]
    status, talk = ask(base + "say", {"text": "hello"})
    assert status == 200 and talk["turns"][0]["replies"][0]["text"]
    assert "not two replies" in ask(base + "rate", {"choice": "A"})[1]["error"]


def search(address: str, **asked: object) -> dict[str, Any]:
    query = "&".join(f"{k}={quote(str(v))}" for k, v in asked.items())
    until = time.monotonic() + 20
    while True:
        _, found = ask(f"{address}api/search?{query}")
        if found.get("share_read", 1) >= 1 or time.monotonic() > until:
            return found


def test_search_finds_what_is_in_the_files(address: str, whole_run: Path) -> None:
    trees = [json.loads(line) for line in (whole_run / "trees" / "trees.jsonl").read_text("utf-8").splitlines()]
    assert search(address, source="trees")["n_total"] == len(trees)
    word = trees[3]["nodes"][0]["message"]["content"][:30]
    people = [json.loads(s) for s in (whole_run / "personas" / "personas.jsonl").read_text("utf-8").splitlines()]
    about = {p["persona_id"]: (p["profile"] + p["personality"]).lower() for p in people}
    labels = (whole_run / "trees" / "labels.jsonl").read_text("utf-8").lower().splitlines()
    meant = {
        t["tree_id"] for t in trees
        if word.lower() in "\n".join(n["message"]["content"] for n in t["nodes"]).lower()
        or word.lower() in about[t["persona_id"]]
        or any(word.lower() in s for s in labels if t["tree_id"] in s)
    }  # fmt: skip
    found = search(address, source="trees", q=word)
    assert {item["i"] for item in found["items"]} == meant and trees[3]["tree_id"] in meant
    assert search(address, source="trees", q="no such words")["n_found"] == 0
    for sort, key in (("shown-", "shown"), ("score", "score")):
        source = "bench-generic" if key == "score" else "trees"
        values = [item[key] for item in search(address, source=source, sort=sort)["items"]]
        assert values == sorted(values, reverse=sort.endswith("-")) and values
    first = found["items"][0]["i"]
    _, whole = ask(f"{address}api/conversation?source=trees&id={first}")
    assert whole["persona"] and whole["n"] and whole["l"]


@pytest.mark.parametrize("asked", [{"offset": "nan"}, {"limit": "-5"}, {"margin": "1e999"}, {"offset": "x"}], ids=str)
def test_numbers_that_are_none_are_not_taken(address: str, asked: dict[str, str]) -> None:
    assert search(address, source="trees", **asked)["n_total"] > 0


def test_a_run_that_grows_shows_what_is_there(run: Path, serve: Serve) -> None:
    trees = run / "trees" / "trees.jsonl"
    lines = trees.read_bytes().splitlines(keepends=True)
    trees.unlink()
    growing = trees.with_suffix(".partial.jsonl")
    growing.write_bytes(b"".join(lines[:2]) + lines[2][:40])  # a row is being written
    with serve(run) as address:
        found = search(address, source="trees")
        assert found["n_total"] == 2 and found["is_growing"]
        with open(growing, "ab") as file:
            file.write(lines[2][40:] + lines[3])
        time.sleep(0.6)  # longer than files are taken to be unchanged
        assert search(address, source="trees")["n_total"] == 4
        trees.write_bytes(b"".join(reversed(lines)))
        growing.unlink()
        time.sleep(0.6)
        found = search(address, source="trees")
        assert found["n_total"] == len(lines) and not found["is_growing"]
        assert found["items"][0]["i"] == json.loads(lines[-1])["tree_id"]


def test_an_empty_directory_and_a_damaged_run_open(tmp_path: Path, serve: Serve) -> None:
    (tmp_path / "empty").mkdir()
    with serve(tmp_path / "empty") as address:
        status, found = ask(f"{address}api/run")
        assert status == 200 and found["sources"] == [] and not found["report"]
        assert "no config.toml" in found["notices"][0]
        assert ask(f"{address}report")[1]["error"].startswith("this run has no report yet")
        assert ask(f"{address}api/personas")[1]["n"] > 0  # the packaged ones
    broken = tmp_path / "broken"
    (broken / "trees").mkdir(parents=True)
    (broken / "trees" / "trees.jsonl").write_bytes(b'[1]\n{"tree_id": 4}\n\xff\n{"nodes": 3, "tree_id": "t"}\n')
    (broken / "manifest.json").write_text("{")
    (broken / "config.toml").write_text('[sft]\nof_another_version = 1\n[roles]\njudge = "world:judge"\n')
    with serve(broken) as address:
        status, found = ask(f"{address}api/run")
        assert status == 200 and found["problems"] and "of_another_version" in found["notices"][0]
        assert search(address, source="trees")["n_total"] >= 1


def test_what_cannot_be_served_is_said_in_one_line(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["studio", str(run), "--port", str(taken.getsockname()[1])]) == 2
    assert "choose another --port" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert main(["studio", str(tmp_path / "file")]) == 3
    assert "is not a directory" in capsys.readouterr().err
    (run / "config.toml").write_text("[roles]\njugde = 1\n")
    assert main(["studio", str(run)]) == 2
    assert "jugde" in capsys.readouterr().err
