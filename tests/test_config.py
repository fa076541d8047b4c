"""One config: recipes, overrides, a resolved copy that loads back, and one-line errors."""

from __future__ import annotations

import pickle
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aloe.config import (
    Config,
    ModelConfig,
    digest,
    dump_toml,
    fields,
    load_config,
    parse_overrides,
    recipe_names,
    type_name,
    validate,
)
from aloe.errors import BudgetExceeded, ConfigError, EndpointError


@pytest.mark.parametrize("name", recipe_names())
def test_every_packaged_recipe_loads_and_round_trips(name: str) -> None:
    config = load_config(name)
    assert validate(tomllib.loads(dump_toml(config)), "copy") == config


def test_overrides_win_over_the_recipe() -> None:
    config = load_config("demo", parse_overrides(["--trees.n-turns", "5", "--seed=7", "--roles.user", "openai:x"]))
    assert (config.trees.n_turns, config.seed, config.roles.user[0].uri) == (5, 7, "openai:x")
    assert config.personas == load_config("demo").personas


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--trees.turns", "5"], "unknown key 'trees.turns' \\(did you mean 'n_turns'\\?\\)"),
        (["--n_replicates", "4"], "unknown key 'n_replicates' \\(did you mean 'trees.replicates'\\?\\)"),
        (["--trees.n_turns", "many"], "trees.n_turns = 'many': input should be a valid integer"),
        (["--trees.policy", "sometimes"], "trees.policy = 'sometimes': expected path, both:D, budget:N"),
        (["--trees.n_turns"], "option --trees.n_turns has no value"),
        (["five"], "unexpected argument 'five'"),
        (["--trees", "5", "--trees.n_turns", "3"], "clashes with an earlier one"),
    ],
)
def test_bad_options_are_one_clear_line(arguments: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        load_config("demo", parse_overrides(arguments))
    assert "\n" not in str(caught.value)


def test_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'demo'"):
        load_config("demos")
    with pytest.raises(ConfigError, match="does not exist"):
        load_config("nowhere/recipe.toml")


def test_every_option_is_described_and_has_a_type_that_people_know() -> None:
    options = [*fields(Config), *((f"model.{name}", info) for name, info in ModelConfig.model_fields.items())]
    assert not [name for name, info in options if not info.description]
    assert {type_name(info.annotation) for name, info in fields(Config) if name.startswith("roles.")} == {
        "[model, ...]"
    }
    known = {"str", "int", "float", "bool", "none", "table", "model"}
    names = {word for _, info in options for word in re.split(r"[|\[\], .]+", type_name(info.annotation)) if word}
    literals = {word for word in names if word not in known and not re.fullmatch(r"[a-z0-9-]+", word)}
    assert not literals, "a Python type stands in the help text"


@given(st.dictionaries(st.text(max_size=5), st.integers(-(2**53), 2**53), max_size=6))
def test_digest_does_not_depend_on_order(table: dict[str, int]) -> None:
    assert digest(table) == digest(dict(reversed(table.items())))


def test_errors_survive_pickling() -> None:
    error = EndpointError("it failed", "try again", status=503, retryable=True, retry_after=2.0)
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.status, copy.retryable, copy.retry_after) == ("it failed; try again", 503, True, 2.0)
    assert str(pickle.loads(pickle.dumps(BudgetExceeded("over", "raise it")))) == "over; raise it"


def test_the_worlds_options_go_to_the_roles_that_write(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text(
        '[world]\nvalues = 8\ntraits = ["warmth", "humour"]\n[roles]\nuser = "world:user?hints=0&values=4"\n'
        'generic = ["openai:gpt-4o-mini", { uri = "world:generic", weight = 2.0 }]\n',
        "utf-8",
    )
    roles = load_config(recipe, {"world": {"phrasings": 2}}).roles
    assert roles.writer[0].uri == "world:persona-writer?values=8&traits=warmth,humour&phrasings=2"
    assert roles.user[0].uri == "world:user?values=4&traits=warmth,humour&phrasings=2&hints=0"
    assert [m.uri for m in roles.generic] == [
        "openai:gpt-4o-mini",
        "world:generic?values=8&traits=warmth,humour&phrasings=2",
    ]
    assert roles.generic[1].weight == 2.0
    assert roles.judge[0].uri == "world:judge" and roles.inducer[0].uri == "world:inducer"


def test_world_options_where_there_is_no_world_are_refused(tmp_path: Path) -> None:
    run = tmp_path / "config.toml"
    run.write_text(dump_toml(load_config("demo")), "utf-8")
    assert load_config(run) == load_config("demo")
    with pytest.raises(ConfigError, match=r"no \[world\]"):
        load_config(run, {"world": {"values": 16}})
    with pytest.raises(ConfigError, match=r"world\.values = True"):
        load_config("demo", {"world": {"values": True}})


def test_a_run_of_version_0_1_still_opens() -> None:
    assert load_config(None, {"execution": {"executor": "local", "concurrency": 3}}).execution.concurrency == 3
    with pytest.raises(ConfigError, match="executor"):
        load_config(None, {"execution": {"executor": "slurm"}})
