"""The gradients of ``aloe rl`` are those of its objective, on a conversation whose expectations can be enumerated."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from rl_estimator import (
    BIASED,
    UNBIASED,
    Estimates,
    ToyPolicy,
    exact_gradient,
    exact_objective,
    gradients_of,
    reinforce,
)

from aloe.config import RLConfig

N_BATCHES, SIZE = 48, 24


@pytest.fixture(scope="module")
def policy() -> ToyPolicy:
    return ToyPolicy()


def test_the_exact_gradient_of_whole_returns_is_that_of_the_objective(policy: ToyPolicy) -> None:
    wanted = torch.autograd.grad(exact_objective(policy), policy.theta)[0]
    assert torch.allclose(exact_gradient(policy, 0, 1.0), wanted, atol=1e-12)


@pytest.mark.parametrize("name", UNBIASED)
def test_the_mean_over_draws_is_the_exact_gradient(policy: ToyPolicy, name: str) -> None:
    settings, horizon, discount = UNBIASED[name]
    found = gradients_of(policy, RLConfig(**settings), N_BATCHES, SIZE)
    along, square = found.distance(exact_gradient(policy, horizon, discount))
    assert abs(along) < 3
    assert square < 2  # over 25 parameters; 1 is expected


@pytest.mark.parametrize("name", BIASED)
def test_what_does_not_claim_to_be_unbiased_is_not(policy: ToyPolicy, name: str) -> None:
    found = gradients_of(policy, RLConfig(**BIASED[name]), N_BATCHES, SIZE)
    assert abs(found.distance(exact_gradient(policy, 1, 1.0))[0]) > 3


def test_normalising_by_turn_number_is_biased_where_users_leave(policy: ToyPolicy) -> None:
    exact = exact_gradient(policy, 0, 1.0)
    assert abs(reinforce(policy, 4 * N_BATCHES, SIZE, by_turn=True).distance(exact)[0]) > 3
    assert abs(reinforce(policy, N_BATCHES, SIZE, by_turn=False).distance(exact)[0]) < 3


@pytest.mark.parametrize(("cap", "is_exact"), [(100.0, True), (1e-3, False)])
def test_replies_of_another_model_count_by_their_importance(policy: ToyPolicy, cap: float, is_exact: bool) -> None:
    """To the first message, which any policy reaches; with all weights cut alike they are as good as left out."""
    section = RLConfig(ratio="sequence", importance_cap=cap)
    found = gradients_of(policy, section, 2 * N_BATCHES, SIZE, drawn_by=ToyPolicy(7))
    first = Estimates(found.gradients[:, :5] / min(1.0, cap), found.tokens)
    along, _ = first.distance(exact_gradient(policy, 1, 1.0)[0])
    assert (abs(along) < 3) == is_exact


def test_shuffled_rewards_are_noise_without_direction(policy: ToyPolicy) -> None:
    """What moves a policy that is trained on them is the length of its steps, not their mean."""
    found = {shuffle: gradients_of(policy, RLConfig(max_new_tokens=2, shuffle=shuffle), 2 * N_BATCHES, SIZE)
             for shuffle in (True, False)}  # fmt: skip
    assert found[True].from_zero() < 2 < found[False].from_zero()
    assert 0.5 < found[True].noise() / found[False].noise() < 2
