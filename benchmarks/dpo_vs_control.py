"""Does DPO learn more than its equal-step control? A larger evaluation than the demo's own.

For each seed: the demo up to its ``dpo`` stage (kept in ``--out``, so that an interrupted benchmark continues), then
``sft``, ``dpo`` and ``sft-control`` meet the same 300 fresh personas at temperature 0.7, under the same user and judge.
Their facts are drawn anew, and no two share a profile; their personalities are any of the sixteen combinations of four
traits, twelve of which training personas had too. The control takes DPO's steps on the same chosen replies with the
preference term off.

Figures are differences of the mean AL over turns and personas, averaged over the seeds: ``dpo_minus_sft`` and
``dpo_minus_control``, with the ends of the narrowest claim that all seeds support (``*_low``: the lowest end of the
seeds' 95% intervals, clustered by profile and personality). Per seed, differences and intervals are printed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import time
from pathlib import Path
from random import Random

from aloe.bench.compare import compare_pair, read_scored
from aloe.bench.runner import run_benchmark
from aloe.config import Config, ModelConfig, load_config
from aloe.models.caller import Caller
from aloe.seeding import derive_seed
from aloe.stages.pipeline import run_pipeline
from aloe.store.rundir import RunDir
from aloe.training.tiny.material import read_material
from aloe.types import Persona
from aloe.world.latent import draw_facts, draw_traits, write_personality, write_profile
from aloe.world.lexicon.options import narrow

MODELS = ("sft", "dpo", "sft-control")


def fresh_personas(config: Config, n: int, benchmark: str = "dpo-vs-control") -> list[Persona]:
    """Personas drawn for one benchmark alone, from the narrow world of the config."""
    lexicon = narrow(read_material(config).persona)
    personas = []
    for number in range(n):
        rng = Random(derive_seed(config.seed, benchmark, number))
        profile = write_profile(draw_facts(rng, lexicon), "She", rng, lexicon)
        personality = write_personality(draw_traits(rng, lexicon), "She", rng, lexicon)
        personas.append(
            Persona(
                persona_id=f"fresh{number}",
                profile=profile,
                personality=personality,
                profile_id=f"profile{number}",
                personality_id=personality,
                split="bench",
            )
        )
    return personas


async def evaluate(config: Config, run: Path, out: Path, n: int, temperature: float) -> None:
    """Benchmark the three checkpoints of a run on fresh personas; what is done is kept."""
    personas = fresh_personas(config, n)
    for name in MODELS:
        if (out / name / "result.json").is_file():
            continue
        model = ModelConfig(
            uri=f"hf:{run / 'checkpoints' / name}", temperature=temperature, max_tokens=96, batch_size=128
        )
        caller = Caller.open(config, None, seed=config.seed)
        try:
            await run_benchmark(caller, personas, model, config=config, out_dir=out / name, name=name)
        finally:
            await caller.aclose()


def run_seed(recipe: str, seed: int, out: Path, n: int, temperature: float) -> dict[str, tuple[float, float]]:
    """Differences of mean AL with the lower ends of their intervals, for one seed."""
    config = load_config(recipe, {"seed": seed, "execution": {"concurrency": n}})
    run = out / f"seed{seed}"
    run_pipeline(config, RunDir(run), recipe, only="dpo")
    folder = out / f"eval{seed}"
    asyncio.run(evaluate(config, run, folder, n, temperature))
    scored = {name: read_scored(folder / name) for name in MODELS}
    found = {}
    for key, other in (("dpo_minus_sft", "sft"), ("dpo_minus_control", "sft-control")):
        difference = compare_pair(scored["dpo"], scored[other]).avg
        if difference is None:
            raise SystemExit(f"seed {seed}: no scores to compare in {folder}")
        print(f"seed {seed}: {key} {difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]", flush=True)
        found[key] = (difference.value, difference.low)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/dpo-vs-control"), help="where the runs are kept")
    parser.add_argument("--recipe", default="demo")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--personas", type=int, default=300)
    parser.add_argument("--temperature", type=float, default=0.7)
    arguments = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    started = time.perf_counter()
    seeds = [
        run_seed(arguments.recipe, seed, arguments.out, arguments.personas, arguments.temperature)
        for seed in arguments.seeds
    ]
    figures = {}
    for key in ("dpo_minus_sft", "dpo_minus_control"):
        figures[key] = sum(found[key][0] for found in seeds) / len(seeds)
        figures[f"{key}_low"] = min(found[key][1] for found in seeds)
    print(f"{time.perf_counter() - started:.0f} s")
    print(json.dumps({"benchmark": "dpo_vs_control", "figures": {k: round(v, 4) for k, v in figures.items()}}))


if __name__ == "__main__":
    main()
