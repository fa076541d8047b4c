"""Commands about labels and data sets: ``relabel``, ``import`` and ``export --format``."""

from __future__ import annotations

import asyncio
from argparse import Namespace
from pathlib import Path

from aloe import __version__
from aloe.cli.parser import OneLineParser, existing_path
from aloe.config import Config, ModelConfig
from aloe.dialogue.relabel import Judging
from aloe.errors import ConfigError, DataError, EndpointError
from aloe.export.hub import Provenance
from aloe.export.select import DataSet, Selection, length_report, read_data_set
from aloe.progress import stage_progress
from aloe.prompts import PromptSet
from aloe.store.records import read_jsonl
from aloe.store.rundir import RunDir
from aloe.types import ConversationTree, Label, Persona

FORMATS = ("trl", "sharegpt", "openai", "hub", "published")
LOOK_AHEAD = "lookahead"


def _config_of(run: RunDir) -> Config:
    """The run's config; the defaults for a directory of imported trees."""
    return run.load_config() if run.exists() else Config()


def _personas_of(run: RunDir) -> list[Persona]:
    path = run.stage_dir("personas") / "personas.jsonl"
    return list(read_jsonl(path, Persona))


# --- relabel --------------------------------------------------------------------------------------------------


def relabel_command(argv: list[str]) -> int:
    """``aloe relabel RUN --judge URI | --labeler lookahead``: one more labeler beside the trees."""
    parser = OneLineParser(prog="aloe relabel", description="Add a labeler to a run's trees, which stay as they are.")
    parser.add_argument("run", type=existing_path, help="a run directory, or what 'aloe import' wrote")
    parser.add_argument("--judge", metavar="URI", help="the judge (default: the run's own)")
    parser.add_argument("--base-url", help="address of its OpenAI-compatible server")
    parser.add_argument("--api-key-env", help="name of the environment variable that holds its key")
    parser.add_argument("--labeler", help=f"name to label under (default: the judge's URI), or {LOOK_AHEAD}")
    parser.add_argument(
        "--label", choices=("compare", "score"), default="compare", help="compare replies, or score each by itself"
    )
    parser.add_argument("--orders", type=int, choices=(1, 2), default=2, help="compare in one order or in both")
    parser.add_argument(
        "--scope", choices=("persona", "revealed"), help="what the judge rewards (default: as in the run)"
    )
    parser.add_argument("--min-margin", type=float, default=0.0, help="below it two replies are a tie (default: 0)")
    parser.add_argument("--stage", choices=("trees", "rollout"), default="trees", help="whose trees (default: trees)")
    arguments = parser.parse_args(argv)
    run = RunDir(arguments.run)
    config = _config_of(run)
    folder = run.stage_dir(arguments.stage)
    trees = list(read_jsonl(folder / "trees.jsonl", ConversationTree))
    labels = asyncio.run(_label(arguments, run, config, trees))
    from aloe.dialogue.relabel import merge_labels

    name = labels[0].labeler if labels else ""
    if not labels:
        hint = "look-ahead needs trees that branch (both:2)" if arguments.labeler == LOOK_AHEAD else "grow trees first"
        raise DataError(f"{folder} holds no siblings to label this way", hint)
    total = merge_labels(folder / "labels.jsonl", labels, name)
    preferred = sum(x.outcome == "preferred" for x in labels)
    print(f"{len(labels):,} labels by {name}, {preferred:,} of them preferences; {total:,} labels in all")
    print_agreement(list(read_jsonl(folder / "labels.jsonl", Label)))
    own = run.exists() and arguments.stage == "trees"
    how = f"--from export --export.labeler '{name}'" if own else f"--format trl --labeler '{name}'"
    rollout = " --stage rollout" if arguments.stage == "rollout" else ""
    print(f"use them with: aloe export {run.path} {how}{rollout}")
    return 0


async def _label(arguments: Namespace, run: RunDir, config: Config, trees: list[ConversationTree]) -> list[Label]:
    from aloe.dialogue.relabel import judge_trees, look_ahead_labels, reply_scores
    from aloe.models.caller import Caller

    if arguments.judge is None and not run.exists():
        raise ConfigError(f"{run.path} has no config that names a judge", "give --judge URI")
    model = config.roles.judge[0]
    if arguments.judge is not None:
        model = ModelConfig(uri=arguments.judge, base_url=arguments.base_url, api_key_env=arguments.api_key_env)
    is_ahead = arguments.labeler == LOOK_AHEAD
    judging = Judging(
        labeler=arguments.labeler or f"{model.uri}{'' if arguments.label == 'compare' else '#score'}",
        label="score" if is_ahead else arguments.label,
        orders=arguments.orders,
        scope=arguments.scope or config.trees.scope,
        min_margin=arguments.min_margin,
        seed=config.seed,
    )
    personas = {p.persona_id: p for p in _personas_of(run)}
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
        labels = [x for t in trees for x in look_ahead_labels(t, scores, name, arguments.min_margin)]
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


# --- import and export ----------------------------------------------------------------------------------------


def import_command(argv: list[str]) -> int:
    """``aloe import FILE --out DIR``: published conversations as personas, trees and labels."""
    from aloe.export.published import import_file

    parser = OneLineParser(prog="aloe import", description="Read conversations in the published format into trees.")
    parser.add_argument("file", type=existing_path, help="JSON or JSON Lines, one conversation a row")
    parser.add_argument("--out", type=Path, required=True, help="a new or empty directory")
    arguments = parser.parse_args(argv)
    if arguments.out.exists() and (not arguments.out.is_dir() or any(arguments.out.iterdir())):
        raise ConfigError(f"--out {arguments.out} is not empty", "give a new directory")
    found = import_file(arguments.file, arguments.out)
    for problem in found.problems[:20]:
        print(problem)
    if len(found.problems) > 20:
        print(f"... and {len(found.problems) - 20} more")
    print(f"{len(found.trees):,} trees of {len(found.personas):,} personas with {len(found.labels):,} preferences")
    return 0


def export_command(argv: list[str]) -> int:
    """``aloe export RUN --format F``: files for other tools."""
    parser = OneLineParser(prog="aloe export", description="Write a run's pairs and conversations for other tools.")
    parser.add_argument("run", type=existing_path, help="a run directory, or what 'aloe import' wrote")
    parser.add_argument("--format", choices=FORMATS, required=True, help="published: of trees, without filters")
    parser.add_argument("--to", type=Path, metavar="PATH", help="folder (default: RUN/datasets/FORMAT), or .json file")
    parser.add_argument("--labeler", help="whose labels (default: those made with the trees)")
    parser.add_argument("--min-margin", type=float, help="pairs of at least this margin (default: the run's)")
    parser.add_argument("--max-length-ratio", type=float, help="longer reply over shorter; 0 = any")
    parser.add_argument("--evidenced", action="store_true", help="only turns at which something was revealed")
    parser.add_argument("--validation", type=float, default=0.0, help="share of the profiles set apart")
    parser.add_argument("--stage", choices=("trees", "rollout"), default="trees", help="whose trees (default: trees)")
    parser.add_argument("--license", default="other", help="hub: the card's licence field")
    parser.add_argument("--name", help="hub: the data set's name (default: the run's)")
    arguments = parser.parse_args(argv)
    run = RunDir(arguments.run)
    config = _config_of(run)
    out = arguments.to or run.stage_dir("datasets") / arguments.format
    if arguments.format == "published":
        _refuse_filters(arguments)
        from aloe.export.published import export_file

        path = out if out.suffix in (".json", ".jsonl") else out / "conversations.json"
        print(f"{export_file(run.path, path):,} conversations in {path}")
        return 0
    if not 0 <= arguments.validation < 1:
        raise ConfigError(f"--validation {arguments.validation} is no share", "give a number from 0 to below 1")
    data = read_data_set(run.stage_dir(arguments.stage), _personas_of(run), _selection(arguments, config))
    if not data.all_pairs:
        raise DataError(f"no pair by {data.labeler} is left (left out: {dict(data.dropped)})", "relax the filters")
    _write(arguments, run, config, data, out)
    return 0


def _refuse_filters(arguments: Namespace) -> None:
    """The published format holds whole conversations of the trees as they were judged: nothing of it is picked."""
    given = {
        "--labeler": arguments.labeler is not None,
        "--min-margin": arguments.min_margin is not None,
        "--max-length-ratio": arguments.max_length_ratio is not None,
        "--evidenced": arguments.evidenced,
        "--validation": arguments.validation != 0,
        "--stage rollout": arguments.stage == "rollout",
    }
    wrong = ", ".join(name for name, is_given in given.items() if is_given)
    if wrong:
        raise ConfigError(f"--format published takes no {wrong}", "leave it out, or choose another format")


def _selection(arguments: Namespace, config: Config) -> Selection:
    own = config.export
    margin = own.min_margin if arguments.min_margin is None else arguments.min_margin
    ratio = own.max_length_ratio if arguments.max_length_ratio is None else arguments.max_length_ratio
    return Selection(
        labeler=arguments.labeler or own.labeler,
        min_margin=config.trees.min_margin if margin is None else margin,
        max_length_ratio=ratio,
        evidenced=arguments.evidenced or own.evidenced,
        validation=arguments.validation,
        seed=config.seed,
    )


def _write(arguments: Namespace, run: RunDir, config: Config, data: DataSet, out: Path) -> None:
    from aloe.export.formats import write_openai, write_sharegpt, write_trl
    from aloe.export.hub import write_hub

    if arguments.format == "hub":
        name = arguments.name or f"aloe {run.path.resolve().name}"
        written = write_hub(data, out, _provenance(arguments, run, config), name)
    else:
        write = {"trl": write_trl, "openai": write_openai, "sharegpt": write_sharegpt}[arguments.format]
        written = write(data, out)
    for split in data.pairs:
        n_pairs, n_sft = len(data.pairs[split]), len(data.examples[split])
        print(f"{split}: {n_pairs:,} pairs, {n_sft:,} SFT conversations, labels by {data.labeler}")
    if data.dropped:
        print("left out: " + ", ".join(f"{n:,} {why}" for why, n in sorted(data.dropped.items())))
    lengths = length_report(data.all_pairs)
    print("length: " + ", ".join(f"{name} {value}" for name, value in lengths.items()))
    print(f"wrote {len(written)} files to {out}")


def _provenance(arguments: Namespace, run: RunDir, config: Config) -> Provenance:
    """What the card says; for imported trees nothing is known but the licence."""
    if not run.exists():
        return Provenance(licence=arguments.license, version=__version__)
    roles = ("user", "inducer", "tailored", "generic", "judge")
    names = {"user": "user", "inducer": "inducer", "tailored": "tailored", "generic": "generic"}
    names["judge"] = f"judge_{config.trees.label}"
    hashes = PromptSet(config.prompts_dir).hashes
    state = run.stage_state(arguments.stage) or {}
    return Provenance(
        models={role: [m.uri for m in getattr(config.roles, role)] for role in roles},
        prompts={names[role]: hashes[names[role]] for role in roles},
        statistics=state.get("summary", {}).get("statistics", {}),
        licence=arguments.license,
        language=config.personas.language,
        seed=config.seed,
        version=__version__,
    )
