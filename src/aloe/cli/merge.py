"""``aloe merge RUN``: joins the shards of stages into the files that the stages themselves would have written."""

from __future__ import annotations

from argparse import Namespace

from aloe.cli import completers
from aloe.cli.arguments import add_trust, completed, existing_path
from aloe.cli.parser import Overrides, Parser
from aloe.errors import DataError

NAME = "merge"
GROUP = "run"
HELP = "join the shards of a stage that were run one by one (aloe trees RUN --shard K/N)"


def add_arguments(parser: Parser) -> None:
    run_ = parser.add_argument("run", type=existing_path, metavar="RUN", help="a run directory")
    completed(run_, completers.paths)
    stage = parser.add_argument("--stage", metavar="STAGE", help="only this stage (default: all that have shards)")
    completed(stage, completers.stages)
    parser.add_argument("-q", "--quiet", action="store_true", help="print errors only")
    add_trust(parser)


def run(options: Namespace, overrides: Overrides) -> int:
    """Exit code 0 once all is joined.

    Raises:
        DataError: there are no shards, or one is missing, damaged or foreign.
    """
    from aloe.cli.places import Trust, resolve
    from aloe.stages.one_shard import merge_shards
    from aloe.stages.table import stages_of
    from aloe.store.shards import shards_in

    place = resolve(str(options.run), None, {}, Trust.of(options))
    run, config = place.run, place.config
    found = [s.name for s in stages_of(config) if s.sharding is not None and shards_in(run.path, s.name)]
    names = [options.stage] if options.stage is not None else found
    if not names:
        raise DataError(f"{run.path} has no shards", f"aloe trees {run.path} --shard 1/16 makes one")
    for name in names:
        merge_shards(config, run, place.recipe, name, say=None if options.quiet else print)
    return 0
