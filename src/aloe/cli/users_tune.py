"""``aloe users tune``: which setting of a user simulator is least told from people?"""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from aloe.cli.bench_flags import bench_overrides
from aloe.cli.parser import Overrides
from aloe.errors import ConfigError

if TYPE_CHECKING:
    from aloe.bench.users.talks import UserTalk
    from aloe.bench.users.tune import TunedUser
    from aloe.config import Config

    HoldTalks = Callable[[Config, Sequence[UserTalk], int, str], list[UserTalk]]
N_SHOWN = 8
PROMPTS = "prompts "


def tune(options: Namespace, overrides: Overrides, hold: HoldTalks) -> int:
    """Try settings on half of the people, measure before and after on the other half.

    Raises:
        ConfigError: nothing to try.
    """
    from aloe.bench.users.talks import read_talks
    from aloe.bench.users.tune import WORLD_TRIES, tune_user
    from aloe.cli.places import Trust, bench_config

    people = [talk for path in options.human for talk in read_talks(path)]
    config, _ = bench_config(options.recipe, bench_overrides(options, overrides), Trust.of(options))
    usual = config.roles.user[0].uri
    settings = [*(options.tries or ()), *(f"{PROMPTS}{folder}" for folder in options.prompts or ())]
    if not settings and usual.startswith("world:user"):
        settings = [_joined(usual, part) for part in WORLD_TRIES]
    if not settings:
        raise ConfigError("there is no setting to try", "name some: --try URI, or --prompts DIR")

    def held(name: str, some: Sequence[UserTalk], seed: int) -> list[UserTalk]:
        return hold(_with(config, name, seed), some, len(some), options.assistant)

    found = tune_user(people, usual, settings, held, config.seed)
    if options.json:
        print(json.dumps(found.as_dict(), indent=2))
    else:
        _print(found, usual)
    return 0


def _joined(uri: str, options: str) -> str:
    """The URI with options in place of those of the same name."""
    actor, _, query = uri.partition("?")
    keys = {part.partition("=")[0] for part in options.split("&")}
    kept = [part for part in query.split("&") if part and part.partition("=")[0] not in keys]
    return f"{actor}?{'&'.join([*kept, options])}"


def _with(config: Config, setting: str, seed: int) -> Config:
    if setting.startswith(PROMPTS):
        return config.model_copy(update={"seed": seed, "prompts_dir": setting.removeprefix(PROMPTS)})
    user = (config.roles.user[0].model_copy(update={"uri": setting}),)
    return config.model_copy(update={"seed": seed, "roles": config.roles.model_copy(update={"user": user})})


def _print(found: TunedUser, usual: str) -> None:
    from aloe.bench.users.features import FEATURES

    width = max(len(one.name) for one in found.tried)
    print("tried on one half of the people: AUC, and loss of the classifier in nats (0.693 = it knows nothing)")
    for one in found.tried:
        mark = " (as it is)" if one.name == usual else " (best)" if one.name == found.best else ""
        print(f"  {one.name:<{width}}  {one.auc:.3f}  {one.loss:.3f}{mark}")
    print("on the other half, with other personas:")
    for what, side in (("before", found.before), ("after", found.after)):
        print(f"  {what:<7} {side.auc.value:.3f} [{side.auc.low:.3f}, {side.auc.high:.3f}]  {side.n_first} + "
              f"{side.n_second} conversations")  # fmt: skip
    apart = "the intervals are apart" if found.gain_low > 0 else "the intervals overlap"
    print(f"  {apart} ({found.gain_low:+.3f})")
    after = {one.feature: one for one in found.after.features}
    print("what gave it away before, each by itself, and after:")
    for early in found.before.features[:N_SHOWN]:
        late = after[early.feature]
        print(f"  {early.feature:<14} AUC {max(early.auc, 1 - early.auc):.2f} -> {max(late.auc, 1 - late.auc):.2f}: "
              f"{FEATURES[early.feature]}")  # fmt: skip
