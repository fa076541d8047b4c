"""Several processes with packs of unequal sizes: the gradients, metrics and evaluation losses of one with rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from process_runs import KINDS, train, train_in_processes

UNLIKE = ("runtime", "per_second", "total_flos", "epoch", "num_tokens", "preparation_time")  # time, and what is counted


@pytest.fixture(scope="module")
def as_rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One process, one batch of padded rows: means and gradients are those over all pairs or tokens at once."""
    folder = tmp_path_factory.mktemp("rows")
    return {kind: train(kind, folder, "rows", 10**6) for kind in KINDS}


def assert_alike(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    one, two = (torch.cat([x.flatten() for x in side["moved"].values()]) for side in (found, wanted))
    assert (one - two).norm() <= 3e-6 * two.norm()
    assert len(found["history"]) == len(wanted["history"])
    for got, row in zip(found["history"], wanted["history"], strict=True):
        assert got.keys() == row.keys()
        for key, value in row.items():
            if not any(word in key for word in UNLIKE):
                assert got[key] == pytest.approx(value, rel=2e-5, abs=2e-6), (row["step"], key)


@pytest.mark.parametrize("kind", KINDS)
def test_packs_of_one_process_are_rows(kind: str, as_rows: dict[str, Any], tmp_path: Path) -> None:
    """Metrics and evaluation losses are means over all pairs (SFT: target tokens), not means of the packs' means."""
    assert_alike(train(kind, tmp_path), as_rows[kind])


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, 3])
def test_several_processes_are_one(n: int, as_rows: dict[str, Any], tmp_path: Path) -> None:
    found = train_in_processes(n, tmp_path)
    for kind in KINDS:
        assert_alike(found[kind], as_rows[kind])
