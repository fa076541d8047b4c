"""Do the prompts of version 2, with dealt cards and schemas, play each role better than those of version 1?

The same model, people and seeds on both sides (``--sides``: one of them); the figures are those of ``aloe prompts
test`` with 95% intervals over the people. ``--model world`` shows what is perfect. All roles are asked at once, so that
a model in this process decodes large batches. With ``--keep FOLDER`` a measurement that was interrupted goes on where
it was, and its answers can be read with ``aloe journal``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import time
from pathlib import Path

from aloe.bench.role_tests import ROLES, RoleFigure, try_roles
from aloe.cli.prompts_test import SAMPLED, WORLD
from aloe.config import Config, load_config
from aloe.models.caller import Caller

SIDES = {"before": ("1", 0, False), "after": ("2", 1, "auto")}  # version of the prompts, cards a turn, schemas


def config_of(side: str, options: argparse.Namespace) -> Config:
    """The config of one side, with the model in every role."""
    version, cards, structured = SIDES[side]
    own: dict[str, object] = {"prompt_set": version, "seed": options.seed, "trees": {"cards": cards}}
    if options.model != WORLD:
        own["roles"] = {
            role: {
                "uri": options.model, "dtype": options.dtype, "batch_size": 48, "structured": structured,
                "temperature": t, "max_tokens": min(m, options.tokens),
            }
            for role, (t, m) in SAMPLED.items()
        }  # fmt: skip
    return load_config(None, own)


def measure(side: str, roles: list[str], options: argparse.Namespace) -> dict[str, list[RoleFigure]]:
    """The figures of one side by role; every answer goes to a file where ``--keep`` says so."""
    config = config_of(side, options)

    async def work() -> dict[str, list[RoleFigure]]:
        folder = Path(options.keep) if options.keep else None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        caller = Caller.open(config, folder / f"{side}.sqlite" if folder else None, seed=config.seed)
        try:
            return await try_roles(caller, config, roles, options.n)
        finally:
            await caller.aclose()

    return asyncio.run(work())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=WORLD, help="a model's URI; world = the simulated world's own (default)")
    parser.add_argument("--roles", default=",".join(ROLES[1:]), help="comma-separated (default: all but the writer)")
    parser.add_argument("--n", type=int, default=20, help="people of the fixed set (default: 20)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tokens", type=int, default=400, help="most tokens of an answer (default: 400)")
    parser.add_argument("--dtype", default="auto", help="hf: number format of the weights (default: auto)")
    parser.add_argument("--sides", default=",".join(SIDES), help="before, after or both (default: both)")
    parser.add_argument("--keep", default="", metavar="FOLDER", help="folder for the journals of both sides")
    options = parser.parse_args()
    figures: dict[str, float] = {}
    roles, sides = options.roles.split(","), options.sides.split(",")
    print(f"{options.model} on {platform.machine()}, {os.cpu_count()} CPUs; {options.n} people, seed {options.seed}")
    found = {}
    for side in sides:
        started = time.process_time()
        found[side] = measure(side, roles, options)
        print(f"{side}: {time.process_time() - started:.0f} CPU s", flush=True)
    for role in roles:
        print(role)
        for row in zip(*(found[side][role] for side in sides), strict=True):
            cells = []
            for side, figure in zip(sides, row, strict=True):
                e = figure.estimate
                cells.append("none" if e is None else f"{e.value:.3f} [{e.low:.3f}, {e.high:.3f}]")
                if e is not None:
                    figures[f"{role}: {figure.name}, {side}"] = round(e.value, 4)
            shown = " ".join(f"{cell:<24}" for cell in cells)
            print(f"  {row[0].name:<32} {shown} {row[0].wanted}".rstrip(), flush=True)
    print(json.dumps({"benchmark": "role_prompts", "figures": figures}))


if __name__ == "__main__":
    main()
