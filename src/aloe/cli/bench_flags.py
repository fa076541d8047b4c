"""Short flags for the most used options of ``[bench]``, for the commands that judge conversations."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aloe.cli import completers
from aloe.cli.arguments import Completer, completed, model_table
from aloe.cli.parser import Overrides, Parser


@dataclass(frozen=True, slots=True)
class Flag:
    """A short flag for an option of the section ``bench``.

    Attributes:
        key: the option.
        metavar: what stands for its value in help texts; none = the flag itself says it.
        many: whether it may be given several times.
        completer: what a shell offers for its value.
    """

    option: str
    key: str
    help: str
    metavar: str | None = None
    many: bool = False
    completer: Completer = completers.nothing

    @property
    def name(self) -> str:
        return self.option[2:]


FLAGS = (
    Flag(
        "--model", "models", "a model to benchmark (repeat for more); URI+inducer, +selfcritic, +persona, +reminder "
        "are baselines around any model", "URI", True, completers.models,
    ),
    Flag("--judge", "judge", "the judge (default: the recipe's)", "URI", True, completers.models),
    Flag("--user", "user", "the user simulator (default: the recipe's)", "URI", True, completers.models),
    Flag("--personas", "personas", "persona file, or 'packaged'", "FILE", False, completers.paths),
    Flag("--turns", "n_turns", "turns per conversation", "N"),
    Flag("--samples", "samples", "conversations per persona", "N"),
    Flag(
        "--scale", "scale", "scale of the judge's scores", "1-5|1-100|binary", False,
        lambda **_: ["1-5", "1-100", "binary"],
    ),
    Flag("--scope", "scope", "what the judge rewards", "persona|revealed", False, lambda **_: ["persona", "revealed"]),
    Flag("--gain", "gain", "also judge every conversation for a swapped persona: personal gain"),
    Flag("--full", "full", "also judge in the other scope; includes gain"),
)  # fmt: skip


def add_flags(parser: Parser, options: Sequence[str] | None = None) -> None:
    """The short flags, or those that are named."""
    for flag in FLAGS:
        if options is not None and flag.option not in options:
            continue
        if flag.metavar is None:
            parser.add_argument(flag.option, action="store_true", default=None, help=flag.help)
            continue
        how = "append" if flag.many else "store"
        action = parser.add_argument(flag.option, action=how, metavar=flag.metavar, help=flag.help)
        completed(action, flag.completer)


def bench_overrides(options: Namespace, overrides: Overrides, without: Sequence[str] = ()) -> Overrides:
    """The options of the config with what the short flags say on top.

    Args:
        without: names of flags that mean something else here.
    """
    from aloe.config import merge, parse_overrides

    own: dict[str, Any] = {}
    for flag in FLAGS:
        value = getattr(options, flag.name, None)
        if value is None or flag.name in without:
            continue
        if flag.key in ("n_turns", "samples"):  # numbers; anything else is taken as it is written
            own[flag.key] = parse_overrides([f"--{flag.key}={value}"])[flag.key]
        elif flag.metavar == "URI":
            own[flag.key] = [model_table(text) if text.startswith("{") else text for text in value]
        else:
            own[flag.key] = value
    return merge(overrides, {"bench": own}) if own else overrides
