"""What becomes of a run when its endpoint, its process or its disk fails?

Over a hundred faults, each in one stage of a small run (personas, trees, export, bench, report) whose models are all
behind a server of our own. A fault strikes some requests of the stage, or all until it is mended. The run must then

- pass: end as if nothing had been, with files equal byte for byte to those of a run without faults; or
- tell: stop with one line and an exit code, and end with these same files when the same command is run again after the
  fault is mended, without sending again what was answered.

Anything else counts against us: ``n_silent`` (an end without a word and with other files), ``n_lost`` (other files, or
failed calls, after the mended rerun; or answered calls that were sent again), ``n_tracebacks``, ``n_hangs`` (no end
within ``--limit`` seconds). ``n_rate_limited_lost``: of 120 independent calls to each of five servers that bear four
requests a second and say so in different ways, those that failed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson

from aloe.config import Config, ModelConfig, load_config
from aloe.errors import AloeError
from aloe.models.caller import Caller
from aloe.models.server import read_request
from aloe.prompts import PromptSet
from aloe.protocols import PromptMessage
from aloe.stages.pipeline import run_pipeline
from aloe.store.rundir import RunDir
from aloe.world.model import WorldModel

ROLES = {
    "writer": "world:persona-writer", "user": "world:user", "inducer": "world:inducer", "tailored": "world:tailored",
    "generic": "world:generic", "judge": "world:judge",
}  # fmt: skip
STAGES = ("personas", "trees", "bench")
FILES = (
    "personas/pool.jsonl", "personas/personas.jsonl", "trees/trees.jsonl", "trees/labels.jsonl",
    "trees/disclosures.jsonl", "datasets/dpo.parquet", "datasets/sft.parquet", "bench/generic/conversations.jsonl",
    "bench/generic/scores.jsonl",
)  # fmt: skip


@dataclass(frozen=True)
class Reply:
    """What comes back: a status and a body, or none (``hang``), or a part of it (``cut``: that share, then the end)."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    cut: float | None = None
    hang: bool = False


@dataclass(frozen=True)
class Fault:
    """Strikes requests of one stage.

    Attributes:
        make: from the text that would have been the answer.
        share: of the calls that it strikes, by a draw of the call's own; lasts: also when they are sent again.
    """

    name: str
    make: Callable[[str], Reply]
    share: float = 0.25
    lasts: bool = False


def answer(text: Any, message: dict[str, Any] | None = None, usage: Any = None, **choice: Any) -> bytes:
    said = {"role": "assistant", "content": text} if message is None else {"role": "assistant", **message}
    counted = {"prompt_tokens": 20, "completion_tokens": 5} if usage is None else usage
    return json.dumps({"choices": [{"message": said, "finish_reason": "stop", **choice}], "usage": counted}).encode()


def refusal(status: int, message: str, code: str = "", **headers: str) -> Callable[[str], Reply]:
    body = json.dumps({"error": {"message": message, "code": code or None}}).encode()
    sent = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return lambda text: Reply(status, body, sent)


def body(make: Callable[[str], bytes]) -> Callable[[str], Reply]:
    return lambda text: Reply(body=make(text))


def faults() -> list[Fault]:
    """Everything that an endpoint may do, once or for good."""
    passing = [Fault(f"{s} once", refusal(s, "oops")) for s in (404, 408, 409, 425, 500, 502, 503, 504, 507, 520, 522,
                                                                524, 529, 530)]  # fmt: skip
    limits = [
        Fault("429 bare", refusal(429, "slow down")),
        Fault("429 Retry-After 0", refusal(429, "slow down", Retry_After="0")),
        Fault("429 Retry-After 0.2", refusal(429, "slow down", Retry_After="0.2")),
        Fault("429 Retry-After in words", refusal(429, "slow down", Retry_After="soon")),
        Fault("429 Retry-After date", lambda t: Reply(429, b"{}", (("Retry-After", formatdate(usegmt=True)),))),
    ]
    accidents = [
        Fault(f"400 that names {what}", refusal(400, text), 0.12)
        for what, text in (
            ("the system role", "System role not supported"), ("seed", "Unrecognized request argument supplied: seed"),
            ("logprobs", "logprobs are not supported"), ("nothing", "Invalid request: system busy, temperature high"),
        )
    ]  # fmt: skip
    odd = {
        "no body": lambda t: b"", "half a body": lambda t: answer(t)[:-20], "a page": lambda t: b"<html>Sign in</html>",
        "a list": lambda t: b"[1]", "null": lambda t: b"null", "no choices": lambda t: b'{"choices": []}',
        "choices of numbers": lambda t: b'{"choices": [3]}', "bytes": lambda t: b"\xff\xfe\x00\x80",
        "an error in a 200": lambda t: b'{"error": {"code": 502, "message": "upstream"}}',
        "null content": lambda t: answer(None), "empty content": lambda t: answer(""),
        "blanks": lambda t: answer(" \n"),
        "content of numbers": lambda t: answer([1, 2]), "a refusal": lambda t: answer("", {"refusal": "I can't."}),
        "filtered": lambda t: answer("", finish_reason="content_filter"),
        "a tool call": lambda t: answer("", {"content": None, "tool_calls": [{"id": "1"}]}),
        "thoughts only": lambda t: answer("", {"content": "", "reasoning_content": "Hm."}),
    }  # fmt: skip
    harmless = {
        "usage of words": lambda t: answer(t, usage={"prompt_tokens": "many", "completion_tokens": None}),
        "negative usage": lambda t: answer(t, usage={"prompt_tokens": -5, "completion_tokens": -1}),
        "usage of 2^64": lambda t: answer(t, usage={"prompt_tokens": 2**64, "completion_tokens": 2**70}),
        "usage as a list": lambda t: answer(t, usage=[1]),
        "log-probabilities null": lambda t: answer(t, logprobs={"content": None}),
        "log-probabilities a number": lambda t: answer(t, logprobs=7),
        "log-probabilities odd": lambda t: answer(t, logprobs={"content": [{"token": None}, 3, {"logprob": 1e308}]}),
        "a finish of numbers": lambda t: answer(t, finish_reason=7),
    }  # fmt: skip
    wires = [
        Fault("cut before the body", lambda t: Reply(body=answer(t), cut=0.0)),
        Fault("cut in the body", lambda t: Reply(body=answer(t), cut=0.5)),
        Fault("reset before an answer", lambda t: Reply(cut=-1.0)),
        Fault("no answer in time", lambda t: Reply(hang=True), 0.05),
        Fault(
            "a body that claims to be gzip", lambda t: Reply(body=answer(t), headers=(("Content-Encoding", "gzip"),))
        ),
    ]
    told = [
        Fault(f"{name} for good", make, share, lasts=True)
        for name, make, share in (
            ("400", refusal(400, "content policy"), 0.1), ("403", refusal(403, "not for you"), 0.1),
            ("401", refusal(401, "bad key"), 1.0), ("402", refusal(402, "add credits"), 1.0),
            ("404", refusal(404, "no such model"), 1.0), ("413", refusal(413, "too large"), 0.1),
            ("429 no quota", refusal(429, "no quota", "insufficient_quota"), 0.3), ("500", refusal(500, "oops"), 0.1),
            ("503", refusal(503, "down"), 1.0), ("429", refusal(429, "slow down"), 1.0),
            ("empty content", body(lambda t: answer("")), 0.1), ("a page", body(lambda t: b"<html></html>"), 1.0),
        )
    ]  # fmt: skip
    bodies = [Fault(name, body(make)) for name, make in (odd | harmless).items()]
    return [*passing, *limits, *accidents, *bodies, *wires, *told]


@dataclass
class World:
    """The world over HTTP; ``fault`` strikes while ``stage`` is at work."""

    fault: Fault | None = None
    stage: Callable[[], str] = lambda: ""
    wanted: str = ""
    port: int = 0
    struck: set[str] = field(default_factory=set)
    answered: Counter[str] = field(default_factory=Counter)
    models: dict[str, WorldModel] = field(default_factory=dict)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        raw = await reader.readexactly(int(head.split("content-length: ")[1].split("\r\n")[0]))
        request, name, _ = read_request(orjson.loads(raw))
        said = "\x1e".join(m.content for m in request.messages)
        call = blake2b(f"{name} {request.seed} {said}".encode(), digest_size=8).hexdigest()
        text = self.models.setdefault(name, WorldModel(name)).answer(request).text
        reply = self._strike(call, text)
        if reply is None:
            self.answered[call] += 1
            reply = Reply(body=answer(text))
        if reply.hang:
            await asyncio.sleep(3600)
        if reply.cut == -1.0:
            return False
        headers = (("Content-Type", "application/json"), ("Content-Length", str(len(reply.body))), *reply.headers)
        lines = "".join(f"{key}: {value}\r\n" for key, value in headers)
        whole = reply.body if reply.cut is None else reply.body[: int(len(reply.body) * reply.cut)]
        writer.write(f"HTTP/1.1 {reply.status} X\r\n{lines}\r\n".encode() + whole)
        await writer.drain()
        return reply.cut is None

    def _strike(self, call: str, text: str) -> Reply | None:
        fault = self.fault
        if fault is None or self.stage() != self.wanted:
            return None
        is_known = call in self.struck  # the first call of the stage is struck too, lest the draw leave all of few
        if not is_known and self.struck and random.Random(call).random() >= fault.share:
            return None
        if is_known and not fault.lasts:
            return None
        self.struck.add(call)
        return fault.make(text)


async def hang_up() -> None:
    """End all conversations of this loop."""
    talks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in talks:
        task.cancel()
    await asyncio.gather(*talks, return_exceptions=True)


@contextmanager
def serving(talk: Any) -> Iterator[int]:
    """A server in a thread of its own; yields its port."""
    loop, ready, ports = asyncio.new_event_loop(), threading.Event(), list[int]()

    def work() -> None:
        server = loop.run_until_complete(asyncio.start_server(talk, "127.0.0.1", 0))
        ports.append(server.sockets[0].getsockname()[1])
        ready.set()
        loop.run_forever()
        server.close()
        loop.run_until_complete(hang_up())

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    ready.wait(10)
    try:
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


def configure(port: int) -> Config:
    where = {"base_url": f"http://127.0.0.1:{port}/v1", "max_attempts": 4, "timeout_seconds": 2.0}
    return load_config(
        None,
        {
            "skip": "base,sft,rollout,dpo",
            "roles": {role: {"uri": uri, **where} for role, uri in ROLES.items()},
            "personas": {
                "seeds": "world", "embedder": "world", "personality_words": 25, "n_profiles": 12,
                "n_personalities": 8, "n_personas": 6, "n_bench_profiles": 2, "n_bench_personalities": 2,
                "n_bench": 2, "wave": 2, "n_new": 3,
            },
            "trees": {"n_turns": 2},
            "bench": {"n_turns": 2, "models": [{"uri": "world:generic", **where}]},
            "execution": {"outage_minutes": 0.05},
        },
    )  # fmt: skip


class Hang(BaseException):
    """A run did not end in time."""


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    def ring(number: int, frame: Any) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def stage_of(out: Path) -> Callable[[], str]:
    """The stage at work in a run, by its log."""

    def find() -> str:
        try:
            lines = (out / "log.jsonl").read_bytes().splitlines()
        except OSError:
            return ""
        started = [orjson.loads(line) for line in lines if b"stage_started" in line]
        return str(started[-1]["stage"]) if started else ""

    return find


def files(out: Path) -> dict[str, Any]:
    """What a run is for; of records without their generations, which hold the token counts that a server claims."""
    found: dict[str, Any] = {}
    for name in FILES:
        path = out / name
        if path.is_file():
            raw = path.read_bytes()
            found[name] = raw if path.suffix == ".parquet" else [_plain(orjson.loads(x)) for x in raw.splitlines()]
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items() if key not in ("generation", "provenance")}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


def one_run(config: Config, out: Path) -> str:
    """Empty after a run that came to its end; else the line that it stopped with."""
    try:
        run_pipeline(config, RunDir(out), "matrix", say=None)
    except AloeError as error:
        return " ".join(str(error).split())
    return ""


def strike(world: World, fault: Fault, stage: str, out: Path, whole: dict[str, bytes], limit: int) -> tuple[str, str]:
    """What became of a run under a fault: a word for the table, and the line or trace that belongs to it."""
    config = configure(world.port)
    world.fault, world.wanted, world.stage = fault, stage, stage_of(out)
    world.struck, world.answered = set(), Counter()
    try:
        with limited(limit):
            said = one_run(config, out)
            world.fault = None
            if not said:
                same = files(out) == whole
                return ("passed" if world.struck else "not struck") if same else "silent", ""
            again = one_run(config, out)
    except Hang:
        return "hang", ""
    except BaseException:
        return "traceback", traceback.format_exc(limit=-3)
    finally:
        world.fault = None
    resent = sum(n - 1 for n in world.answered.values() if n > 1)
    if again or files(out) != whole:
        return "lost", again or "other files"
    return ("recovered", said) if resent <= 64 else ("lost", f"{resent} answered calls were sent again: {said}")


# -- the process and the disk, by the command line

Outcome = tuple[str, str]


@dataclass
class Shop:
    """What faults of the process and the disk work with."""

    world: World
    folder: Path
    whole: dict[str, Any]
    limit: int
    rng: random.Random

    def out(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.folder)) / "run"

    @property
    def recipe(self) -> Path:
        path = self.folder / "recipe.toml"
        if not path.is_file():
            run = RunDir(self.folder / "recipe")
            run.path.mkdir()
            run.save_config(configure(self.world.port))
            path.write_bytes(run.config_path.read_bytes())
        return path

    def start(self, out: Path, shell: str = "exec {}", **more: Any) -> subprocess.Popen[str]:
        command = f"'{sys.executable}' -m aloe run '{self.recipe}' --out '{out}'"
        return subprocess.Popen(
            ["bash", "-c", shell.format(command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"}, **more,
        )  # fmt: skip

    def end(self, process: subprocess.Popen[str]) -> tuple[int, str]:
        _, errors = process.communicate(timeout=self.limit)
        return process.returncode, errors

    def judge(self, out: Path, code: int, errors: str, wanted: tuple[int, ...]) -> Outcome:
        """After a first run that was struck: what it said, and what the same command then makes of it."""
        if "Traceback" in errors or "Error:" in errors.replace("aloe: error:", ""):
            return "traceback", errors[-2000:]
        if code not in wanted:
            return "silent", f"exit code {code}: {errors[-300:]}"
        if code == 0:
            return ("passed", "") if files(out) == self.whole else ("silent", "other files")
        again, said = self.end(self.start(out))
        if again != 0 or files(out) != self.whole:
            return "lost", f"{again}: {said[-300:]}"
        return "recovered", errors.strip().splitlines()[-1] if errors.strip() else f"signal {-code}"


def killed(shop: Shop, number: int, stage: str) -> Outcome:
    """A signal in the middle of a stage."""
    out = shop.out()
    shop.world.fault, shop.world.wanted = None, stage
    find, process, deadline = stage_of(out), shop.start(out), time.monotonic() + shop.limit
    while find() != stage and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(shop.rng.uniform(0.0, 0.15))
    process.send_signal(number)
    code, errors = shop.end(process)
    return shop.judge(out, code, errors, (-number, 128 + number, 0) if number == signal.SIGKILL else (130, 0))


def interrupted_while_nothing_answers(shop: Shop) -> Outcome:
    out = shop.out()
    shop.world.fault, shop.world.wanted, shop.world.stage = (
        Fault("", lambda t: Reply(hang=True), 1.0, True),
        "trees",
        stage_of(out),
    )
    process = shop.start(out)
    while stage_of(out)() != "trees" and process.poll() is None:
        time.sleep(0.01)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    try:
        code, errors = process.wait(timeout=10), process.communicate()[1]
    except subprocess.TimeoutExpired:
        process.kill()
        return "hang", "10 s after SIGINT"
    finally:
        shop.world.fault = None
    return shop.judge(out, code, errors, (130,))


def output_fails(shop: Shop, shell: str) -> Outcome:
    out = shop.out()
    code, errors = shop.end(shop.start(out, shell))
    return shop.judge(out, code, errors, (0,))


def files_may_not_grow(shop: Shop, most: int) -> Outcome:
    out = shop.out()
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))  # noqa: E731
    code, errors = shop.end(shop.start(out, preexec_fn=limit))
    return shop.judge(out, code, errors, (1, 3, 4))


def left_behind(shop: Shop, names: tuple[str, ...]) -> Outcome:
    """What a run that was killed at once leaves."""
    out = shop.out()
    out.mkdir()
    for name in names:
        (out / name).write_text("")
    code, errors = shop.end(shop.start(out))
    if any((out / name).exists() for name in names if name.endswith(".tmp")):
        return "silent", "temporary files are left"
    return shop.judge(out, code, errors, (0,))


def damaged(shop: Shop, name: str, harm: Callable[[bytes], bytes], mend: Callable[[Path], list[str]]) -> Outcome:
    """A finished run of which a file is damaged: it must be told, or mended, and then be whole again."""
    out = shop.out()
    if shop.end(shop.start(out))[0] != 0:
        return "lost", "the run without a fault failed"
    path = out / name
    path.write_bytes(harm(path.read_bytes()))
    command = [sys.executable, "-m", "aloe", "run", str(out), "--from", "trees"]
    first = subprocess.run(command, capture_output=True, text=True, timeout=shop.limit, check=False)
    if "Traceback" in first.stderr:
        return "traceback", first.stderr[-2000:]
    if first.returncode == 0:
        return ("passed", "") if files(out) == shop.whole else ("silent", "other files")
    for more in (mend(out), command):
        if more:
            done = subprocess.run(more, capture_output=True, text=True, timeout=shop.limit, check=False)
            if done.returncode != 0:
                return "lost", done.stderr[-300:]
    return ("recovered", first.stderr.strip()) if files(out) == shop.whole else ("lost", "other files")


def flip(raw: bytes, rng: random.Random, n: int = 3) -> bytes:
    """Some bits of a file turned over, past its first page."""
    found = bytearray(raw)
    for _ in range(n):
        found[rng.randrange(min(4096, len(found) - 1), len(found))] ^= 1 << rng.randrange(8)
    return bytes(found)


def process_faults(shop: Shop) -> list[tuple[str, Callable[[], Outcome]]]:
    aloe = [sys.executable, "-m", "aloe"]

    def again(stage: str) -> Callable[[Path], list[str]]:
        return lambda out: [*aloe, "run", str(out), "--from", stage]

    def repair(out: Path) -> list[str]:
        return [*aloe, "journal", "repair", str(out)]

    def drop(name: str) -> Callable[[Path], list[str]]:
        return lambda out: ["rm", str(out / name)]

    found: list[tuple[str, Callable[[], Outcome]]] = []
    for stage in STAGES:
        found.append((f"SIGKILL in {stage}", lambda s=stage: killed(shop, signal.SIGKILL, s)))
        found.append((f"SIGINT in {stage}", lambda s=stage: killed(shop, signal.SIGINT, s)))
    found.append(("SIGINT while nothing answers", lambda: interrupted_while_nothing_answers(shop)))
    for name, shell in (
        ("closed output", "exec {} >&-"), ("closed errors", "exec {} 2>&-"),
        ("| head -1", "set -o pipefail\n{} | head -1"),
        ("full output", "exec {} > /dev/full"), ("full errors", "exec {} 2> /dev/full"),
    ):  # fmt: skip
        found.append((name, lambda s=shell: output_fails(shop, s)))
    for most in (2_000, 20_000, 60_000, 150_000):
        found.append((f"files of {most:,} bytes at most", lambda m=most: files_may_not_grow(shop, m)))
    found.append(("killed at the first rename", lambda: left_behind(shop, (".lock", ".config.toml.7.tmp"))))
    found.append(("killed at a later rename", lambda: left_behind(shop, (".lock", ".manifest.json.7.tmp"))))
    found.append(
        (
            "personas.jsonl torn",
            lambda: damaged(shop, "personas/personas.jsonl", lambda raw: raw[:-40], again("personas")),
        )
    )
    found.append(
        ("manifest torn", lambda: damaged(shop, "manifest.json", lambda raw: raw[:-40], drop("manifest.json")))
    )
    for seed in range(6):
        rng = random.Random(seed)
        found.append(
            (
                f"journal, bits turned over ({seed})",
                lambda r=rng: damaged(shop, "journal.sqlite", lambda raw: flip(raw, r), repair),
            )
        )
    found.append(
        ("journal cut in half", lambda: damaged(shop, "journal.sqlite", lambda raw: raw[: len(raw) // 2], repair))
    )
    return found


# -- rate limits

HINTS: dict[str, Callable[[float], tuple[tuple[str, str], ...]]] = {
    "bare": lambda left: (),
    "Retry-After: 0": lambda left: (("Retry-After", "0"),),
    "Retry-After: 1": lambda left: (("Retry-After", "1"),),
    "Retry-After: date": lambda left: (("Retry-After", formatdate(time.time() + left, usegmt=True)),),
    "fixed window": lambda left: (),
}


def rate_limited(
    name: str, ask: Callable[[int, int], Any], n_calls: int = 120, per_second: float = 4.0
) -> tuple[int, float, int]:
    """Calls that failed, seconds, requests refused, on a server that bears ``per_second`` requests."""
    world = World()
    level, at, n_refused = per_second, time.monotonic(), 0

    def strike(call: str, text: str) -> Reply | None:
        nonlocal level, at, n_refused
        now = time.monotonic()
        if name == "fixed window":
            if now - at >= 1.0:
                level, at = per_second, now
        else:
            level, at = min(per_second, level + (now - at) * per_second), now
        if level >= 1.0:
            level -= 1.0
            return None
        n_refused += 1
        return Reply(429, b'{"error": {"message": "slow down"}}', HINTS[name]((1.0 - level) / per_second))

    world._strike = strike  # type: ignore[method-assign]

    with serving(world.talk) as port:
        started = time.monotonic()
        return asyncio.run(ask(port, n_calls)), time.monotonic() - started, n_refused


async def ask_aloe(port: int, n_calls: int) -> int:
    """Independent calls by aloe; how many failed."""
    model = ModelConfig(uri="world:generic", base_url=f"http://127.0.0.1:{port}/v1")
    caller = Caller.open(load_config(None), None, seed=1, prompts=PromptSet(), models={"user": [model]})
    hello = (PromptMessage("user", ("Hello",)),)
    calls = (caller.call("user", f"p/{i}", "user", hello) for i in range(n_calls))
    done = await asyncio.gather(*calls, return_exceptions=True)
    await caller.aclose()
    return sum(isinstance(answer, BaseException) for answer in done)


async def ask_openai(port: int, n_calls: int) -> int:
    """The same by OpenAI's own client, with as many attempts a call as aloe has."""
    from openai import AsyncOpenAI

    client = AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=5)
    said: Any = [{"role": "user", "content": "Hello"}]
    calls = (client.chat.completions.create(model="world:generic", messages=said, seed=i) for i in range(n_calls))
    done = await asyncio.gather(*calls, return_exceptions=True)
    return sum(isinstance(answer, BaseException) for answer in done)


def measure_rates() -> int:
    """Calls of ours that failed; beside them, where it is installed, those of OpenAI's client."""
    clients = {"aloe": ask_aloe} | ({"openai": ask_openai} if find_spec("openai") is not None else {})
    lost: dict[tuple[str, str], tuple[int, float, int]] = {}

    def measure(client: str, name: str) -> None:
        lost[client, name] = rate_limited(name, clients[client])

    threads = [threading.Thread(target=measure, args=(client, name)) for client in clients for name in HINTS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for client in clients:
        for name in HINTS:
            n, seconds, n_refused = lost[client, name]
            told = f"{n:>3} of 120 lost, {n_refused:>4} refusals, {seconds:.0f} s"
            print(f"4 requests a second, {name:<18} {client:<7} {told}")
    return sum(n for (client, _), (n, _, _) in lost.items() if client == "aloe")


def main() -> int:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background shells have it ignored, for children too
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=300, help="seconds after which a run counts as hanging")
    parser.add_argument("--only", default="", help="faults whose name or stage holds this, or 'process' or 'rates'")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--peers", default="", metavar="NAME=FOLDER,...", help="compare with inspect and curator only, see peers.py"
    )
    options = parser.parse_args()
    if options.peers:
        from peers import compare

        table = compare(dict(peer.split("=", 1) for peer in options.peers.split(",")))
        print(json.dumps({"benchmark": "fault_matrix_peers", "figures": table}))
        return int(any(row["aloe"]["lost"] or row["aloe"]["wrong"] for row in table.values()))
    counts: Counter[str] = Counter()
    world = World()

    def note(name: str, where: str, outcome: Outcome) -> None:
        counts[outcome[0]] += 1
        print(f"{name:<36} {where:<9} {outcome[0]:<10} {outcome[1][:300]}", flush=True)

    with tempfile.TemporaryDirectory() as name, serving(world.talk) as port:
        folder = Path(name)
        world.port = port
        if said := one_run(configure(port), folder / "whole"):
            raise SystemExit(f"the run without faults failed: {said}")
        whole = files(folder / "whole")
        for fault in faults():
            for stage in STAGES:
                if options.only in f"{fault.name} {stage}":
                    out = folder / f"{len(list(folder.iterdir()))}"
                    note(fault.name, stage, strike(world, fault, stage, out, whole, options.limit))
        shop = Shop(world, folder, whole, options.limit, random.Random(options.seed))
        for title, work in process_faults(shop):
            if options.only in f"{title} process":
                try:
                    note(title, "process", work())
                except subprocess.TimeoutExpired:
                    note(title, "process", ("hang", ""))
    n_rate_limited_lost = measure_rates() if options.only in ("", "rates") else 0
    struck = counts.total() - counts["not struck"]
    print(", ".join(f"{n} {what}" for what, n in counts.most_common()))
    figures = {
        "n_faults": struck, "n_passed": counts["passed"], "n_recovered": counts["recovered"], "n_lost": counts["lost"],
        "n_silent": counts["silent"], "n_tracebacks": counts["traceback"], "n_hangs": counts["hang"],
        "n_rate_limited_lost": n_rate_limited_lost,
    }  # fmt: skip
    print(json.dumps({"benchmark": "fault_matrix", "figures": figures}))
    bad = ("n_lost", "n_silent", "n_tracebacks", "n_hangs", "n_rate_limited_lost")
    return int(any(figures[name] for name in bad))


if __name__ == "__main__":
    sys.exit(main())
