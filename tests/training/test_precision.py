"""What CPUs can: bfloat16 up to rounding and by a choice that is kept, threads that yield."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from tree_models import make_model, make_tokenizer

from aloe.config import SFTConfig, load_config
from aloe.models.local.checkpoint import save_checkpoint
from aloe.models.local.processor import cpu_has_bfloat16, pays_on_cpu
from aloe.prompts import PromptSet
from aloe.stages.pipeline import stage_digests
from aloe.stages.precision import settle_precision
from aloe.store.rundir import RunDir
from aloe.training import precision, train_sft
from aloe.training.adapters import AdaptedLinear, lean_adapters
from aloe.training.trees.head import KEPT_LOGITS, TargetLogProbs


def roomy(x: torch.Tensor, weight: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and weight in bfloat16, each with room for ``rank`` more columns."""
    flat = x.detach().reshape(-1, x.shape[-1])
    return tuple(torch.cat([t.bfloat16(), torch.zeros(len(t), rank).bfloat16()], 1) for t in (flat, weight))  # type: ignore[return-value]


def test_an_adapted_product_has_the_gradients_of_its_parts() -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, 5, 24), torch.randn(16, 24).bfloat16(), torch.randn(16).bfloat16()
    leaves = [t.requires_grad_() for t in (x, torch.randn(4, 24), torch.randn(16, 4))]
    slope = torch.randn(2, 5, 16)

    def exactly() -> torch.Tensor:
        return x @ weight.float().t() + bias.float() + 2.0 * (x @ leaves[1].t()) @ leaves[2].t()

    out = AdaptedLinear.apply(x, *roomy(x, weight, 4), bias, leaves[1], leaves[2], 2.0)
    got = torch.autograd.grad(out, leaves, slope.bfloat16())
    assert out.dtype == torch.bfloat16 and {g.dtype for g in got} == {torch.float32}
    assert float((out.float() - exactly()).detach().norm() / exactly().norm()) < 0.01
    for one, two in zip(got, torch.autograd.grad(exactly(), leaves, slope), strict=True):
        assert float((one - two).norm() / two.norm()) < 0.01


def test_what_an_adapter_adds_is_not_rounded_away() -> None:
    """Added to a product that is rounded already, contributions this small are lost to nine tenths."""
    torch.manual_seed(0)
    x, weight = torch.randn(400, 64), torch.randn(96, 64)
    a, b = torch.randn(8, 64), torch.randn(96, 8) * 1e-3
    added = (x @ a.t()) @ b.t()
    with torch.no_grad():
        with_it = AdaptedLinear.apply(x, *roomy(x, weight, 8), None, a, b, 1.0).float()
        without = AdaptedLinear.apply(x, *roomy(x, weight, 8), None, a, b * 0, 1.0).float()
    slope = float((with_it - without).flatten() @ added.flatten() / added.norm() ** 2)
    assert slope == pytest.approx(1.0, abs=0.1)


def test_lean_adapters_are_pefts_adapters() -> None:
    torch.manual_seed(0)
    model = get_peft_model(make_model("llama"), LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    for name, p in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.05)
    ids = torch.randint(0, 50, (1, 12))

    def gradients(short: bool = True) -> tuple[float, dict[str, torch.Tensor]]:
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=short):
            loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        return float(loss), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}

    exact, before = gradients(short=False), gradients()
    layers = [m for m in model.modules() if hasattr(m, "lora_A")]
    precision.shrink_frozen(model)
    with lean_adapters(model):
        assert layers and all("forward" in vars(layer) for layer in layers)
        after = gradients()
        with model.disable_adapter(), torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            plain = model(input_ids=ids).logits
    with model.disable_adapter(), torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(plain, model(input_ids=ids).logits)
    assert not any("forward" in vars(layer) for layer in layers)
    assert after[0] == pytest.approx(before[0], abs=2e-2) and set(after[1]) == set(before[1])
    wrong = {"theirs": 0.0, "ours": 0.0}
    for name, gradient in exact[1].items():
        wrong["theirs"] += float((before[1][name] - gradient).norm() / gradient.norm())
        wrong["ours"] += float((after[1][name] - gradient).norm() / gradient.norm())
    assert wrong["ours"] < 1.1 * wrong["theirs"] < 0.1 * len(exact[1])


@pytest.mark.parametrize("n", [5, KEPT_LOGITS // 320 + 3])
def test_the_head_in_bfloat16_is_near_the_exact_one(n: int) -> None:
    torch.manual_seed(0)
    labels, slope = torch.randint(0, 320, (n,)), torch.randn(n)
    leaves = [x.requires_grad_() for x in (torch.randn(n, 16), 0.3 * torch.randn(320, 16))]
    found = {}
    for short in (False, True):
        log_probs = TargetLogProbs.apply(*leaves, None, labels, short)[0]
        found[short] = (log_probs, *torch.autograd.grad(log_probs, leaves, slope))
    for one, two in zip(found[True], found[False], strict=True):
        assert one.dtype == torch.float32
        assert 0 < float((one - two).detach().norm() / two.norm()) < 0.02


def _rows() -> list[dict[str, Any]]:
    def say(n: int) -> list[dict[str, str]]:
        talk = [
            ("user", "hello there"),
            ("assistant", f"a reply {n}"),
            ("user", "more"),
            ("assistant", f"and {n} again"),
        ]
        return [{"role": role, "content": text} for role, text in talk]

    return [{"messages": say(n)[:end], "tree_id": f"t{n}"} for n in range(4) for end in (2, 4)]


@pytest.mark.parametrize("rank", [0, 2])
def test_training_in_bfloat16_keeps_float32_weights_and_says_so(rank: int, tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    model = make_model("llama")
    save_checkpoint(model, tokenizer, tmp_path / "base", "", {})
    losses = {}
    for kind in ("float32", "bfloat16"):
        out = tmp_path / kind
        config = SFTConfig(compute_dtype=kind, lora_rank=rank, max_steps=3, batch_size=4, learning_rate=1e-3)
        losses[kind] = train_sft(config, _rows(), tmp_path / "base", out)["mean_loss"]
        assert json.loads((out / "aloe.json").read_text("utf-8"))["config"]["compute_dtype"] == kind
        (file,) = out.glob("*.safetensors")
        assert {tensor.dtype for tensor in load_file(file).values()} == {torch.float32}
    assert losses["bfloat16"] != losses["float32"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], abs=0.02)


def test_a_run_keeps_the_format_that_it_was_begun_with(tmp_path: Path) -> None:
    """What is trained in bfloat16 on one machine goes on so on another, and has a digest of its own."""
    plain = load_config("demo")
    begun = load_config("demo", {"sft": {"compute_dtype": "bfloat16"}})
    run = RunDir(tmp_path / "run")
    run.open(begun, "demo")
    run.save_config(begun)
    run.close()
    assert settle_precision(plain, run, {"sft", "dpo"}, set()).sft.compute_dtype == "bfloat16"
    assert settle_precision(plain, run, {"bench"}, set()).sft.compute_dtype == "bfloat16", "a later stage alone"
    fresh = settle_precision(plain, RunDir(tmp_path / "other"), {"sft", "dpo"}, set())
    assert fresh == plain  # the demo's model is too small to gain
    prompts = PromptSet(None)
    one, two = stage_digests(plain, prompts), stage_digests(begun, prompts)
    assert one["sft"] != two["sft"] and one["dpo"] != two["dpo"] and one["trees"] == two["trees"]


def test_small_models_stay_in_float32() -> None:
    assert precision.compute_dtype(SFTConfig(), 96) == ("bfloat16" if torch.cuda.is_available() else "float32")
    assert precision.compute_dtype(SFTConfig(compute_dtype="bfloat16"), 96) == "bfloat16"
    assert pays_on_cpu(2048) == cpu_has_bfloat16() == pays_on_cpu(None) and not pays_on_cpu(96)


@pytest.mark.parametrize("given", [None, "ACTIVE"])
def test_idle_threads_yield_unless_the_environment_says_otherwise(given: str | None) -> None:
    """torch's OpenMP itself says what it reads when it is loaded."""
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    environment |= {"OMP_DISPLAY_ENV": "true"} | ({} if given is None else {"OMP_WAIT_POLICY": given})
    code = "from aloe.__main__ import main; main(['--version']); import torch"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    if "OMP_WAIT_POLICY" not in done.stderr:
        pytest.skip("an OpenMP that does not show its settings")
    assert f"OMP_WAIT_POLICY = '{given or 'PASSIVE'}'" in done.stderr
