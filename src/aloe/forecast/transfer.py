"""Foretells stage transfer: trees and pools are those of the run again, for each user; conversations are rehearsed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from aloe.bench.runner import run_benchmark
from aloe.config import Config, ModelConfig
from aloe.forecast.line import Line
from aloe.forecast.stand_ins import stand_in
from aloe.models.caller import Caller
from aloe.stages.transfer import panel_config
from aloe.types import Persona

if TYPE_CHECKING:
    from pathlib import Path


STAGE = "transfer"


def n_trained(config: Config) -> int:
    """How many models the stage trains."""
    return len(config.transfer.users) + config.transfer.mixture


def repeated_lines(config: Config, lines: Sequence[Line]) -> list[Line]:
    """What the training runs of the stage ask for: each asks for what the run itself does."""
    stages = ("personas", "trees", "rollout") if config.transfer.checkpoint == "dpo" else ("personas", "trees")
    n = n_trained(config)
    return [
        replace(
            line, stage=STAGE, calls=n * line.calls, prompt_tokens=n * line.prompt_tokens,
            completion_tokens=n * line.completion_tokens, cost=None if line.cost is None else n * line.cost,
            models=("hf:checkpoints",) if line.role == "responder" else line.models,
        )
        for line in lines if line.stage in stages
    ]  # fmt: skip


def merged_lines(lines: Sequence[Line]) -> list[Line]:
    """The lines with those of the stage that are of one role and the same models added up."""
    found: dict[tuple[str, str, tuple[str, ...]] | int, Line] = {}
    for number, line in enumerate(lines):
        key = (line.stage, line.role, line.models) if line.stage == STAGE else number
        before = found.get(key)
        found[key] = line if before is None else _sum(before, line)
    return list(found.values())


def _sum(one: Line, other: Line) -> Line:
    return replace(
        one, calls=one.calls + other.calls, prompt_tokens=one.prompt_tokens + other.prompt_tokens,
        completion_tokens=one.completion_tokens + other.completion_tokens,
        cost=None if one.cost is None or other.cost is None else one.cost + other.cost,
    )  # fmt: skip


def rehearsal_panel(config: Config) -> Config:
    """The config of a cell, with stand-ins for judges that would cost something."""
    judges = tuple(stand_in("judge", ModelConfig(uri=uri)) for uri in config.transfer.judges)
    return panel_config(config, config.roles.user[0].uri, judges)


async def rehearse_cell(
    played: Config, caller: Caller, people: Sequence[Persona], model: ModelConfig, to: Path
) -> float:
    """Holds the conversations of a few personas of one cell; returns how many times as much all cells are."""
    await run_benchmark(caller, list(people), model, config=played, out_dir=to)
    n_people = min(played.transfer.personas, played.personas.n_bench)
    return n_people * n_trained(played) * len(played.transfer.users) / len(people)
