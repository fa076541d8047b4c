"""``aloe export RUN --format F``: a run's pairs and conversations as files for other tools."""

from __future__ import annotations

from argparse import ArgumentTypeError, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from aloe import __version__
from aloe.cli.arguments import existing_path, refuse_together
from aloe.cli.parser import Overrides
from aloe.errors import ConfigError, DataError

if TYPE_CHECKING:
    from aloe.config import Config
    from aloe.export.hub import Provenance
    from aloe.export.select import DataSet, Selection
    from aloe.store.rundir import RunDir

FILTERS = {
    "labeler": "--labeler",
    "min_margin": "--min-margin",
    "max_length_ratio": "--max-length-ratio",
    "evidenced": "--evidenced",
    "validation": "--validation",
}


def write_format(options: Namespace, overrides: Overrides) -> int:
    """``aloe export RUN --format F``: files for other tools.

    Raises:
        ConfigError: options that do not go with it. DataError: nothing is left to write.
    """
    from aloe.cli.places import READ_ONLY, config_of, personas_of
    from aloe.export.select import read_data_set
    from aloe.store.rundir import RunDir

    names = {"out": "--out", "redo_from": "--from", "dry": "--dry", "json": "--json"}
    refuse_together(options, names, "--format", "--to says where the files go; filters have options of their own")
    if overrides:
        raise ConfigError(
            "options of the config do not go with --format", "use --labeler, --min-margin and the other filters"
        )
    if options.recipe is None:
        raise ConfigError("aloe export --format: no run given", "aloe export RUN --format FORMAT")
    run = RunDir(_existing(options.recipe))
    config = config_of(run, READ_ONLY)
    out = options.to or run.stage_dir("datasets") / options.format
    if options.format == "published":
        stage = {"stage": "--stage rollout"} if _stage(options) != "trees" else {}
        why = "it holds whole trees as they were judged: leave the filters out, or choose another format"
        refuse_together(options, FILTERS | stage, "--format published", why)
        from aloe.export.published import export_file

        path = out if out.suffix in (".json", ".jsonl") else out / "conversations.json"
        print(f"{export_file(run.path, path):,} conversations in {path}")
        return 0
    if not 0 <= (options.validation or 0) < 1:
        raise ConfigError(f"--validation {options.validation} is not a valid share", "give a number from 0 to below 1")
    data = read_data_set(run.stage_dir(_stage(options)), personas_of(run), _selection(options, config))
    if not data.all_pairs:
        raise DataError(f"no pairs by {data.labeler} are left (left out: {dict(data.dropped)})", "relax the filters")
    _write(options, run, config, data, out)
    return 0


def _stage(options: Namespace) -> str:
    return options.stage or "trees"


def _existing(path: str) -> Path:
    try:
        return existing_path(path)
    except ArgumentTypeError as error:
        raise ConfigError(f"aloe export: {error}", "give a run directory, or what 'aloe import' wrote") from None


def _selection(options: Namespace, config: Config) -> Selection:
    from aloe.export.select import Selection

    own = config.export
    margin = own.min_margin if options.min_margin is None else options.min_margin
    ratio = own.max_length_ratio if options.max_length_ratio is None else options.max_length_ratio
    return Selection(
        labeler=options.labeler or own.labeler,
        min_margin=config.trees.min_margin if margin is None else margin,
        max_length_ratio=ratio,
        evidenced=options.evidenced or own.evidenced,
        validation=options.validation or 0.0,
        seed=config.seed,
    )


def _write(options: Namespace, run: RunDir, config: Config, data: DataSet, out: Path) -> None:
    from aloe.export.formats import FORMATS
    from aloe.export.hub import write_hub
    from aloe.export.select import length_report

    if options.format == "hub":
        name = options.name or f"aloe {run.path.resolve().name}"
        written = write_hub(data, out, _provenance(options, run, config), name)
    else:
        written = FORMATS[options.format](data, out)
    for split in data.pairs:
        n_pairs, n_sft = len(data.pairs[split]), len(data.examples[split])
        print(f"{split}: {n_pairs:,} pairs, {n_sft:,} SFT conversations, labels by {data.labeler}")
    if data.dropped:
        print("left out: " + ", ".join(f"{n:,} {why}" for why, n in sorted(data.dropped.items())))
    lengths = length_report(data.all_pairs)
    print("length: " + ", ".join(f"{name} {value}" for name, value in lengths.items()))
    print(f"wrote {len(written)} files to {out}")


def _provenance(options: Namespace, run: RunDir, config: Config) -> Provenance:
    """What the card says; for imported trees nothing is known but the licence."""
    from aloe.export.hub import Provenance
    from aloe.prompts import PromptSet

    if not run.exists():
        return Provenance(licence=options.license or "other", version=__version__)
    roles = ("user", "inducer", "tailored", "generic", "judge")
    names = {"user": "user", "inducer": "inducer", "tailored": "tailored", "generic": "generic"}
    names["judge"] = f"judge_{config.trees.label}"
    hashes = PromptSet(config.prompts_dir, config.prompt_set).hashes
    state = run.stage_state(_stage(options)) or {}
    return Provenance(
        models={role: [m.uri for m in getattr(config.roles, role)] for role in roles},
        prompts={names[role]: hashes[names[role]] for role in roles},
        statistics=state.get("summary", {}).get("statistics", {}),
        licence=options.license or "other",
        language=config.personas.language,
        seed=config.seed,
        version=__version__,
    )
