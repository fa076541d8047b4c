"""Can the benchmark of the simulated world be cheated? The gallery of cheats against the oracle.

Every policy of ``tests/world/cheats/gallery.py`` meets the same fresh personas of the demo's world under the same user
and judge as the oracle does, ten turns each. Printed, and written to docs/metrics.md by hand: AVG minus the oracle's,
late mean, IR, guarded IR, recall, false memories, the judge's ``natural``.

Figures: ``closest_cheat_gap`` (the oracle's AVG minus the best dishonest policy's), ``sabotage_guarded_ir_gap`` (the
oracle's guarded IR minus the saboteur's), ``asking_gain`` (an honest reply with a question each turn minus the oracle)
with the ends of its 95% interval.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aloe.bench.compare import Scored, compare_pair, read_scored
from aloe.bench.metrics import guarded_ir
from aloe.bench.runner import run_benchmark
from aloe.config import Config, ModelConfig, load_config
from aloe.models.caller import Caller
from aloe.prompts import PromptSet
from aloe.types import BenchmarkResult, Persona

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "world" / "cheats"))

from dpo_vs_control import fresh_personas
from gallery import CHEATS, HONEST, LAZY, register

CONTROLS = ("generic", "oracle")


@dataclass(frozen=True)
class Measured:
    """One policy's result and scores."""

    result: BenchmarkResult
    scored: Scored

    @property
    def curve(self) -> np.ndarray:
        """AL by turn, NaN where nothing was scored."""
        return np.array([np.nan if p.al is None else p.al for p in self.result.points])

    @property
    def natural(self) -> float:
        values = [v for v in self.result.parts.get("natural", ()) if v is not None]
        return float(np.mean(values)) if values else float("nan")


async def run_policy(config: Config, uri: str, personas: list[Persona], out: Path) -> Measured:
    caller = Caller.open(config, None, seed=config.seed, prompts=PromptSet())
    try:
        result = await run_benchmark(caller, personas, ModelConfig(uri=uri), config=config, out_dir=out, name=out.name)
    finally:
        await caller.aclose()
    return Measured(result, read_scored(out))


def show(value: float | None) -> str:
    return "none" if value is None or not np.isfinite(value) else f"{value:.2f}"


def row(name: str, found: Measured, oracle: Measured, floor: np.ndarray) -> str:
    result = found.result
    figures = [
        result.avg,
        None if result.avg is None else result.avg - oracle.result.avg,
        result.late_mean,
        result.ir,
        guarded_ir(found.curve, floor),
        result.truth.get("fact_use"),
        result.truth.get("untrue_rate"),
        found.natural,
    ]
    return f"| {name} | {' | '.join(map(show, figures))} |"


def measure_all(config: Config, n: int, folder: Path) -> dict[str, Measured]:
    """All policies by name."""
    register()
    personas = fresh_personas(config, n, "cheats")
    uris = {name: f"world:{name}" for name in CONTROLS} | {name: f"cheat:{name}" for name in (*HONEST, *LAZY, *CHEATS)}

    async def work() -> dict[str, Measured]:
        return {name: await run_policy(config, uri, personas, folder / name) for name, uri in uris.items()}

    return asyncio.run(work())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="demo")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--personas", type=int, default=100)
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    started = time.perf_counter()
    config = load_config(options.recipe, {"seed": options.seed, "bench": {"n_bootstrap": 100}})
    with tempfile.TemporaryDirectory() as folder:
        found = measure_all(config, options.personas, Path(folder))
    oracle, floor = found["oracle"], found["generic"].curve
    print("| policy | AVG | - oracle | late | IR | guarded IR | recall | false | natural |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in (*CONTROLS, *HONEST, *LAZY, *sorted(CHEATS, key=lambda n: -(found[n].result.avg or 0.0))):
        print(row(name, found[name], oracle, floor))
    gaps = {name: oracle.result.avg - found[name].result.avg for name in CHEATS}
    figures = {"closest_cheat_gap": min(gaps.values()), "n_cheats": len(CHEATS)}
    gap = guarded_ir(oracle.curve, floor) - guarded_ir(found["sabotage"].curve, floor)
    figures["sabotage_guarded_ir_gap"] = gap
    asking = compare_pair(found["asks_each_turn"].scored, oracle.scored).avg
    figures |= {"asking_gain": asking.value, "asking_gain_low": asking.low, "asking_gain_high": asking.high}
    print(f"{time.perf_counter() - started:.0f} s; closest: {min(gaps, key=gaps.__getitem__)}")
    print(json.dumps({"benchmark": "cheats", "figures": {k: round(v, 4) for k, v in figures.items()}}))


if __name__ == "__main__":
    main()
