"""Runs the stages in order: skips what is done, reports what changed, continues what was interrupted.

A stage's digest covers the seed, the config it reads, the prompts and the digests of the stages it needs, and the
files it was made from are compared by content, so an outdated result is never used. A stage in which calls failed is
incomplete: what needs it does not run, and the next run completes it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from aloe.config import Config, digest
from aloe.errors import AloeError, ConfigError
from aloe.models.local.packaged import check_packaged
from aloe.models.local.pool import start_workers, stop_workers
from aloe.models.registry import create_model
from aloe.models.uri import split_uri, unwrap
from aloe.progress import stage_progress
from aloe.prompts import PromptSet
from aloe.prompts.catalog import USER_CARDS, USER_SESSION
from aloe.stages.context import Context
from aloe.stages.done import changed_outputs, drop_stale, is_done, read_inputs, stamp_outputs
from aloe.stages.executor import run_sharded
from aloe.stages.failures import refuse_failed
from aloe.stages.precision import settle_precision
from aloe.stages.sharded import absorb_shards, clear_shards, finished_set, join_stage, made_by
from aloe.stages.table import ALL_PROMPTS, Stage, stage_by_name, stages_of
from aloe.stages.train import need_training
from aloe.store.rundir import FORGETTING, RunDir
from aloe.store.shards import shards_in
from aloe.training.methods import BASE, METHODS, methods_of

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Outcome:
    """What a run did: seconds per stage (0.0 where it was done before) and each stage's summary."""

    seconds: dict[str, float] = field(default_factory=dict)
    summaries: dict[str, dict[str, Any]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)


def stage_digests(config: Config, prompts: PromptSet) -> dict[str, str]:
    """Digest of every stage's inputs."""
    data = config.model_dump(mode="json")
    found: dict[str, str] = {}
    for stage in stages_of(config):
        read = {name: _without(_lookup(data, name), name, stage.ignores) for name in stage.reads}
        names = prompts.stamp() if stage.prompts == ALL_PROMPTS else stage.prompts
        asks = (config.bench if stage.name == "bench" else config.trees) if "user" in stage.roles else None
        dealt = [asks.cards, prompts.hashes[USER_CARDS.name]] if asks and asks.cards else []
        dealt += ["sessions", asks.sessions, prompts.hashes[USER_SESSION.name]] if asks and asks.sessions > 1 else []
        dealt += ["drift", asks.drift] if asks and asks.drift else []
        talk: Any = [_what_matters(data["roles"], stage.roles), [*(prompts.hashes[name] for name in names), *dealt]]
        found[stage.name] = digest([config.seed, stage.name, read, talk, [found[n] for n in stage.needs]])
    return found


def _lookup(data: dict[str, Any], dotted: str) -> Any:
    value: Any = data
    for part in dotted.split("."):
        value = value[part]
    return value


def _without(section: Any, name: str, ignored: tuple[str, ...]) -> Any:
    """A section without the fields that shape no result, or shape it as before there was the field."""
    if not isinstance(section, dict):
        return section
    usual = {"compute_dtype": "auto", "pass_gb": 2.0, "processes": 1}
    usual |= {
        "cards": 0,
        "drift": 0,
        "sessions": 1,
        "panel": "pick",
        "rl.schedule": "constant",
        "rl.importance_cap": 2.0,
    }
    return {
        key: value
        for key, value in section.items()
        if f"{name}.{key}" not in ignored and not any(n in usual and usual[n] == value for n in (key, f"{name}.{key}"))
    }


def _what_matters(roles: dict[str, list[dict[str, Any]]], names: tuple[str, ...]) -> Any:
    """The named roles' models without what changes no answer: addresses, limits, prices."""
    keep = ("uri", "temperature", "top_p", "max_tokens", "stop", "send_seed", "structured", "extra", "weight")
    return {role: [{k: model[k] for k in keep} | _dtype(model) for model in roles[role]] for role in names}


def _dtype(model: dict[str, Any]) -> dict[str, Any]:
    """Left out unless it is set, so that stages done before there was one stay done."""
    return {} if model["dtype"] == "auto" else {"dtype": model["dtype"]}


def wanted_stages(config: Config, only: str | None = None) -> list[Stage]:
    """The stages of a run, or one stage with those before it that it needs.

    Raises:
        ConfigError: ``only``, or one that the config skips, is not the name of a stage.
    """
    stages = stages_of(config)
    for name in config.skip:
        stage_by_name(name, stages)
    if only is None:
        return [s for s in stages if s.name not in config.skip]
    asked = stage_by_name(only, stages)
    people = asked.brings_people
    if asked.shows or (people is not None and getattr(getattr(config, people[0]), people[1]) is not None):
        return [asked]
    wanted = {only}
    for stage in reversed(stages):
        if stage.name in wanted:
            wanted.update(stage.needs)
    return [s for s in stages if s.name in wanted and (s.name == only or s.name not in config.skip)]


def run_pipeline(
    config: Config,
    run: RunDir,
    recipe: str,
    *,
    only: str | None = None,
    redo_from: str | None = None,
    allow_failed: float = 0.0,
    say: Any = print,
) -> Outcome:
    """Run what is not done yet.

    Args:
        only: stop after this stage (stages that it needs run first).
        redo_from: do this stage and all that depend on it again.
        allow_failed: share of a stage's trees, conversations, items or writer calls that may lack a call, in [0, 1].
        say: is given a line per stage; None: neither lines nor progress.

    Raises:
        ConfigError: the directory belongs to another config, or an option names no stage.
        EndpointError: more calls failed than may; what needs them did not run.
        AloeError: a stage failed; what was paid for is in the journal and the next run continues.
    """
    prompts = PromptSet(config.prompts_dir, config.prompt_set)
    if redo_from is not None:
        stage_by_name(redo_from, stages_of(config))
    stages = wanted_stages(config, only)  # a name without a stage is told before it gets into the run's config
    if not all(stage.shows for stage in stages):
        prompts.check()
    redo = _stages_after(redo_from, stages_of(config))
    config = settle_precision(config, run, {stage.name for stage in stages}, redo)
    digests = stage_digests(config, prompts)
    _check_models(config)
    _check_plug_ins(config)
    run.open(config, recipe)
    try:
        _refuse_other_config(run, config, digests, redo)
        _warn_of_half_removed(run)
        run.forget_stages([n for n in redo if only is None or n in {s.name for s in stages}])
        run.save_config(config)
        run.save_manifest(run.manifest() | {"order": [stage.name for stage in stages_of(config)]})
        outcome, work = Outcome(), _Work(config, run, prompts, digests, redo, allow_failed, say)
        _check_training(config, [stage.name for stage in stages if not work.is_done(stage)])
        if any(stage.name == "rollout" and not work.is_done(stage) for stage in stages):
            _start_decoders(config.execution.replicas)
        failure: AloeError | None = None
        for stage in stages:
            if failure is None or stage.shows:  # what is there is shown, complete or not
                failure = _run_stage(stage, work, outcome) or failure
        if failure is not None:
            raise failure
        return outcome
    finally:
        stop_workers()
        run.close()


def _start_decoders(replicas: int) -> None:
    """What will decode the rollout's replies loads its libraries while the stages before it are at work."""
    if replicas > 1 and find_spec("torch") is not None:
        start_workers(replicas)


def _check_models(config: Config) -> None:
    """Unusable model URIs are found before the first call is paid for, not when their stage comes.

    Raises:
        ConfigError: unknown scheme, actor or option, or a missing environment variable.
    """
    roles = [model for name in type(config.roles).model_fields for model in getattr(config.roles, name)]
    bench = [*config.bench.models, *(config.bench.judge or ()), *(config.bench.user or ())]
    for model in (*roles, *(unwrap(m)[0] for m in bench)):
        scheme, rest = split_uri(model.uri)
        if scheme != "hf" or model.base_url is not None:
            create_model(model)
        else:  # a checkpoint may not be trained yet
            check_packaged(rest)
    if config.sft.model is not None:
        check_packaged(config.sft.model)


def _check_training(config: Config, stages: Sequence[str]) -> None:
    """Missing packages are found before the trees that training would need them for are paid for.

    Raises:
        ConfigError: torch, transformers, trl or datasets is not installed.
    """
    for name in stages:
        if name in (m.name for m in METHODS) or (name == BASE and config.sft.model is None):
            need_training(name)


def _check_plug_ins(config: Config) -> None:
    """Sections of plug-ins are read before the first call is paid for.

    Raises:
        ConfigError: a plug-in that is not installed, or settings that it refuses.
    """
    for method in methods_of(config):
        method.settings(config)
    if config.suites:
        from aloe.bench.suites import suite_by_name

        for name, options in config.suites.items():
            suite_by_name(name, options)


@dataclass(frozen=True, slots=True)
class _Work:
    """What the stages of one run share."""

    config: Config
    run: RunDir
    prompts: PromptSet
    digests: dict[str, str]
    redo: set[str]
    allow_failed: float
    say: Any

    def is_done(self, stage: Stage) -> bool:
        return is_done(self.run, stage, self.digests[stage.name], stages_of(self.config))


def _run_stage(stage: Stage, work: _Work, outcome: Outcome) -> AloeError | None:
    """Run one stage if it is not done; returns what keeps those that need it from running, None where nothing does."""
    run, stages = work.run, stages_of(work.config)
    if not stage.keeps_count and not (stage.shows and outcome.seconds) and work.is_done(stage):
        outcome.summaries[stage.name] = (run.stage_state(stage.name) or {}).get("summary", {})
        outcome.skipped.append(stage.name)
        _note_files(run, stage, stages)
        for name in changed_outputs(run, stage):
            log.warning(
                "%s was changed after stage %s had written it; --from %s makes it again", name, stage.name, stage.name
            )
        return None
    started = time.monotonic()
    run.log("stage_started", stage=stage.name)
    inputs = read_inputs(run, stage, stages)
    try:
        with stage_progress(stage.name, quiet=work.say is None) as progress:
            context = Context(
                stage.name, work.config, run, work.prompts, progress, stage.name in work.redo, work.allow_failed
            )
            summary = _work_of(stage, context, work, inputs)
    except (AloeError, KeyboardInterrupt, OSError) as error:
        run.log("stage_failed", stage=stage.name, error=str(error) or "interrupted")
        error.add_note(stage.name)
        raise
    seconds = time.monotonic() - started
    run.finish_stage(stage.name, work.digests[stage.name], seconds, summary, inputs, stamp_outputs(run, stage))
    run.log("stage_finished", stage=stage.name, seconds=round(seconds, 3), summary=summary)
    clear_shards(run, stage)
    drop_stale(run, stages)
    outcome.summaries[stage.name] = summary
    outcome.seconds[stage.name] = seconds
    if work.say is not None:
        work.say(f"{stage.name:<9} {seconds:7.1f} s  {stage.brief(summary)}")
        for line in run.manifest().get("degraded", {}).get(stage.name, ()):
            work.say(f"WARNING   {line}")
    failure = refuse_failed(summary, work.allow_failed)
    if failure is not None:
        failure.add_note(stage.name)
        run.log("stage_incomplete", stage=stage.name, error=str(failure))
    return failure


def _work_of(stage: Stage, context: Context, work: _Work, inputs: dict[str, str]) -> dict[str, Any]:
    """Do the stage, or join its shards where all are there; what other shards have paid for is not paid again."""
    shards = shards_in(work.run.path, stage.name)
    by_shards = work.config.execution.executor != "local"
    if stage.sharding is not None and (shards or by_shards):
        by = made_by(context, stage, work.digests[stage.name], inputs)
        if by_shards:
            return run_sharded(context, stage, by)
        if not context.redo and (finished := finished_set(work.run, stage, by)):
            return join_stage(context, stage, finished)
        absorb_shards(context, shards)
        clear_shards(work.run, stage)  # what the run's journal holds must not count as spent a second time
    return stage.load()(context)


def _note_files(run: RunDir, stage: Stage, stages: Sequence[Stage]) -> None:
    """A stage that an earlier version has run is given what it lacks in the manifest: the digests of its files."""
    state = run.stage_state(stage.name)
    if state is not None and "inputs" not in state and not stage.shows:
        manifest = run.manifest()
        manifest["stages"][stage.name] |= {
            "inputs": read_inputs(run, stage, stages), "outputs": stamp_outputs(run, stage)
        }  # fmt: skip
        run.save_manifest(manifest)


def _stages_after(name: str | None, stages: Sequence[Stage]) -> set[str]:
    """The stage and everything that depends on it."""
    if name is None:
        return set()
    after = {name}
    for stage in stages:
        if stage.shows or after & set(stage.needs):
            after.add(stage.name)
    return after


def _refuse_other_config(run: RunDir, config: Config, digests: dict[str, str], redo: Iterable[str]) -> None:
    done = run.manifest().get("stages", {})
    stages = [s for s in stages_of(config) if s.name in done and not s.shows and s.name not in set(redo)]
    stale = [s.name for s in stages if done[s.name].get("digest") != digests[s.name]]
    if not stale:
        return
    changed = _differences(run.load_config().model_dump(mode="json"), config.model_dump(mode="json"))
    what = ", ".join(changed[:3]) or "the prompts"
    raise ConfigError(
        f"{run.path} was made with another config ({what}{' and more' if len(changed) > 3 else ''})",
        f"give another --out, or run the affected stages again with --from {stale[0]}",
    )


def _warn_of_half_removed(run: RunDir) -> None:
    begun = run.manifest().get(FORGETTING)
    for user_hash in begun.get("hashes", ()) if begun else ():
        log.warning(
            "removing a person was interrupted, files may still hold what they said: end it with "
            "'aloe pool forget --hash %s --run %s'", user_hash, run.path,
        )  # fmt: skip


def _differences(old: Any, new: Any, prefix: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        found: list[str] = []
        for key in [*old, *(k for k in new if k not in old)]:
            if key == "execution" and not prefix:
                continue
            found.extend(_differences(old.get(key), new.get(key), f"{prefix}{key}."))
        return found
    if old == new:
        return []
    return [f"{prefix[:-1]}: {_short(old)} -> {_short(new)}"]


def _short(value: Any) -> str:
    text = (
        ",".join(str(v.get("uri", v)) if isinstance(v, dict) else str(v) for v in value)
        if isinstance(value, list)
        else str(value)
    )
    return text if len(text) <= 40 else text[:37] + "..."
