"""examples/trl_grpo.py: what the user says carries no loss, token by token, and the rewards are the judge's."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch

import aloe
from aloe.config import TinyConfig
from aloe.models.local.checkpoint import save_checkpoint
from aloe.training.tiny.model import create_model
from aloe.training.tiny.tokenizer import build_tokenizer

EXAMPLE = Path(aloe.__file__).parents[2] / "examples" / "trl_grpo.py"


@pytest.mark.slow
def test_only_the_policys_own_tokens_are_trained(tmp_path: Path) -> None:
    people = aloe.read_personas(n=2)
    example = runpy.run_path(str(EXAMPLE))
    users = example["Users"](people, n_turns=2, user="world:user", judge="world:judge")
    words = [p.profile for p in people] + [said["prompt"][0]["content"] for said in users.prompts]
    tokenizer = build_tokenizer(words)
    model = create_model(TinyConfig(d_model=16, n_layers=1, n_heads=2, d_ffn=16), tokenizer, 0)
    save_checkpoint(model, tokenizer, tmp_path / "base", "", {})
    trainer = example["make_trainer"](str(tmp_path / "base"), str(tmp_path / "out"), users, 1, learning_rate=1e-3)
    inside = type(users).__call__.__globals__
    draw, drawn = inside["draw"], {}

    def recorded(trainer: Any, talks: list[Any]) -> list[list[int]]:
        replies: list[list[int]] = draw(trainer, talks)
        for talk, reply in zip(talks, replies, strict=True):
            drawn.setdefault(id(talk), (talk, []))[1].extend(reply)
        return replies

    made: list[dict[str, Any]] = []
    inner = trainer._generate_and_score_completions
    inside["draw"] = recorded
    trainer._generate_and_score_completions = lambda rows: made.append(inner(rows)) or made[-1]
    before = {name: value.clone() for name, value in trainer.model.named_parameters()}
    trainer.train()
    (batch,) = made
    own = (batch["completion_mask"] * batch["tool_mask"]).bool()
    heard = (batch["completion_mask"] * (1 - batch["tool_mask"])).bool()
    assert batch["completion_ids"].shape[0] == len(drawn) == 8 and heard.any()
    for ids, mine, theirs, (talk, replies) in zip(batch["completion_ids"], own, heard, drawn.values(), strict=True):
        assert ids[mine].tolist() == replies  # what was drawn, token by token, and nothing else
        said = talk.messages[-1]["content"] if len(talk.messages) > 1 else ""
        assert tokenizer.decode(ids[theirs], skip_special_tokens=True).strip() == said.strip()
    assert any(not torch.equal(before[name], value) for name, value in trainer.model.named_parameters())

    kept: list[torch.Tensor] = []

    def keep(module: Any, args: Any, output: Any) -> None:
        output.log_probs.retain_grad()
        kept.append(output.log_probs)

    hook = trainer.model.register_forward_hook(keep)
    trainer.compute_loss(trainer.model, {**batch, "advantages": torch.ones_like(batch["advantages"])}).backward()
    hook.remove()
    width = own.shape[1]
    pull = torch.cat([log_probs.grad[:, -width:] for log_probs in kept]).abs()
    assert (pull[own] > 0).all() and (pull[heard] == 0).all()
