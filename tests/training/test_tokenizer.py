"""Any text round-trips, a known word is one token, and the chat template is stable under growth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aloe.errors import DataError
from aloe.models.local.checkpoint import load_tokenizer
from aloe.training.tiny.tokenizer import SPECIAL, build_tokenizer

TEXTS = ["I keep a cat as a pet.", "What should I cook tonight?", "How about a slow stew, aren't you hungry?"]
MESSAGES = [
    {"role": "user", "content": "I keep a cat."},
    {"role": "assistant", "content": "How about a stew?"},
    {"role": "user", "content": "hungry"},
    {"role": "assistant", "content": "a pet zebra"},
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    build_tokenizer(TEXTS).save_pretrained(folder)
    return load_tokenizer(folder)


@settings(max_examples=300, deadline=None)
@given(text=st.text().filter(lambda t: not any(s in t for s in SPECIAL)))
def test_any_text_round_trips(tokenizer: Any, text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


@pytest.mark.parametrize("text", ["<0x41>", "  two  spaces ", "cat\n\ncat", "日本 naïve", "<|end", "\x00\x1f", "cat's"])
def test_awkward_texts(tokenizer: Any, text: str) -> None:
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


def test_a_known_word_is_one_token_wherever_it_stands(tokenizer: Any) -> None:
    first, inner = (tokenizer(t, add_special_tokens=False)["input_ids"] for t in ("cat", "I keep a cat"))
    assert len(first) == 1 and inner[-1:] == first
    assert len(tokenizer("aren't", add_special_tokens=False)["input_ids"]) == 1


def test_template_grows_by_appending(tokenizer: Any) -> None:
    def render(messages: list[dict[str, str]], **options: Any) -> list[int]:
        return list(tokenizer.apply_chat_template(messages, return_dict=True, **options)["input_ids"])

    for n in (1, 3):
        prompt = render(MESSAGES[:n], add_generation_prompt=True)
        replied = render(MESSAGES[: n + 1])
        assert replied[: len(prompt)] == prompt and replied[-1] == tokenizer.eos_token_id
        longer = render([*MESSAGES[: n + 1], {"role": "user", "content": "more"}])
        assert longer[: len(replied)] == replied


def test_generation_markers_cover_replies_and_their_end(tokenizer: Any) -> None:
    marked = tokenizer.apply_chat_template(MESSAGES, return_dict=True, return_assistant_tokens_mask=True)
    pairs = zip(marked["input_ids"], marked["assistant_masks"], strict=True)
    covered = tokenizer.decode([token for token, on in pairs if on])
    assert covered.replace(" ", "") == "Howaboutastew?<|end|>apetzebra<|end|>"


def test_errors_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no text"):
        build_tokenizer([])
    with pytest.raises(DataError, match="no tokenizer at"):
        load_tokenizer(tmp_path)
