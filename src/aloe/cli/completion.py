"""``aloe completion SHELL``: shell completion, read from the commands' parsers by argcomplete."""

from __future__ import annotations

import os
import shlex
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import Any, cast

from aloe.cli import completers
from aloe.cli.commands import ROWS, Row, find, load
from aloe.cli.options_help import Option
from aloe.cli.parser import Overrides, Parser, Sections
from aloe.errors import ConfigError

NAME = "completion"
GROUP = "run"
HELP = "print the completion script for bash, zsh or fish"
WHERE = {
    "bash": "aloe completion bash > ~/.local/share/bash-completion/completions/aloe",
    "zsh": "aloe completion zsh > ~/.zfunc/_aloe   # and in ~/.zshrc: fpath+=~/.zfunc; autoload -U compinit; compinit",
    "fish": "aloe completion fish > ~/.config/fish/completions/aloe.fish",
}


def add_arguments(parser: Parser) -> None:
    parser.description = "Print a script that completes commands, options, recipes, stages and paths with Tab."
    parser.epilog = "\n".join(["install it once, then open a new shell:", *(f"  {line}" for line in WHERE.values())])
    parser.add_argument("shell", choices=tuple(WHERE), help="your shell")


def run(options: Namespace, overrides: Overrides) -> int:
    from argcomplete.shell_integration import shellcode

    print(shellcode(["aloe"], shell=options.shell))
    return 0


class _TabParser(Parser):
    """A parser that lists possible completions: the options of the config are arguments like any others."""

    def accept_config(self, sections: Sections | None = None, more: Callable[[], Sequence[Option]] = tuple) -> None:
        super().accept_config(sections, more)
        from aloe.config import Config, fields

        for name, info in [*more(), *fields(Config)]:
            if f"--{name}" in self._option_string_actions:
                continue  # the command has one of its own by that name
            action = self.add_argument(f"--{name}", metavar="VALUE", help=_plain(info.description))
            action.completer = completers.config_value(name, info)  # type: ignore[attr-defined]

    def sort(self, arguments: list[str]) -> tuple[list[str], list[str], list[str]]:
        return arguments, [], []


def _plain(text: str | None) -> str:
    return (text or "").replace("%", "%%")


def tab_parser(words: list[str]) -> Parser:
    """The parser of ``aloe`` with all commands by name, and the one among ``words`` in full."""
    root = _TabParser(prog="aloe")
    root.add_argument("--version", action="store_true", help="print the version")
    commands: Any = root.add_subparsers()
    named = next((word for word in words if not word.startswith("-")), None)
    for row in _rows(named):
        parser = commands.add_parser(row.name, help=row.help)
        if row.name == named:
            load(row).add_arguments(parser)
    return root


def _rows(named: str | None) -> tuple[Row, ...]:
    """All commands, and the one of a plug-in where it is named."""
    try:
        named_row = find(named) if named else ROWS[0]
    except ConfigError:  # not the whole name yet
        return ROWS
    return ROWS if named_row in ROWS else (*ROWS, named_row)


def complete(leave: Callable[[int], object] = os._exit) -> None:
    """Answer the shell (argcomplete's protocol, by environment variables) and leave the process.

    Args:
        leave: is called with the exit code when the answer is written.
    """
    from argcomplete.finders import CompletionFinder

    line = os.environ["COMP_LINE"][: int(os.environ["COMP_POINT"])]
    finder = CompletionFinder()
    finder(
        tab_parser(_words(line)[1:]),
        always_complete_options=False,
        exit_method=leave,
        default_completer=cast(Any, completers.paths),
    )


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:  # an open quotation mark
        return line.split()
