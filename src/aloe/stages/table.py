"""The stages: each reads the files of the stages before it and writes its own.

personas -> trees -> export -> base -> sft -> rollout -> dpo -> bench -> report
"""

from __future__ import annotations

from aloe.errors import ConfigError, nearest
from aloe.prompts.render import CONTRACT
from aloe.stages.bench import run_bench
from aloe.stages.context import Stage
from aloe.stages.report import run_report
from aloe.stages.train import run_base, run_dpo, run_sft
from aloe.stages.trees import run_export, run_personas, run_rollout, run_trees

COLLABORATORS = ("user", "inducer", "tailored", "generic", "judge")
COLLABORATION = ("user", "inducer", "tailored", "generic", "judge_compare", "judge_score")
ON_POLICY = ("user", "responder", "judge_score")
STAGES: tuple[Stage, ...] = (
    Stage("personas", run_personas, ("personas",), (), ("writer",), ("writer",)),
    Stage("trees", run_trees, ("trees",), ("personas",), COLLABORATORS, COLLABORATION),
    Stage("export", run_export, ("trees.min_margin", "export"), ("trees",)),
    Stage("base", run_base, ("base", "sft.model"), (), ("writer", *COLLABORATORS)),
    Stage("sft", run_sft, ("sft",), ("export", "base")),
    Stage("rollout", run_rollout, ("rollout", "trees.n_turns"), ("personas", "sft"), ("user", "judge"), ON_POLICY),
    Stage("dpo", run_dpo, ("dpo",), ("export", "sft", "rollout")),
    Stage("bench", run_bench, ("bench",), ("personas",), ("user", "judge"), tuple(CONTRACT)),
    Stage("report", run_report, (), ("personas", "trees", "export", "base", "sft", "rollout", "dpo", "bench")),
)


def stage_by_name(name: str) -> Stage:
    """The stage called ``name``.

    Raises:
        ConfigError: there is none.
    """
    for stage in STAGES:
        if stage.name == name:
            return stage
    names = [s.name for s in STAGES]
    raise ConfigError(f"no stage named '{name}'{nearest(name, names)}", f"use one of: {', '.join(names)}")
