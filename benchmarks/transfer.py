"""Does what is learned from one simulated user carry over to others? And do known groups hold with all of them?

First, without training: in every dialect and under every judge the control policies must come out in their known order
(oracle > knows-all > generic > swapped), for every seed. Then, for every seed, the tiny model of the demo is trained on
each user and on a mixture of all of them, and every model meets every user; three judges score the same replies.
``diagonal_minus_off``: on each user, the model that was trained on it minus the mean of those that were not, mean over
the seeds; ``mixture_closes_min``: the share of this that the mixture closes, on the worst seed.

What is finished is kept in ``--out``. Without ``--users`` nothing is trained, and the last line has no such figures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import time
from itertools import pairwise
from pathlib import Path

from aloe.bench.runner import run_benchmark
from aloe.bench.transfer import TransferPlan, read_members
from aloe.bench.users.people import world_personas
from aloe.config import Config, ModelConfig, load_config
from aloe.models.caller import Caller
from aloe.stages.transfer import run_transfer
from aloe.world.lexicon.mixture import NAMES

JUDGES = ("world:judge?weighing=style", "world:judge?weighing=content", "world:judge?weighing=tact")
POLICIES = ("oracle", "knows-all", "generic", "swapped")


def known_config(dialect: str, seed: int, judges: tuple[str, ...]) -> Config:
    user = "world:user" if dialect == "plain" else f"world:user?dialect={dialect}"
    bench = {"panel": "mean", "gain": False, "n_bootstrap": 100}
    return load_config(None, {"seed": seed, "roles": {"user": user, "judge": list(judges)}, "bench": bench})


async def known_scores(dialect: str, seed: int, n: int, out: Path, judges: tuple[str, ...]) -> dict[str, list[float]]:
    """The average of each policy under each judge."""
    config, people = known_config(dialect, seed, judges), world_personas(n, seed, "known")
    found = {}
    for policy in POLICIES:
        place = out / f"seed{seed}" / dialect / policy
        if not (place / "result.json").is_file():
            caller = Caller.open(config, None, seed=seed)
            try:
                model = ModelConfig(uri=f"world:{policy}")
                await run_benchmark(caller, people, model, config=config, out_dir=place, name=policy)
            finally:
                await caller.aclose()
        found[policy] = read_members(place, people, len(judges)).mean(axis=0).tolist()
    return found


def known_groups(seeds: list[int], n: int, out: Path) -> tuple[int, float]:
    """How many of (seed, dialect, judge) are out of order, and the smallest gap between neighbours."""
    judges = ("world:judge", *JUDGES)
    n_wrong, smallest = 0, float("inf")
    for seed in seeds:
        for dialect in NAMES:
            found = asyncio.run(known_scores(dialect, seed, n, out, judges))
            for at, judge in enumerate(judges):
                line = [found[policy][at] for policy in POLICIES]
                gaps = [a - b for a, b in pairwise(line)]
                n_wrong += min(gaps) <= 0
                smallest = min(smallest, *gaps)
                if min(gaps) <= 0:
                    print(f"seed {seed}, {dialect}, {judge}: {', '.join(f'{value:.2f}' for value in line)}", flush=True)
    return n_wrong, smallest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/transfer"), help="where everything is kept")
    parser.add_argument("--seeds", default="0,1,2", help="of the trained models")
    parser.add_argument("--known-seeds", default="0,1,2,3,4", help="of the known groups; empty: none")
    parser.add_argument("--users", default="", help="dialects to train on, for example plain,terse,rambling,learner")
    parser.add_argument("--checkpoint", choices=("sft", "dpo"), default="sft")
    parser.add_argument("--personas", type=int, default=40)
    parser.add_argument("--known-personas", type=int, default=20)
    parser.add_argument("--people", type=int, default=0, help="training personas, a tree each; 0: the demo's")
    parser.add_argument("--base", default=None, help="a checkpoint that all start from, instead of making one per seed")
    parser.add_argument("--own-base", action="store_true", help="a base model for each user, of its words alone")
    arguments = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    started = time.perf_counter()
    figures: dict[str, float] = {"n_judges": len(JUDGES)}
    known = [int(seed) for seed in filter(None, arguments.known_seeds.split(","))]
    if known:
        n_wrong, smallest = known_groups(known, arguments.known_personas, arguments.out / "known")
        n_all = len(known) * len(NAMES) * (1 + len(JUDGES))
        print(f"known groups: {n_all - n_wrong} of {n_all} in order, smallest gap {smallest:.3f}", flush=True)
        figures |= {"n_known_dialects": len(NAMES), "known_groups_ok": int(n_wrong == 0)}
        figures |= {"known_groups_seeds": len(known), "known_groups_gap_min": smallest}
    users = tuple(filter(None, arguments.users.split(",")))
    if users:
        plan = TransferPlan(
            users,
            JUDGES,
            arguments.checkpoint,
            arguments.personas,
            shared_base=not (arguments.own_base or arguments.base),
        )
        gaps, shares, costs, n_up = [], [], [], 0
        seeds = [int(seed) for seed in arguments.seeds.split(",")]
        for seed in seeds:
            overrides: dict[str, object] = {"seed": seed}
            overrides |= {"personas": {"n_personas": arguments.people}} if arguments.people else {}
            overrides |= {"sft": {"model": arguments.base}} if arguments.base else {}
            found, _ = run_transfer(load_config("demo", overrides), plan, arguments.out / f"seed{seed}")
            d, c = found.diagonal_minus_off, found.costs
            print(f"seed {seed}: diagonal - off {d.value:+.3f} [{d.low:+.3f}, {d.high:+.3f}], mixture closes "
                  f"{found.closes}, costs {c}", flush=True)  # fmt: skip
            gaps.append(d.value)
            shares.append(found.closes if found.closes is not None else 0.0)
            costs.append(c.value if c is not None else 0.0)
            n_up += d.low > 0
        figures |= {"n_dialects": len(users), "n_seeds": len(seeds)}
        figures["diagonal_minus_off"] = sum(gaps) / len(gaps)
        figures |= {
            "diagonal_above_off_seeds": n_up,
            "mixture_closes_min": min(shares),
            "mixture_costs_max": max(costs),
        }
    print(f"{time.perf_counter() - started:.0f} s")
    print(json.dumps({"benchmark": "transfer", "figures": {k: round(v, 4) for k, v in figures.items()}}))


if __name__ == "__main__":
    main()
