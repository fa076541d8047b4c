"""Preference trees of the Python API: grown as stage ``trees`` grows them, and what can be trained on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aloe.api.measuring import opened
from aloe.api.running import run
from aloe.api.settings import Models, People, config_for, people_of, tables_of
from aloe.config import RolesConfig
from aloe.dialogue.forest import ForestSummary
from aloe.errors import ConfigError, DataError, nearest
from aloe.types import ConversationTree, Label, PreferencePair, SFTExample


@dataclass(frozen=True, slots=True)
class GrownTrees:
    """Trees with the judge's labels and the data derived from them.

    Attributes:
        pairs: for ``aloe.train_dpo``. examples: for ``aloe.train_sft``.
        dropped: labels that make no pair, by reason.
    """

    trees: tuple[ConversationTree, ...]
    labels: tuple[Label, ...]
    pairs: tuple[PreferencePair, ...]
    examples: tuple[SFTExample, ...]
    dropped: dict[str, int]
    summary: ForestSummary


def grow_trees(
    personas: People,
    models: Models | Mapping[str, Models] | None = None,
    *,
    n_trees: int | None = None,
    n_turns: int | None = None,
    out: str | Path | None = None,
    seed: int | None = None,
    recipe: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
) -> GrownTrees:
    """Preference trees with these personas, as ``aloe trees`` grows them.

    Args:
        personas: personas, or a persona file.
        models: one (or several, shared) for all roles, or by role: user, inducer, tailored, generic, judge. None: the
            recipe's, which without a recipe is the simulated world.
        n_trees: so many in all; None: one per persona.
        n_turns: of a conversation.
        out: a run directory for trees and the journal, so that nothing is paid for twice; None: nothing is kept.
        recipe, options: further settings, as a recipe's name or file and as tables.

    Raises:
        ConfigError: a setting that is not valid. DataError: no personas, or no tree has a label.
    """
    from aloe.dialogue.forest import plan_jobs
    from aloe.export.select import read_data_set
    from aloe.stages.export import selection_of
    from aloe.stages.trees import grow_with, tree_plan
    from aloe.store.records import read_jsonl

    given = {"roles": _roles(models), "trees": {"n_trees": n_trees, "n_turns": n_turns}, "seed": seed}
    config = config_for(recipe, options, given)
    people = [p.model_copy(update={"split": "train"}) for p in people_of(personas, config.seed)]
    if not people:
        raise DataError("there are no personas to grow trees with", "give at least one")
    jobs = plan_jobs(people, config.trees.n_trees, config.trees.replicates)

    async def work() -> GrownTrees:
        async with opened(config, out, "trees") as (caller, place):
            folder = place / "trees"
            summary = await grow_with(caller, config, tree_plan(config), jobs, folder)
            data = read_data_set(folder, people, selection_of(config))
            return GrownTrees(
                tuple(read_jsonl(folder / "trees.jsonl", ConversationTree)),
                tuple(read_jsonl(folder / "labels.jsonl", Label)),
                tuple(data.all_pairs),
                tuple(data.all_examples),
                dict(data.dropped),
                summary,
            )

    return run(work)


def _roles(models: Models | Mapping[str, Models] | None) -> dict[str, Any]:
    """The models by role.

    Raises:
        ConfigError: there is no such role, or a model that is none.
    """
    known = [role for role in RolesConfig.model_fields if role != "writer"]
    if models is None:
        return {}
    if not isinstance(models, Mapping):
        shared = tables_of(models)
        return dict.fromkeys(known, shared)
    for role in models:
        if role not in RolesConfig.model_fields:
            raise ConfigError(f"there is no role '{role}'{nearest(role, known)}", f"roles: {', '.join(known)}")
    return {role: tables_of(own) for role, own in models.items()}
