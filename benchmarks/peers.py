"""The same faults before aloe, inspect_ai and curator: independent calls, one server, every client as it comes.

``python benchmarks/fault_matrix.py --peers inspect=FOLDER,curator=FOLDER`` (folders of ``pip install --target``; a peer
without a folder is left out). Every client asks 240 questions in a process of its own, eight at a time, with its own
retries at their defaults, and writes the answers that it ends with. Every fourth question meets a fault once; the
kinds take turns. Figures by kind: questions without an answer (``lost``), with something else than the answer
(``wrong``), and requests. ``kill -9``: without faults, the client is killed when half of the questions have been
answered, and started again in the same folder; ``again`` counts answered questions that were then sent once more.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

N = 240
AT_ONCE = 8
LATENCY = 0.15  # seconds of every answer
CLIENTS = ("aloe", "inspect", "curator")


def question(i: int) -> str:
    return f"Question number {i}?"


def right(text: str) -> str:
    return f"The answer to: {text}"


# -- the clients; each runs in a process of its own, in which only its own libraries are needed


def ask_aloe(base: str, folder: Path) -> dict[str, str | None]:
    """The caller of every stage, with a journal in ``folder``."""
    from aloe.config import ModelConfig, load_config
    from aloe.models.caller import Caller
    from aloe.prompts import PromptSet
    from aloe.protocols import PromptMessage

    async def work() -> list[Any]:
        model = ModelConfig(uri="openai:m", base_url=base, max_concurrency=AT_ONCE)
        caller = Caller.open(
            load_config(None), folder / "journal.sqlite", seed=1, prompts=PromptSet(), models={"user": [model]}
        )
        messages = [(PromptMessage("user", (question(i),)),) for i in range(N)]
        calls = (caller.call("user", f"p/{i}", "user", said) for i, said in enumerate(messages))
        done = await asyncio.gather(*calls, return_exceptions=True)
        await caller.aclose()
        return done

    replies = asyncio.run(work())
    return {str(i): None if isinstance(r, BaseException) or r.nothing else r.text for i, r in enumerate(replies)}


def ask_inspect(base: str, folder: Path) -> dict[str, str | None]:
    """``eval_set``, which continues from its logs, over one generation per sample."""
    os.environ |= {"LOCAL_API_KEY": "none", "LOCAL_BASE_URL": base}
    from inspect_ai import Task, eval_set
    from inspect_ai.dataset import Sample
    from inspect_ai.log import list_eval_logs, read_eval_log
    from inspect_ai.solver import generate

    task = Task(dataset=[Sample(input=question(i), id=str(i)) for i in range(N)], solver=generate(), name="questions")
    logs = str(folder / "logs")
    eval_set(
        task, log_dir=logs, model="openai-api/local/m", display="none", max_connections=AT_ONCE, retry_wait=1,
        retry_attempts=3, fail_on_error=False,
    )  # fmt: skip
    found: dict[str, str | None] = {str(i): None for i in range(N)}
    for log in sorted(list_eval_logs(logs), key=lambda log: log.mtime or 0):
        for sample in read_eval_log(log).samples or ():
            if sample.error is None:
                found[str(sample.id)] = sample.output.completion
    return found


def ask_curator(base: str, folder: Path) -> dict[str, str | None]:
    """An ``LLM`` with the backend for any OpenAI-compatible server, and its cache in ``folder``."""
    os.environ |= {"OPENAI_API_KEY": "none", "TELEMETRY_ENABLED": "false", "CURATOR_DISABLE_RICH_DISPLAY": "1"}
    os.environ |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "HF_HUB_OFFLINE": "1"}
    from bespokelabs import curator

    class Asker(curator.LLM):  # type: ignore[misc, name-defined]
        def prompt(self, row: dict[str, Any]) -> str:
            return str(row["said"])

        def parse(self, row: dict[str, Any], response: str) -> dict[str, Any]:
            return {"i": row["i"], "text": response}

    asker = Asker(
        model_name="openai/m", backend="litellm",
        backend_params={
            "base_url": base, "require_all_responses": False, "max_concurrent_requests": AT_ONCE,
            "max_requests_per_minute": 100_000, "max_tokens_per_minute": 100_000_000,
        },
    )  # fmt: skip
    done = asker([{"i": i, "said": question(i)} for i in range(N)], working_dir=str(folder / "curator"))
    rows = done.dataset if hasattr(done, "dataset") else done
    return {str(i): None for i in range(N)} | {str(row["i"]): row["text"] for row in rows}


# -- the server and the faults


def answer(text: str | None) -> bytes:
    """The body of an answer with everything that OpenAI's own API sends."""
    said = {"role": "assistant", "content": text}
    counted = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}
    choice = {"index": 0, "message": said, "finish_reason": "stop", "logprobs": None}
    whole = {"id": "a", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": counted}
    return json.dumps(whole).encode()


def kind_of(i: int, kinds: Collection[str]) -> str:
    """Which kind strikes a question: every fourth has one."""
    return list(kinds)[i // 4 % len(kinds)] if i % 4 == 0 else "none"


def faults() -> dict[str, Callable[[str], Any]]:
    """What strikes: from the answer's text to a reply of ``fault_matrix``."""
    from fault_matrix import Reply, body, refusal

    return {
        "none": lambda t: None,
        "429 bare": refusal(429, "slow down"),
        "429 Retry-After: 1": refusal(429, "slow down", Retry_After="1"),
        "500": refusal(500, "oops"),
        "connection reset": lambda t: Reply(cut=-1.0),
        "body cut half-way": lambda t: Reply(body=answer(t), cut=0.5),
        "half a body": body(lambda t: answer(t)[:-20]),
        "null content": body(lambda t: answer(None)),
        "empty content": body(lambda t: answer("")),
        "no choices": body(lambda t: b'{"choices": []}'),
    }


class Server:
    """Answers every question after ``LATENCY``; the faults take turns, and each strikes its questions once."""

    def __init__(self, makes: dict[str, Callable[[str], Any]]) -> None:
        self.faults = {question(i): makes[kind_of(i, makes)] for i in range(N)} if makes else {}
        self.struck: set[str] = set()
        self.answered: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        from fault_matrix import Reply

        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        raw = await reader.readexactly(int(head.split("content-length: ")[1].split("\r\n")[0]))
        said = [m["content"] for m in json.loads(raw)["messages"]][-1:]
        text = said[0] if said and isinstance(said[0], str) else json.dumps(said)
        self.asked[text] += 1
        await asyncio.sleep(LATENCY)
        reply = None
        if text in self.faults and text not in self.struck:
            self.struck.add(text)
            reply = self.faults[text](right(text))
        if reply is None:
            self.answered[text] += 1
            reply = Reply(body=answer(right(text)))
        if reply.cut == -1.0:
            return False
        headers = (("Content-Type", "application/json"), ("Content-Length", str(len(reply.body))), *reply.headers)
        lines = "".join(f"{key}: {value}\r\n" for key, value in headers)
        whole = reply.body if reply.cut is None else reply.body[: int(len(reply.body) * reply.cut)]
        writer.write(f"HTTP/1.1 {reply.status} X\r\n{lines}\r\n".encode() + whole)
        await writer.drain()
        return reply.cut is None


# -- the comparison


def start(client: str, library: str, port: int, folder: Path) -> subprocess.Popen[str]:
    places = filter(None, (library, os.environ.get("PYTHONPATH", "")))
    command = [
        sys.executable,
        __file__,
        "--client",
        client,
        "--base",
        f"http://127.0.0.1:{port}/v1",
        "--out",
        str(folder),
    ]
    with open(folder / "log.txt", "a", encoding="utf-8") as log:
        return subprocess.Popen(
            command, stdout=log, stderr=log, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(places)}
        )


def judge(server: Server, folder: Path, questions: list[int]) -> dict[str, int]:
    """What a client ended with, for some of the questions."""
    path = folder / "answers.json"
    found = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    given = {i: found.get(str(i)) for i in questions}
    return {
        "lost": sum(text is None for text in given.values()),
        "wrong": sum(text is not None and text.strip() != right(question(i)) for i, text in given.items()),
        "requests": sum(server.asked[question(i)] for i in questions), "questions": len(questions),
    }  # fmt: skip


def finish(process: subprocess.Popen[str], limit: float) -> None:
    """Wait for a process, at most ``limit`` seconds."""
    try:
        process.wait(limit)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def struck(client: str, library: str, limit: float) -> dict[str, dict[str, int]]:
    """A client among all faults: figures by kind."""
    from fault_matrix import serving

    makes = faults()
    server = Server(makes)
    with tempfile.TemporaryDirectory() as name, serving(server.talk) as port:
        finish(start(client, library, port, Path(name)), limit)
        kinds = {kind: [i for i in range(N) if kind_of(i, makes) == kind] for kind in makes}
        return {kind: judge(server, Path(name), questions) for kind, questions in kinds.items()}


def killed(client: str, library: str, limit: float) -> dict[str, int]:
    """A client that is killed when half of the questions have been answered, and started again."""
    from fault_matrix import serving

    server = Server({})
    with tempfile.TemporaryDirectory() as name, serving(server.talk) as port:
        ends = time.monotonic() + limit
        process = start(client, library, port, Path(name))
        known = set(map(question, range(N)))
        while len(known & server.answered.keys()) < N // 2 and process.poll() is None and time.monotonic() < ends:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        before = Counter({text: n for text, n in server.answered.items() if text in known})
        finish(start(client, library, port, Path(name)), limit)
        again = sum(server.answered[text] > n for text, n in before.items())
        return judge(server, Path(name), list(range(N))) | {"answered": len(before), "again": again}


def compare(libraries: dict[str, str], limit: float = 600.0) -> dict[str, dict[str, Any]]:
    """All faults for aloe and the peers that there are folders of; prints a line each."""
    table: dict[str, dict[str, Any]] = {}
    for client in [name for name in CLIENTS if name == "aloe" or name in libraries]:
        library = libraries.get(client, "")
        for kind, figures in (struck(client, library, limit) | {"kill -9": killed(client, library, limit)}).items():
            table.setdefault(kind, {})[client] = figures
            print(f"{kind:<20} {client:<8} {figures}", flush=True)
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--client", choices=CLIENTS, required=True)
    parser.add_argument("--base", required=True, help="address of the server")
    parser.add_argument("--out", type=Path, required=True, help="folder for the answers and what is kept for a rerun")
    options = parser.parse_args()
    ask = {"aloe": ask_aloe, "inspect": ask_inspect, "curator": ask_curator}[options.client]
    (options.out / "answers.json").write_text(json.dumps(ask(options.base, options.out)), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
