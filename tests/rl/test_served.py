"""Replies that a server draws: exact tokens, weights handed over, and what the server's model differs in corrected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from policy_server import PolicyServer, serving_policy
from rl_runs import rows, train, weights

from aloe.config import Config
from aloe.config.exposure import exposures
from aloe.errors import EndpointError

SHORT: dict[str, Any] = {"n_turns": 2, "eval_personas": 0, "max_new_tokens": 6, "conversations": 2}


def served(server: PolicyServer, **more: Any) -> dict[str, Any]:
    return SHORT | {"server": server.base_url, "weights_command": server.command} | more


def test_a_server_draws_with_the_weights_that_are_trained(start: Path, people: Path, tmp_path: Path) -> None:
    with serving_policy(start) as server:
        found = train(start, people, tmp_path / "rl", **served(server, learning_rate=2e-2, temperature=0.8))
        on_server = torch.cat([p.detach().flatten() for _, p in sorted(server.model.named_parameters())])
    assert found["n_iterations"] == 2
    assert server.n_loads == 3  # before the first iteration and after each
    assert torch.equal(on_server, weights(tmp_path / "rl"))
    assert not torch.equal(on_server, weights(start))
    body = server.requests[0]
    assert all(isinstance(i, int) for i in body["prompt"]) and body["model"] == "trained" and body["n"] == 3
    for row in rows(tmp_path / "rl"):
        assert row["mismatch"] < 1e-4 and row["mismatch_cut"] == 0
        assert row["ratio_mean"] == pytest.approx(1.0, abs=1e-5)
    assert not (tmp_path / "rl" / "trainer").exists()


def test_another_number_format_is_measured(start: Path, people: Path, tmp_path: Path) -> None:
    with serving_policy(start, "bfloat16") as server:
        train(start, people, tmp_path / "rl", **served(server, iterations=1))
    assert 1e-4 < rows(tmp_path / "rl")[0]["mismatch"] < 0.1


def test_a_server_without_the_new_weights_stops_the_training(start: Path, people: Path, tmp_path: Path) -> None:
    """And the training goes on where it stopped once the server has them."""
    with serving_policy(start) as server:
        options = served(server, learning_rate=5e-2, max_mismatch=0.05, weights_dir=str(tmp_path / "weights"))
        server.loads = False
        with pytest.raises(EndpointError, match=r"after iteration 1 the log-probabilities .* nats per token"):
            train(start, people, tmp_path / "rl", **options)
        assert (tmp_path / "weights" / "model.safetensors").is_file()
        server.loads = True
        n_before = len(server.requests)
        train(start, people, tmp_path / "rl", **options)
    assert [row["step"] for row in rows(tmp_path / "rl")] == [1, 2]
    assert len(server.requests) < 2 * n_before  # the first iteration was kept


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"with_ids": False}, "names its tokens by text alone"),
        ({"status": 400}, "answered 400: out of order"),
    ],
)
def test_what_a_server_lacks_is_said(
    change: dict[str, Any], said: str, start: Path, people: Path, tmp_path: Path
) -> None:
    with serving_policy(start) as server:
        vars(server).update(change)
        with pytest.raises(EndpointError, match=f"calls failed in 2 of 2 conversations .*{said}"):
            train(start, people, tmp_path / "rl", **served(server))


def test_a_failing_command_is_said(start: Path, people: Path, tmp_path: Path) -> None:
    with serving_policy(start) as server, pytest.raises(EndpointError, match=r"weights_command ended with 3: no room"):
        train(
            start, people, tmp_path / "rl",
            **served(server, weights_command="sh -c 'echo no room; exit 3' {path}"),
        )  # fmt: skip


def test_a_config_from_elsewhere_shows_its_server_and_command() -> None:
    rl = {"server": "http://there:8000/v1", "weights_command": "sh load.sh {path}", "server_key_env": "POLICY_KEY"}
    found = {e.key for e in exposures(Config.model_validate({"rl": rl}))}
    assert {
        "endpoint there:8000", "secret POLICY_KEY Authorization there:8000", "code weights sh load.sh {path}"
    } <= found  # fmt: skip
