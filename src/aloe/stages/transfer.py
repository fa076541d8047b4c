"""Does what is learned from one user serve another? Trains on each, benchmarks on all, under several judges.

For every user (a dialect of the world's, ``world/dialects``) a run of its own is trained; each checkpoint then meets
every user, and every judge scores the same replies. The headline is the diagonal minus the off-diagonal: on each user,
the model that was trained on it against the mean of those that were not, paired by persona. A model that was trained
on a mixture of all of them shows how much of that can be had without knowing the user beforehand, and what it costs on
the diagonal.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aloe.bench.runner import run_benchmark
from aloe.bench.transfer import (
    MIXTURE,
    Scores,
    TransferFigures,
    TransferPlan,
    as_json,
    cells_of,
    measure_transfer,
    read_members,
    summary,
)
from aloe.config import Config, ModelConfig, TransferConfig, digest
from aloe.errors import ConfigError
from aloe.models.caller import Caller
from aloe.report.matrix import matrix_page, matrix_svg
from aloe.stages.bench import identity_of
from aloe.stages.context import REPLY_TOKENS, Context, read_personas
from aloe.stages.pipeline import run_pipeline
from aloe.stats import Clusters, Floats
from aloe.store.records import write_json
from aloe.store.rundir import RunDir
from aloe.types import Persona
from aloe.world.lexicon.mixture import parse_mixture


def run_stage(context: Context) -> dict[str, Any]:
    """The stage of a run: ``[transfer]`` says what is trained and tested; its own runs are in ``transfer/train``.

    Raises:
        ConfigError: see ``run_transfer``.
    """
    config, out = context.config, context.run.stage_dir("transfer")
    if context.redo:
        for part in ("train", "bench"):
            shutil.rmtree(out / part, ignore_errors=True)
    found, _ = run_transfer(config, plan_of(config.transfer), out, say=lambda line: None)
    gap = found.diagonal_minus_off
    closes = None if found.closes is None else round(found.closes, 3)
    return {
        "n_users": len(config.transfer.users),
        "diagonal_minus_off": round(gap.value, 3),
        "low": round(gap.low, 3),
        "high": round(gap.high, 3),
        "mixture_closes": closes,
    }


def plan_of(section: TransferConfig) -> TransferPlan:
    """What a config's section asks for."""
    return TransferPlan(
        users=section.users,
        judges=section.judges,
        checkpoint=section.checkpoint,
        n_personas=section.personas,
        with_mixture=section.mixture,
        shared_base=section.shared_base,
    )


def user_uri(base: str, dialect: str) -> str:
    """The recipe's user in a dialect, or in a mixture of several.

    Raises:
        ConfigError: the user is not the world's, or an unknown dialect.
    """
    if not base.startswith("world:user"):
        raise ConfigError(
            f"transfer needs the world's user, not '{base}'", "use a recipe whose roles.user is world:user"
        )
    actor, _, query = base.partition("?")
    options = [part for part in query.split("&") if part and not part.startswith("dialect=")]
    if mixture := parse_mixture(dialect, "users of transfer"):
        options.append(f"dialect={mixture}")
    return f"{actor}?{'&'.join(options)}" if options else actor


def run_transfer(
    config: Config, plan: TransferPlan, out: Path, say: Callable[[str], None] = print
) -> tuple[TransferFigures, Scores]:
    """Train, benchmark, compare; what is finished in ``out`` is kept. Writes ``transfer.json`` and ``index.html``.

    Raises:
        ConfigError: fewer than two users, or a user that is not the world's.
    """
    if len(plan.users) < 2:
        raise ConfigError("one user alone shows no transfer", "give at least two: --users plain,terse")
    base = config.roles.user[0].uri
    uris = {name: user_uri(base, name) for name in plan.users} | {MIXTURE: user_uri(base, ",".join(plan.users))}
    config = config.model_copy(update={"transfer": TransferConfig()})  # the inner runs have no such stage
    personas: list[Persona] = []
    scores: dict[tuple[str, str], Floats] = {}
    start = _shared_base(_with_user(config, uris[MIXTURE]), out, say) if plan.shared_base else None
    judges = [ModelConfig(uri=uri) for uri in plan.judges]
    for trained in plan.trained:
        run = RunDir(out / "train" / trained)
        say(f"training on {trained}")
        own = _with_user(config, uris[trained])
        if start is not None:
            own = own.model_copy(update={"sft": own.sft.model_copy(update={"model": start})})
        run_pipeline(own, run, f"transfer-{trained}", only=plan.checkpoint, say=say)
        personas = personas or read_personas(run, "bench")[: plan.n_personas]
        for tested in plan.users:
            panel = panel_config(config, uris[tested], judges)
            place = out / "bench" / trained / tested / _tested_with(panel, run, plan, personas)
            if not (place / "result.json").is_file():
                asyncio.run(_test(panel, run, plan, personas, place))
            scores[trained, tested] = read_members(place, personas, len(plan.judges))
            means = ", ".join(f"{value:.2f}" for value in np.nanmean(scores[trained, tested], axis=0))
            say(f"  tested on {tested}: {means}")
    clusters = Clusters([p.profile_id for p in personas], [p.personality_id for p in personas])
    figures = measure_transfer(scores, plan, clusters)
    write_json(out / "transfer.json", as_json(figures, scores, plan, clusters))
    (out / "index.html").write_text(_page(figures, scores, plan, clusters), "utf-8")
    return figures, scores


def _shared_base(config: Config, out: Path, say: Callable[[str], None]) -> str:
    """The checkpoint from which all start; it is made where ``out`` has none yet.

    Raises:
        ConfigError: the recipe starts from a given model anyway.
    """
    if config.sft.model is not None:
        raise ConfigError(
            f"the recipe starts SFT from '{config.sft.model}': every user's model has that start already",
            "leave the shared base model out",
        )
    run = RunDir(out / "train" / "base")
    say("training the base model that all start from")
    run_pipeline(config, run, "transfer-base", only="base", say=say)
    return str(run.checkpoint_dir("base"))


def _with_user(config: Config, uri: str) -> Config:
    user = (config.roles.user[0].model_copy(update={"uri": uri}),)
    return config.model_copy(update={"roles": config.roles.model_copy(update={"user": user})})


def panel_config(config: Config, user: str, judges: Sequence[ModelConfig]) -> Config:
    """The config of a cell: its user, and a benchmark in which all judges score every reply."""
    found = _with_user(config, user)
    roles = found.roles.model_copy(update={"judge": tuple(judges)})
    bench = found.bench.model_copy(update={"panel": "mean", "gain": False, "full": False})
    return found.model_copy(update={"roles": roles, "bench": bench})


def _model(run: RunDir, plan: TransferPlan) -> ModelConfig:
    path = run.checkpoint_dir(plan.checkpoint)
    return ModelConfig(uri=f"hf:{path}", temperature=0.0, max_tokens=REPLY_TOKENS, batch_size=128)


def _tested_with(config: Config, run: RunDir, plan: TransferPlan, personas: Sequence[Persona]) -> str:
    """A name for all that a cell depends on: under another judge, with other people or weights it is another cell."""
    shared = config.model_dump(mode="json", include={"seed", "prompts_dir", "prompt_set", "roles", "bench"})
    return digest([shared, *identity_of(_model(run, plan)), [p.model_dump(mode="json") for p in personas]])


async def _test(config: Config, run: RunDir, plan: TransferPlan, personas: list[Persona], out: Path) -> None:
    caller = Caller.open(config, None, seed=config.seed)
    try:
        await run_benchmark(caller, personas, _model(run, plan), config=config, out_dir=out, name=plan.checkpoint)
    finally:
        await caller.aclose()


def _page(figures: TransferFigures, scores: Scores, plan: TransferPlan, clusters: Clusters) -> str:
    lead = [f"Rows: trained on ({plan.checkpoint}). Columns: tested on. Framed: the same user.", *summary(figures)]
    drawn = [
        matrix_svg(judge, plan.trained, plan.users, cells_of(scores, plan, at, clusters))
        for at, judge in enumerate(plan.judges)
    ]
    return matrix_page("Transfer between users", lead, drawn)
