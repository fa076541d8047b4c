"""``aloe sft`` and ``aloe dpo`` on an export and a model that no run made: kill, resume, processes, bad input."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import torch
from process_runs import start_process
from safetensors.torch import load_file
from tree_models import make_model, make_tokenizer

from aloe.__main__ import main

ENV = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


def chat(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in HF layout, as somebody else's model would be."""
    folder = tmp_path_factory.mktemp("model")
    tokenizer = make_tokenizer()
    made = make_model("llama")
    made.resize_token_embeddings(len(tokenizer))
    made.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``aloe export --format hub`` writes, with 24 conversations of two to four turns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = tmp_path_factory.mktemp("data")
    pairs = []
    for number in range(24):
        history: list[dict[str, str]] = []
        for turn in range(2 + number % 3):
            history = [*history, chat(f"wa{'abcdefgh'[(number + turn) % 8]} wbb wcc")[0]]
            good, bad = chat("", f"wd{'abcdefgh'[number % 8]} wee")[1:], chat("", "wff wgg whh")[1:]
            row = {"pair_id": f"{number}-{turn}", "tree_id": str(number), "persona_id": f"p{number // 2}"}
            pairs.append({**row, "prompt": history, "chosen": good, "rejected": bad, "labeler": "judge"})
            history = [*history, *(good if turn % 2 else bad)]
    (folder / "data" / "dpo").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(pairs), folder / "data" / "dpo" / "train-1.parquet")
    (folder / "sft.train.jsonl").write_text(
        "".join(json.dumps({**r, "messages": [*r["prompt"], *r["chosen"]]}) + "\n" for r in pairs), "utf-8"
    )
    return folder


def command(stage: str, data: Path, model: Path, out: Path, *options: str) -> list[str]:
    sizes = [f"--{stage}.batch_size", "12", f"--{stage}.learning_rate", "1e-3", f"--{stage}.checkpoint_steps", "2"]
    places = ["--data", str(data), "--model", str(model), "--out", str(out)]
    return [sys.executable, "-m", "aloe", stage, *places, *sizes, *options]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, within this process: torch and TRL take seconds to load. ``launch`` starts one of its own."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = main(list(arguments[3:]))
        except SystemExit as stop:
            code = int(stop.code or 0)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def launch(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, capture_output=True, text=True, env=ENV, timeout=300, check=False)


def metrics(out: Path) -> list[dict[str, Any]]:
    return [row for row in map(json.loads, (out / "metrics.jsonl").read_text("utf-8").splitlines()) if "loss" in row]


def test_sft_then_dpo_from_an_export(data: Path, model: Path, tmp_path: Path) -> None:
    done = run(*command("sft", data, model, tmp_path / "sft", "--sft.epochs", "2", "--sft.eval_share", "0.2"))
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout[: done.stdout.rindex("}") + 1])
    assert summary["attention"] == "segments" and summary["packing_ratio"] > 1.3 and summary["eval_loss"] > 0
    done = run(*command("dpo", data, tmp_path / "sft", tmp_path / "dpo", "--dpo.epochs", "3"))
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout[: done.stdout.rindex("}") + 1])
    assert summary["n_pairs"] == 72 and summary["pair_accuracy"] > 0.9 and summary["n_steps"] == 21
    assert {"model.safetensors", "aloe.json", "README.md"} <= {p.name for p in (tmp_path / "dpo").iterdir()}
    assert "attn_implementation" not in (tmp_path / "dpo" / "config.json").read_text("utf-8")


def test_rows_beyond_a_models_bound_are_not_packed(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "model"
    tokenizer, made = make_tokenizer(), make_model("phi3, longrope")
    made.resize_token_embeddings(len(tokenizer))
    made.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    few = ["--dpo.max_steps", "1"]
    done = run(*command("dpo", data, folder, tmp_path / "out", *few))
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout[: done.stdout.rindex("}") + 1])
    assert summary["attention"] == "rows" and summary["packing_ratio"] == 1.0
    assert "rotary angles depend on a row's length beyond 30 tokens, and the longest row has" in caplog.text
    done = run(*command("dpo", data, folder, tmp_path / "out", *few, "--dpo.packing", "segments"))
    assert done.returncode != 0 and "attention 'segments' does not fit this model: its rotary" in done.stderr
    done = run(*command("dpo", data, folder, tmp_path / "out", *few, "--dpo.max_length", "30"))
    summary = json.loads(done.stdout[: done.stdout.rindex("}") + 1])
    assert summary["attention"] == "segments" and summary["n_cut"] > 0


def test_rows_without_a_conversations_name_are_packed_as_well(data: Path, model: Path, tmp_path: Path) -> None:
    """Ordinary preference rows and replies, shuffled: sharing is found on their tokens."""
    from random import Random

    from aloe.config import DPOConfig, SFTConfig
    from aloe.training import train_dpo, train_sft
    from aloe.training.data import find_rows

    settings: dict[str, Any] = {"max_steps": 1, "batch_size": 12}
    for kind, columns in (("dpo", ["prompt", "chosen", "rejected"]), ("sft", ["messages"])):
        rows = find_rows(data, kind, columns)
        bare = [{column: row[column] for column in columns} for row in rows]
        Random(0).shuffle(bare)
        tokens = []
        for number, some in enumerate((rows, bare)):
            out = tmp_path / f"{kind}-{number}"
            if kind == "dpo":
                summary = train_dpo(DPOConfig(**settings), some, model, out)
            else:
                summary = train_sft(SFTConfig(**settings), some, model, out)
            tokens.append(summary["tokens_packed"])
            assert summary["packing_ratio"] > 1.3
        assert tokens[1] <= tokens[0]  # conversations that open alike share that too


@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_evaluation_in_a_run_is_by_profile(
    stage: str, data: Path, model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Twelve personas of four profiles: one profile is kept apart, with its three personas' six conversations."""
    from aloe.store.records import write_jsonl
    from aloe.types import Persona

    folder = tmp_path / "run"
    people = [
        Persona(persona_id=f"p{n}", profile="a", personality="b", profile_id=f"f{n % 4}", personality_id=f"q{n}")
        for n in range(12)
    ]
    (folder / "datasets").mkdir(parents=True)
    write_jsonl(folder / "personas" / "personas.jsonl", people)
    (file,) = data.glob("sft.train.jsonl" if stage == "sft" else "data/dpo/*.parquet")
    place = folder / "datasets" / f"{stage}{file.suffix}"
    place.write_bytes(file.read_bytes())
    done = run(*command(stage, place, model, tmp_path / "out", f"--{stage}.eval_share", "0.1"))
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout[: done.stdout.rindex("}") + 1])
    trained = summary["n_replies" if stage == "sft" else "n_pairs"]
    assert summary["eval_split"] == "profile" and summary["n_eval_rows"] + trained == 72
    assert 15 <= summary["n_eval_rows"] <= 21  # 1 of 12 personas would be some six rows
    assert "evaluation by profile: 1 of 4 are kept apart" in caplog.text


@pytest.mark.parametrize("checkpointing", ["false", "true"])
def test_frozen_embeddings_stay_and_all_else_learns(
    data: Path, model: Path, tmp_path: Path, checkpointing: str
) -> None:
    out, options = tmp_path / "sft", ["--sft.freeze_embeddings", "true", "--sft.gradient_checkpointing", checkpointing]
    assert run(*command("sft", data, model, out, *options)).returncode == 0
    before, after = load_file(model / "model.safetensors"), load_file(out / "model.safetensors")
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert same == {name for name in before if "embed_tokens" in name or "lm_head" in name}


def test_a_killed_training_goes_on_to_the_same_end(data: Path, model: Path, tmp_path: Path) -> None:
    options = ("--dpo.epochs", "6")
    assert run(*command("dpo", data, model, tmp_path / "whole", *options)).returncode == 0
    broken = command("dpo", data, model, tmp_path / "broken", *options)
    process = start_process(main, list(broken[3:]))
    states = tmp_path / "broken" / "trainer"
    until = time.monotonic() + 240
    while not list(states.glob("checkpoint-*/trainer_state.json")) and time.monotonic() < until:
        time.sleep(0.02)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (tmp_path / "broken" / "config.json").exists(), "it was killed in mid-epoch"
    assert run(*broken).returncode == 0
    one, two = metrics(tmp_path / "whole"), metrics(tmp_path / "broken")
    assert [row["step"] for row in one] == [row["step"] for row in two]
    assert one[-1]["loss"] == pytest.approx(two[-1]["loss"], rel=1e-4)
    kept = [load_file(tmp_path / name / "model.safetensors") for name in ("whole", "broken")]
    for key, value in kept[0].items():
        assert torch.allclose(value, kept[1][key], atol=1e-5), key


def test_two_processes_equal_one(data: Path, model: Path, tmp_path: Path) -> None:
    """The same packs in each step, whoever computes them; the last step is shorter and padded."""
    options = ["--dpo.token_budget", "60", "--dpo.max_steps", "4", "--dpo.schedule", "constant"]
    options += ["--dpo.warmup_steps", "0"]
    alone = command("dpo", data, model, tmp_path / "one", *options)
    assert run(*alone).returncode == 0
    both = command("dpo", data, model, tmp_path / "two", *options)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone", "-m"]
    done = launch(*torchrun, *both[2:])
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = metrics(tmp_path / "one"), metrics(tmp_path / "two")
    assert [row["step"] for row in two] == [1, 2, 3, 4]
    for first, second in zip(one, two, strict=True):
        assert first["loss"] == pytest.approx(second["loss"], abs=2e-5)
    kept = [load_file(tmp_path / name / "model.safetensors") for name in ("one", "two")]
    for key, value in kept[0].items():
        assert torch.allclose(value, kept[1][key], atol=1e-5), key


def kill_a_worker(states: Path) -> None:
    """Kill the second process of this one's training with ``processes`` once there is a state to go on from."""
    until = time.monotonic() + 240
    while not list(states.glob("checkpoint-*/trainer_state.json")) and time.monotonic() < until:
        time.sleep(0.02)
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            is_ours = f"PPid:\t{os.getpid()}\n" in (folder / "status").read_text()
            if is_ours and b"RANK=1" in (folder / "environ").read_bytes().split(b"\0"):
                os.kill(int(folder.name), signal.SIGKILL)
        except OSError:
            continue


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the processes in /proc")
def test_processes_of_one_command_equal_one_process(data: Path, model: Path, tmp_path: Path) -> None:
    """One of the two is killed on the way: that is one line, and the same command goes on."""
    options = ["--sft.token_budget", "60", "--sft.batch_size", "6", "--sft.max_steps", "10"]
    assert run(*command("sft", data, model, tmp_path / "one", *options)).returncode == 0
    both = command("sft", data, model, tmp_path / "two", *options, "--sft.processes", "2")
    killer = threading.Thread(target=kill_a_worker, args=(tmp_path / "two" / "trainer",))
    killer.start()
    done = run(*both)
    killer.join()
    assert done.returncode == 3, done.stderr
    assert "error: training process 2 of 2 was killed (signal 9); if memory ran out, use fewer" in done.stderr
    assert done.stderr.count("error") == 1 and "Traceback" not in done.stderr
    done = run(*both)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout[: done.stdout.rindex("}") + 1])["n_steps"] == len(metrics(tmp_path / "two"))
    for first, second in zip(metrics(tmp_path / "one"), metrics(tmp_path / "two"), strict=True):
        assert first["loss"] == pytest.approx(second["loss"], abs=2e-5)
    kept = [load_file(tmp_path / name / "model.safetensors") for name in ("one", "two")]
    for key, value in kept[0].items():
        assert torch.allclose(value, kept[1][key], atol=1e-5), key
    wrong = run(*command("sft", data, tmp_path / "none", tmp_path / "x", "--sft.processes", "2"))
    assert wrong.returncode != 0 and wrong.stderr.count("error") == 1 and str(tmp_path / "none") in wrong.stderr


def test_general_chats_are_mixed_in_at_their_share(data: Path, model: Path, tmp_path: Path) -> None:
    chats = tmp_path / "chats.jsonl"
    chats.write_text(
        "".join(json.dumps({"messages": chat("waa", f"wb{c} wcc")}) + "\n" for c in "abcdefgh" * 12), "utf-8"
    )
    done = run(*command("sft", data, model, tmp_path / "out", "--sft.mix", str(chats), "--sft.mix_share", "0.25"))
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout[: done.stdout.rindex("}") + 1])
    assert summary["n_replies"] == 72 and summary["n_mixed"] == 24


def faulty(model: Path, folder: Path, **changes: Any) -> Path:
    """A copy of the model whose tokenizer lacks something."""
    import shutil

    copy = folder / "faulty"
    shutil.copytree(model, copy)
    file = copy / "tokenizer_config.json"
    table = {**json.loads(file.read_text("utf-8")), **changes}
    file.write_text(json.dumps(table), "utf-8")
    (copy / "chat_template.jinja").unlink(missing_ok=True)
    return copy


def test_bad_input_is_one_line(data: Path, model: Path, tmp_path: Path) -> None:
    long = tmp_path / "long.jsonl"
    pair = {"chosen": chat("", "waa")[1:], "rejected": chat("", "wbb")[1:]}
    long.write_text(json.dumps({"prompt": chat("waa " * 100_000), **pair}) + "\n", "utf-8")
    same = tmp_path / "same.jsonl"
    same.write_text(
        json.dumps({"prompt": chat("waa"), "chosen": chat("", "w")[1:], "rejected": chat("", "w")[1:]}), "utf-8"
    )
    out = tmp_path / "out"
    cases = [
        (command("dpo", data, model, out, "--dpo.beta", "0"), "dpo.beta"),
        (command("dpo", data, model, out, "--dpo.loss", "sigmoyd"), "'sigmoyd' is not a known loss"),
        (command("dpo", data, model, out, "--dpo.loss", "aot"), "'aot' sorts all pairs of a step together"),
        (command("dpo", data, model, out, "--dpo.loss", "exo_pair"), "exo_pair needs dpo.label_smoothing"),
        (command("dpo", data, model, out, "--dpo.lora_dropout", "0.1"), "lora_dropout needs an adapter"),
        (command("dpo", data, model, out, "--dpo.patience", "2"), "patience needs an evaluation split"),
        (command("dpo", data, model, out, "--dpo.labeler", "nobody"), "no pair was labelled by 'nobody'"),
        (command("dpo", same, model, out), "row 1: chosen and rejected reply are the same"),
        (command("dpo", long, model, out), "no row fits into 512 tokens"),
        (command("dpo", tmp_path / "none", model, out), "does not exist"),
        (command("dpo", data, tmp_path / "none", out), "no tokenizer at"),
        (command("dpo", data, faulty(model, tmp_path, chat_template=None), out), "has no chat template"),
    ]
    for arguments, expected in cases:
        done = run(*arguments)
        line = done.stderr.strip().splitlines()[-1]
        assert done.returncode != 0 and expected in line and "Traceback" not in done.stderr, done.stderr
    assert not (out / "config.json").exists()


def test_a_disk_that_is_too_small_is_said_beforehand(tmp_path: Path) -> None:
    from aloe.config import DPOConfig
    from aloe.errors import DataError
    from aloe.training.trl_run import need_space

    with torch.device("meta"):
        huge = torch.nn.Linear(1_000_000, 1_000_000, bias=False)  # 4 TB that nobody allocates
    with pytest.raises(DataError, match=r"GB free, training writes up to 28000\.00 GB"):
        need_space(tmp_path, huge, DPOConfig())
    need_space(tmp_path, torch.nn.Linear(2, 2), DPOConfig())


def test_dpo_trains_the_adapter_that_sft_made(data: Path, model: Path, tmp_path: Path) -> None:
    """The reference is the adapter as it was loaded, so the first step has no margin; later ones do."""
    from aloe.config import DPOConfig, SFTConfig
    from aloe.training import train_dpo, train_sft

    shared: dict[str, Any] = {"lora_rank": 4, "gradient_checkpointing": True, "learning_rate": 5e-3, "batch_size": 12}
    train_sft(SFTConfig(**shared), data, model, tmp_path / "sft")
    summary = train_dpo(DPOConfig(**shared, epochs=3, warmup_steps=1), data, tmp_path / "sft", tmp_path / "dpo")
    margins = [row["rewards/margins"] for row in metrics(tmp_path / "dpo")]
    assert margins[0] == pytest.approx(0.0, abs=1e-5) and summary["margin"] > 0.1
    assert (tmp_path / "dpo" / "adapter_model.safetensors").is_file()


def test_dropout_of_adapters_is_applied_in_dpo_too(data: Path, model: Path, tmp_path: Path) -> None:
    """It changes what is learned, also by an adapter that was saved without dropout."""
    from aloe.config import DPOConfig, SFTConfig
    from aloe.training import train_dpo, train_sft

    shared: dict[str, Any] = {"lora_rank": 4, "learning_rate": 5e-3, "batch_size": 12, "max_steps": 3}
    train_sft(SFTConfig(**shared, warmup_steps=0), data, model, tmp_path / "sft")
    found = {}
    for start in (model, tmp_path / "sft"):
        for share in (0.0, 0.5):
            out = tmp_path / f"{start.name}-{share}"
            train_dpo(DPOConfig(**shared, warmup_steps=0, lora_dropout=share), data, start, out)
            found[start.name, share] = load_file(out / "adapter_model.safetensors")
            assert json.loads((out / "adapter_config.json").read_text("utf-8"))["lora_dropout"] == share
    for name in (model.name, "sft"):
        one, two = found[name, 0.0], found[name, 0.5]
        assert max(float((one[key] - two[key]).abs().max()) for key in one) > 1e-4


def test_an_adapter_has_the_length_of_its_base_model(data: Path, model: Path, tmp_path: Path) -> None:
    from aloe.config import DPOConfig, SFTConfig
    from aloe.errors import DataError
    from aloe.training import train_dpo, train_sft

    train_sft(SFTConfig(lora_rank=2, max_steps=1), data, model, tmp_path / "sft")
    long = {"prompt": chat("waa " * 600), "chosen": chat("", "waa")[1:], "rejected": chat("", "wbb")[1:]}
    with pytest.raises(DataError, match="no row fits into 512 tokens"):
        train_dpo(DPOConfig(lora_rank=2), [long], tmp_path / "sft", tmp_path / "dpo")
