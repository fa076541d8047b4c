"""A small random model in a folder, and personas of the world."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from aloe.store.records import write_jsonl
from helpers import world_personas

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / "training"), str(TESTS / "models"), str(TESTS.parent / "benchmarks")]


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama whose every token is one of the tests' words."""
    from tree_models import make_model, make_tokenizer

    folder = tmp_path_factory.mktemp("rl") / "start"
    make_model("llama").save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen personas, each with a profile of its own."""
    file = tmp_path_factory.mktemp("people") / "personas.jsonl"
    write_jsonl(file, [p.model_copy(update={"split": "train"}) for p in world_personas(16)])
    return file
