"""Preference trees at the paper's scale on the simulated world: time, CPU per call by part, memory, journal, replay.

3,310 conversations of 10 turns with one judge order are 165,500 calls, every one journaled; then the same run again
from the journal alone. Each measurement has a process of its own, so that peak memory is its own. Compared with:
the bars named in ``BARS``. CPU by part comes from a profiled run of some conversations, scaled to the unprofiled one.

    python benchmarks/paper_scale.py                  # the bars
    python benchmarks/paper_scale.py --growth         # also 100, 330, 1000 conversations: is it linear?
    python benchmarks/paper_scale.py --policies       # also two orders, both:2 and a budget, for the record
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

BARS = {"seconds": 90.0, "cpu_ms_per_call": 0.45, "peak_rss_mb": 400.0, "journal_mb": 80.0, "replay_seconds": 30.0}
PARTS = (
    ("world", ("aloe/world/",)),
    ("prompts", ("aloe/prompts/", "jinja2", "<template>")),
    ("journal", ("aloe/models/journal", "sqlite3")),
    ("caller", ("aloe/models/", "aloe/seeding", "blake2b", "orjson", "hashlib")),
    ("trees", ("aloe/dialogue/", "aloe/records", "aloe/types", "pydantic")),
    ("asyncio", ("asyncio", "select", "_asyncio", "_contextvars")),
)


def make_personas(n: int) -> list[Any]:
    """``n`` personas of 331 profiles and 71 personalities, as the paper pairs them (10 per profile)."""
    from aloe.types import Persona
    from aloe.world.latent import draw_facts, draw_traits, write_personality, write_profile
    from aloe.world.lexicon.options import narrow

    lexicon, rng = narrow(), Random(0)
    profiles = [write_profile(draw_facts(rng, lexicon), "She", rng, lexicon) for _ in range(331)]
    manners = [write_personality(draw_traits(rng, lexicon), "She", rng, lexicon) for _ in range(71)]
    found = []
    for i in range(n):
        p, q = i % len(profiles), (i * 7 + i // len(profiles)) % len(manners)
        found.append(
            Persona(
                persona_id=f"p{i:05d}", profile=profiles[p], personality=manners[q],
                profile_id=f"profile-{p}", personality_id=f"personality-{q}",
            )
        )  # fmt: skip
    return found


def run_once(n: int, folder: Path, policy: str, orders: int, profile: bool) -> dict[str, Any]:
    """Grow ``n`` trees in ``folder`` (with whatever its journal already holds) and measure this process."""
    from aloe.config import Config
    from aloe.dialogue.forest import grow_forest, plan_jobs
    from aloe.dialogue.tree_builder import TreeBuilder, TreePlan
    from aloe.models.caller import Caller

    personas, config = make_personas(n), Config()
    journal = folder / "journal.sqlite"
    figures: dict[str, Any] = {}

    async def work() -> None:
        caller = Caller.open(config, journal, seed=0)
        builder = TreeBuilder(caller, TreePlan(n_turns=10, policy=policy, orders=orders), 0)
        summary = await grow_forest(builder, plan_jobs(personas, 0, 1), folder / "trees", config.execution.concurrency)
        await caller.aclose()
        stats = caller.stats.values()
        figures.update(
            n_calls=sum(s.n_calls for s in stats), n_replayed=sum(s.n_replayed for s in stats),
            n_failed=summary.n_failed_nodes, n_nodes=summary.n_nodes, truth=summary.truth,
        )  # fmt: skip

    started, cpu = time.perf_counter(), time.process_time()
    if profile:
        import cProfile
        import pstats

        profiler = cProfile.Profile()
        profiler.runcall(asyncio.run, work())
        figures["parts"] = by_part(pstats.Stats(profiler))
    else:
        asyncio.run(work())
    figures["seconds"] = time.perf_counter() - started
    figures["cpu_seconds"] = time.process_time() - cpu
    figures["peak_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    figures["journal_mb"] = sum(p.stat().st_size for p in folder.glob("journal.sqlite*")) / 1e6
    return figures


def by_part(stats: Any) -> dict[str, float]:
    """Share of the profiled time per part of the program; a built-in's time goes to those who call it."""
    times: dict[str, float] = {}
    for (file, _, name), (_, _, own, _, callers) in stats.stats.items():
        if file == "~":
            for (caller_file, _, caller_name), (_, _, spent, _) in callers.items():
                part = _part(f"{caller_file} {caller_name}" if "sqlite3" not in name else name)
                times[part] = times.get(part, 0.0) + spent
        else:
            part = _part(f"{file} {name}")
            times[part] = times.get(part, 0.0) + own
    whole = sum(times.values())
    return {part: spent / whole for part, spent in sorted(times.items(), key=lambda x: -x[1])}


def _part(where: str) -> str:
    where = where.replace(os.sep, "/")
    return next((part for part, marks in PARTS if any(mark in where for mark in marks)), "other")


def in_own_process(
    n: int, folder: Path, policy: str = "path", orders: int = 1, profile: bool = False
) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", str(n), "--folder", str(folder), "--policy", policy]
    command += ["--orders", str(orders), *(["--profile"] if profile else [])]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def show(name: str, f: dict[str, Any]) -> None:
    print(
        f"{name:<22} {f['n_calls']:>8,} calls  {f['seconds']:7.1f} s  {f['n_calls'] / f['seconds']:8.0f} calls/s  "
        f"{1000 * f['cpu_seconds'] / f['n_calls']:6.3f} CPU-ms/call  {f['peak_rss_mb']:6.0f} MB  "
        f"journal {f['journal_mb']:6.1f} MB",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trees", type=int, default=3310)
    parser.add_argument("--growth", action="store_true", help="measure smaller sizes too")
    parser.add_argument("--policies", action="store_true", help="measure other policies too")
    for hidden in ("--child", "--folder", "--policy"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--orders", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--profile", action="store_true", help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.child:
        print(json.dumps(run_once(int(a.child), Path(a.folder), a.policy, a.orders, a.profile)))
        return
    print(f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for n in (100, 330, 1000) if a.growth else ():
            small = in_own_process(n, root / f"n{n}")
            show(f"{n} conversations", small)
            figures[f"cpu_ms_per_call_{n}"] = 1000 * small["cpu_seconds"] / small["n_calls"]
        full = in_own_process(a.trees, root / "full")
        show(f"{a.trees} conversations", full)
        trees = (root / "full" / "trees" / "trees.jsonl").read_bytes()
        again = in_own_process(a.trees, root / "full")
        show("the same, replayed", again)
        assert again["n_replayed"] == again["n_calls"] == full["n_calls"] and full["n_failed"] == 0
        assert (root / "full" / "trees" / "trees.jsonl").read_bytes() == trees, "a replay wrote other trees"
        figures.update(
            seconds=full["seconds"], calls_per_s=full["n_calls"] / full["seconds"],
            cpu_ms_per_call=1000 * full["cpu_seconds"] / full["n_calls"], peak_rss_mb=full["peak_rss_mb"],
            journal_mb=full["journal_mb"], replay_seconds=again["seconds"], replay_rss_mb=again["peak_rss_mb"],
            trees_mb=len(trees) / 1e6,
        )  # fmt: skip
        parts = in_own_process(min(300, a.trees), root / "profiled", profile=True)["parts"]
        for part, share in parts.items():
            figures[f"cpu_ms_{part}"] = share * figures["cpu_ms_per_call"]
        print(
            "CPU-ms per call by part: "
            + "  ".join(f"{p} {s * figures['cpu_ms_per_call']:.3f}" for p, s in parts.items())
        )
        for policy, orders in (("path", 2), ("both:2", 1), ("budget:60", 1)) if a.policies else ():
            label = f"{policy}, {orders} orders"
            other = in_own_process(a.trees, root / f"{policy}-{orders}".replace(":", "-"), policy, orders)
            show(label, other)
            figures[f"cpu_ms_per_call {label}"] = 1000 * other["cpu_seconds"] / other["n_calls"]
    for bar, limit in BARS.items():
        print(f"{bar:<16} {figures[bar]:8.3f}  bar {limit:g}  {'kept' if figures[bar] <= limit else 'MISSED'}")
    print(json.dumps({"benchmark": "paper_scale", "figures": {k: round(v, 4) for k, v in figures.items()}}))


if __name__ == "__main__":
    main()
