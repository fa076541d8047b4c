"""Are the simulated users like people? AUC of a classifier held out by conversation, and what tuning gains.

People: two files of SimulatorArena's conversations (``--human``), which are not part of this project. Compared with
them: the world's plain user, each dialect, and of some settings the one that is best on one half of the people,
measured on the other half (``aloe users tune``). The floor is people against people. Intervals: bootstrap over
conversations, every draw fitted anew; the floor's: over random halves.

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
from collections.abc import Sequence
from pathlib import Path

from aloe.bench.users.people import world_personas
from aloe.bench.users.realism import UserComparison, compare_users, floor_of
from aloe.bench.users.talks import UserTalk, hold_talks, read_talks
from aloe.bench.users.tune import WORLD_TRIES, tune_user
from aloe.config import ModelConfig, load_config
from aloe.models.caller import Caller
from aloe.world.lexicon.mixture import NAMES


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

    def held(uri: str, some: Sequence[UserTalk], seed: int) -> list[UserTalk]:
        return asyncio.run(hold(uri, list(some), arguments.assistant, seed))

    plain = compared("world:user", people, arguments.assistant, arguments.seed)
    print(line("world:user", plain), flush=True)
    for name in filter(None, arguments.dialects.split(",")):
        found = compared(f"world:user?dialect={name}", people, arguments.assistant, arguments.seed)
        print(line(f"world:user?dialect={name}", found), flush=True)
    tuned = tune_user(people, "world:user", [f"world:user?{part}" for part in WORLD_TRIES], held, arguments.seed)
    for setting in tuned.tried:
        print(f"first half: {setting.name:<90} {setting.auc:.3f}, loss {setting.loss:.3f}", flush=True)
    print(line("second half, world:user", tuned.before))
    print(line(f"second half, {tuned.best}", tuned.after))
    figures = {
        "human_human_auc": floor.auc.value,
        "human_human_auc_low": floor.auc.low,
        "human_human_auc_high": floor.auc.high,
        "world_auc": plain.auc.value,
        "tuned_auc": tuned.after.auc.value,
        "tuned_auc_high": tuned.after.auc.high,
        "tuned_auc_gain_low": tuned.gain_low,
    }
    print(f"{time.perf_counter() - started:.0f} s")
    print(json.dumps({"benchmark": "users_realism", "figures": {k: round(v, 4) for k, v in figures.items()}}))


if __name__ == "__main__":
    main()
