"""The table of stages, one row each, used by the command line, the pipeline, the plan and the screen.

personas -> trees -> export -> base -> sft -> rollout -> dpo -> rl -> bench -> suites -> transfer -> report

Training methods (``training.methods``) are stages too; a plug-in's is one in a run whose recipe has its section, and
``rl`` in one whose recipe gives it iterations, ``transfer`` in one whose recipe gives it users.
Nothing heavy is imported here: a stage's function is named and loaded when it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from aloe.errors import ConfigError, nearest
from aloe.stages.brief import bench_brief, brief, personas_brief, trees_brief
from aloe.training.methods import METHODS, Method, methods_of

if TYPE_CHECKING:
    from aloe.config import Config

ALL_PROMPTS = ("*",)
COLLABORATORS = ("user", "inducer", "tailored", "generic", "judge")
COLLABORATION = ("user", "inducer", "tailored", "generic", "judge_compare", "judge_score")
ON_POLICY = ("user", "responder", "judge_score")


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage and what its result depends on.

    Attributes:
        help: one line for ``aloe --help``.
        run: ``"package.module:function"``, given a ``Context``, returns the summary.
        reads: config sections (and single fields, dotted) that shape its result. ignores: those of them that don't.
        needs: stages whose files it reads.
        roles: roles whose models it calls (or, for ``base``, whose words it learns).
        prompts: prompts that it renders. Another role's model or prompt leaves its result as it is.
        brief: its summary as one line.
        keeps_count: it knows itself which of its parts are done, so it is asked each time.
        shows: it shows what there is: alone it needs nothing, and it is done again after any other stage.
        brings_people: (section, field) which, if set, takes the place of the stages that it needs.
        writes: the files that other stages read, as glob patterns in the run directory.
        sharding: ``"package.module:object"`` of the ``Sharding`` by which it is done in shards; None: as a whole only.
        is_cheap: they are made again in no time, and removed where they no longer fit what they were made from.
    """

    name: str
    help: str
    run: str
    reads: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    brief: Callable[[Mapping[str, Any]], str] = brief
    ignores: tuple[str, ...] = ()
    keeps_count: bool = False
    shows: bool = False
    brings_people: tuple[str, str] | None = None
    writes: tuple[str, ...] = ()
    is_cheap: bool = False
    sharding: str | None = None

    def load(self) -> Callable[[Any], dict[str, Any]]:
        """The function that runs it."""
        module, _, name = self.run.partition(":")
        function: Callable[[Any], dict[str, Any]] = getattr(import_module(module), name)
        return function


def _checkpoint(name: str) -> tuple[str, ...]:
    """The files of a checkpoint that shape what is made from it."""
    return tuple(f"checkpoints/{name}/{part}" for part in ("*.safetensors", "tokenizer*", "*config.json", "*.jinja"))


def _training_stage(method: Method) -> Stage:
    section = method.name if method in METHODS else f"methods.{method.name}"
    run, writes = "aloe.stages.train:run_method", _checkpoint(method.name)
    return Stage(method.name, method.help, run, (section,), method.needs, writes=writes)


_SFT, _DPO, _RL = map(_training_stage, METHODS)
_RL = replace(
    _RL,
    run="aloe.stages.rl:run_rl",
    reads=("rl", "trees.n_turns", "trees.release", "trees.cards", "trees.end_on_goodbye", "trees.panel"),
    ignores=(
        "rl.max_minutes",
        "rl.replay",
        "rl.checkpoint_every",
        "rl.server",
        "rl.server_model",
        "rl.server_key_env",
        "rl.server_calls",
        "rl.weights_dir",
        "rl.weights_command",
        "rl.max_mismatch",
    ),
    roles=("user", "judge"),
    prompts=ON_POLICY,
)
STAGES: tuple[Stage, ...] = (
    Stage(
        "personas",
        "grow the persona pool and pair profiles with personalities",
        "aloe.stages.personas:run_personas",
        reads=("personas",),
        roles=("writer",),
        prompts=("writer",),
        brief=personas_brief,
        writes=("personas/personas.jsonl",),
    ),
    Stage(
        "trees",
        "grow preference trees",
        "aloe.stages.trees:run_trees",
        reads=("trees",),
        needs=("personas",),
        roles=COLLABORATORS,
        prompts=COLLABORATION,
        brief=trees_brief,
        writes=("trees/trees.jsonl", "trees/labels.jsonl", "trees/disclosures.jsonl"),
        sharding="aloe.stages.trees:SHARDING",
    ),
    Stage(
        "export",
        "turn trees into pairs and SFT conversations; --format trl|sharegpt|openai|hub|published for other tools",
        "aloe.stages.export:run_export",
        reads=("trees.min_margin", "export"),
        needs=("trees",),
        writes=("datasets/dpo.parquet", "datasets/sft.parquet"),
        is_cheap=True,
    ),
    Stage(
        "base",
        "train the tiny model from scratch",
        "aloe.stages.train:run_base",
        reads=("base", "sft.model"),
        roles=("writer", *COLLABORATORS),
        writes=_checkpoint("base"),
    ),
    _SFT,
    Stage(
        "rollout",
        "grow trees from the SFT checkpoint's own replies",
        "aloe.stages.rollout:run_rollout",
        reads=("rollout", "trees.n_turns"),
        needs=("personas", "sft"),
        roles=("user", "judge"),
        prompts=ON_POLICY,
        brief=trees_brief,
        writes=("datasets/rollout.parquet",),
        sharding="aloe.stages.rollout:SHARDING",
    ),
    _DPO,
    _RL,
    Stage(
        "bench",
        "benchmark models: AL(k) by turn, AVG, late mean, gain, IR",
        "aloe.stages.bench:run_bench",
        reads=("bench",),
        ignores=("bench.models",),  # models are kept one by one, so that adding one redoes nothing else
        needs=("personas",),
        roles=("user", "judge"),
        prompts=ALL_PROMPTS,
        brief=bench_brief,
        keeps_count=True,
        brings_people=("bench", "personas"),
        sharding="aloe.stages.bench:SHARDING",
    ),
    Stage(
        "report",
        "write report/index.html",
        "aloe.stages.report:run_report",
        needs=("personas", "trees", "export", "base", "sft", "rollout", "dpo", "bench"),
        shows=True,
    ),
)
_SUITES = Stage(
    "suites",
    "other benchmarks, by installed suites",
    "aloe.stages.suites:run_suites",
    reads=("suites",),
    roles=("user", "judge"),
    prompts=ALL_PROMPTS,
    keeps_count=True,
)
_TRANSFER = Stage(
    "transfer",
    "train on each of several users and test on all",
    "aloe.stages.transfer:run_stage",
    reads=("transfer", "bench"),
    ignores=("bench.models",),
    needs=("personas", "trees", "export", "base", "sft"),  # not their files: what shapes them shapes its own runs too
    roles=("writer", *COLLABORATORS),
    prompts=ALL_PROMPTS,
    keeps_count=True,
)


def stages_of(config: Config) -> tuple[Stage, ...]:
    """The stages of a run in order: the built-in ones, and those that its recipe's plug-ins bring.

    Raises:
        ConfigError: the recipe has a section of a plug-in that is not installed, or whose name a stage has.
    """
    own = tuple(_training_stage(m) for m in methods_of(config)[len(METHODS) :])
    for stage in own:
        if stage.name in {s.name for s in (*STAGES, _SUITES, _TRANSFER)}:
            raise ConfigError(
                f"plug-in method '{stage.name}' has the name of a stage", "rename it, or take its section out"
            )
    stages = [_as_configured(stage, config) for stage in STAGES if stage is not _RL or config.rl.iterations]
    at = next(i for i, stage in enumerate(stages) if stage.name == "bench")
    after = [stage for stage, is_on in ((_SUITES, config.suites), (_TRANSFER, config.transfer.users)) if is_on]
    return (*stages[:at], *own, stages[at], *after, *stages[at + 1 :])


def _as_configured(stage: Stage, config: Config) -> Stage:
    """The stage with what it needs where that depends on the recipe: without ``rl`` nothing is as it would be with."""
    if stage is _RL:
        return replace(stage, needs=("personas", config.rl.start))
    if stage.shows:
        more = [s.name for s, is_on in ((_RL, config.rl.iterations), (_TRANSFER, config.transfer.users)) if is_on]
        return replace(stage, needs=(*stage.needs, *more))
    return stage


def stage_by_name(name: str, stages: tuple[Stage, ...] = STAGES) -> Stage:
    """The stage called ``name``.

    Raises:
        ConfigError: there is none.
    """
    for stage in stages:
        if stage.name == name:
            return stage
    if name == _RL.name:
        raise ConfigError("stage rl is off: rl.iterations is 0", "set it, for example --rl.iterations 50")
    if name == _TRANSFER.name:
        raise ConfigError("stage transfer is off: transfer.users is empty", "set it: --transfer.users plain,terse")
    names = [s.name for s in stages]
    raise ConfigError(f"no stage named '{name}'{nearest(name, names)}", f"use one of: {', '.join(names)}")


@lru_cache(maxsize=1)
def stage_help() -> dict[str, str]:
    """The command of each built-in stage, with one line of help."""
    return {stage.name: stage.help for stage in STAGES}
