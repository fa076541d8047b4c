"""What shards cost and bring: throughput of several workers, limits held together, memory of the driver, re-sent calls.

Measured against a server of this machine that answers as the simulated world does, each answer after ``--latency``
seconds. Parts (``--parts``):

- ``latency``: calls a second of trees by 1 and by ``--workers`` processes, equal concurrency each (bar: 3.6 times with
  4 workers), and of one process by the executor against the same stage without executor (bar: at most 10% more time per
  call). Counted at the server in the middle of a stage; the whole stage, with the start of the processes, beside it.
- ``cpu``: the world in the process itself, 1 and 2 workers (bar: 1.7 times on two idle cores). The machine's idle share
  of its cores is measured alongside, since other work on it takes what the second worker would have had.
- ``limits``: ``--per-minute`` requests a minute and 4 workers, for ``--seconds``; counted at the server (bar: 2%).
- ``identical``: unsharded, 7 shards, 1, 2 and 4 processes, one killed worker and one killed driver: the same bytes, and
  no call that was committed before a kill arrives at the server again.
- ``memory``: merge of ``--items`` simulated trees: growth of the driver's memory.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from aloe.models.server import read_request
from aloe.world.model import WorldModel

TREES = ("trees/trees.jsonl", "trees/labels.jsonl", "trees/disclosures.jsonl")
PERSONAS = """[personas]
seeds = "world"
embedder = "world"
n_profiles = 40
n_personalities = 20
n_personas = 60
n_bench_profiles = 2
n_bench_personalities = 2
n_bench = 3
"""
ACTORS = {r: f"world:{r}" for r in ("user", "inducer", "tailored", "generic", "judge")}


class Server:
    """The world behind HTTP, in a process of its own: its CPU time is not the workers'."""

    def __init__(self, latency: float) -> None:
        self._log = tempfile.NamedTemporaryFile(prefix="arrivals-")  # noqa: SIM115 - as long as the server
        script = [sys.executable, __file__, "--serve", str(latency), "--log", self._log.name]
        self._process = subprocess.Popen(script, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.address = f"http://127.0.0.1:{self._process.stdout.readline().strip()}/v1"

    def arrivals(self) -> list[tuple[float, str]]:
        """When each request came, and the digest of its body."""
        lines = Path(self._log.name).read_text("utf-8").splitlines()
        return [(float(at), digest) for at, digest in (line.split() for line in lines if line.count(" ") == 1)]

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


def serve(latency: float, log: Path) -> None:
    """Answer until killed; print the port first."""
    from hashlib import blake2b

    actors: dict[str, WorldModel] = {}
    out = log.open("a", encoding="utf-8", buffering=1)

    async def answer(request: web.Request) -> web.Response:
        raw = await request.read()
        out.write(f"{time.time():.4f} {blake2b(raw, digest_size=12).hexdigest()}\n")
        asked, name, _ = read_request(orjson.loads(raw))
        text = actors.setdefault(name, WorldModel(name)).answer(asked).text
        await asyncio.sleep(latency)
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}
        return web.json_response({"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage})

    async def main() -> None:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        print(runner.addresses[0][1], flush=True)
        await asyncio.Event().wait()

    asyncio.run(main())


class Bench:
    """Runs of one recipe in a folder that is removed at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._n = 0

    def begun(self, address: str | None, n_trees: int, n_turns: int, **model: Any) -> Path:
        """A new run that holds its personas."""
        self._n += 1
        out = self.folder / f"run-{self._n}"
        where = {"base_url": address, **model} if address else {}
        roles = "\n".join(
            f"[[roles.{role}]]\n" + "\n".join(f"{k} = {json.dumps(v)}" for k, v in {"uri": uri, **where}.items())
            for role, uri in ACTORS.items()
        )
        recipe = self.folder / f"recipe-{self._n}.toml"
        recipe.write_text(f"seed = 5\n{PERSONAS}[trees]\nn_trees = {n_trees}\nn_turns = {n_turns}\n{roles}\n", "utf-8")
        self.aloe("personas", recipe, "--out", out)
        return out

    def copy(self, run: Path) -> Path:
        self._n += 1
        return Path(shutil.copytree(run, self.folder / f"run-{self._n}"))

    @staticmethod
    def command(*arguments: object) -> list[str]:
        return [sys.executable, "-m", "aloe", *map(str, arguments), "--trust-run", "-q"]

    def aloe(self, *arguments: object) -> float:
        """Run a command; returns its seconds."""
        started = time.perf_counter()
        subprocess.run(self.command(*arguments), check=True)
        return time.perf_counter() - started

    def grow(self, run: Path, workers: int, *more: object) -> float:
        """Grow the run's trees (workers 0: without an executor); returns the stage's own seconds."""
        how = ("--execution.executor", "processes", "--execution.workers", workers) if workers else ()
        self.aloe("trees", run, *how, *more)
        return float(json.loads((run / "manifest.json").read_text("utf-8"))["stages"]["trees"]["seconds"])


def calls_in(run: Path) -> dict[bytes, int]:
    """The keys of all committed calls of trees, by journal."""
    found: dict[bytes, int] = {}
    for path in run.rglob("journal.sqlite"):
        with closing(sqlite3.connect(path)) as database:
            found.update((key, 1) for (key,) in database.execute("SELECT key FROM calls"))
    return found


def idle_share() -> float:
    """CPU seconds that were idle since boot, of all cores."""
    fields = [float(x) for x in Path("/proc/stat").read_text("utf-8").splitlines()[0].split()[1:]]
    return (fields[3] + fields[4]) / os.sysconf("SC_CLK_TCK")


def throughput(times: list[float]) -> float:
    """Calls a second between the tenth and the eightieth percentile of arrivals: without start and end of a stage."""
    low, high = len(times) // 10, 8 * len(times) // 10
    return (high - low) / (times[high] - times[low])


def measure_latency(bench: Bench, options: argparse.Namespace) -> dict[str, float]:
    """(a): the same trees by 0, 1 and several workers."""
    server = Server(options.latency)
    seconds, rates = {}, {}
    try:
        begun = bench.begun(server.address, options.trees, options.turns)
        for workers in (0, 1, options.workers):
            n = len(server.arrivals())
            more = ("--execution.concurrency", options.concurrency)
            seconds[workers] = bench.grow(bench.copy(begun), workers, *more)
            rates[workers] = throughput(sorted(at for at, _ in server.arrivals()[n:]))
    finally:
        server.end()
    print({"seconds_by_workers": seconds, "calls_per_second": rates, "trees": options.trees, "turns": options.turns})
    return {
        "latency_4_over_1": round(rates[options.workers] / rates[1], 3),
        "latency_4_over_1_with_start": round(seconds[1] / seconds[options.workers], 3),
        "overhead_share": round(rates[0] / rates[1] - 1, 4),
    }


def measure_cpu(bench: Bench, options: argparse.Namespace) -> dict[str, float]:
    """(b): the world in the process, which is all CPU."""
    begun = bench.begun(None, options.cpu_trees, 5)
    seconds, idle = {}, {}
    for workers in (1, 2):
        before, at = idle_share(), time.perf_counter()
        seconds[workers] = bench.grow(bench.copy(begun), workers)
        idle[workers] = (idle_share() - before) / (time.perf_counter() - at)
    print({"seconds_by_workers": seconds, "idle_cores_meanwhile": idle})
    return {"cpu_2_over_1": round(seconds[1] / seconds[2], 3), "cpu_idle_cores": round(idle[1], 3)}


def measure_limits(bench: Bench, options: argparse.Namespace) -> dict[str, float]:
    """(c): requests that arrive in the middle of a run under a limit of requests a minute."""
    server = Server(0.05)
    try:
        per_minute = options.per_minute
        run = bench.begun(server.address, 10_000, 3, requests_per_minute=per_minute)
        how = ("--execution.executor", "processes", "--execution.workers", 4, "--execution.concurrency", 32)
        process = subprocess.Popen(bench.command("trees", run, *how), start_new_session=True)
        time.sleep(options.seconds + 15)
        process.send_signal(signal.SIGINT)
        process.wait(60)
        times = sorted(at for at, _ in server.arrivals())
    finally:
        server.end()
    begin = times[-1] - options.seconds
    n = sum(at >= begin for at in times)
    allowed = per_minute * options.seconds / 60 * len(ACTORS)
    print({"arrived": n, "allowed": allowed, "seconds": options.seconds, "of_all": len(times)})
    return {"limit_error": round(max(0.0, n / allowed - 1), 4), "limit_use": round(n / allowed, 4)}


def measure_identical(bench: Bench, options: argparse.Namespace) -> dict[str, float]:
    """Every way gives the same bytes; what was committed before a kill does not arrive again."""
    server = Server(0.05)
    try:
        begun = bench.begun(server.address, 60, 3)
        whole = bench.copy(begun)
        bench.grow(whole, 0)
        expected = [(whole / name).read_bytes() for name in TREES]
        others = []
        sharded = bench.copy(begun)
        for number in range(1, 8):
            bench.aloe("trees", sharded, "--shard", f"{number}/7")
        others.append(sharded)
        for workers in (1, 2, 4):
            others.append(bench.copy(begun))
            bench.grow(others[-1], workers)
        resent = 0
        for victim in ("worker", "driver"):
            run = bench.copy(begun)
            resent += _killed(bench, server, run, victim)
            others.append(run)
    finally:
        server.end()
    same = [[(run / name).read_bytes() for name in TREES] == expected for run in others]
    print({"identical_by_way": same})
    return {"identical": int(all(same)), "resent_committed": resent}


def _killed(bench: Bench, server: Server, run: Path, victim: str) -> int:
    """Kill a worker or the driver in the middle, let it go on; returns how many committed calls came again."""
    how = ("--execution.executor", "processes", "--execution.workers", 2, "--execution.concurrency", 4)
    before, n_before = len(server.arrivals()), len(calls_in(run))
    process = subprocess.Popen(bench.command("trees", run, *how))
    while len(server.arrivals()) < before + 150 and process.poll() is None:
        time.sleep(0.02)
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False).stdout
    os.kill(int(children.split()[0]) if victim == "worker" else process.pid, signal.SIGKILL)
    if process.wait() != 0:
        subprocess.run(bench.command("trees", run, *how), check=True)
    arrived = len(server.arrivals()) - before
    n_calls = len(calls_in(run)) - n_before
    in_flight = 2 * 4 * 2  # conversations open in both workers, two calls each at most
    print({"killed": victim, "arrived": arrived, "calls": n_calls, "in_flight_at_most": in_flight})
    return max(0, arrived - n_calls - in_flight)


def measure_memory(bench: Bench, options: argparse.Namespace) -> dict[str, float]:
    """(d): a merge of simulated items by 16 shards."""
    from aloe.store.merging import merge_sorted

    folder = bench.folder / "items"
    folder.mkdir()
    files = [folder / f"{i}.jsonl" for i in range(16)]
    handles = [path.open("wb") for path in files]
    for item in range(options.items):
        key = f"{item:012d}"
        handles[hash(key) % 16].write(orjson.dumps({"tree_id": key, "text": "x" * 200}) + b"\n")
    for handle in handles:
        handle.close()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    merge_sorted(files, folder / "merged.jsonl", "tree_id")
    seconds = time.perf_counter() - started
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print({"merge_seconds": round(seconds, 2), "items_a_second": round(options.items / seconds)})
    return {"driver_mb_growth": round(grown, 2), "merged_per_second": round(options.items / seconds)}


PARTS = {
    "latency": measure_latency,
    "cpu": measure_cpu,
    "limits": measure_limits,
    "identical": measure_identical,
    "memory": measure_memory,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS), help="which parts, by commas (default: all)")
    parser.add_argument("--latency", type=float, default=1.0, help="seconds before each answer")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--concurrency", type=int, default=8, help="conversations open in each worker")
    parser.add_argument("--trees", type=int, default=128, help="of part latency")
    parser.add_argument("--turns", type=int, default=2, help="of part latency")
    parser.add_argument("--cpu-trees", type=int, default=300)
    parser.add_argument("--per-minute", type=float, default=600, help="of each of the five models")
    parser.add_argument("--seconds", type=float, default=60, help="of part limits")
    parser.add_argument("--items", type=int, default=1_000_000, help="of part memory")
    parser.add_argument("--serve", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--log", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        serve(options.serve, options.log)
        return
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="scale-out-") as folder:
        for name in options.parts.split(","):
            figures |= PARTS[name](Bench(Path(tempfile.mkdtemp(dir=folder))), options)
    print(json.dumps({"benchmark": "scale_out", "figures": figures}))


if __name__ == "__main__":
    main()
