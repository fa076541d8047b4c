"""Wrappers: they are journaled calls of the model inside, and land where theory says."""

import json

import pytest

from aloe.bench.compare import compare_pair, read_scored
from aloe.config import ModelConfig, load_config
from aloe.errors import ConfigError, ParseError
from aloe.models.journal.journal import Journal
from aloe.models.registry import create_model
from aloe.models.uri import WRAPPERS, plain_name, split_wrapper
from aloe.prompts.parsers import parse_revision
from aloe.stages.pipeline import run_pipeline
from aloe.store.rundir import RunDir


@pytest.mark.parametrize(
    ("uri", "inner", "wrapper"),
    [
        ("world:assistant+inducer", "world:assistant", "inducer"),
        ("hf:runs/a+b/checkpoints/dpo+persona", "hf:runs/a+b/checkpoints/dpo", "persona"),
        ("openai:model+plus", "openai:model+plus", None),
        ("openai:org/model", "openai:org/model", None),
        ("world:user?hints=0.3+reminder", "world:user?hints=0.3", "reminder"),
    ],
)
def test_a_suffix_is_a_wrapper_only_if_it_is_one(uri, inner, wrapper):
    assert split_wrapper(uri) == (inner, wrapper)


def test_names_keep_the_wrapper():
    assert plain_name("hf:runs/a/checkpoints/dpo+persona") == "dpo+persona"
    assert plain_name("world:assistant?phrasings=3+selfcritic") == "assistant+selfcritic"


@pytest.mark.parametrize("uri", ["world:assistant+inducer", "openai:x+persona", "world:assistant+inducer+reminder"])
def test_a_wrapper_is_no_model_for_a_role(uri):
    with pytest.raises(ConfigError, match="bench"):
        create_model(ModelConfig(uri=uri))


def test_order_of_wrappers_of_one_model(personas, bench, tmp_path):
    names = ["assistant", *(f"assistant+{w}" for w in WRAPPERS), "oracle", "knows-all", "generic", "generic+inducer"]
    results = bench(personas, [f"world:{n}" for n in names], tmp_path, bench__n_turns=8)
    scored = {n: read_scored(tmp_path / n) for n in names}

    def better(first, second, at_least=0.0):
        difference = compare_pair(scored[first], scored[second]).avg
        assert difference.low > at_least, (first, second, difference)

    avg = {n: results[f"world:{n}"].avg for n in names}
    assert avg["assistant"] == avg["generic"]  # word for word
    better("assistant+reminder", "assistant")
    better("assistant+selfcritic", "assistant+reminder")
    better("assistant+inducer", "assistant+reminder")
    better("assistant+inducer", "assistant+persona")  # under revealed-only judging guessing does not pay
    assert abs(avg["assistant+persona"] - avg["knows-all"]) < 0.1
    assert abs(avg["assistant+inducer"] - avg["oracle"]) < 0.25
    # a model that ignores what it is told gains nothing from any wrapper
    assert abs(compare_pair(scored["generic+inducer"], scored["generic"]).avg.value) < 0.15


def test_whole_persona_judging_rewards_being_told(personas, bench, tmp_path):
    results = bench(personas, ["world:assistant+inducer", "world:assistant+persona"], tmp_path, bench__scope="persona")
    assert results["world:assistant+persona"].avg > results["world:assistant+inducer"].avg


def test_inner_calls_are_journaled_under_the_inner_model(personas, bench, tmp_path):
    journal = tmp_path / "journal.sqlite"
    uris = [f"world:assistant+{w}" for w in WRAPPERS]
    first = bench(personas[:4], uris, tmp_path / "a", journal=journal)
    found = Journal.open(journal)
    n_calls = len(found.keys)
    found.close()
    second = bench(personas[:4], uris, tmp_path / "b", journal=journal)
    again = Journal.open(journal)
    assert len(again.keys) == n_calls
    again.close()
    assert first == second
    trees = [json.loads(line) for line in (tmp_path / "a/assistant+inducer/conversations.jsonl").open()]
    assert {n["generation"]["model"] for t in trees for n in t["nodes"]} == {"world:user", "world:assistant"}
    assert not any("<revealed>" in n["message"]["content"] for t in trees for n in t["nodes"])


def test_an_unreadable_revision_leaves_the_draft(personas, bench, tmp_path):
    results = bench(personas[:6], ["world:generic", "world:generic+selfcritic"], tmp_path)
    assert results["world:generic"].points == results["world:generic+selfcritic"].points
    assert results["world:generic+selfcritic"].n_failed == 0


@pytest.mark.parametrize(
    ("raw", "reply"),
    [
        ('{"critique": "dull", "reply": "Better."}', "Better."),
        ('Here:\n```json\n{"reply": " Assistant: Better. "}\n```', "Better."),
    ],
)
def test_revisions_are_read(raw, reply):
    assert parse_revision(raw) == reply


@pytest.mark.parametrize("raw", ["", "Better.", '{"critique": "x"}', '{"reply": ""}', '{"reply": 3}', "[1]"])
def test_what_is_no_revision(raw):
    with pytest.raises(ParseError):
        parse_revision(raw)


def test_wrappers_in_a_recipe(tmp_path):
    table = {
        "personas": {"n_profiles": 12, "n_personalities": 6, "n_personas": 3, "seeds": "world", "embedder": "world"},
        "bench": {"models": ["world:assistant+inducer", "world:assistant"], "n_turns": 2, "n_personas": 3},
    }
    table["personas"] |= {"n_bench_profiles": 4, "n_bench_personalities": 2, "n_bench": 4}
    config = load_config(overrides=table)
    run_pipeline(config, RunDir(tmp_path / "run"), "test", only="bench", say=lambda *_: None)
    assert sorted(p.name for p in (tmp_path / "run/bench").iterdir()) == ["assistant", "assistant+inducer"]
