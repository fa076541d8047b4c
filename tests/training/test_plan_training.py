"""What a plan says of training is what training then counts."""

from __future__ import annotations

from pathlib import Path

import pytest
from tree_models import make_model

from aloe.__main__ import main
from aloe.config import Config, load_config
from aloe.forecast.calls import format_plan, make_plan
from aloe.forecast.decoding import LIBRARIES as LIBRARIES_OF_DECODING
from aloe.forecast.decoding import READ_TOGETHER, Load, decoding_bytes
from aloe.forecast.training import Sizes, memory_gb
from aloe.models.local import decode
from aloe.models.local.checkpoint import model_card, save_checkpoint
from aloe.training import train_dpo, train_sft
from aloe.training.memory import LIBRARIES, Shape, most_tokens, token_bytes
from aloe.training.tiny.material import prepare
from aloe.training.tiny.model import create_model

PEOPLE = ("n_profiles=30", "n_personalities=16", "n_personas=24", "n_bench_profiles=6", "n_bench_personalities=4",
          "n_bench=24")  # fmt: skip
SIZES = [*(f"--personas.{x}" for x in PEOPLE), "--trees.n_trees=48", "--rollout.n_trees=0", "--bench.n_personas=4"]


def config(**sections: dict[str, object]) -> Config:
    overrides = {"personas": dict(x.split("=") for x in PEOPLE), "trees": {"n_trees": 48}, "rollout": {"n_trees": 0}}
    return load_config("demo", {**overrides, **sections})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("plan") / "run"
    assert main(["run", "demo", "--out", str(out), "--skip", "base,sft,rollout,dpo,bench,report", *SIZES]) == 0
    return out


def test_tokens_and_steps_are_those_of_the_run(run: Path, tmp_path: Path) -> None:
    settings = config()
    tokenizer = prepare(settings)[1]
    base = settings.base.model_copy(update={"d_model": 16, "n_layers": 1, "n_heads": 2, "d_ffn": 16})
    save_checkpoint(create_model(base, tokenizer, 0), tokenizer, tmp_path / "base", model_card("b", "t", {}), {})
    planned = {line.stage: line for line in make_plan(settings, "dpo").training or ()}
    sft = train_sft(settings.sft, run, tmp_path / "base", tmp_path / "sft")
    dpo = train_dpo(settings.dpo, run, tmp_path / "sft", tmp_path / "dpo")
    for stage, real in (("sft", sft), ("dpo", dpo)):
        line = planned[stage]
        assert line.counted_by == "tokenizer"
        assert line.items == pytest.approx(real.get("n_replies") or real["n_pairs"], rel=0.15)
        assert line.tokens_expanded == pytest.approx(real["tokens_expanded"], rel=0.15)
        assert line.tokens_packed == pytest.approx(real["tokens_packed"], rel=0.15)
        assert line.steps == pytest.approx(real["n_steps"], rel=0.15, abs=1)


def test_a_model_that_is_trained_on_rows_is_planned_so(tmp_path: Path) -> None:
    """Its angles depend on the length; an adapter on it is planned like its base model."""
    from peft import LoraConfig, get_peft_model

    tokenizer = prepare(config())[1]
    model = make_model("phi3, longrope")
    model.resize_token_embeddings(len(tokenizer))
    places = [tmp_path / name for name in ("base", "adapter")]
    model.save_pretrained(places[0])
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"))
    adapted.peft_config["default"].base_model_name_or_path = str(places[0])
    adapted.save_pretrained(places[1])
    for place in places:
        tokenizer.save_pretrained(place)
        plan = make_plan(config(sft={"model": str(place)}), "dpo")
        assert plan.training is not None
        for line in plan.training:
            assert line.tokens_packed == line.tokens_expanded > 0 and line.memory_gb is not None


def test_a_model_that_is_not_here_is_counted_by_characters_and_said() -> None:
    plan = make_plan(config(sft={"model": "nobody/nothing"}), "dpo")
    assert plan.training is not None
    assert {line.counted_by for line in plan.training} == {"characters"}
    assert {line.memory_gb for line in plan.training} == {None}
    assert all(line.tokens_expanded > line.tokens_packed > 0 for line in plan.training)
    text = format_plan(plan)
    assert "nobody/nothing" in text and "four characters" in text and "unknown" in text


def test_memory_grows_with_the_pack_and_shrinks_with_adapters_and_checkpointing() -> None:
    model = make_model("llama")
    n = sum(p.numel() for p in model.parameters())
    sizes = Sizes(n, 1000, Shape.of(model.config))
    section = config().sft
    full = memory_gb(section, sizes, 1000)
    assert full > memory_gb(section, sizes, 100) > (n * 16 + LIBRARIES) / 1e9
    assert memory_gb(section.model_copy(update={"lora_rank": 8}), sizes, 1000) < full
    assert memory_gb(section.model_copy(update={"gradient_checkpointing": True}), sizes, 1000) < full


def test_a_pack_on_a_cpu_is_as_long_as_its_memory_allows() -> None:
    """A wide model gets shorter packs, the demo's as many tokens as ever."""
    section, tiny = config().sft, Shape(96, 256, 3, 96, 96, 960)
    wide = Shape(576, 1536, 30, 576, 192, 49152)
    assert most_tokens(section, tiny, "float32") == section.token_budget
    for kind in ("float32", "bfloat16"):
        n = most_tokens(section, wide, kind)
        assert n < section.token_budget and n * token_bytes(section, wide, kind) <= section.pass_gb * 1e9
    assert most_tokens(section, wide, "bfloat16") > most_tokens(section, wide, "float32")
    assert most_tokens(section.model_copy(update={"pass_gb": 0.01}), wide, "float32") == 512


def test_the_memory_of_decoding_is_foretold_and_bounded() -> None:
    assert READ_TOGETHER == decode.READ_TOGETHER
    plan = make_plan(load_config("demo", {"personas": dict(x.split("=") for x in PEOPLE)}))
    assert {line.stage for line in plan.decoding} == {"rollout", "bench"}
    told = [line.memory_gb for line in plan.decoding]
    assert all(gb is not None and LIBRARIES_OF_DECODING / 1e9 < gb < 2 for gb in told)
    assert "memory of each decoding process" in format_plan(plan)
    wide = Shape(576, 1536, 30, 576, 192, 49152)
    # SmolLM2-135M, 24 conversations of three turns (benchmarks/real_model.py --parts memory): 1.15 GB at its peak
    assert decoding_bytes(wide, 134_515_008, 2, Load(24, 24, 1, 169, 8)) > 1.15e9
    sizes = [decoding_bytes(wide, 135_000_000, 2, Load(n, n, 1, 900, 96)) for n in (10, 30, 100_000)]
    assert sizes[0] < sizes[1] < sizes[2] < 8e9
    assert decoding_bytes(wide, 135_000_000, 4, Load(10, 10, 1, 900, 96)) > sizes[0]
