"""Does what is learned from one user serve another? Trains on each, benchmarks on all, under several judges.

For every user (a dialect of the world's, ``world/dialects``) a run of its own is trained; each checkpoint then meets
every user, and every judge scores the same replies. The headline is the diagonal minus the off-diagonal: on each user,
the model that was trained on it against the mean of those that were not, paired by persona. A model that was trained
on a mixture of all of them shows how much of that can be had without knowing the user beforehand, and what it costs on
the diagonal.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aloe.bench.runner import run_benchmark
from aloe.config import Config, ModelConfig, digest
from aloe.dialogue.panel import MEMBER
from aloe.errors import ConfigError
from aloe.models.caller import Caller
from aloe.report.matrix import matrix_page, matrix_svg
from aloe.stages.bench import identity_of
from aloe.stages.context import REPLY_TOKENS, read_personas
from aloe.stages.pipeline import run_pipeline
from aloe.stats import Clusters, Estimate, Floats, mean_interval
from aloe.store.records import read_jsonl, write_json
from aloe.store.rundir import RunDir
from aloe.types import BenchScore, Persona
from aloe.world.lexicon.mixture import parse_mixture

MIXTURE = "mixture"
Scores = Mapping[tuple[str, str], Floats]  # (trained on, tested on) -> (persona, judge)


@dataclass(frozen=True, slots=True)
class TransferPlan:
    """What is trained and tested.

    Attributes:
        users: dialects (``plain`` among them). judges: URIs that score; labels are made by the recipe's own judge.
        checkpoint: which of a run's is tested, ``sft`` or ``dpo``. n_personas: of the benchmark.
        with_mixture: whether a model is trained on all users as well.
    """

    users: tuple[str, ...]
    judges: tuple[str, ...]
    checkpoint: str = "sft"
    n_personas: int = 40
    with_mixture: bool = True

    @property
    def trained(self) -> tuple[str, ...]:
        return (*self.users, MIXTURE) if self.with_mixture else self.users


@dataclass(frozen=True, slots=True)
class TransferFigures:
    """What a matrix says.

    Attributes:
        diagonal_minus_off: paired by persona, over all users and judges. by_judge: the same under each judge.
        closes: the share of it that the mixture closes; None without a mixture, or where there is nothing to close.
        costs: what the mixture loses on the diagonal.
    """

    diagonal_minus_off: Estimate
    by_judge: Mapping[str, Estimate]
    closes: float | None
    costs: Estimate | None


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
    if mixture := parse_mixture(dialect, "--users"):
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
    personas: list[Persona] = []
    scores: dict[tuple[str, str], Floats] = {}
    for trained in plan.trained:
        run = RunDir(out / "train" / trained)
        say(f"training on {trained}")
        run_pipeline(_with_user(config, uris[trained]), run, f"transfer-{trained}", only=plan.checkpoint, say=say)
        personas = personas or read_personas(run, "bench")[: plan.n_personas]
        for tested in plan.users:
            panel = _panel(config, uris[tested], plan.judges)
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


def _with_user(config: Config, uri: str) -> Config:
    user = (config.roles.user[0].model_copy(update={"uri": uri}),)
    return config.model_copy(update={"roles": config.roles.model_copy(update={"user": user})})


def _panel(config: Config, user: str, judges: Sequence[str]) -> Config:
    """The config whose benchmark has all judges score every reply."""
    found = _with_user(config, user)
    roles = found.roles.model_copy(update={"judge": tuple(ModelConfig(uri=uri) for uri in judges)})
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


def read_members(folder: Path, personas: Sequence[Persona], n_judges: int) -> Floats:
    """The mean score of each persona's replies under each judge, shape (persona, judge); NaN where nothing is scored.

    Where the user had walked out, all judges give the lowest score.
    """
    rows: dict[str, list[list[float]]] = defaultdict(lambda: [[] for _ in range(n_judges)])
    for row in read_jsonl(folder / "scores.jsonl", BenchScore):
        for at in range(n_judges):
            value = row.parts.get(MEMBER.format(at + 1), row.score if n_judges == 1 or not row.parts else None)
            if value is not None:
                rows[row.persona_id][at].append(value)
    return np.array(
        [[np.mean(values) if values else np.nan for values in rows[p.persona_id]] for p in personas], dtype=float
    )


def measure_transfer(scores: Scores, plan: TransferPlan, clusters: Clusters) -> TransferFigures:
    """Diagonal minus off-diagonal and what the mixture does, from the scores of every cell."""

    def off(tested: str) -> Floats:
        others = [scores[trained, tested] for trained in plan.users if trained != tested]
        return np.asarray(np.mean(others, axis=0), dtype=float)

    gaps = np.mean([scores[name, name] - off(name) for name in plan.users], axis=0)  # (persona, judge)
    closes, costs = None, None
    if plan.with_mixture:
        gained = np.mean([scores[MIXTURE, name] - off(name) for name in plan.users], axis=0)
        whole = float(np.nanmean(gaps))
        closes = float(np.nanmean(gained)) / whole if whole > 0 else None
        lost = np.mean([scores[name, name] - scores[MIXTURE, name] for name in plan.users], axis=0)
        costs = _estimate(lost.mean(axis=1), clusters)
    by_judge = {judge: _estimate(gaps[:, at], clusters) for at, judge in enumerate(plan.judges)}
    return TransferFigures(_estimate(gaps.mean(axis=1), clusters), by_judge, closes, costs)


def _estimate(values: Floats, clusters: Clusters) -> Estimate:
    found = mean_interval(values, clusters)
    return found if found is not None else Estimate(float("nan"), float("nan"), float("nan"))


def _cells(
    scores: Scores, plan: TransferPlan, judge: int, clusters: Clusters
) -> dict[tuple[str, str], tuple[float, float, float]]:
    found = {}
    for place, values in scores.items():
        one = _estimate(values[:, judge], clusters)
        found[place] = (one.value, one.low, one.high)
    return found


def as_json(figures: TransferFigures, scores: Scores, plan: TransferPlan, clusters: Clusters) -> dict[str, Any]:
    """The figures and the matrix of every judge as plain values."""

    def plain(one: Estimate) -> list[float]:
        return [round(value, 6) for value in (one.value, one.low, one.high)]

    return {
        "users": list(plan.users),
        "judges": list(plan.judges),
        "checkpoint": plan.checkpoint,
        "diagonal_minus_off": plain(figures.diagonal_minus_off),
        "by_judge": {judge: plain(one) for judge, one in figures.by_judge.items()},
        "mixture_closes": figures.closes,
        "mixture_costs": plain(figures.costs) if figures.costs is not None else None,
        "matrix": {
            judge: {f"{a} -> {b}": list(cell) for (a, b), cell in _cells(scores, plan, at, clusters).items()}
            for at, judge in enumerate(plan.judges)
        },
    }


def _page(figures: TransferFigures, scores: Scores, plan: TransferPlan, clusters: Clusters) -> str:
    lead = [f"Rows: trained on ({plan.checkpoint}). Columns: tested on. Framed: the same user.", *summary(figures)]
    drawn = [
        matrix_svg(judge, plan.trained, plan.users, _cells(scores, plan, at, clusters))
        for at, judge in enumerate(plan.judges)
    ]
    return matrix_page("Transfer between users", lead, drawn)


def summary(figures: TransferFigures) -> list[str]:
    """What a matrix says, in sentences."""
    d = figures.diagonal_minus_off
    lines = [f"Diagonal minus off-diagonal: {d.value:+.3f} [{d.low:+.3f}, {d.high:+.3f}]."]
    if figures.costs is not None:
        share = "nothing to close" if figures.closes is None else f"closes {figures.closes:.0%} of it"
        c = figures.costs
        lines.append(f"The mixture: {share}; costs {c.value:+.3f} [{c.low:+.3f}, {c.high:+.3f}] on the diagonal.")
    return lines


__all__ = [
    "MIXTURE", "TransferFigures", "TransferPlan", "as_json", "measure_transfer", "read_members",
    "run_transfer", "summary", "user_uri",
]  # fmt: skip
