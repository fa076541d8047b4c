"""The parser of every command: one-line errors, verbs, and options of the config beside the command's own."""

from __future__ import annotations

import argparse
import textwrap
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import Any

from aloe.cli.options_help import WIDTH, Option, all_options, section_summary
from aloe.errors import ConfigError, nearest

Overrides = dict[str, Any]  # options of the config as a nested table, {"trees": {"n_turns": 5}}
Run = Callable[[Namespace, Overrides], int]
Sections = Callable[[], Sequence[str]]


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28, width=WIDTH)

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)  # names of recipes stay whole


class _HelpAll(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        assert isinstance(parser, Parser)
        print(f"{argparse.ArgumentParser.format_help(parser)}\n{all_options(parser.sections(), parser.more())}")
        parser.exit()


class Parser(argparse.ArgumentParser):
    """argparse whose errors are ConfigErrors (one line, our exit code) and which knows the options of the config.

    Attributes:
        takes_config: whether the options of the config may be given too.
        more: gives options that the config does not declare itself.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        settings.setdefault("formatter_class", _Formatter)
        super().__init__(*args, **settings)
        self.takes_config = False
        self.more: Callable[[], Sequence[Option]] = tuple
        self._sections: Sections | None = None
        self._verbs: Any = None

    def accept_config(self, sections: Sections | None = None, more: Callable[[], Sequence[Option]] = tuple) -> None:
        """Take every option of the config too (``--trees.n_turns 5``), with ``--help-all`` to list them.

        Args:
            sections: gives the sections that the command reads, for its help (called only then); None: all of them.
            more: gives options that the config does not declare itself, those of a plug-in.
        """
        self.takes_config, self._sections, self.more = True, sections, more
        self.allow_abbrev = False
        self.add_argument("--help-all", action=_HelpAll, nargs=0, help="show every option of the config too and exit")

    def sections(self) -> Sequence[str] | None:
        """The sections of the config that the command reads; None = all."""
        return None if self._sections is None else self._sections()

    def add_verb(self, name: str, help: str, run: Run, **settings: Any) -> Parser:
        """A parser for ``COMMAND name ...``; ``options.verb`` is then ``run``.

        Args:
            help: one line for the list of verbs, and the beginning of the verb's own help.
        """
        if self._verbs is None:
            self._verbs = self.add_subparsers(required=True)
        settings.setdefault("description", f"{help[0].upper()}{help[1:]}.")
        verb: Parser = self._verbs.add_parser(name, help=help, **settings)
        self._verbs.metavar = "|".join(self._verbs.choices)
        verb.set_defaults(verb=run)
        return verb

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does, with the config's options taken out first and positional arguments at any place."""
        if self._verbs is not None:
            return super().parse_known_args(args, namespace)
        positional, own, config = self.sort(list(args or ()))
        found, rest = super().parse_known_args([*own, *positional], namespace)
        if config:
            from aloe.config import parse_overrides

            found.overrides = parse_overrides(config)
        return found, rest

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        found, rest = self.parse_known_args(args, namespace)
        if rest:
            self._refuse(rest[0])
        return found

    def error(self, message: str) -> None:  # type: ignore[override]
        raise ConfigError(f"{self.prog}: {message}", f"'{self.prog} --help' shows the usage")

    def format_help(self) -> str:
        text = super().format_help()
        if not self.takes_config:
            return text
        return f"{text}\n{section_summary(self.prog, self.sections())}\n"

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            valid = [str(choice) for choice in action.choices]
            raise argparse.ArgumentError(
                action, f"invalid choice: '{value}'{nearest(str(value), valid)}, choose from {', '.join(valid)}"
            )

    def sort(self, arguments: list[str]) -> tuple[list[str], list[str], list[str]]:
        """Positional arguments, own options with their values, options of the config with theirs."""
        positional: list[str] = []
        own: list[str] = []
        config: list[str] = []
        while arguments:
            argument = arguments.pop(0)
            name, equals, value = argument.partition("=")
            action = self._option(name)
            if argument == "--":
                positional += ["--", *arguments]
                break
            if not argument.startswith("-") or argument == "-":
                positional.append(argument)
            elif action is not None and action.nargs == 0 and value in ("true", "false"):
                own += [name] if value == "true" else []
            elif action is not None:
                own.append(argument)
                if action.nargs is None and not equals and arguments:
                    own.append(arguments.pop(0))
            elif not self.takes_config or not argument.startswith("--"):
                own.append(argument)
            else:
                self._check_spelling(name)
                if not equals:
                    if not arguments or arguments[0].startswith("--"):
                        raise ConfigError(f"option {name} has no value", f"write {name} VALUE")
                    value = arguments.pop(0)
                config.append(f"{name}={value}")
        return positional, own, config

    def _option(self, name: str) -> argparse.Action | None:
        """The command's own option of that name, or of the only name that begins so where abbreviations count."""
        known = self._option_string_actions
        if name not in known and self.allow_abbrev and name.startswith("--"):
            begun = [other for other in known if other.startswith(name)]
            name = begun[0] if len(begun) == 1 else name
        return known.get(name)

    def _check_spelling(self, name: str) -> None:
        """A name without a dot that is close to one of the command's own options is a slip, not a config option.

        Raises:
            ConfigError: it is, with the option meant.
        """
        from aloe.config import Config

        if "." not in name and name[2:].replace("-", "_") not in Config.model_fields:
            near = self._nearest_option(name)
            if near:
                self.error(f"unknown option {name}{near}")

    def _nearest_option(self, name: str) -> str:
        own = [option[2:] for option in self._option_string_actions if option.startswith("--")]
        return nearest(name.lstrip("-"), own).replace("'", "'--", 1)  # compared without the dashes, which all share

    def _refuse(self, argument: str) -> None:
        if argument.startswith("-"):
            name = argument.partition("=")[0]
            self.error(f"unknown option {name}{self._nearest_option(name)}")
        self.error(f"unexpected argument '{argument}'")
