"""``aloe relabel RUN --judge URI | --labeler lookahead``: adds the labels of one more labeler to a run's trees."""

from __future__ import annotations

import asyncio
from argparse import Namespace
from typing import TYPE_CHECKING

from aloe.cli import completers
from aloe.cli.arguments import add_run, completed, model_table
from aloe.cli.parser import Overrides, Parser
from aloe.cli.places import Trust, config_of, personas_of
from aloe.cli.trust import ALL
from aloe.errors import ConfigError, DataError, EndpointError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from aloe.config import Config, ModelConfig
    from aloe.dialogue.relabel import Judging
    from aloe.models.allowance import Allowance
    from aloe.models.caller import Caller
    from aloe.models.journal.journal import Journal
    from aloe.store.rundir import RunDir
    from aloe.types import ConversationTree, Label, Persona

NAME = "relabel"
GROUP = "data"
HELP = "label a run's trees again, by another judge or by look-ahead"
LOOK_AHEAD = "lookahead"


def add_arguments(parser: Parser) -> None:
    parser.description = "Add labels by another labeler to a run's trees; trees and existing labels do not change."
    add_run(parser, "a run directory, or what 'aloe import' wrote")
    judge = parser.add_argument("--judge", metavar="URI", help="the judge (default: the run's own)")
    completed(judge, completers.models)
    address = parser.add_argument("--base-url", metavar="URL", help="address of its OpenAI-compatible server")
    key = parser.add_argument(
        "--api-key-env", metavar="NAME", help="name of the environment variable that holds its key"
    )
    labeler = parser.add_argument(
        "--labeler", metavar="NAME", help=f"name of the labels (default: the judge's URI), or {LOOK_AHEAD}"
    )
    for action in (address, key):
        completed(action, completers.nothing)
    completed(labeler, lambda **_: [LOOK_AHEAD])
    parser.add_argument(
        "--label", choices=("compare", "score"), default="compare", help="compare replies, or score each by itself"
    )
    parser.add_argument("--orders", type=int, choices=(1, 2), default=2, help="compare in one order or in both")
    parser.add_argument(
        "--scope", choices=("persona", "revealed"), help="what the judge rewards (default: as in the run)"
    )
    margin = parser.add_argument(
        "--min-margin", type=float, default=0.0, help="score differences below this are a tie (default: 0)"
    )
    completed(margin, completers.nothing)
    parser.add_argument(
        "--stage", choices=("trees", "rollout"), default="trees", help="label the trees of this stage (default: trees)"
    )
    shard = parser.add_argument(
        "--shard", metavar="K/N", help="label only this part of the trees; the last part joins all (docs/scale.md)"
    )
    completed(shard, completers.nothing)


def run(options: Namespace, overrides: Overrides) -> int:
    from aloe.cli.relabel_shards import clear
    from aloe.dialogue.relabel import merge_labels
    from aloe.store.records import read_jsonl
    from aloe.store.rundir import RunDir
    from aloe.store.shards import Shard
    from aloe.types import ConversationTree, Label

    run = RunDir(options.run)
    config = config_of(run, Trust.of(options, ALL if options.judge is None else ("prompts",)))
    folder = run.stage_dir(options.stage)
    trees = list(read_jsonl(folder / "trees.jsonl", ConversationTree))
    labels = _label_all(options, run, config, trees)
    if labels is None:
        print(f"shard {options.shard}: done; the labels are written once all are")
        return 0
    name = labels[0].labeler if labels else ""
    if not labels:
        hint = "look-ahead needs trees that branch (both:2)" if options.labeler == LOOK_AHEAD else "grow trees first"
        raise DataError(f"{folder} holds no replies to label in this way", hint)
    total = merge_labels(folder / "labels.jsonl", labels, name)
    if options.shard is not None:
        clear(run, Shard.parse(options.shard).of)
    preferred = sum(x.outcome == "preferred" for x in labels)
    print(f"{len(labels):,} labels by {name}, {preferred:,} of them preferences; {total:,} labels in all")
    print_agreement(list(read_jsonl(folder / "labels.jsonl", Label)))
    own = run.exists() and options.stage == "trees"
    how = f"--from export --export.labeler '{name}'" if own else f"--format trl --labeler '{name}'"
    rollout = " --stage rollout" if options.stage == "rollout" else ""
    print(f"use them with: aloe export {run.path} {how}{rollout}")
    return 0


def _label_all(options: Namespace, run: RunDir, config: Config, trees: list[ConversationTree]) -> list[Label] | None:
    """The labels of all trees; None where this is a shard and others are still missing."""
    from dataclasses import asdict

    from aloe.cli.relabel_shards import label_shard
    from aloe.dialogue.relabel import look_ahead_labels, reply_scores
    from aloe.models.caller import Caller
    from aloe.store.content import digest_file
    from aloe.store.shards import Shard

    model, judging = _judge(options, run, config)
    personas = {p.persona_id: p for p in personas_of(run)}

    def work(
        journal: Path | Journal, allowance: Allowance | None, some: Sequence[ConversationTree]
    ) -> tuple[list[Label], int]:
        def opened() -> Caller:
            return Caller.open(config, journal, seed=config.seed, models={"judge": [model]}, allowance=allowance)

        return asyncio.run(_label(opened, some, personas, judging, config.execution.concurrency))

    if options.shard is None:
        labels, n_failed = work(run.journal_path, None, trees)
        _tell_failed(n_failed, labels, model, run)
    else:
        sent = model.model_dump(mode="json", include={"uri", "temperature", "top_p", "max_tokens", "extra"})
        source = digest_file(run.stage_dir(options.stage) / "trees.jsonl")
        by = {"judge": [sent, asdict(judging)], "input files": [options.stage, source]}
        found = label_shard(run, Shard.parse(options.shard), by, trees, work)
        if found is None:
            return None
        labels = found
    if options.labeler == LOOK_AHEAD:
        scores, name = reply_scores(labels), f"{LOOK_AHEAD}:{model.uri}"
        labels = [x for t in trees for x in look_ahead_labels(t, scores, name, options.min_margin)]
    return labels


def _judge(options: Namespace, run: RunDir, config: Config) -> tuple[ModelConfig, Judging]:
    """The judge that is meant, and how it labels."""
    from aloe.config.load import make_model
    from aloe.dialogue.relabel import Judging

    if options.judge is None and not run.exists():
        raise ConfigError(f"{run.path} has no config that names a judge", "give --judge URI")
    model = config.roles.judge[0]
    if options.judge is not None:
        given = {"base_url": options.base_url, "api_key_env": options.api_key_env}
        model = make_model(**{k: v for k, v in given.items() if v is not None} | model_table(options.judge))
    judging = Judging(
        labeler=options.labeler or f"{model.uri}{'' if options.label == 'compare' else '#score'}",
        label="score" if options.labeler == LOOK_AHEAD else options.label,
        orders=options.orders,
        scope=options.scope or config.trees.scope,
        min_margin=options.min_margin,
        seed=config.seed,
    )
    return model, judging


async def _label(
    opened: Callable[[], Caller],
    trees: Sequence[ConversationTree],
    personas: Mapping[str, Persona],
    judging: Judging,
    concurrency: int,
) -> tuple[list[Label], int]:
    from aloe.dialogue.relabel import judge_trees
    from aloe.progress import stage_progress

    caller = opened()
    try:
        with stage_progress("relabel") as progress:
            return await judge_trees(
                caller, trees, personas, judging, concurrency,
                lambda done: progress.update(done, len(trees), "trees", ""),
            )  # fmt: skip
    finally:
        await caller.aclose()


def _tell_failed(n_failed: int, labels: Sequence[Label], model: ModelConfig, run: RunDir) -> None:
    if n_failed and not labels:
        raise EndpointError(
            f"{model.uri} judged none of {n_failed} replies of {run.path}",
            "look at its address and key; 'aloe journal stats RUN' counts what failed",
        )
    if n_failed:
        print(f"{n_failed} replies could not be judged (run the command again to retry them)")


def print_agreement(labels: list[Label]) -> None:
    """One line per pair of labelers."""
    from aloe.dialogue.relabel import agreement

    for a in agreement(labels):
        if a.n:
            kappa = "none" if a.kappa is None else f"{a.kappa:.3f}"
            opposite = "none" if a.opposite is None else f"{a.opposite:.1%}"
            print(
                f"agreement of {a.first} and {a.second} on {a.n:,} nodes: {a.same or 0:.1%} equal, "
                f"{opposite} opposite, kappa {kappa}"
            )
