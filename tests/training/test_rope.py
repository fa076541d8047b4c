"""Models whose rotary angles depend on a row's length are packed up to their bound, and are trained on rows beyond."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from comparing import packed_output, row_logps, tree_dpo, weights
from transformers import LlamaConfig
from tree_models import BOUND, COMMON, LONGROPE, conversations, make_model

from aloe.errors import ConfigError
from aloe.training.trees.model import choose_backend
from aloe.training.trees.rope import angle_bound

MODELS = ["phi3, longrope", "llama, dynamic"]


@pytest.mark.parametrize("name", MODELS)
def test_beyond_the_bound_nothing_is_packed(name: str) -> None:
    model = make_model(name)
    assert angle_bound(model.config) == BOUND
    assert choose_backend(model, longest=BOUND)[0] == "segments"
    assert choose_backend(model, "dense", BOUND)[0] == "dense"
    for longest in (BOUND + 1, None):
        backend, reason = choose_backend(model, longest=longest)
        assert backend == "rows" and f"beyond {BOUND} tokens" in reason
        assert choose_backend(model, "rows", longest)[0] == "rows"
        for wish in ("segments", "flex", "dense"):
            with pytest.raises(ConfigError, match="rotary angles depend on a row's length"):
                choose_backend(model, wish, longest)


def test_bounds_are_read_from_old_and_layered_configs_too() -> None:
    fixed = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0, "original_max_position_embeddings": 64}
    assert angle_bound(LlamaConfig(**COMMON, rope_parameters=fixed)) is None
    assert angle_bound(LlamaConfig(**COMMON)) is None
    old = LlamaConfig(**COMMON)
    old.rope_parameters = None
    old.rope_scaling = {"type": "dynamic", "factor": 2.0}
    assert angle_bound(old) == COMMON["max_position_embeddings"]
    layered = LlamaConfig(**COMMON)
    layered.rope_parameters = {"sliding_attention": {"rope_type": "default"}, "full_attention": dict(LONGROPE)}
    assert angle_bound(layered) == BOUND


@pytest.mark.parametrize("name", MODELS)
def test_below_the_bound_packs_are_rows(name: str) -> None:
    found = conversations(1, n_turns=2)
    assert max(len(row) for c in found for row in c.rows) <= BOUND
    model = make_model(name)
    order = [(c, one) for c in found for one, _ in c.pairs] + [(c, two) for c in found for _, two in c.pairs]
    with torch.no_grad():
        wanted = [row_logps(model, c, number) for c, number in order]
        got = packed_output(model, found, "segments").log_probs
    for line, row in zip(got, wanted, strict=True):
        assert torch.allclose(line[: len(row)], row, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_beyond_the_bound_each_row_has_the_angles_of_its_own_length(name: str, tmp_path: Path) -> None:
    """Whatever longer rows stand beside it in a batch, or went through the model before."""
    found = conversations(2)
    lengths = [len(row) for c in found for row in c.rows]
    assert min(lengths) < BOUND < max(lengths)
    trainers: list[Any] = [
        tree_dpo(name, found, tmp_path, "rows", budget, max_steps=1, beta=0.3) for budget in (1, 10**6)
    ]
    with torch.no_grad():
        for trainer in trainers:
            for pack in trainer.packs:
                pairs = [(c, pair) for c in pack.conversations for pair in c.pairs]
                for side in (0, 1):
                    # a model that has seen no other row
                    wanted = [float(row_logps(make_model(name), c, pair[side]).sum()) for c, pair in pairs]
                    assert pack.reference[side] == pytest.approx(wanted, abs=1e-4)
    start = weights(trainers[0])
    for trainer in trainers:
        trainer.train()
    one, two = (torch.cat([(weights(t)[k] - start[k]).flatten() for k in start]) for t in trainers)
    assert (one - two).norm() <= 1e-5 * two.norm()
