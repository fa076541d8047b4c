"""``aloe prompts test``: tests a model in each role on cases with a known answer; a table, or JSON."""

from __future__ import annotations

import asyncio
import json
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from aloe.cli import completers
from aloe.cli.arguments import completed
from aloe.cli.parser import Overrides, Parser
from aloe.errors import ConfigError

if TYPE_CHECKING:
    from aloe.bench.role_tests import RoleFigure
    from aloe.config import Config

WORLD = "world"  # every role played by the simulated world
# what a role is asked with unless the model says otherwise: temperature and the most tokens of an answer
SAMPLED = {
    "writer": (0.8, 1024), "user": (0.8, 120), "inducer": (0.0, 600), "tailored": (0.7, 160), "generic": (0.7, 160),
    "judge": (0.0, 160),
}  # fmt: skip


def add_arguments(parser: Parser) -> None:
    """The model, the roles and the size of the set."""
    parser.usage = (
        "aloe prompts test --model URI [--roles user,inducer,...] [--n N] [--seed S] [--json] "
        "[--prompt_set 1|2] [--trees.cards N]"
    )
    model = parser.add_argument(
        "--model", required=True, metavar="URI", help="a model's URI or table; 'world' = the simulated world's own"
    )
    completed(model, completers.models)
    roles = parser.add_argument(
        "--roles", default="", metavar="ROLES", help="roles to test, comma-separated (default: all)"
    )
    completed(roles, lambda **_: list(SAMPLED))
    for name, default, what in (("--n", 20, "people of the set"), ("--seed", 0, "which people are drawn")):
        completed(
            parser.add_argument(name, type=int, default=default, metavar="N", help=f"{what} (default: {default})"),
            completers.nothing,
        )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.accept_config(lambda: ("prompt_set", "prompts_dir", "trees", "personas", "bench", "budget", "execution"))


def run(options: Namespace, overrides: Overrides) -> int:
    """Ask the model everything and print what came of it.

    Raises:
        ConfigError: an unusable model or role. EndpointError: a call failed for good.
    """
    from aloe.bench.role_tests import ROLES, try_roles
    from aloe.models.caller import Caller
    from aloe.models.registry import create_model
    from aloe.progress import stage_progress

    config = _config(options, overrides)
    for model in config.roles.user:
        if not model.uri.startswith("hf:"):  # what can't be used is said before anything is made for it
            create_model(model)
    roles = [name.strip() for name in options.roles.split(",") if name.strip()] or list(ROLES)

    async def work() -> dict[str, list[RoleFigure]]:
        caller = Caller.open(config, None, seed=config.seed)
        try:
            with stage_progress("prompts") as shown:
                return await try_roles(caller, config, roles, options.n, lambda n, of: shown.update(n, of, "cases"))
        finally:
            await caller.aclose()

    found = asyncio.run(work())
    about = {"model": options.model, "prompt_set": config.prompt_set, "cards": config.trees.cards, "n": options.n}
    if options.json:
        print(json.dumps({**about, "seed": config.seed, "roles": {r: _as_json(f) for r, f in found.items()}}, indent=2))
    else:
        print(_table(found, about))
    return 0


def _config(options: Namespace, overrides: Overrides) -> Config:
    """The config with the model in every role; prompts of version 2 unless another is asked for."""
    from aloe.config import load_config, merge, parse_overrides

    own: dict[str, Any] = {"prompt_set": "2", "seed": options.seed}
    if options.model != WORLD:
        given = parse_overrides([f"--model={options.model}"])["model"]
        table = {"uri": given} if isinstance(given, str) else given
        if not isinstance(table, dict):
            raise ConfigError(
                f"--model {options.model} is not a model", "give a URI, or a table like '{uri = \"...\"}'"
            )
        own["roles"] = {
            role: {"temperature": temperature, "max_tokens": tokens, "structured": "auto", **table}
            for role, (temperature, tokens) in SAMPLED.items()
        }
    return load_config(None, merge(own, overrides))


def _as_json(figures: Sequence[RoleFigure]) -> dict[str, Any]:
    return {f.name: None if f.estimate is None else asdict(f.estimate) for f in figures}


def _table(found: dict[str, list[RoleFigure]], about: dict[str, Any]) -> str:
    cards = f", {about['cards']} cards a turn" if about["cards"] else ""
    lines = [f"{about['model']}, prompts of version {about['prompt_set']}{cards}, {about['n']} people; 95% intervals"]
    for role, figures in found.items():
        lines.append(role)
        for figure in figures:
            e = figure.estimate
            digits = 1 if figure.name == "words" else 3
            value = "none" if e is None else f"{e.value:.{digits}f} [{e.low:.{digits}f}, {e.high:.{digits}f}]"
            lines.append(f"  {figure.name:<32} {value:<24} {figure.wanted}".rstrip())
    return "\n".join(lines)
