"""The catalog: a row and a template per prompt, and answers in the form that a row asks for are read by its parser."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import pytest

from aloe.errors import ParseError
from aloe.prompts import CATALOG


def example_of(schema: dict[str, Any]) -> Any:
    """A value that fits a JSON schema: the first word of a choice, a number that is on every scale."""
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema["type"]
    if kind == "object":
        return {name: example_of(schema["properties"][name]) for name in schema["required"]}
    if kind == "array":
        return [example_of(schema["items"])]
    return 1 if kind in ("number", "integer") else "Some words."


def test_every_row_has_a_template_and_every_template_a_row() -> None:
    files = [path.name for path in resources.files("aloe.prompts").iterdir() if path.name.endswith(".jinja")]
    assert sorted(f"{name}.jinja" for name in CATALOG) == sorted(files)
    assert all(row.name == name for name, row in CATALOG.items())


@pytest.mark.parametrize("name", sorted(n for n, row in CATALOG.items() if row.response_format))
def test_the_form_that_is_enforced_is_the_form_that_is_read(name: str) -> None:
    row = CATALOG[name]
    assert row.response_format is not None
    schema = row.response_format["json_schema"]["schema"]
    value = row.read(json.dumps(example_of(schema)))
    assert value and (row.scale is None or row.scale[0] <= value[0] == 1.0 <= row.scale[1])


@pytest.mark.parametrize("name", sorted(n for n, row in CATALOG.items() if row.scale))
def test_a_score_that_is_not_on_the_scale_of_its_prompt_is_unscored(name: str) -> None:
    row = CATALOG[name]
    assert row.scale is not None
    for inside in row.scale:
        assert row.read(f'{{"score": {inside}}}')[0] == inside
    with pytest.raises(ParseError, match="no score"):
        row.read(f'{{"score": {row.scale[1] + 1}}}')
