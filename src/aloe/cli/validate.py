"""``aloe validate RUN``: checks the files of a run against each other."""

from __future__ import annotations

from argparse import Namespace

from aloe.cli.arguments import add_run
from aloe.cli.parser import Overrides, Parser
from aloe.errors import DataError

NAME = "validate"
GROUP = "data"
HELP = "check the files of a run against each other"
N_SHOWN = 100  # breaches that are printed


def add_arguments(parser: Parser) -> None:
    add_run(parser)


def run(options: Namespace, overrides: Overrides) -> int:
    """Exit code 1 and a list of breaches where something is wrong.

    Raises:
        DataError: there is no run at all.
    """
    from aloe.store.validate import validate_run

    report = validate_run(options.run)
    if not report.counts and not report.breaches:
        raise DataError(f"{options.run} contains no files of a run", "give the directory of an 'aloe run'")
    for breach in report.breaches[:N_SHOWN]:
        print(breach)
    if len(report.breaches) > N_SHOWN:
        print(f"... and {len(report.breaches) - N_SHOWN} more")
    checked = ", ".join(f"{n:,} {what}" for what, n in report.counts.items())
    print(f"{len(report.breaches)} breaches in {checked}")
    return 1 if report.breaches else 0
