"""Restricts prompt templates to constructs that end soon and reach only their variables.

Jinja's sandbox keeps a template from Python's objects, but not from taking for ever: nested loops, repeated
concatenation and padding filters have no bound. Templates are therefore read before they run, and may only print,
test, filter and go through their variables once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

FILTERS = (
    "capitalize",
    "default",
    "d",
    "escape",
    "e",
    "first",
    "forceescape",
    "last",
    "length",
    "count",
    "lower",
    "string",
    "title",
    "trim",
    "upper",
    "wordcount",
)  # fmt: skip - none makes a text longer than a few times
PARTS = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.If, nodes.CondExpr, nodes.Compare,
    nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Test, nodes.Filter, nodes.For, nodes.Tuple, nodes.List,
)  # fmt: skip


def make_environment(finalize: Callable[[Any], str]) -> ImmutableSandboxedEnvironment:
    """Jinja's environment for prompts, without functions and with the filters of :data:`FILTERS` only.

    Args:
        finalize: makes the text of whatever a template prints.
    """
    environment = ImmutableSandboxedEnvironment(
        undefined=jinja2.StrictUndefined, finalize=finalize, trim_blocks=True, keep_trailing_newline=False
    )
    environment.globals.clear()
    environment.filters = {name: environment.filters[name] for name in FILTERS}
    return environment


def check_template(template: nodes.Template, given: Sequence[str]) -> None:
    """Refuse what may run long or reach out.

    Args:
        given: the variables that the template may use.

    Raises:
        TemplateSyntaxError: with the line and what may stand there instead. UndefinedError: another variable.
    """
    known = {*given, *(name.name for name in template.find_all(nodes.Name) if name.ctx == "store")}
    for node in template.find_all(nodes.Node):
        line = getattr(node, "lineno", 1)
        if not isinstance(node, PARTS):
            kind = type(node).__name__.lower()
            raise jinja2.TemplateSyntaxError(
                f"'{kind}' is not allowed; a template may only print, test, filter and go through its variables", line
            )
        if isinstance(node, nodes.Name) and node.name not in known:
            raise jinja2.UndefinedError(f"'{node.name}' is undefined")
        if isinstance(node, nodes.Filter) and node.name not in FILTERS:
            raise jinja2.TemplateSyntaxError(f"no filter '{node.name}'; there are {', '.join(FILTERS)}", line)
        if isinstance(node, nodes.For):
            if not isinstance(node.iter, nodes.Name) or node.recursive:
                raise jinja2.TemplateSyntaxError("a loop may only go through a variable", line)
            if any(
                isinstance(inner, nodes.For) for child in node.body for inner in (child, *child.find_all(nodes.For))
            ):
                raise jinja2.TemplateSyntaxError("a loop inside a loop is not allowed", line)
