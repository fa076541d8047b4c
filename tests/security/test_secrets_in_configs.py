"""A config names secrets and never holds them: what looks like one is refused, without being repeated."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

import aloe
from aloe.__main__ import main
from aloe.config import load_config
from aloe.errors import ConfigError

HELD = "SECRETVALUE0123456789abcd"


@pytest.mark.parametrize(
    "fields",
    [
        {"base_url": f"http://me:{HELD}@127.0.0.1:9/v1"},
        {"base_url": f"http://127.0.0.1:9/v1?key={HELD}"},
        {"base_url": f"http://127.0.0.1:9/v1#{HELD}"},
        {"base_url": f"http://127.0.0.1:9/v1;key={HELD}"},
        {"base_url": f"http://127.0.0.1:{HELD}/v1"},
        {"base_url": f"http://[{HELD}/v1"},
        {"api_key_env": f"sk-{HELD}"},
        {"api_key_env": f"hf_{HELD}"},
        {"headers_env": {"X-Key": f"Bearer {HELD}"}},
        {"extra": {"api_key": HELD}},
        {"extra": {"nested": [{"Authorization": HELD}]}},
        {"extra": {"headers": {"X": f"Bearer sk-{HELD}"}}},
        {"extra": {"access_token": HELD}},
    ],
    ids=str,
)
def test_what_looks_like_a_secret_is_refused_and_not_repeated(fields: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(overrides={"roles": {"user": [{"uri": "openai:x", **fields}]}})
    assert HELD not in repr(caught.value) and "\n" not in str(caught.value)
    assert caught.value.__cause__ is None and caught.value.__suppress_context__


def test_no_file_and_no_line_of_a_command_holds_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for option in (f'[{{uri = "openai:x", extra = {{api_key = "{HELD}"}}}}]',
                   f'[{{uri = "openai:x", base_url = "http://h/v1?key={HELD}"}}]'):  # fmt: skip
        assert main(["run", "demo", "--out", "run", f"--roles.user={option}"]) == 2
        assert main(["config", "demo", f"--roles.user={option}"]) == 2
    said = capsys.readouterr()
    assert HELD not in said.out + said.err
    assert not any(HELD.encode() in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())


def test_what_providers_really_take_is_let_through() -> None:
    extra = {"chat_template_kwargs": {"enable_thinking": False}, "top_k": 3, "stop_token_ids": [1], "min_tokens": 1,
             "prompt_cache_key": "a", "provider": {"order": ["x"]}, "reasoning_effort": "low"}  # fmt: skip
    model = {"uri": "openai:x", "extra": extra, "api_key_env": "MY_KEY"}
    config = load_config(overrides={"roles": {"user": [model]}})
    assert config.roles.user[0].extra == extra


def test_code_of_a_checkpoint_is_refused_in_words_wherever_one_is_loaded() -> None:
    """Every call that loads from a folder or the hub says trust_remote_code=False, or passes settings on that do."""
    found, silent = 0, []
    for file in (Path(aloe.__file__).parent).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            name = getattr(getattr(node, "func", None), "attr", getattr(getattr(node, "func", None), "id", ""))
            if not isinstance(node, ast.Call) or name not in ("from_pretrained", "SentenceTransformer"):
                continue
            found += 1
            said = [k for k in node.keywords if k.arg == "trust_remote_code"]
            passed = [k for k in node.keywords if k.arg is None and "trust_remote_code" in file.read_text("utf-8")]
            if not passed and not (said and isinstance(said[0].value, ast.Constant) and said[0].value.value is False):
                silent.append(f"{file.name}:{node.lineno}")
    assert found >= 8 and not silent
