"""Policy gradients on packed trees are those of rows, for every option; and the loss is what its definition says."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tree_models import conversations, make_model, make_tokenizer

from aloe.config import RLConfig
from aloe.training.reinforce.advantages import discounted, sibling_advantages
from aloe.training.reinforce.loss import Objective, Tally, k3, policy_loss
from aloe.training.reinforce.policy import Drawn, Policy

OPTIONS: dict[str, dict[str, Any]] = {
    "as drawn": {},
    "ratio of the reply, clipped": {"ratio": "sequence", "clip": 0.05, "clip_high": 0.1},
    "geometric ratio": {"ratio": "geometric", "clip": 0.02},
    "own length": {"normaliser": "reply"},
    "mean length": {"normaliser": "batch"},
    "kl": {"kl": 0.3},
    "at another temperature": {"temperature": 0.7},
    "frozen embeddings": {"freeze_embeddings": True},
    "drawn elsewhere": {"importance_cap": 3.0},
    "lora": {"lora_rank": 4, "kl": 0.3},
    "recomputed activations": {"gradient_checkpointing": True},
}


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("policy")
    make_model("llama").save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


def replies(seed: int = 5) -> list[Drawn]:
    """Branching conversations with an advantage for each reply."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for number, rows in enumerate(conversations(seed, n=3)):
        n = len(rows.rows)
        gains = torch.randn(n, generator=generator).tolist()
        found.append(Drawn(number, rows, gains, (torch.rand(n, generator=generator) + 0.5).tolist()))
    return found


def gradients(start: Path, packing: str, options: dict[str, Any]) -> tuple[float, torch.Tensor, Tally]:
    """Loss and gradient of a policy that is not the one that drew the replies, and what was tallied."""
    section = RLConfig(packing=packing, token_budget=60, **options)  # type: ignore[arg-type]
    policy, drawn, tally = Policy(section, start), replies(), Tally()
    policy.measure(drawn)
    if "importance_cap" in options:  # of every other conversation's first reply: another model drew it
        for d in drawn[::2]:
            n = len(d.rows.rows[0]) - d.rows.starts[0]
            d.sampled = [(d.old[0][:n] + 0.1).tolist(), *([None] * (len(d.rows.rows) - 1))]
        for d in drawn[1::2]:
            d.sampled = [None] * len(d.rows.rows)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in policy.trained.values():
            p += 0.02 * torch.randn(p.shape, generator=generator)
    mean = sum(len(r) - s for d in drawn for r, s in zip(d.rows.rows, d.rows.starts, strict=True)) / sum(
        len(d.rows.rows) for d in drawn
    )
    loss = policy.gradient(drawn, 3, Objective.of(section, mean), tally)
    return loss, torch.cat([p.grad.flatten() for p in policy.trained.values() if p.grad is not None]), tally


@pytest.mark.parametrize("name", OPTIONS)
def test_packed_trees_are_rows(start: Path, name: str) -> None:
    loss, gradient, tally = gradients(start, "segments", OPTIONS[name])
    wanted_loss, wanted, rows_tally = gradients(start, "rows", OPTIONS[name])
    assert loss == pytest.approx(wanted_loss, rel=1e-5, abs=1e-7)
    assert wanted.norm() > 1e-4
    assert (gradient - wanted).norm() <= 1e-5 * wanted.norm()
    assert tally.values() == pytest.approx(rows_tally.values(), rel=1e-5, abs=1e-4)
    if "clip" in name:
        assert tally.clipped > 0


def test_a_history_that_is_not_seen_changes_the_gradient(start: Path) -> None:
    """The comparison can fail: other positions, other gradients."""
    _, wanted, _ = gradients(start, "rows", {})
    section = RLConfig(packing="segments", token_budget=60)
    policy, drawn = Policy(section, start), replies()
    for d in drawn:
        d.rows.rows = [row[:3] + row[4:] for row in d.rows.rows]
        d.rows.starts = [s - 1 for s in d.rows.starts]
    policy.measure(drawn)
    policy.gradient(drawn, 3, Objective.of(section, 1.0), Tally())
    found = torch.cat([p.grad.flatten() for p in policy.trained.values() if p.grad is not None])
    assert (found - wanted).norm() > 0.01 * wanted.norm()


def test_what_the_policy_decodes_has_the_probability_that_it_is_trained_with(start: Path) -> None:
    """The decoder's own log-probabilities of the tokens it draws, against those of the packed pass."""
    from aloe.rl.sampler import PolicySampler, Wanted
    from aloe.training.data import TokenRows

    section = RLConfig(temperature=1.0, max_new_tokens=6)
    policy = Policy(section, start)
    sampler = PolicySampler(policy, 6, seed=1)
    wanted = Wanted([{"role": "user", "content": "wab wcd wef"}], 5, "here")
    draws = asyncio.run(sampler.sample([wanted], 1.0))[0]
    rows = TokenRows("x", [[*draws.prompt, *d.ids] for d in draws.replies], [len(draws.prompt)] * 5)
    log_probs, _, mask = policy.log_probs(policy.plain, [rows])
    for i, draw in enumerate(draws.replies):
        row = torch.tensor([rows.rows[i]])
        logs = torch.log_softmax(policy.plain(input_ids=row, use_cache=False).logits[0, :-1].float(), -1)
        plain = logs.gather(1, row[0, 1:, None])[len(draws.prompt) - 1 :, 0]
        assert mask[i].sum() == len(draw.ids)
        assert torch.allclose(log_probs[i, : len(draw.ids)], plain, atol=1e-5)
    before = [d.ids for d in draws.replies]
    assert [d.ids for d in asyncio.run(sampler.sample([wanted], 1.0))[0].replies] == before
    with torch.no_grad():
        policy.plain.get_input_embeddings().weight.mul_(-1.0)
    asyncio.run(sampler.refresh(1))
    assert [d.ids for d in asyncio.run(sampler.sample([wanted], 1.0))[0].replies] != before


rewards = st.lists(st.one_of(st.none(), st.floats(-5, 5)), min_size=1, max_size=8)


@given(rewards, st.floats(-3, 3))
def test_advantages_do_not_depend_on_a_constant(values: list[float | None], shift: float) -> None:
    for estimator in ("rloo", "grpo", "grpo-no-std"):
        found = sibling_advantages(values, estimator)
        moved = sibling_advantages([None if v is None else v + shift for v in values], estimator)
        scored = [v for v in values if v is not None]
        assert [a is None for a in found] == [v is None or len(scored) < 2 for v in values]
        assert sum(a or 0.0 for a in found) == pytest.approx(0, abs=1e-6)
        assert [a or 0.0 for a in found] == pytest.approx([a or 0.0 for a in moved], abs=1e-3)


def test_known_advantages() -> None:
    assert sibling_advantages([1.0, None, 4.0, 4.0], "rloo") == pytest.approx([-3.0, None, 1.5, 1.5])
    assert sibling_advantages([1.0, 3.0], "grpo-no-std") == [-1.0, 1.0]
    assert sibling_advantages([1.0, 3.0], "grpo") == pytest.approx([-1 / 2**0.5, 1 / 2**0.5], abs=1e-3)
    assert discounted([1.0, 2.0, 4.0], 0.5) == 3.0
    with pytest.raises(ValueError, match="not one of"):
        sibling_advantages([1.0, 2.0], "ppo")


def test_known_losses() -> None:
    """Two replies of one and two tokens; the second one's ratio has risen beyond its bound."""
    log_probs = torch.tensor([[math.log(0.5), 0.0], [math.log(0.4), math.log(0.3)]], requires_grad=True)
    old = torch.tensor([[math.log(0.5), 0.0], [math.log(0.2), math.log(0.3)]])
    mask, gains = torch.tensor([[True, False], [True, True]]), torch.tensor([2.0, 1.0])
    losses, ratio, clipped = policy_loss(log_probs, old, mask, gains, Objective(low=0.2, high=0.2))
    assert losses.tolist() == pytest.approx([-2.0, -2.2])
    assert clipped.tolist() == [[False, False], [True, False]]
    assert ratio[1].tolist() == pytest.approx([2.0, 1.0])
    (-losses.sum()).backward()
    assert log_probs.grad is not None and log_probs.grad[1].tolist() == pytest.approx([0.0, 1.0])
    falling, _, clipped = policy_loss(log_probs, old, mask, -gains, Objective(low=0.2, high=0.2))
    assert falling.tolist() == pytest.approx([2.0, 3.0]) and not clipped.any()  # what got worse is not held back
    assert float(k3(torch.tensor(math.log(0.5)), torch.tensor(math.log(0.25)))) == pytest.approx(0.5 + math.log(2) - 1)
