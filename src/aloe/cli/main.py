"""``aloe COMMAND``: finds the command, parses its arguments, runs it. Only the command's own module is imported."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence

from aloe import __version__
from aloe.cli.commands import GROUPS, ROWS, Command, find, load
from aloe.cli.parser import Overrides, Parser


def main_help() -> str:
    """The text of ``aloe --help``: every command, by what people do."""
    width = max(len(row.name) for row in ROWS)
    about = "Train and evaluate chat models that learn their user's preferences during a conversation."
    lines = ["usage: aloe COMMAND [ARGUMENTS]", "", about]
    for group, title in GROUPS.items():
        lines += ["", f"{group}: {title}"]
        lines += [f"  {row.name:<{width}}  {row.help}" for row in ROWS if row.group == group]
    lines += [
        "",
        "Start with:  aloe run demo --out runs/demo",
        "'aloe COMMAND --help' shows a command's usage; 'aloe run --help-all' lists every option of the config.",
    ]
    return "\n".join(lines)


def command_parser(command: Command) -> Parser:
    """The parser of one command."""
    parser = Parser(prog=f"aloe {command.NAME}", description=f"{command.HELP[0].upper()}{command.HELP[1:]}.")
    command.add_arguments(parser)
    return parser


def parse(argv: Sequence[str]) -> tuple[Command, Namespace, Overrides]:
    """The command that ``argv`` names, its own options, and the options of the config.

    Raises:
        ConfigError: an unknown command, or arguments that do not fit it.
        SystemExit: a help text was asked for and printed.
    """
    command = load(find(argv[0]))
    options = command_parser(command).parse_args(list(argv[1:]))
    return command, options, options.__dict__.pop("overrides", {})


def dispatch(argv: Sequence[str]) -> int:
    """Run one command.

    Raises:
        ConfigError: unknown command or option, and everything that the commands raise.
    """
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(main_help())
        return 0
    if argv[0] in ("-V", "--version"):
        print(f"aloe {__version__}")
        return 0
    try:
        command, options, overrides = parse(argv)
    except SystemExit as stop:  # a help text; what is wrong raises ConfigError
        return int(stop.code or 0)
    return command.run(options, overrides)
