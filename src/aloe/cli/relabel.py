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
    from aloe.config import Config
    from aloe.store.rundir import RunDir
    from aloe.types import ConversationTree, Label

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


def run(options: Namespace, overrides: Overrides) -> int:
    from aloe.dialogue.relabel import merge_labels
    from aloe.store.records import read_jsonl
    from aloe.store.rundir import RunDir
    from aloe.types import ConversationTree, Label

    run = RunDir(options.run)
    config = config_of(run, Trust.of(options, ALL if options.judge is None else ("prompts",)))
    folder = run.stage_dir(options.stage)
    trees = list(read_jsonl(folder / "trees.jsonl", ConversationTree))
    labels = asyncio.run(_label(options, run, config, trees))
    name = labels[0].labeler if labels else ""
    if not labels:
        hint = "look-ahead needs trees that branch (both:2)" if options.labeler == LOOK_AHEAD else "grow trees first"
        raise DataError(f"{folder} holds no replies to label in this way", hint)
    total = merge_labels(folder / "labels.jsonl", labels, name)
    preferred = sum(x.outcome == "preferred" for x in labels)
    print(f"{len(labels):,} labels by {name}, {preferred:,} of them preferences; {total:,} labels in all")
    print_agreement(list(read_jsonl(folder / "labels.jsonl", Label)))
    own = run.exists() and options.stage == "trees"
    how = f"--from export --export.labeler '{name}'" if own else f"--format trl --labeler '{name}'"
    rollout = " --stage rollout" if options.stage == "rollout" else ""
    print(f"use them with: aloe export {run.path} {how}{rollout}")
    return 0


async def _label(options: Namespace, run: RunDir, config: Config, trees: list[ConversationTree]) -> list[Label]:
    from aloe.config.load import make_model
    from aloe.dialogue.relabel import Judging, judge_trees, look_ahead_labels, reply_scores
    from aloe.models.caller import Caller
    from aloe.progress import stage_progress

    if options.judge is None and not run.exists():
        raise ConfigError(f"{run.path} has no config that names a judge", "give --judge URI")
    model = config.roles.judge[0]
    if options.judge is not None:
        given = {"base_url": options.base_url, "api_key_env": options.api_key_env}
        model = make_model(**{k: v for k, v in given.items() if v is not None} | model_table(options.judge))
    is_ahead = options.labeler == LOOK_AHEAD
    judging = Judging(
        labeler=options.labeler or f"{model.uri}{'' if options.label == 'compare' else '#score'}",
        label="score" if is_ahead else options.label,
        orders=options.orders,
        scope=options.scope or config.trees.scope,
        min_margin=options.min_margin,
        seed=config.seed,
    )
    personas = {p.persona_id: p for p in personas_of(run)}
    caller = Caller.open(config, run.journal_path, seed=config.seed, models={"judge": [model]})
    try:
        with stage_progress("relabel") as progress:
            labels, n_failed = await judge_trees(
                caller, trees, personas, judging, config.execution.concurrency,
                lambda done: progress.update(done, len(trees), "trees", ""),
            )  # fmt: skip
    finally:
        await caller.aclose()
    if n_failed and not labels:
        raise EndpointError(
            f"{model.uri} judged none of {n_failed} replies of {run.path}",
            "look at its address and key; 'aloe journal stats RUN' counts what failed",
        )
    if n_failed:
        print(f"{n_failed} replies could not be judged (run the command again to retry them)")
    if is_ahead:
        scores = reply_scores(labels)
        name = f"{LOOK_AHEAD}:{model.uri}"
        labels = [x for t in trees for x in look_ahead_labels(t, scores, name, options.min_margin)]
    return labels


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
