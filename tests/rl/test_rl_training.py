"""Whole trainings by reinforcement: they learn, record, resume after a kill, and keep within their budget."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from faulty import Fault, faulty_world
from rl_runs import rl_config, rows, start_training, train, train_in_processes, weights

from aloe.config import ModelConfig
from aloe.errors import ConfigError, DataError, EndpointError
from aloe.rl.train import train_rl


def test_what_is_rewarded_becomes_more_frequent(start: Path, people: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "iterations": 8,
        "conversations": 5,
        "learning_rate": 2e-2,
        "eval_every": 8,
        "n_turns": 2,
    }
    trained = train(start, people, tmp_path / "rl", **options)
    assert trained["after"]["brevity"] > trained["before"]["brevity"] + 0.01
    shuffled = train(start, people, tmp_path / "control", **options, shuffle=True)
    assert shuffled["after"]["brevity"] < trained["after"]["brevity"] - 0.005
    found = rows(tmp_path / "rl")
    assert [row["step"] for row in found] == list(range(1, 9))
    wanted = {"reward", "reward/brevity", "kl", "entropy", "ratio_mean", "ratio_std", "clipped", "reply_tokens"}
    assert wanted <= set(found[0])
    assert found[0]["kl"] == 0 and found[-1]["kl"] > 0.01
    evaluations = rows(tmp_path / "rl", "evaluations")
    assert [row["step"] for row in evaluations] == [0, 8]
    assert set(evaluations[0]["rewards"]) == {"judge", "truth", "belief", "profile", "brevity", "repetition"}
    assert len(evaluations[0]["rewards"]["judge"]["curve"]) == 2
    samples = rows(tmp_path / "rl", "samples")
    assert {s["step"] for s in samples} == {0, 8} and all(s["user"] and s["reply"] is not None for s in samples)


@pytest.mark.slow
def test_a_killed_training_comes_to_the_same_weights(start: Path, people: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"iterations": 5, "passes": 2, "kl": 0.1, "eval_every": 3, "n_turns": 2}
    train(start, people, tmp_path / "whole", **options)
    process = start_training(start, people, tmp_path / "killed", options)
    work, deadline = tmp_path / "killed" / "trainer", time.monotonic() + 240
    while not any(work.glob("state-[23]")) and time.monotonic() < deadline and process.is_alive():
        time.sleep(0.01)
    assert process.pid is not None and process.is_alive()
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not (tmp_path / "killed" / "config.json").exists()
    train(start, people, tmp_path / "killed", **options)
    assert torch.equal(weights(tmp_path / "killed"), weights(tmp_path / "whole"))
    for name in ("metrics", "evaluations", "samples"):
        assert rows(tmp_path / "killed", name) == rows(tmp_path / "whole", name)
    assert not work.exists()


@pytest.mark.slow
def test_two_processes_are_one(start: Path, people: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"minibatches": 2, "passes": 2, "kl": 0.1, "normaliser": "batch", "credit": "return"}
    train(start, people, tmp_path / "one", **options)
    train_in_processes(2, start, people, tmp_path / "two", **options)
    moved = weights(tmp_path / "one") - weights(start)
    assert (weights(tmp_path / "two") - weights(tmp_path / "one")).norm() <= 1e-4 * moved.norm()
    for name in ("metrics", "evaluations", "samples"):
        one, two = rows(tmp_path / "one", name), rows(tmp_path / "two", name)
        assert len(one) == len(two)
        for row, other in zip(one, two, strict=True):
            for key, value in row.items():
                assert other[key] == (pytest.approx(value, rel=1e-3, abs=1e-5) if isinstance(value, float) else value)


def test_an_adapter_is_trained_and_answers(start: Path, people: Path, tmp_path: Path) -> None:
    from aloe.models.local.checkpoint import load_model

    found = train(start, people, tmp_path, lora_rank=4, learning_rate=1e-2, eval_personas=0)
    assert found["n_steps"] == 2
    assert (tmp_path / "adapter_model.safetensors").is_file()
    ids = torch.tensor([[7, 8, 9]])
    assert not torch.equal(load_model(tmp_path)(ids).logits, load_model(start)(ids).logits)


def test_a_budget_of_tokens_ends_the_training(start: Path, people: Path, tmp_path: Path) -> None:
    found = train(start, people, tmp_path, iterations=50, max_tokens=200, eval_personas=0)
    assert found["stopped"] == "max_tokens"
    assert found["n_iterations"] < 10 and found["n_generated_tokens"] >= 200


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"iterations": 0}, "rl.iterations is 0"),
        ({"rewards": "jugde"}, "did you mean 'judge'"),
        ({"rewards": "judge=much"}, "no valid weight"),
        ({"lora_dropout": 0.1}, "without dropout"),
    ],
)
def test_settings_that_do_not_fit_are_named(
    options: dict[str, Any], said: str, start: Path, people: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=said):
        train(start, people, tmp_path, **options)


def test_too_few_personas_are_named(start: Path, people: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="16 training personas, and 16 are to be held out"):
        train(start, people, tmp_path, eval_personas=16)


def test_nothing_is_trained_while_calls_fail(start: Path, people: Path, tmp_path: Path) -> None:
    """A training whose user fails stops in one line, and comes to the same weights once the user is back."""
    torch.set_num_threads(1)
    good = {"after": 10**9}

    def script(body: dict[str, Any], n: int) -> Fault | None:
        return Fault(status=400, body=b'{"error": {"message": "no longer"}}') if n > good["after"] else None

    with faulty_world(script) as server:
        config = rl_config(eval_every=3, iterations=3)
        user = ModelConfig(uri="openai:world:user", base_url=server.base_url, max_attempts=2)
        config = config.model_copy(update={"roles": config.roles.model_copy(update={"user": (user,)})})

        def run(out: Path) -> dict[str, Any]:
            return train_rl(config.rl, people, start, out, config=config, seed=0)

        run(tmp_path / "whole")
        good["after"] = len(server.requests) + len(server.requests) // 2
        with pytest.raises(
            EndpointError, match=r"calls failed in \d of 3 conversations after iteration \d; the first: "
        ):
            run(tmp_path / "rl")
        assert not (tmp_path / "rl" / "model.safetensors").exists()
        good["after"] = 10**9
        run(tmp_path / "rl")
    assert torch.equal(weights(tmp_path / "rl"), weights(tmp_path / "whole"))
    assert rows(tmp_path / "rl") == rows(tmp_path / "whole")
