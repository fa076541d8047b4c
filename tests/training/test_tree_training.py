"""Packed trees give the losses, gradients and weights of expanded rows through stock TRL; broken packings do not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from comparing import PLAIN, assert_same_step, packed_output, row_logps, stock_dpo, tree_dpo, weights
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from tree_models import COMMON, conversations, make_model, make_tokenizer
from trl import SFTConfig, SFTTrainer

from aloe.errors import ConfigError
from aloe.training.data import TokenRows
from aloe.training.dpo import LOSSES, SMOOTHED
from aloe.training.trainers import TreeSFTTrainer
from aloe.training.trees.attention import Branches, SegmentAttention
from aloe.training.trees.head import KEPT_LOGITS, TargetLogProbs
from aloe.training.trees.model import choose_backend, tree_inputs
from aloe.training.trees.packs import make_packs
from aloe.training.trees.trie import build_trie


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9), min_size=1, max_size=12))
def test_a_trie_holds_each_prefix_once_and_sees_what_rows_see(rows: list[list[int]]) -> None:
    trie = build_trie(rows)
    assert len(trie) == len({tuple(row[:n]) for row in rows for n in range(1, len(row) + 1)})
    for row, place in zip(rows, trie.places, strict=True):
        assert trie.ids[place].tolist() == row
        assert trie.depths[place].tolist() == list(range(len(row)))
        assert trie.parents[place].tolist() == [-1, *place[:-1]]
        last = int(place[-1])
        assert [k for k in range(len(trie)) if k <= last < trie.end[k]] == sorted(place.tolist())
    covered = []
    for chain in trie.chains:
        for node in range(chain.start, chain.stop):
            above = [k for a, b in chain.spans for k in range(a, b)]
            assert above + list(range(chain.start, node + 1)) == [
                k for k in range(len(trie)) if k <= node < trie.end[k]
            ]
            covered.append(node)
    assert sorted(covered) == list(range(len(trie)))


@pytest.mark.parametrize("rows", [[], [[1], []]])
def test_a_trie_needs_rows(rows: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="needs rows"):
        build_trie(rows)


def branches_of(found: list[TokenRows]) -> Branches:
    return tree_inputs([build_trie(c.rows) for c in found], [c.starts for c in found]).branches


@pytest.mark.parametrize("window", [0, 1, 4, 11])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_segment_attention_is_masked_attention(dtype: torch.dtype, window: int) -> None:
    branches = branches_of(conversations(3))
    n = len(branches.end)
    torch.manual_seed(0)
    query = torch.randn(1, 4, n, 8, dtype=dtype, requires_grad=True)
    key, value = (torch.randn(1, 2, n, 8, dtype=dtype, requires_grad=True) for _ in range(2))
    slope = torch.randn(1, 4, n, 8, dtype=dtype)
    out = SegmentAttention.apply(query, key, value, branches, 0.3, window)
    got = (out, *torch.autograd.grad(out, (query, key, value), slope))
    out = torch.nn.functional.scaled_dot_product_attention(
        query, key.repeat_interleave(2, 1), value.repeat_interleave(2, 1), branches.dense_mask(window), scale=0.3
    )
    wanted = (out, *torch.autograd.grad(out, (query, key, value), slope))
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    for one, two in zip(got, wanted, strict=True):
        assert torch.allclose(one, two, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("window", [None, 5])
def test_the_block_mask_of_flex_attention_is_the_dense_mask(window: int | None) -> None:
    branches = branches_of(conversations(5))
    mask = branches.block_mask(window)
    n = len(branches.end)
    at = torch.arange(n)
    seen = mask.mask_mod(torch.tensor(0), torch.tensor(0), at[:, None], at[None])
    assert torch.equal(seen, branches.dense_mask(window)[0, 0])
    from torch.nn.attention.flex_attention import flex_attention

    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 2, n, 16) for _ in range(3))
    wanted = torch.nn.functional.scaled_dot_product_attention(query, key, value, branches.dense_mask(window))
    assert torch.allclose(flex_attention(query, key, value, block_mask=mask), wanted, atol=1e-5)


@pytest.mark.parametrize("n", [3, KEPT_LOGITS // 50 + 7])
def test_head_gives_log_softmax_and_its_gradient(n: int) -> None:
    torch.manual_seed(0)
    states, weight = torch.randn(n, 6, dtype=torch.float64), torch.randn(50, 6, dtype=torch.float64)
    bias, labels = torch.randn(50, dtype=torch.float64), torch.randint(0, 50, (n,))
    leaves = [x.requires_grad_() for x in (states, weight, bias)]
    slope = torch.randn(n, dtype=torch.float64)
    log_probs, entropy, mean_logits, is_top1 = TargetLogProbs.apply(*leaves, labels)
    got = torch.autograd.grad(log_probs, leaves, slope)
    logits = torch.nn.functional.linear(*leaves)
    logs = torch.log_softmax(logits, 1)
    picked = logs.gather(1, labels[:, None])[:, 0]
    assert torch.allclose(log_probs, picked, atol=1e-12)
    assert torch.allclose(entropy, -(logs.exp() * logs).sum(1), atol=1e-10)
    assert torch.allclose(mean_logits, logits.mean(1), atol=1e-12)
    assert torch.equal(is_top1, logits.argmax(1) == labels)
    for one, two in zip(got, torch.autograd.grad(picked, leaves, slope), strict=True):
        assert torch.allclose(one, two, atol=1e-9)


@pytest.mark.parametrize("backend", ["segments", "dense"])
@pytest.mark.parametrize("name", ["gpt2", "phi"])
def test_exact_in_float64(name: str, backend: str) -> None:
    found = conversations(1)
    model = make_model(name, torch.float64)
    order = [(c, one) for c in found for one, _ in c.pairs] + [(c, two) for c in found for _, two in c.pairs]
    wanted = [row_logps(model, c, number) for c, number in order]
    torch.cat(wanted).sum().backward()
    gradients = {key: p.grad.clone() for key, p in model.named_parameters()}
    model.zero_grad()
    got = packed_output(model, found, backend).log_probs
    for line, row in zip(got, wanted, strict=True):
        assert torch.allclose(line[: len(row)], row, atol=1e-10, rtol=0)
        assert not line[len(row) :].any()
    got.sum().backward()
    for key, parameter in model.named_parameters():
        assert torch.allclose(parameter.grad, gradients[key], atol=1e-9, rtol=1e-10), key


MODELS = ["llama", "qwen2", "mistral, window 7", "qwen2, window 9 in some layers"]


SIGMOID: dict[str, Any] = {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.7], "beta": 0.3}


@dataclass(frozen=True)
class Stock:
    """What TRL's own trainer began with and came to."""

    start: dict[str, torch.Tensor]
    reference: dict[str, list[float]]
    end: dict[str, torch.Tensor]
    loss: float


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Stock]:
    """``stock(model, steps)``, trained once for all backends that are held against it."""

    @cache
    def train(name: str, steps: int) -> Stock:
        trainer = stock_dpo(name, conversations(2), tmp_path_factory.mktemp("stock"), max_steps=steps, **SIGMOID)
        start, reference = weights(trainer), trainer.train_dataset[:]
        trainer.train()
        return Stock(start, reference, weights(trainer), trainer.state.log_history[0]["loss"])

    return train


@pytest.mark.parametrize("backend", ["segments", "dense", "rows"])
@pytest.mark.parametrize("name", MODELS)
def test_dpo_steps_equal_stock_trl(name: str, backend: str, stock: Callable[[str, int], Stock], tmp_path: Path) -> None:
    """One SGD step is the gradient; three are what comes of it. Several packs are accumulated into each."""
    found = conversations(2)
    for steps, tolerance in ((1, 1e-5), (3, 1e-4)):
        wanted = stock(name, steps)
        ours = tree_dpo(name, found, tmp_path / "ours", backend, budget=1, max_steps=steps, **SIGMOID)
        assert len(ours.packs) == len(found)
        kept = [torch.as_tensor(pack.reference) for pack in ours.packs]
        for key, row in (("ref_chosen_logps", 0), ("ref_rejected_logps", 1)):
            got = torch.cat([part[row] for part in kept]).sort().values
            assert torch.allclose(got, torch.tensor(wanted.reference[key]).sort().values, atol=1e-5)
        ours.train()
        assert_same_step(wanted.start, wanted.end, weights(ours), tolerance)
        assert wanted.loss == pytest.approx(ours.state.log_history[0]["loss"], abs=1e-5)


@pytest.mark.parametrize("loss", sorted(LOSSES - {"sigmoid"}))
def test_other_losses_equal_stock_trl(loss: str, tmp_path: Path) -> None:
    """Every loss that ``dpo.loss`` takes, its pairs in packs of unequal sizes that are accumulated into a step."""
    found = conversations(4)
    options: dict[str, Any] = {"loss_type": [loss], "beta": 0.2, "max_steps": 2}
    if loss in SMOOTHED:
        options["label_smoothing"] = 0.1
    stock = stock_dpo("llama", found, tmp_path / "stock", **options)
    ours = tree_dpo("llama", found, tmp_path / "ours", "segments", budget=1, **options)
    assert len({pack.n_items for pack in ours.packs}) > 1
    start = weights(stock)
    stock.train()
    ours.train()
    assert_same_step(start, weights(stock), weights(ours), 1e-4)


def test_lora_steps_equal_stock_trl(tmp_path: Path) -> None:
    """The reference is the model with its adapter switched off, in both."""
    from peft import LoraConfig

    found = conversations(6)
    peft = LoraConfig(r=4, lora_alpha=8, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
    trainers = []
    for make in (stock_dpo, tree_dpo):
        torch.manual_seed(11)
        backend = () if make is stock_dpo else ("segments",)
        trainers.append(make("llama", found, tmp_path / make.__name__, *backend, peft=peft, max_steps=3))
    stock, ours = trainers
    start = weights(stock)
    own = weights(ours)
    for key in start:  # the same random adapter
        assert torch.equal(start[key], own[key])
    stock.train()
    ours.train()
    assert_same_step(start, weights(stock), weights(ours), 1e-4)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_sft_steps_equal_stock_trl(checkpointing: bool, tmp_path: Path) -> None:
    found = conversations(8)
    for c in found:
        c.pairs = []
    rows = [(row, start) for c in found for row, start in zip(c.rows, c.starts, strict=True)]
    data = [{"input_ids": row, "labels": [-100] * start + row[start:]} for row, start in rows]
    options = {**PLAIN, "max_steps": 3, "gradient_checkpointing": checkpointing}
    stock = SFTTrainer(
        model=make_model("qwen2"),
        args=SFTConfig(output_dir=str(tmp_path / "stock"), per_device_train_batch_size=len(data), **options),
        train_dataset=Dataset.from_list(data),
        processing_class=make_tokenizer(),
    )
    packs, statistics = make_packs(found, seed=0, budget=1, items=1, trees=True)
    assert statistics.tokens_expanded == sum(len(row) for row, _ in rows) > statistics.tokens_packed
    ours = TreeSFTTrainer(
        packs=packs,
        n_train=len(packs),
        backend="segments",
        model=make_model("qwen2"),
        args=SFTConfig(
            output_dir=str(tmp_path / "ours"), per_device_train_batch_size=1, gradient_accumulation_steps=len(packs),
            remove_unused_columns=False, **options,
        ),
        processing_class=make_tokenizer(),
    )  # fmt: skip
    start = weights(stock)
    stock.train()
    ours.train()
    assert_same_step(start, weights(stock), weights(ours), 1e-4)


@pytest.mark.parametrize("fault", ["causal mask", "running positions", "fork token hidden"])
def test_broken_packings_differ(fault: str) -> None:
    """Each trap of packing, sprung on purpose, moves log-probabilities by far more than rounding."""
    found = conversations(1, n=1)
    model = make_model("llama")
    wanted = torch.cat([row_logps(model, found[0], i) for i in range(len(found[0].rows))])
    trie = build_trie(found[0].rows)
    tree = tree_inputs([trie], [found[0].starts])
    positions, mask = tree.branches.positions, tree.branches.dense_mask(None)
    predictors = tree.predictors
    if fault == "causal mask":
        mask = torch.ones(1, 1, len(trie), len(trie), dtype=torch.bool).tril()
    elif fault == "running positions":
        positions = torch.arange(len(trie))
    else:  # a token after a fork is read off its neighbour in the pack, not off the token before the fork
        predictors = target_nodes(trie, tree) - 1
    logits = model(input_ids=tree.ids[None], position_ids=positions[None], attention_mask=mask).logits[0]
    logs = torch.log_softmax(logits[predictors], -1).gather(1, tree.labels[:, None])[:, 0]
    got = torch.cat([logs[line[line >= 0]] for line in tree.scatter])
    assert (got - wanted).abs().max() > 1e-2


def target_nodes(trie: Any, tree: Any) -> torch.Tensor:
    """The node of each target: the one under its predictor that holds its token."""
    children = {(int(p), int(t)): n for n, (p, t) in enumerate(zip(trie.parents, trie.ids, strict=True))}
    return torch.tensor([children[int(p), int(t)] for p, t in zip(tree.predictors, tree.labels, strict=True)])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("llama", "segments"),
        ("gpt2", "segments"),
        ("gemma2", "dense"),
        ("mamba", "rows"),
        ("bloom", "rows"),
        ("gpt2 with dropout", "dense"),
        ("mixtral", "rows"),
        ("mixtral without balance loss", "segments"),
    ],
)
def test_the_form_of_attention_is_found_by_trying(name: str, expected: str) -> None:
    """Soft-capped attention needs the model's own; states along the sequence, distances and the routers' loss, which
    TRL adds by itself, can't be packed."""
    from transformers import (
        BloomConfig,
        BloomForCausalLM,
        Gemma2Config,
        Gemma2ForCausalLM,
        GPT2Config,
        GPT2LMHeadModel,
        MambaConfig,
        MambaForCausalLM,
        MixtralConfig,
        MixtralForCausalLM,
    )

    experts = {**COMMON, "num_local_experts": 4, "num_experts_per_tok": 2}
    odd: dict[str, Any] = {
        "gemma2": lambda: Gemma2ForCausalLM(Gemma2Config(**{**COMMON, "head_dim": 8, "sliding_window": 6})),
        "gpt2 with dropout": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=328, n_embd=32, n_layer=2, n_head=4)),
        "mixtral": lambda: MixtralForCausalLM(MixtralConfig(**experts)),
        "mixtral without balance loss": lambda: MixtralForCausalLM(MixtralConfig(**experts, router_aux_loss_coef=0.0)),
        "mamba": lambda: MambaForCausalLM(MambaConfig(vocab_size=328, hidden_size=32, num_hidden_layers=2)),
        "bloom": lambda: BloomForCausalLM(BloomConfig(vocab_size=328, hidden_size=32, n_layer=2, n_head=4)),
    }
    model = odd[name]() if name in odd else make_model(name)
    before = model.config._attn_implementation
    backend, reason = choose_backend(model)
    assert backend == expected and reason
    assert model.config._attn_implementation == before
    assert choose_backend(model, "rows")[0] == "rows"
    if expected == "rows":
        with pytest.raises(ConfigError, match="does not fit this model"):
            choose_backend(model, "segments")


def test_soft_capped_logits_go_through_trls_own_head(tmp_path: Path) -> None:
    """A head that is more than a linear map (Gemma 2) is left to TRL, on the packed sequence."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    found = conversations(2, n=2)
    torch.manual_seed(0)
    model = Gemma2ForCausalLM(Gemma2Config(**{**COMMON, "head_dim": 8, "sliding_window": 6})).eval()
    order = [(c, one) for c in found for one, _ in c.pairs] + [(c, two) for c in found for _, two in c.pairs]
    with torch.no_grad():
        wanted = [row_logps(model, c, number) for c, number in order]
        got = packed_output(model, found, "dense").log_probs
    for line, row in zip(got, wanted, strict=True):
        assert torch.allclose(line[: len(row)], row, atol=1e-4)
