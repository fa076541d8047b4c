"""Renders templates to messages.

One jinja file per prompt; the lines ``@@ system``, ``@@ user`` and ``@@ history`` begin messages. What follows
``@@ note`` is put at the end of the message before it, so that a hint that changes from turn to turn comes last.

Undefined variables and missing sections are ConfigErrors when the prompts are checked, not in mid-run. Every
variable becomes a slot of its own (see ``PromptMessage``), and a value can never end its message or section.
Templates are bounded and run in jinja's sandbox (``safety``): one from elsewhere reaches its variables and no more.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError

from aloe.config.files import read_small_text
from aloe.errors import ConfigError, nearest
from aloe.prompts.catalog import CATALOG
from aloe.prompts.safety import check_template, make_environment
from aloe.prompts.sections import SHOWN, Slots, escape
from aloe.protocols import PromptMessage

FIRST = "1"
_SLOT, _MESSAGE, _NAME = "\x1e", "\x1d", "\x1c"
_MAX_SHAPES = 64  # of one prompt; more means that a template branches on a conversation's content
_MARK = re.compile(r"^@@ (system|user|assistant|history|note)[ \t]*\n?", re.MULTILINE)


class _Ref(NamedTuple):
    """The place of a variable in a prompt's shape."""

    name: str


Shape = tuple[tuple[str, tuple[str | _Ref, ...]], ...]  # (role, literal texts and places of variables) per message


def _finalize(value: Any) -> str:
    if isinstance(value, _Ref):
        return f"{_SLOT}{_NAME}{value.name}{_SLOT}"
    if isinstance(value, Slots):
        return _SLOT + _SLOT.join(value.parts) + _SLOT
    return f"{_SLOT}{escape(str(value))}{_SLOT}"


class PromptSet:
    """The prompts of a run: packaged ones, each replaceable by a file of the same name in ``directory``.

    Templates are read here and become jinja only in :meth:`check` or when they are first rendered, so that who wants
    their digests alone runs nothing of them.

    Args:
        version: of the packaged ones. Version 2 is for models of every size; a prompt that it does not change is
            version 1's, with which older runs were made.

    Raises:
        ConfigError: a file that is not a prompt's or can't be read.
    """

    def __init__(self, directory: str | Path | None = None, version: str = FIRST) -> None:
        self.version = version
        self._environment = make_environment(_finalize)
        self._texts: dict[str, str] = {}
        self._templates: dict[str, jinja2.Template] = {}
        self._places: dict[str, str] = {}
        self._slotted: dict[str, frozenset[str]] = {}
        self._used: dict[str, frozenset[str]] = {}
        self._shapes: dict[str, dict[tuple[tuple[str, Any], ...], Shape]] = {}
        self.hashes: dict[str, str] = {}
        own = self._own_files(directory)
        for name in CATALOG:
            path = own.get(name)
            text = read_small_text(path, "prompt") if path else packaged_source(name, version)
            self._texts[name] = text
            self._places[name] = str(path) if path else f"the packaged prompt {name}.jinja"
            self.hashes[name] = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def check(self) -> PromptSet:
        """Read all templates as jinja and hold them against their rows, before the first of them is needed.

        Raises:
            ConfigError: one does not compile, lacks a section, uses an unknown variable, or holds what a template may
                not have.
        """
        for name in self._texts:
            if name not in self._templates:
                self._load(name)
        return self

    @staticmethod
    def _own_files(directory: str | Path | None) -> dict[str, Path]:
        if directory is None:
            return {}
        folder = Path(directory)
        if not folder.is_dir():
            raise ConfigError(f"prompts_dir {folder} is not a directory", "create it or leave prompts_dir out")
        own = {path.stem: path for path in sorted(folder.glob("*.jinja"))}
        for name, path in own.items():
            if name not in CATALOG:
                raise ConfigError(
                    f"{path} is not a prompt of aloe{nearest(name, CATALOG)}",
                    f"use one of: {', '.join(CATALOG)}",
                )
        return own

    def _load(self, name: str) -> None:
        where, text = self._places[name], self._texts[name]
        marked = self._source_marks(text)
        try:
            parsed = self._environment.parse(marked)
            check_template(parsed, CATALOG[name].given)
            template = self._environment.from_string(marked)
        except jinja2.TemplateSyntaxError as error:
            raise ConfigError(f"{where}, line {error.lineno}: {error.message}", "correct the template") from error
        except jinja2.UndefinedError as error:
            raise self._undefined(name, error) from error
        except (RecursionError, ValueError) as error:  # nested without end, or numbers without end
            raise ConfigError(f"{where} is not a usable template: {error}", "correct the template") from None
        self._slotted[name] = _slotted_variables(parsed)
        self._used[name] = frozenset(node.name for node in parsed.find_all(nodes.Name))
        self._templates[name] = template
        self._shapes[name] = {}
        row = CATALOG[name]
        rendered = self._run(name, {v: f"[{v}]" for v in row.given}).replace(_SLOT, "")
        for tag in row.sections:
            if tag not in rendered:
                raise ConfigError(
                    f"{where} lacks the section {tag}, which the role needs",
                    "add it; 'aloe prompts show NAME' prints the packaged one",
                )
        for variable in row.variables:
            if f"[{variable}]" not in rendered:
                raise ConfigError(f"{where} never uses {{{{ {variable} }}}}", "put it into its section")
        first, *pieces = rendered.split(_MESSAGE)
        if first.strip():
            raise ConfigError(f"{where} begins before its first '@@' line", "begin with '@@ system' or '@@ user'")
        if pieces[:1] == ["note"]:
            raise ConfigError(f"{where} begins with '@@ note', which belongs to the message before it", "move it down")
        if row.needs_history and f"{_MESSAGE}history{_MESSAGE}" not in self._source_marks(text):
            raise ConfigError(f"{where} has no '@@ history' line", "add it where the conversation belongs")

    @staticmethod
    def _source_marks(text: str) -> str:
        return _MARK.sub(lambda m: f"{_MESSAGE}{m.group(1)}{_MESSAGE}", text)

    def _run(self, name: str, values: Mapping[str, Any]) -> str:
        """What jinja makes of a template. Its errors, which may be any, become one line that says where."""
        where = self._places[name]
        try:
            return self._templates[name].render(values)
        except jinja2.UndefinedError as error:
            raise self._undefined(name, error) from error
        except SecurityError as error:
            raise ConfigError(
                f"{where}: {error.message}", "a template may only print and test its variables"
            ) from error
        except Exception as error:
            raise ConfigError(f"{where}: {type(error).__name__}: {error}", "correct the template") from error

    def _undefined(self, name: str, error: jinja2.UndefinedError) -> ConfigError:
        given = ", ".join(CATALOG[name].given) or "only the history"
        return ConfigError(f"{self._places[name]}: {error.message}", f"available variables: {given}")

    def stamp(self, later: Collection[str] = ()) -> dict[str, str]:
        """The digests of all prompts by name. Those that came later only where they are used (named in ``later``).

        What was made before there was a prompt can't depend on it.
        """
        return {name: digest for name, digest in self.hashes.items() if name in later or not CATALOG[name].is_later}

    def render(self, name: str, history: Sequence[PromptMessage] = (), **values: Any) -> tuple[PromptMessage, ...]:
        """Messages of prompt ``name``.

        Args:
            history: goes in where the template says ``@@ history``.
            values: the row's variables. ``persona`` (a Persona), ``conversation`` (messages), ``revealed``
                (disclosures) and ``examples`` (texts) are shown as tagged sections, anything else as its text.
        """
        if name not in self._templates:
            self._load(name)
        used = self._used[name]
        values = {key: SHOWN[key](v) if key in SHOWN else v for key, v in values.items() if key in used}
        messages: list[PromptMessage] = []
        for role, pieces in self._shape(name, values):
            if role == "history":
                messages.extend(history)
                continue
            parts: list[str] = []
            for piece in pieces:
                if isinstance(piece, str):
                    parts.append(piece)
                    continue
                value = values[piece.name]
                parts.extend(value.parts if isinstance(value, Slots) else (escape(str(value)),))
            if role == "note":
                if not messages:
                    raise ConfigError(f"{self._places[name]}: no message stands before '@@ note'", "move it down")
                last = messages.pop()
                role, parts = last.role, [*last.parts, "\n\n", *parts]
            messages.append(PromptMessage(role, tuple(filter(None, parts))))
        return tuple(messages)

    def _shape(self, name: str, values: dict[str, Any]) -> Shape:
        """The prompt with its variables still open. Jinja runs once per value of what a template branches on."""
        slotted = self._slotted[name]
        decides = tuple((key, value) for key, value in values.items() if key not in slotted)
        shapes = self._shapes[name]
        found = shapes.get(decides)
        if found is None:
            open_values = {key: _Ref(key) if key in slotted else value for key, value in values.items()}
            pieces = self._run(name, open_values).split(_MESSAGE)
            found = tuple(
                (role, tuple(map(_as_piece, filter(None, body.removesuffix("\n").split(_SLOT)))))
                for role, body in zip(pieces[1::2], pieces[2::2], strict=True)
            )
            if len(shapes) >= _MAX_SHAPES:
                shapes.clear()
            shapes[decides] = found
        return found


def _as_piece(text: str) -> str | _Ref:
    return _Ref(text[1:]) if text.startswith(_NAME) else text


def _slotted_variables(template: nodes.Template) -> frozenset[str]:
    """The variables that a template only ever prints as they are, so that its shape does not depend on them."""
    plain = (nodes.Output, nodes.If)
    if any(not isinstance(statement, plain) for statement in template.find_all(nodes.Stmt)):
        return frozenset()  # loops, macros, filters over blocks: such a template is rendered each time
    printed: dict[str, int] = {}
    for output in template.find_all(nodes.Output):
        for node in output.nodes:
            if isinstance(node, nodes.Name):
                printed[node.name] = printed.get(node.name, 0) + 1
    uses = [node.name for node in template.find_all(nodes.Name)]
    return frozenset(name for name, n in printed.items() if uses.count(name) == n)


def packaged_source(name: str, version: str = FIRST) -> str:
    """The text of a packaged prompt: the version's own, else the first one's."""
    folder = resources.files("aloe.prompts")
    own = folder.joinpath(f"v{version}", f"{name}.jinja")
    return (own if own.is_file() else folder.joinpath(f"{name}.jinja")).read_text("utf-8")
