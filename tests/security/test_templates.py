"""Prompt templates from anywhere: they end soon, reach nothing, and what is wrong with one is said in one line."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aloe.__main__ import main
from aloe.errors import ConfigError
from aloe.prompts import PromptSet
from aloe.prompts.render import packaged_source

ATTACKS = [
    "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
    "{% for a in last %}{% for b in last %}{% for c in last %}x{% endfor %}{% endfor %}{% endfor %}",
    "{% for a in last recursive %}{{ loop(last) }}{% endfor %}",
    "{% set a = 'x' * 1000000000 %}", "{{ 'x' * 1000000000 }}", "{{ 10 ** 10000000 }}", "{{ last ~ last }}",
    "{{ '%099999999d' % 1 }}", "{{ '{:>999999999}'.format(1) }}", "{{ last.ljust(999999999) }}",
    "{{ last|center(999999999) }}", "{{ last|indent(99999999) }}", "{{ last|replace('', last) }}",
    "{{ last|format(1) }}", "{{ last|attr('upper') }}", "{{ last|map('upper')|list }}", "{{ last|batch(1)|list }}",
    "{{ last.__class__ }}", "{{ last['__class__'] }}", "{{ last() }}", "{{ lipsum(9999) }}", "{{ self }}",
    "{{ cycler.__init__.__globals__.os.system('true') }}", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{% include '/etc/passwd' %}", "{% import 'x' as y %}", "{% extends 'x' %}", "{% block b %}x{% endblock %}",
    "{% filter upper %}x{% endfilter %}", "{% call last() %}{% endcall %}", "{{ " + "(" * 5000 + ")" * 5000 + " }}",
    "{{ " + "9" * 6000 + " }}", "{% if " + "not " * 5000 + "last %}{% endif %}",
]  # fmt: skip


def with_prompt(folder: Path, text: str, name: str = "tailored") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.jinja").write_text(text, "utf-8")
    return folder


@pytest.mark.parametrize("attack", ATTACKS, ids=range(len(ATTACKS)))
def test_what_runs_long_or_reaches_out_is_refused_in_one_line(tmp_path: Path, attack: str) -> None:
    for place in (attack, "{% if last == 'never' %}" + attack + "{% endif %}"):
        prompts = PromptSet(with_prompt(tmp_path, packaged_source("tailored") + place))
        with pytest.raises(ConfigError) as caught:
            prompts.check()
        assert "\n" not in str(caught.value) and "tailored.jinja" in str(caught.value)


def test_what_a_template_may_do_it_still_does(tmp_path: Path) -> None:
    text = packaged_source("tailored") + "{% for c in last %}{{ c|upper }}{% endfor %}{{ last|trim|default('x') }}"
    text += "{{ 'long' if last|length > 3 else 'short' }}{% if last is defined and 'q' not in last %}{% endif %}"
    messages = PromptSet(with_prompt(tmp_path, text)).check().render("tailored", (), last="ab", revealed=[])
    assert messages[-1].content.endswith("ABabshort")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("@@ note\n{{ last }}{{ revealed }}<revealed>@@ history\n", "begins with '@@ note'"),
        ("hello\n@@ system\n", "begins before its first"),
        ("@@ history\n@@ note\n<revealed>{{ last }} {{ revealed }}", "no message stands before '@@ note'"),
    ],
)
def test_a_note_without_a_message_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    prompts = PromptSet(with_prompt(tmp_path, text + packaged_source("tailored").replace("@@ system", "@@ user")))
    with pytest.raises(ConfigError, match=says):
        prompts.check().render("tailored", (), last="x", revealed=[])


@settings(max_examples=40)
@given(
    text=st.text(max_size=60) | st.lists(st.sampled_from(["{{", "}}", "{%", "%}", "@@ note\n", "last", "|", "for "]))
)
def test_any_text_is_a_prompt_or_one_line(tmp_path_factory: pytest.TempPathFactory, text: str | list[str]) -> None:
    folder = with_prompt(tmp_path_factory.mktemp("any"), "".join(text).encode("utf-8", "replace").decode())
    with contextlib.suppress(ConfigError):
        PromptSet(folder).check()


def test_pipes_devices_and_large_files_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "user.jinja")
    assert main(["prompts", "check", str(tmp_path)]) == 2
    (tmp_path / "user.jinja").unlink()
    (tmp_path / "user.jinja").symlink_to("/dev/zero")
    assert main(["prompts", "check", str(tmp_path)]) == 2
    (tmp_path / "user.jinja").unlink()
    (tmp_path / "user.jinja").write_bytes(b"x" * 2_000_000)
    assert main(["prompts", "check", str(tmp_path)]) == 2
    (tmp_path / "user.jinja").write_bytes(b"\xff\xfe")
    assert main(["prompts", "check", str(tmp_path)]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 4 and all("user.jinja" in line for line in said)
