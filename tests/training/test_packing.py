"""Packed log-probabilities and gradients are those of the expanded rows; broken packings are not."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
import torch

from aloe.config import BaseConfig
from aloe.training import packing
from aloe.training.tiny import create_model
from aloe.training.tokenizer import build_tokenizer

WORDS = [f"w{a}{b}" for a in "abcdefgh" for b in "abcdefgh"]


@pytest.fixture(scope="module")
def model() -> Any:
    tokenizer = build_tokenizer([" ".join(WORDS)])
    config = BaseConfig(d_model=32, n_layers=2, n_heads=4, d_ffn=48)
    return create_model(config, tokenizer, seed=1)


def branching_rows(seed: int) -> list[list[int]]:
    """Rows like those of two conversations: growing prompts, two replies each, both sometimes continued."""
    rng = Random(seed)
    rows = []
    for _ in range(2):
        trunk = [rng.randrange(290, 328) for _ in range(6)]
        for _turn in range(4):
            first = [rng.randrange(264, 310) for _ in range(rng.randint(1, 5))]
            second = first[:1] + [rng.randrange(264, 310) for _ in range(rng.randint(1, 5))]
            rows += [trunk + first, trunk + second]
            trunk = trunk + (first if rng.random() < 0.5 else second) + [rng.randrange(290, 320) for _ in range(4)]
    return rows


def as_batch(rows: list[list[int]], left: bool = False) -> dict[str, torch.Tensor]:
    width = max(map(len, rows))
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        at = slice(width - len(row), width) if left else slice(0, len(row))
        ids[i, at] = torch.tensor(row)
        mask[i, at] = 1
    labels = ids.masked_fill(mask == 0, packing.IGNORED)
    labels[:, :3] = packing.IGNORED
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def plain_logps(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Per-token log-probabilities row by row, without padding or sharing."""
    found = torch.zeros(batch["labels"][:, 1:].shape)
    for i, (ids, mask) in enumerate(zip(batch["input_ids"], batch["attention_mask"], strict=True)):
        at = torch.nonzero(mask)[:, 0]
        logs = torch.log_softmax(model(input_ids=ids[at][None]).logits[0], -1)
        for j in range(1, len(at)):
            if batch["labels"][i, at[j]] != packing.IGNORED:
                found[i, at[j] - 1] = logs[j - 1, ids[at[j]]]
    return found


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_equals_expanded_rows(model: Any, seed: int, left: bool) -> None:
    batch = as_batch(branching_rows(seed), left)
    expected = plain_logps(model, batch)
    expected.sum().backward()
    gradients = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    output = packing._packed_forward(model, batch["input_ids"], batch["labels"], batch["attention_mask"], None)
    output.log_probs.sum().backward()
    assert torch.allclose(output.log_probs, expected, atol=2e-5)
    for got, want in zip((p.grad for p in model.parameters()), gradients, strict=True):
        assert torch.linalg.vector_norm(got - want) <= 1e-4 * torch.linalg.vector_norm(want) + 1e-6
    model.zero_grad()
    n_targets = (batch["labels"][:, 1:] != packing.IGNORED).sum()
    assert torch.allclose(output.loss, -expected.sum() / n_targets, atol=1e-5)


def test_shares_what_is_shared() -> None:
    rows = branching_rows(0)
    packs = [packing.build_pack(rows, numbers) for numbers in packing.group_rows(rows)]
    n_packed, n_expanded = sum(len(p.ids) for p in packs), sum(map(len, rows))
    assert n_packed < 0.6 * n_expanded
    for pack in packs:
        for row, place in zip(pack.rows, pack.places, strict=True):
            assert [pack.ids[node] for node in place] == rows[row]
            assert [pack.depths[node] for node in place] == list(range(len(place)))
            assert pack.visible[place[-1]].sum() == len(place)


@pytest.mark.parametrize("fault", ["causal mask", "running positions"])
def test_wrong_packings_differ(model: Any, fault: str) -> None:
    rows = branching_rows(1)[:8]
    pack = packing.build_pack(rows, range(8))
    ids, positions, mask = packing.pack_tensors([pack])
    n = len(pack.ids)
    if fault == "causal mask":
        mask = torch.ones(n, n, dtype=torch.bool).tril()[None, None]
    else:
        positions = torch.arange(n)[None]
    with torch.no_grad():
        wrong = model(input_ids=ids, position_ids=positions, attention_mask=mask).logits
        ids, positions, mask = packing.pack_tensors([pack])
        right = model(input_ids=ids, position_ids=positions, attention_mask=mask).logits
    assert not torch.allclose(wrong, right, atol=1e-2)
