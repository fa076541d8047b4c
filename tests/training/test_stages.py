"""The training stages end to end on a world of a few words: they learn, resume after kill -9, and load anywhere."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from process_runs import start_process
from transformers import AutoModelForCausalLM, AutoTokenizer

from aloe.config import Config, DPOConfig, ModelConfig, SFTConfig, validate
from aloe.errors import ConfigError, DataError
from aloe.models.local.checkpoint import load_model
from aloe.models.local.model import create_local_model, weight_digest
from aloe.protocols import ChatRequest, PromptMessage
from aloe.stages.pipeline import run_pipeline
from aloe.store.records import write_jsonl
from aloe.store.rundir import RunDir
from aloe.training.dpo import train_dpo
from aloe.training.sft import train_sft
from aloe.training.tiny.material import prepare
from aloe.training.tiny.train import train_base
from helpers import world_personas

WORLD = "values=3&slots=pet,drink&traits=warmth&topics=gift,evening&phrasings=1&advice=1&hints=0"
SFT = {"learning_rate": 6e-3, "batch_size": 8, "checkpoint_steps": 2, "warmup_steps": 1}
DPO = {"learning_rate": 2e-3, "batch_size": 8, "checkpoint_steps": 2, "warmup_steps": 1}


def small_config(**base: Any) -> Config:
    actors = {"writer": "persona-writer", "user": "user", "tailored": "tailored", "generic": "generic"}
    roles = {role: [{"uri": f"world:{actor}?{WORLD}"}] for role, actor in actors.items()}
    sizes = {"d_model": 32, "n_layers": 2, "n_heads": 2, "d_ffn": 48, "batch_size": 8}
    steps = {"min_steps": 4, "max_steps": 40, "cooldown_steps": 4, "checkpoint_seconds": 0.01}
    return validate({"roles": roles, "base": {**sizes, **steps, **base}}, "the test")


def chat(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]


def write_rows(folder: Path) -> tuple[Path, Path]:
    """SFT conversations and pairs in which the kind reply is the preferred one."""
    kind, plain = "So good to hear from you.", "You could try a hot bath."
    sft, dpo = [], []
    for n in range(12):
        told = f"I keep {'a cat' if n % 2 else 'a dog'} as a pet."
        sft += [
            {"tree_id": str(n), "messages": chat(told, kind)},
            {"tree_id": str(n), "messages": chat(told, kind, "Thank you so much.", kind)},
        ]
        for history in (chat(told), chat(told, plain, "Thank you so much.")):
            dpo.append(
                {"tree_id": str(n), "prompt": history, "chosen": chat("", kind)[1:], "rejected": chat("", plain)[1:]}
            )
    files = folder / "sft.jsonl", folder / "dpo.jsonl"
    for file, rows in zip(files, (sft, dpo), strict=True):
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return files


def read_metrics(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text("utf-8").splitlines()]


def train_tiny(config: Config, out: Path) -> dict[str, Any]:
    """Stage ``base`` without a run."""
    return train_base(config.base, *prepare(config), out, seed=config.seed)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("base")
    summary = train_tiny(small_config(), out)
    assert summary["n_steps"] == 40 and summary["n_parameters"] < 100_000
    return out


def test_base_learns_and_loads_without_aloe(base: Path) -> None:
    rows = read_metrics(base)
    assert [row["step"] for row in rows] == list(range(1, 41))
    assert rows[-1]["loss"] < 0.8 * rows[0]["loss"]
    tokenizer, model = AutoTokenizer.from_pretrained(base), AutoModelForCausalLM.from_pretrained(base)
    ids = tokenizer.apply_chat_template(
        chat("hello"), add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    assert torch.isfinite(model(**ids).logits).all()
    assert {"README.md", "aloe.json", "model.safetensors", "tokenizer.json"} <= {p.name for p in base.iterdir()}
    assert not list(base.glob("training.pt*"))


def test_the_curriculum_never_adapts_in_chat() -> None:
    from random import Random

    from aloe.training.tiny.curriculum import Difficulty

    writer, tokenizer = prepare(small_config())
    values = {v.text for slot in writer.persona.slots for v in slot.values}
    for number in range(40):
        text = tokenizer.decode(writer.dialogue(Random(number), Difficulty(1.0)).ids)
        replies = [part.split("<|end|>")[0] for part in text.split("<|assistant|>")[1:]]
        assert replies and not any(value in reply.split() for reply in replies for value in values)
        for kind in ("notes", "diary", "manner"):
            document = getattr(writer, kind)(Random(number), Difficulty(1.0))
            assert "<|assistant|>" not in tokenizer.decode(document.ids)
            assert len(document.ids) == len(document.weights) and max(document.weights) > 0


def test_tips_use_the_facts_in_the_order_of_their_topic() -> None:
    from random import Random

    from aloe.training.tiny.curriculum import DECISION, Document, Writer
    from aloe.world.language import capital

    writer, tokenizer = prepare(small_config())
    steady = Writer(
        writer.persona, writer.user, writer.reply, [], writer._encode, tokenizer.convert_tokens_to_ids, steady=True
    )
    known = {slot.name: slot.values[0] for slot in reversed(writer.persona.slots)}
    topics = writer.user.topics
    for number in range(20):
        document = Document([], [])
        steady._tip(document, Random(number), known)
        text = tokenizer.decode(document.ids)
        told = {t.name: [tokenizer.decode(list(writer._encode(capital(r)))) for r in t.requests] for t in topics}
        topic = next(t for t in topics if any(request in text for request in told[t.name]))
        wanted = [known[name].text for name in topic.slots if name in known][:3]
        assert sorted(wanted, key=text.find) == wanted and all(v in text for v in wanted)
        values = [w for w in document.weights if w == 1.0]
        assert len(values) >= len(wanted) and document.weights.count(DECISION) >= 2 * len(wanted)


def test_base_needs_the_world() -> None:
    config = validate({"roles": {"user": "openai:gpt-4o"}}, "the test")
    with pytest.raises(ConfigError, match=r"roles\.user is 'openai:gpt-4o'"):
        prepare(config)


def test_sft_then_dpo_prefer_what_is_preferred(base: Path, tmp_path: Path) -> None:
    sft_rows, dpo_rows = write_rows(tmp_path)
    tuned = train_sft(SFTConfig(**SFT, epochs=4), sft_rows, base, tmp_path / "sft")
    assert tuned["n_conversations"] == 12 and tuned["n_steps"] == 12
    rows = [row for row in read_metrics(tmp_path / "sft") if "loss" in row]
    assert rows[-1]["loss"] < 0.7 * rows[0]["loss"]
    summary = train_dpo(DPOConfig(**DPO, epochs=2), dpo_rows, tmp_path / "sft", tmp_path / "dpo")
    assert summary["pair_accuracy"] == 1.0 and summary["margin"] > 0 and summary["chosen_drift_nats"] > -2
    control = train_dpo(DPOConfig(**DPO, epochs=2), dpo_rows, tmp_path / "sft", tmp_path / "control", preference=False)
    assert control["n_steps"] == summary["n_steps"] and control["margin"] < summary["margin"]
    logged = [row for row in read_metrics(tmp_path / "dpo") if "rewards/margins" in row]
    assert {"logps/chosen", "logps/rejected", "rewards/chosen", "loss"} <= set(logged[0])
    assert not (tmp_path / "dpo" / "trainer").exists()


def test_reference_log_probabilities_are_shared_by_trainings_on_the_same_pairs(base: Path, tmp_path: Path) -> None:
    _, rows = write_rows(tmp_path)
    shared = tmp_path / "reference"

    def curve(name: str, model: Path = base, **options: Any) -> list[float]:
        train_dpo(DPOConfig(**DPO, max_steps=2), rows, model, tmp_path / name, **options)
        return [row["rewards/chosen"] for row in read_metrics(tmp_path / name) if "rewards/chosen" in row]

    alone = curve("alone")
    assert curve("first", reference_dir=shared) == alone == curve("second", reference_dir=shared)
    (file,) = shared.iterdir()
    with np.load(file) as held:
        np.savez(file, **{key: held[key] - 1.0 for key in held.files})
    beta = DPOConfig(**DPO).beta
    assert curve("third", reference_dir=shared) == pytest.approx([reward + beta for reward in alone], abs=1e-4)
    curve("another", tmp_path / "alone", reference_dir=shared)  # another model never reads them
    assert len(list(shared.iterdir())) == 2


def test_lora_trains_and_its_adapter_answers(base: Path, tmp_path: Path) -> None:
    sft_rows, _ = write_rows(tmp_path)
    train_sft(SFTConfig(**SFT, lora_rank=4), sft_rows, base, tmp_path / "lora")
    assert (tmp_path / "lora" / "adapter_config.json").is_file()
    assert weight_digest(tmp_path / "lora") != weight_digest(base)
    ids = torch.arange(5, 45)[None]
    models = load_model(tmp_path / "lora"), load_model(tmp_path / "lora", trainable=True), load_model(base)
    with torch.no_grad():
        added, adapted, before = (model.eval()(ids).logits for model in models)
    torch.testing.assert_close(added, adapted, atol=1e-4, rtol=1e-4)
    assert (added - before).abs().max() > 0.01

    async def answer() -> str:
        model = create_local_model(ModelConfig(uri=f"hf:{tmp_path / 'lora'}"))
        try:
            return (await model.complete(ChatRequest((PromptMessage("user", ("Hello",)),), max_tokens=8))).text
        finally:
            await model.aclose()

    assert asyncio.run(answer())


def test_missing_inputs_are_named(base: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        train_sft(SFTConfig(), tmp_path / "none.parquet", base, tmp_path / "out")
    sft_rows, _ = write_rows(tmp_path)
    with pytest.raises(DataError, match="no tokenizer at"):
        train_sft(SFTConfig(), sft_rows, tmp_path / "nowhere", tmp_path / "out")


def work(stage: str, base: Path, rows: Path, out: Path) -> None:
    """Train the stage, or go on with it."""
    if stage == "base":
        train_tiny(small_config(max_steps=80), out)
    elif stage == "sft":
        train_sft(SFTConfig(**SFT, epochs=8), rows / "sft.jsonl", base, out)
    else:
        train_dpo(DPOConfig(**DPO, epochs=6), rows / "dpo.jsonl", base, out)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["base", "sft", "dpo"])
def test_a_killed_stage_continues_and_ends_alike(stage: str, base: Path, tmp_path: Path) -> None:
    write_rows(tmp_path)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    work(stage, base, tmp_path, whole)
    process = start_process(work, stage, base, tmp_path, cut)
    deadline = time.monotonic() + 240
    while process.is_alive() and time.monotonic() < deadline:
        if (cut / "training.pt").is_file() or list((cut / "trainer").glob("checkpoint-*/trainer_state.json")):
            process.kill()
        time.sleep(0.001)
    process.join()
    assert process.exitcode == -signal.SIGKILL, "the stage ended before it could be killed"
    assert not (cut / "config.json").exists()
    work(stage, base, tmp_path, cut)
    ends = [[row["loss"] for row in read_metrics(out) if "loss" in row] for out in (whole, cut)]
    assert len(ends[0]) == len(ends[1])
    assert ends[1] == pytest.approx(ends[0], rel=2e-2, abs=1e-3)


def test_a_trained_run_that_is_moved_decodes_nothing_anew(tmp_path: Path) -> None:
    people = tmp_path / "people.jsonl"
    told = [{"profile": p.profile, "personality": p.personality} for p in world_personas(5)]
    write_jsonl(people, [row | {"split": "train" if n < 3 else "bench"} for n, row in enumerate(told)])
    small = {
        "skip": "dpo,report",
        "personas": {"file": str(people), "n_personas": 3, "n_bench": 2},
        "trees": {"n_turns": 2},
        "sft": SFT | {"max_steps": 2},
        "rollout": {"n_trees": 2, "min_margin": 0.0},
        "bench": {"models": ["world:generic"], "n_turns": 2, "n_bootstrap": 100},
        "execution": {"replicas": 1},
    }  # fmt: skip
    config = validate(small_config(max_steps=8).model_dump(mode="json") | small, "the test")
    run = RunDir(tmp_path / "here" / "run")
    run_pipeline(config, run, "test", say=None)

    def files(place: Path) -> dict[str, bytes]:
        names = (
            "rollout/trees.jsonl",
            "rollout/labels.jsonl",
            "datasets/rollout.parquet",
            "bench/sft/conversations.jsonl",
        )
        return {name: (place / name).read_bytes() for name in names}

    def n_calls(place: Path) -> int:
        with closing(sqlite3.connect(place / "journal.sqlite")) as journal:
            return int(journal.execute("SELECT COUNT(*) FROM calls").fetchone()[0])

    before, n = files(run.path), n_calls(run.path)
    moved = RunDir(run.path.rename(tmp_path / "there"))
    for stage in ("rollout", "bench"):
        for name in [n for n in files(moved.path) if n.split("/")[0] == stage]:
            (moved.path / name).unlink()
        run_pipeline(config, moved, "test", only=stage, redo_from=stage, say=None)
    assert files(moved.path) == before and n_calls(moved.path) == n
