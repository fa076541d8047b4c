"""What does a killed run pay twice?

A tree-building run (personas and preference trees of a small demo recipe) against a counting server is killed with
SIGKILL at random moments, started again, and killed again, until it completes. The server counts every request that
arrives; the journal, read after each kill, says which calls were committed. Compared with an uninterrupted run of the
same recipe: the files of personas and trees.

Figures: ``resent_committed`` (committed calls that arrived again: must be 0), ``resent_total`` (arrivals beyond the
first of each call), ``in_flight_total`` (calls that had arrived but were not committed when a kill struck: the most
that may be sent again), ``identical`` (1 if all final files equal the uninterrupted run's), ``kills``. The moments
are drawn from ``--seed``; counts vary a little with timing, so their spread over ``--rounds`` is printed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from hashlib import blake2b
from pathlib import Path

import orjson
from aiohttp import web

from aloe.config import load_config
from aloe.models.journal.journal import unpack
from aloe.models.server import read_request
from aloe.world.model import WorldModel

ROLES = ("writer", "user", "inducer", "tailored", "generic", "judge")
FILES = ("personas/pool.jsonl", "personas/personas.jsonl", "trees/trees.jsonl", "trees/labels.jsonl",
         "trees/disclosures.jsonl")  # fmt: skip


def name_call(model: str, seed: int | None, messages: list[tuple[str, str]]) -> bytes:
    """A call as the server sees it; the seed tells apart equal requests of different places in the run."""
    return blake2b(orjson.dumps([model, seed, messages]), digest_size=16).digest()


class CountingWorld:
    """The world over HTTP with some latency; counts what arrives. ``wait_for`` blocks until so many arrived."""

    def __init__(self, latency: float) -> None:
        self.arrived: Counter[bytes] = Counter()
        self.n = 0
        self._latency = latency
        self._more = threading.Condition()
        self._models: dict[str, WorldModel] = {}

    async def chat(self, http: web.Request) -> web.Response:
        body = orjson.loads(await http.read())
        request, model, _ = read_request(body)
        with self._more:
            self.arrived[name_call(model, request.seed, [(m.role, m.content) for m in request.messages])] += 1
            self.n += 1
            self._more.notify_all()
        if model not in self._models:
            self._models[model] = WorldModel(model)
        await asyncio.sleep(self._latency)
        done = self._models[model].answer(request)
        message = {"role": "assistant", "content": done.text}
        usage = {"prompt_tokens": done.usage.prompt_tokens, "completion_tokens": done.usage.completion_tokens}
        return web.json_response({"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage})

    def wait_for(self, n: int, process: subprocess.Popen[bytes]) -> bool:
        """True once ``n`` requests have arrived in all, False if the process ended before."""
        with self._more:
            while self.n < n:
                if process.poll() is not None:
                    return False
                self._more.wait(0.02)
        return True


@contextmanager
def serving(world: CountingWorld) -> Iterator[str]:
    """``world`` on a free port, in a thread of its own; yields the base URL."""
    loop, ready, urls = asyncio.new_event_loop(), threading.Event(), list[str]()

    async def start() -> web.AppRunner:
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/v1/chat/completions", world.chat)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        urls.append(f"http://127.0.0.1:{runner.addresses[0][1]}/v1")
        return runner

    def work() -> None:
        runner = loop.run_until_complete(start())
        ready.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    ready.wait(10)
    try:
        yield urls[0]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


def write_recipe(path: Path, base_url: str, n_personas: int, n_turns: int) -> None:
    """A small demo recipe whose models are all behind ``base_url``."""
    config = load_config("demo")
    lines = ["[personas]", 'seeds = "world"', 'embedder = "world"', "personality_words = 25", "n_profiles = 24",
             "n_personalities = 16", f"n_personas = {n_personas}", "n_bench_profiles = 4", "n_bench_personalities = 4",
             "n_bench = 4", "[trees]", f"n_turns = {n_turns}"]  # fmt: skip
    for role in ROLES:
        (model,) = getattr(config.roles, role)
        lines += [f"[[roles.{role}]]", f'uri = "{model.uri}"', f'base_url = "{base_url}"', "max_concurrency = 32"]
    path.write_text("\n".join(lines) + "\n", "utf-8")


def start_run(recipe: Path, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "aloe", "trees", str(recipe), "--out", str(out), "--quiet"]
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})


def committed_calls(journal: Path) -> set[bytes]:
    """Calls in the journal, named as the server names them."""
    if not journal.exists():
        return set()
    with closing(sqlite3.connect(journal)) as database:
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'calls'").fetchone():
            return set()
        texts = dict(database.execute("SELECT id, body FROM texts"))
        models = {i: json.loads(body)["model"] for i, body in database.execute("SELECT id, body FROM plans")}
        rows = database.execute("SELECT plan, seed, request FROM calls").fetchall()
    return {
        name_call(models[plan], seed, [(role, "".join(texts[i] for i in ids)) for role, ids in unpack(request)])
        for plan, seed, request in rows
    }


def finish(process: subprocess.Popen[bytes]) -> None:
    if process.wait(timeout=300) != 0:
        raise SystemExit(f"the run ended with code {process.returncode}")


def one_round(folder: Path, kills: int, rng: random.Random, n_personas: int, n_turns: int) -> dict[str, int]:
    """An uninterrupted run, then one that is killed ``kills`` times; both from scratch."""
    world = CountingWorld(0.01)
    with serving(world) as base_url:
        recipe = folder / "recipe.toml"
        write_recipe(recipe, base_url, n_personas, n_turns)
        finish(start_run(recipe, folder / "whole"))
        n_calls = world.n
        world.arrived.clear()
        world.n = 0
        out = folder / "killed"
        resent_committed = in_flight = 0
        before: Counter[bytes] = Counter()
        committed: set[bytes] = set()
        moments = sorted(rng.random() for _ in range(kills))
        for kill in range(kills + 1):
            process = start_run(recipe, out)
            if kill < kills:
                # Calls that were in flight at earlier kills arrive again: count them out of the moment.
                if not world.wait_for(int(moments[kill] * n_calls) + in_flight, process):
                    raise SystemExit(f"the run ended before kill {kill + 1}")
                process.send_signal(signal.SIGKILL)
                process.wait()
                time.sleep(0.1)  # what the killed process had put on the wire still arrives
            else:
                finish(process)
            arrived = world.arrived - before
            before = Counter(world.arrived)
            resent_committed += sum(arrived[call] for call in committed)
            committed = committed_calls(out / "journal.sqlite")
            if kill < kills:
                in_flight += sum(1 for call in arrived if call not in committed)
        resent = sum(n - 1 for n in world.arrived.values())
    same = all((folder / "whole" / f).read_bytes() == (out / f).read_bytes() for f in FILES)
    return {
        "resent_committed": resent_committed, "resent_total": resent, "in_flight_total": in_flight,
        "identical": int(same), "kills": kills, "calls": n_calls,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="kills per round")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--personas", type=int, default=16, help="personas, one tree each")
    parser.add_argument("--turns", type=int, default=5, help="turns of a tree")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    rounds = []
    for i in range(options.rounds):
        with tempfile.TemporaryDirectory() as name:
            rounds.append(one_round(Path(name), options.kills, rng, options.personas, options.turns))
        print(f"round {i + 1}: " + ", ".join(f"{k} {v}" for k, v in rounds[-1].items()))
    resent = [r["resent_total"] for r in rounds]
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"spread of resent_total over rounds: {min(resent)} to {max(resent)}")
    figures = {name: sum(r[name] for r in rounds) for name in rounds[0]}
    figures["identical"] = min(r["identical"] for r in rounds)
    print(json.dumps({"benchmark": "kill_resume", "figures": figures}))


if __name__ == "__main__":
    main()
