"""What a word in the place of RECIPE means: a recipe's name before a folder, a run directory before a recipe."""

from __future__ import annotations

from pathlib import Path

import pytest

from aloe.__main__ import main
from aloe.cli.places import config_source, resolve
from aloe.config import dump_toml, load_config
from aloe.errors import ConfigError


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make_run(path: Path, seed: int) -> None:
    path.mkdir(parents=True)
    (path / "config.toml").write_text(dump_toml(load_config("bench", {"seed": seed})), "utf-8")


def test_a_recipe_comes_before_a_folder_of_its_name(here: Path) -> None:
    (here / "paper").mkdir()
    place = resolve("paper", None, {})
    assert (place.recipe, str(place.run.path), place.note) == ("paper", "runs/paper", "")
    assert place.config == load_config("paper")
    assert config_source("paper") == "paper"
    (here / "mine.toml").write_text('extends = "paper"\n')
    assert load_config("mine.toml") == place.config
    (here / "demo").write_text("not a recipe")
    assert resolve("demo", None, {}).config == load_config("demo")
    for folder in ("./paper", "./paper/"):
        with pytest.raises(ConfigError, match="is not a run directory"):
            resolve(folder, None, {})


def test_a_run_directory_comes_before_a_recipe_unless_out_is_given(here: Path, capsys) -> None:
    make_run(here / "demo", 7)
    place = resolve("demo", None, {})
    assert (place.config.seed, str(place.run.path)) == (7, "demo")
    assert "./demo is a run directory" in place.note and "--out" in place.note
    assert resolve("demo", "demo", {}).config.seed == 7
    named = resolve("demo", "new", {})
    assert (named.config, str(named.run.path), named.note) == (load_config("demo"), "new", "")
    assert resolve("./demo", "new", {}).config.seed == 7  # a run with another --out: the config that it was made with
    assert main(["report", "demo"]) == 0
    assert "./demo is a run directory and is used" in capsys.readouterr().out


def test_config_takes_a_run_too(here: Path, capsys) -> None:
    make_run(here / "runs" / "a", 7)
    assert main(["config", "runs/a"]) == 0
    assert "seed = 7" in capsys.readouterr().out
    assert main(["config", "runs"]) == 2
    assert "runs is not a run directory" in capsys.readouterr().err


def test_the_name_of_a_recipe_runs_beside_a_folder_of_that_name(here: Path, capsys) -> None:
    (here / "bench").mkdir()
    sizes = ["--bench.models", "world:generic", "--bench.n_turns", "1", "--bench.n_personas", "2"]
    assert main(["run", "bench", *sizes, "--bench.n_bootstrap", "100"]) == 0
    assert "aloe: bench -> runs/bench" in capsys.readouterr().out and not list((here / "bench").iterdir())
