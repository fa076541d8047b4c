"""Asks before the config of a run directory is used, since runs, unlike recipes, may come from others."""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path

from aloe.cli.screen import printable
from aloe.config import Config
from aloe.config.exposure import Exposure, exposures
from aloe.errors import ConfigError
from aloe.store.trusted import not_trusted, trust

FLAG = "--trust-run"
ALL = ("secret", "endpoint", "prompts", "plug-in", "code", "folder")
NOTHING_SENT = ("prompts", "plug-in")  # for commands that rehearse, or show what is there


def confirm_run(
    run: Path, stored: Config, used: Config, *, is_trusted: bool = False, kinds: Collection[str] = ALL
) -> None:
    """Let the user confirm what the config of a run would do that was never confirmed.

    Args:
        stored: the run's config as it lies there. used: the same with what the command line changes: what it no longer
            holds is not asked for, and what the command line brings is the user's own.
        is_trusted: the user has said so on the command line.
        kinds: of exposures that the command can bring about.

    Raises:
        ConfigError: not confirmed, or nobody is there to ask.
    """
    found = [e for e in exposures(used) if e.kind in kinds]
    new = not_trusted([e for e in exposures(stored) if e in set(found)])
    if new and not is_trusted:
        _ask(run, new)
    trust(found)


def _ask(run: Path, new: list[Exposure]) -> None:
    """Show what is new and read yes or no.

    Raises:
        ConfigError: it is not yes, or this is not a terminal.
    """
    listed = [printable(e.text) for e in new]
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise ConfigError(
            f"the config of {run} would {'; '.join(listed)}: not confirmed yet by this account",
            f"add {FLAG} if you know where the run comes from",
        )
    print(f"The config of {run} would, for the first time on this account:", file=sys.stderr)
    for text in listed:
        print(f"  {text}", file=sys.stderr)
    print("Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise ConfigError(f"the config of {run} was not confirmed", "nothing was sent")


def remember_own(config: Config) -> None:
    """What a recipe of one's own does is confirmed by using it, for the run that comes of it too."""
    trust(exposures(config))
