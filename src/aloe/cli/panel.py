"""``aloe judge check | agreement``: what judges can do, how far they agree, and whether one favours its own family."""

from __future__ import annotations

import asyncio
import json
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from aloe.cli.bench_flags import bench_overrides
from aloe.cli.parser import Overrides
from aloe.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from aloe.bench.check import Answers
    from aloe.bench.panels import RaterAgreement
    from aloe.config import Config
    from aloe.stats import Estimate


def check_judges(options: Namespace, overrides: Overrides) -> int:
    """Every judge by itself on the same items; with several, how far they agree as well."""
    from aloe.bench.check import fitness, format_fitness, known_items
    from aloe.bench.panels import check_agreement
    from aloe.cli.places import Trust, bench_config
    from aloe.config.exposure import told

    if options.n < 4:
        raise ConfigError(f"--n {options.n} is too small", "give at least 4, one item of each kind")
    config, run = bench_config(options.recipe, bench_overrides(options, overrides), Trust.of(options))
    items = known_items(options.n, options.seed)
    judges = config.roles.judge
    answers = []
    for judge in judges:
        alone = config.model_copy(update={"roles": config.roles.model_copy(update={"judge": (judge,)})})
        answers.append(asyncio.run(_ask(alone, run, items)))
    names = [told(judge) for judge in judges]
    found = [fitness(one) for one in answers]
    together = check_agreement(answers) if len(judges) > 1 else None
    if options.json:
        each = [{"judge": name, **asdict(one)} for name, one in zip(names, found, strict=True)]
        whole = {"judges": each, "agreement": {k: _plain(v, names) for k, v in (together or {}).items()}}
        print(json.dumps(whole if together else each[0], indent=2))
        return 0
    print("\n\n".join(format_fitness(one, name) for name, one in zip(names, found, strict=True)))
    if together:
        print("\nhow far they agree beyond chance (1 = always, 0 = as chance would)")
        print("\n".join(line for what, one in together.items() for line in _lines(what, one, names)))
    return 0


async def _ask(config: Config, run: Path | None, items: list[Any]) -> list[Answers]:
    from aloe.bench.check import check_judge
    from aloe.bench.scales import SCALES
    from aloe.models.caller import Caller
    from aloe.progress import stage_progress
    from aloe.store.rundir import RunDir

    caller = Caller.open(config, RunDir(run).journal_path if run is not None else None, seed=config.seed)
    try:
        with stage_progress("check") as shown:
            return await check_judge(
                caller,
                items,
                config=config,
                scope=config.bench.scope,
                scale=SCALES[config.bench.scale],
                progress=lambda n, of: shown.update(n, of, "items"),
            )
    finally:
        await caller.aclose()


def panel_agreement(options: Namespace, overrides: Overrides) -> int:
    """What each member of a panel gave to the same replies, compared; nothing is asked."""
    from aloe.bench.compare import find_models, named_folders
    from aloe.bench.families import family_notes
    from aloe.bench.panels import agreement_of_panel, read_panel, self_preferences

    models = [read_panel(folder, name) for folder, name in named_folders(find_models(options.paths))]
    found, favoured = agreement_of_panel(models), self_preferences(models)
    judges = models[0].judges
    notes = family_notes(judges, (), [(m.name, m.uri) for m in models])
    if options.json:
        favours = [asdict(one) for one in favoured]
        shown = {"judges": judges, "agreement": _plain(found, judges), "self_preference": favours, "notes": notes}
        print(json.dumps(shown, indent=2))
        return 0
    print(f"{found.n_items:,} replies of {len(models)} models, scored by {len(judges)} judges")
    print("\n".join(_lines("scores", found, judges)))
    for one in favoured:
        print(f"{one.judge} gives {', '.join(one.own)} ({one.family}, its own family) {_shown(one.points)} points more "
              "than the other judges do, compared with the other models")  # fmt: skip
    print("\n".join(notes), end="\n" if notes else "")
    return 0


def _lines(what: str, found: RaterAgreement, names: Sequence[str]) -> list[str]:
    rows = [(f"{what}: Krippendorff's alpha", found.alpha)]
    rows += [(f"  kappa, {names[a]} with {names[b]}", one) for (a, b), one in found.kappas.items()]
    width = max(len(name) for name, _ in rows)
    return [f"{name:<{width}}  {_shown(one)}" for name, one in rows]


def _shown(one: Estimate | None) -> str:
    return "undefined: all answers alike" if one is None else f"{one.value:+.3f} [{one.low:+.3f}, {one.high:+.3f}]"


def _plain(found: RaterAgreement, names: Sequence[str]) -> Mapping[str, object]:
    def three(one: Estimate | None) -> list[float] | None:
        return None if one is None else [one.value, one.low, one.high]

    kappas = {f"{names[a]} with {names[b]}": three(one) for (a, b), one in found.kappas.items()}
    return {"n_items": found.n_items, "alpha": three(found.alpha), "kappas": kappas}
