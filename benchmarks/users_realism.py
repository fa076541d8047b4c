"""Are the simulated users like people? AUC of a classifier held out by conversation, and what tuning gains.

People: two files of SimulatorArena's conversations (``--human``), which are not part of this project. Compared with
them: the world's plain user, each dialect, and of some mixtures and settings the one that is best on one half of the
people, measured on the other half. The floor is people against people. Intervals: bootstrap
over conversations, every draw fitted anew; the floor's: over random halves.

What the figures cannot tell: people here write documents and solve problems, the simulator talks of everyday life. The
last table line says how well people of one task can be told from people of another.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import time
from pathlib import Path

from aloe.bench.users.people import world_personas
from aloe.bench.users.realism import UserComparison, compare_users, floor_of
from aloe.bench.users.talks import UserTalk, hold_talks, read_talks
from aloe.config import ModelConfig, load_config
from aloe.models.caller import Caller
from aloe.seeding import derive_rng
from aloe.world.lexicon.mixture import NAMES

CANDIDATES = (
    "world:user?dialect=terse",
    "world:user?dialect=indirect",
    "world:user?dialect=learner",
    "world:user?dialect=terse,indirect",
    "world:user?dialect=terse,indirect,learner",
    "world:user?wording=wide&dialect=plain,terse,indirect,learner,moody,adversarial",
    "world:user?wording=wide&dialect=terse:2,indirect:2,learner,moody,rambling",
)


async def hold(uri: str, people: list[UserTalk], assistant: str, seed: int) -> list[UserTalk]:
    config = load_config(None, {"seed": seed, "roles": {"user": uri}})
    caller = Caller.open(config, None, seed=seed)
    try:
        personas = world_personas(len(people), seed, "realism")
        turns = [talk.n_turns for talk in people]
        return await hold_talks(caller, personas, turns, ModelConfig(uri=assistant), config=config)
    finally:
        await caller.aclose()


def compared(uri: str, people: list[UserTalk], assistant: str, seed: int) -> UserComparison:
    talks = asyncio.run(hold(uri, people, assistant, seed))
    return compare_users([t.messages for t in people], [t.messages for t in talks], seed)


def line(what: str, one: UserComparison) -> str:
    best = ", ".join(f"{g.feature} {max(g.auc, 1 - g.auc):.2f}" for g in one.features[:4])
    return f"{what:<72} {one.auc.value:.3f} [{one.auc.low:.3f}, {one.auc.high:.3f}]  {best}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--human", type=Path, nargs=2, required=True, help="two files of people's conversations")
    parser.add_argument("--assistant", default="world:generic", help="whom the simulator talks to")
    parser.add_argument("--dialects", default=",".join(NAMES[1:]), help="those to compare, one by one; may be empty")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    started = time.perf_counter()
    people = [talk for path in arguments.human for talk in read_talks(path)]
    one, other = ([t.messages for t in people if t.group == g] for g in dict.fromkeys(t.group for t in people))
    floor = floor_of([t.messages for t in people], [t.group for t in people], arguments.seed)
    print(line("people against people", floor), flush=True)
    print(line("people of one task against people of the other", compare_users(one, other, arguments.seed)), flush=True)
    order = derive_rng(arguments.seed, "realism", "halves").permutation(len(people)).tolist()
    halves = [[people[i] for i in order[start::2]] for start in (0, 1)]
    plain = compared("world:user", people, arguments.assistant, arguments.seed)
    print(line("world:user", plain), flush=True)
    for name in filter(None, arguments.dialects.split(",")):
        found = compared(f"world:user?dialect={name}", people, arguments.assistant, arguments.seed)
        print(line(f"world:user?dialect={name}", found), flush=True)
    tried = {uri: compared(uri, halves[0], arguments.assistant, arguments.seed) for uri in CANDIDATES}
    for uri, found in tried.items():
        print(line(f"first half: {uri}", found), flush=True)
    best = min(tried, key=lambda uri: tried[uri].auc.value)
    before = compared("world:user", halves[1], arguments.assistant, arguments.seed + 1)
    after = compared(best, halves[1], arguments.assistant, arguments.seed + 1)
    print(line("second half, world:user", before))
    print(line(f"second half, {best}", after))
    figures = {
        "human_human_auc": floor.auc.value,
        "human_human_auc_low": floor.auc.low,
        "human_human_auc_high": floor.auc.high,
        "world_auc": plain.auc.value,
        "tuned_auc": after.auc.value,
        "tuned_auc_gain_low": before.auc.low - after.auc.high,
    }
    print(f"{time.perf_counter() - started:.0f} s")
    print(json.dumps({"benchmark": "users_realism", "figures": {k: round(v, 4) for k, v in figures.items()}}))


if __name__ == "__main__":
    main()
