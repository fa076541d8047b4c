"""The packaged recipes: each loads, and those for a base model say what the paper says, or what one GPU bears."""

import re

import pytest

from aloe.__main__ import main
from aloe.config import load_config, read_recipe, recipe_names
from aloe.errors import ConfigError

PAPER = {
    "paper-qwen2": "Qwen/Qwen2-7B-Instruct",
    "paper-llama3": "meta-llama/Meta-Llama-3-8B-Instruct",
    "paper-mistral": "mistralai/Mistral-7B-Instruct-v0.3",
    "paper-olmo": "allenai/OLMo-7B-0724-Instruct-hf",
}
SMALL = {
    "small-qwen3": "Qwen/Qwen3-0.6B",
    "small-llama": "meta-llama/Llama-3.2-1B-Instruct",
    "small-gemma": "google/gemma-3-1b-it",
    "small-olmo2": "allenai/OLMo-2-0425-1B-Instruct",
}


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_loads(name):
    load_config(name)


def test_help_names_every_recipe(capsys):
    assert main(["run", "--help"]) == 0
    text = capsys.readouterr().out
    assert {*PAPER, *SMALL} <= set(recipe_names())
    assert [name for name in recipe_names() if name not in re.findall(r"[\w-]+", text)] == []


@pytest.mark.parametrize("name", PAPER)
def test_settings_of_the_paper(name):
    config = load_config(name)
    assert config.sft.model == PAPER[name] and config.bench.models[0].uri == f"hf:{PAPER[name]}"
    for section in (config.sft, config.dpo):
        assert (section.learning_rate, section.epochs, section.batch_size, section.lora_rank) == (1e-5, 1, 48, 0)
        assert section.max_length == (4096 if name == "paper-olmo" else 8192)
    assert config.dpo.beta == 0.9 and config.dpo.sft_weight == 0
    assert config.personas.n_personas == 3310 and config.trees.n_turns == 10


@pytest.mark.parametrize("name", SMALL)
def test_small_models_by_adapter(name):
    config = load_config(name)
    assert config.sft.model == SMALL[name] and config.bench.models[0].uri == f"hf:{SMALL[name]}"
    for section in (config.sft, config.dpo):
        assert section.lora_rank == 16 and section.token_budget == 4096 and section.gradient_checkpointing


def test_a_recipe_extends_another(tmp_path):
    (tmp_path / "one.toml").write_text('extends = "paper"\nseed = 5\n[dpo]\nbeta = 0.2\n')
    (tmp_path / "two.toml").write_text('extends = "one.toml"\n[dpo]\nepochs = 3\n')
    config, paper = load_config(tmp_path / "two.toml", {"trees": {"n_turns": 4}}), load_config("paper")
    assert (config.seed, config.dpo.beta, config.dpo.epochs, config.trees.n_turns) == (5, 0.2, 3, 4)
    assert config.sft == paper.sft and config.skip == paper.skip and config.dpo.batch_size == paper.dpo.batch_size
    assert "extends" not in read_recipe(tmp_path / "two.toml")[0]


@pytest.mark.parametrize(
    ("text", "says"),
    [('extends = "papr"', "papr"), ("extends = 3", "extends = 3"), ('extends = "me.toml"', "extends it")],
)
def test_a_recipe_that_cannot_be_extended(text, says, tmp_path):
    (tmp_path / "me.toml").write_text(text)
    with pytest.raises(ConfigError, match=says):
        load_config(tmp_path / "me.toml")
