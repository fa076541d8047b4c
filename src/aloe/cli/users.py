"""``aloe users check | tune``: are a user simulator's conversations like people's, what gives it away, what helps?"""

from __future__ import annotations

import asyncio
import json
from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aloe.cli import completers
from aloe.cli.arguments import add_recipe, completed, existing_path
from aloe.cli.bench_flags import add_flags, bench_overrides
from aloe.cli.parser import Overrides, Parser
from aloe.errors import ConfigError

if TYPE_CHECKING:
    from aloe.bench.users.realism import UserComparison
    from aloe.bench.users.talks import UserTalk
    from aloe.config import Config

NAME = "users"
GROUP = "measure"
HELP = "compare a user simulator's conversations with people's: a classifier's AUC and what gives the simulator away"
N_SHOWN = 8


def add_arguments(parser: Parser) -> None:
    check = parser.add_verb(
        "check",
        "tell a simulator's conversations from people's by a classifier that has not seen them",
        _check,
        usage="aloe users check [RECIPE|RUN] --human FILE [--human FILE] [--user URI | --talks FILE] [--json]",
    )
    add_recipe(check)
    add_flags(check, ("--user", "--personas"))
    _add_sides(check)
    talks = check.add_argument(
        "--talks", type=existing_path, metavar="FILE", help="the simulator's conversations, instead of holding some"
    )
    number = check.add_argument("--n", type=int, default=0, metavar="N", help="conversations (default: as many)")
    completed(talks, completers.paths)
    completed(number, completers.nothing)
    tune = parser.add_verb(
        "tune",
        "try settings of a simulator on half of the people, measure the best one on the other half",
        _tune,
        usage="aloe users tune [RECIPE|RUN] --human FILE [--user URI] [--try URI ...] [--prompts DIR ...] [--json]",
    )
    add_recipe(tune)
    add_flags(tune, ("--user", "--personas"))
    _add_sides(tune)
    tried = tune.add_argument(
        "--try", dest="tries", action="append", metavar="URI",
        help="a setting of the user (repeat for more; default for the world's: manners of typing, dialects)",
    )  # fmt: skip
    prompts = tune.add_argument(
        "--prompts", action="append", type=existing_path, metavar="DIR", help="a folder of prompts to try (repeat)"
    )
    completed(tried, completers.models)
    completed(prompts, completers.paths)
    tune.add_argument("--json", action="store_true", help="print JSON")
    tune.accept_config(_sections)
    check.add_argument("--json", action="store_true", help="print JSON")
    check.accept_config(_sections)


def _sections() -> tuple[str, ...]:
    return ("seed", "roles", "bench", "prompt_set", "prompts_dir", "budget", "execution")


def _add_sides(parser: Parser) -> None:
    human = parser.add_argument(
        "--human", action="append", type=existing_path, required=True, metavar="FILE",
        help="people's conversations: 'messages' as JSON lines; several files are several sources",
    )  # fmt: skip
    partner = parser.add_argument(
        "--assistant", default="world:generic", metavar="URI", help="whom the simulator talks to (default: %(default)s)"
    )
    completed(human, completers.paths)
    completed(partner, completers.models)


def run(options: Namespace, overrides: Overrides) -> int:
    return int(options.verb(options, overrides))


def _check(options: Namespace, overrides: Overrides) -> int:
    from aloe.bench.users.realism import compare_users, floor_of
    from aloe.bench.users.talks import front_loading, read_talks
    from aloe.cli.places import Trust, bench_config

    if options.talks and options.user:
        raise ConfigError("--talks and --user name two simulators", "give one of them")
    people = [talk for path in options.human for talk in read_talks(path)]
    config, _ = bench_config(options.recipe, bench_overrides(options, overrides), Trust.of(options))
    if options.talks:
        name, talks = str(options.talks), read_talks(options.talks)
    else:
        name = ", ".join(model.uri for model in config.roles.user)
        talks = asyncio.run(_hold(config, people, options.n or len(people), options.assistant))
    found = compare_users([t.messages for t in people], [t.messages for t in talks], config.seed)
    groups = sorted({talk.group for talk in people})
    floor = floor_of([t.messages for t in people], [t.group for t in people], config.seed)
    across = None
    if len(groups) == 2:
        one, other = ([t.messages for t in people if t.group == group] for group in groups)
        across = compare_users(one, other, config.seed)
    shares = front_loading(talks)
    if options.json:
        report = {
            "users": name,
            "simulated_vs_human": found.as_dict(),
            "human_vs_human": floor.as_dict(),
            "across_tasks": across.as_dict() if across is not None else None,
            "persona_given_away_by_turn": shares,
        }
        print(json.dumps(report, indent=2))
    else:
        _print(name, found, floor, across, shares)
    return 0


def _tune(options: Namespace, overrides: Overrides) -> int:
    from aloe.cli.users_tune import tune

    return tune(options, overrides, lambda *arguments: asyncio.run(_hold(*arguments)))


async def _hold(config: Config, people: Sequence[UserTalk], n: int, assistant: str) -> list[UserTalk]:
    from aloe.bench.users.talks import hold_talks
    from aloe.config import ModelConfig
    from aloe.models.caller import Caller
    from aloe.personas.stage import read_bench_file
    from aloe.progress import stage_progress

    source = config.bench.personas
    if source is None:
        from aloe.bench.users.people import world_personas

        personas = world_personas(n, config.seed)
    else:
        personas = read_bench_file(source, n, config.seed)[:n]
    turns = [people[at % len(people)].n_turns for at in range(len(personas))]
    caller = Caller.open(config, None, seed=config.seed)
    try:
        with stage_progress("users") as shown:
            return await hold_talks(
                caller, personas, turns, ModelConfig(uri=assistant), config=config,
                progress=lambda done, of: shown.update(done, of, "conversations"),
            )  # fmt: skip
    finally:
        await caller.aclose()


def _print(
    name: str, found: UserComparison, floor: UserComparison, across: UserComparison | None, shares: list[float | None]
) -> None:
    from aloe.bench.users.features import FEATURES

    def line(what: str, one: UserComparison) -> str:
        return f"{what:<44} {one.auc.value:.3f} [{one.auc.low:.3f}, {one.auc.high:.3f}]  {one.n_first} + {one.n_second}"

    print("AUC of a classifier, held out by conversation   95% over conversations")
    print(line(name if len(name) <= 44 else f"{name[:41]}...", found))
    print(line("people against people (the floor)", floor))
    if across is not None:
        print(line("people of one task against those of the other", across))
    print("what gives it away, by itself:")
    for one in found.features[:N_SHOWN]:
        more = "more" if one.second > one.first else "less"
        print(f"  {one.feature:<14} AUC {max(one.auc, 1 - one.auc):.2f}  {one.second:.3f} for people's {one.first:.3f} "
              f"({more}): {FEATURES[one.feature]}")  # fmt: skip
    if shares:
        told = " ".join("-" if share is None else f"{share:.2f}" for share in shares[:10])
        print(f"share of the persona given away by turn: {told}")
