"""The probe's packed answers are those of plain rows, and its figures count what they say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from aloe.__main__ import main
from aloe.config import load_config
from aloe.errors import DataError
from aloe.models.local.checkpoint import load_model, load_tokenizer, model_card, save_checkpoint
from aloe.stages.probe import run_probe
from aloe.training.probe import answer
from aloe.training.tiny.material import prepare
from aloe.training.tiny.model import create_model
from aloe.types import Message
from aloe.world.questions import Question, Setting, make_questions


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model with the words of the demo's world."""
    folder = tmp_path_factory.mktemp("probe")
    config = load_config("demo", {"base": {"d_model": 16, "n_layers": 2, "n_heads": 2, "d_ffn": 24}})
    tokenizer = prepare(config)[1]
    model = create_model(config.base, tokenizer, 0)
    with torch.no_grad():
        for parameter in model.model.layers.parameters():
            parameter.mul_(4.0)
    save_checkpoint(model, tokenizer, folder, model_card("tiny", "a test", {}), {})
    return folder


def plain_score(model, tokenizer, question: Question, text: str) -> tuple[float, float, bool]:
    """Log-probability of a continuation, that of its first token, and whether that is the likeliest, by a plain row."""
    messages = [{"role": m.role, "content": m.content} for m in question.history]
    prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) + question.before
    head = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    ids = tokenizer(prompt + text, add_special_tokens=False)["input_ids"]
    assert ids[: len(head)] == head
    with torch.no_grad():
        logs = torch.log_softmax(model(torch.tensor([ids])).logits[0, :-1], -1)
    own = logs[torch.arange(len(ids) - 1), torch.tensor(ids[1:])][len(head) - 1 :]
    return float(own.sum()), float(own[0]), bool(logs[len(head) - 1].argmax() == ids[len(head)])


@pytest.mark.parametrize("packing", ["trees", "rows"])
def test_packed_answers_are_those_of_plain_rows(checkpoint: Path, packing: str) -> None:
    model, tokenizer = load_model(checkpoint), load_tokenizer(checkpoint)
    if packing == "rows":  # a model that no packing fits
        model.config.router_aux_loss_coef, model.config.output_router_logits = 0.1, False
    asked = list(make_questions(2, _demo_writers(), seed=1, setting=Setting(n_turns=3, n_rivals=2)))
    answers = answer(model, tokenizer, asked, budget=300)
    assert [a.question for a in answers] == asked and len(asked) > 20
    for found in answers[:: len(asked) // 12]:
        question = found.question
        total, first, is_first = plain_score(model, tokenizer, question, question.right)
        assert found.right == pytest.approx(total, abs=1e-3) and found.is_first == is_first
        assert found.p_first == pytest.approx(float(torch.tensor(first).exp()), abs=1e-4)
        for text, value in zip((*question.own, *question.others), (*found.own, *found.others), strict=True):
            assert value == pytest.approx(plain_score(model, tokenizer, question, text)[0], abs=1e-3)


def test_the_likeliest_continuation_is_first_and_wins(checkpoint: Path) -> None:
    model, tokenizer = load_model(checkpoint), load_tokenizer(checkpoint)
    history = (Message(role="user", content="i have a dog at home."),)
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": history[0].content}], tokenize=False,
                                           add_generation_prompt=True)  # fmt: skip
    ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        order = model(torch.tensor([ids])).logits[0, -1].argsort(descending=True).tolist()
    words = [w for i in order if (w := tokenizer.decode([i])).isalpha()]
    best = next(w for w in words if tokenizer(w, add_special_tokens=False)["input_ids"] == [order[words.index(w)]])
    texts = (words[len(words) // 2], words[-1])
    (found,) = answer(model, tokenizer, [Question("p", 1, "value", "pet", "stated", history, "", best, (), texts)])
    (lost,) = answer(model, tokenizer, [Question("p", 1, "value", "pet", "stated", history, "", texts[1], (), (best,))])
    assert found.rank == 1 and lost.rank == 2 and not lost.is_first and found.p_first > lost.p_first


def test_a_conversation_beyond_the_context_is_one_line(checkpoint: Path) -> None:
    model, tokenizer = load_model(checkpoint), load_tokenizer(checkpoint)
    model.config.max_position_embeddings = 20
    with pytest.raises(DataError, match="the context length is 20; ask fewer turns"):
        answer(model, tokenizer, make_questions(1, _demo_writers(), seed=1, setting=Setting(n_turns=3)))


def test_the_command_counts_held_out_kinds_apart(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["probe", "demo", "--model", str(checkpoint), "--personas", "4", "--turns", "4", "-q"]
    assert main([*asked, "--json"]) == 0
    (plain,) = json.loads(capsys.readouterr().out)
    assert main([*asked, "--json", "--held-out", "pet,drink,home"]) == 0
    (apart,) = json.loads(capsys.readouterr().out)
    n, m = plain["figures"], apart["figures"]
    assert n["held_out"] is None and m["held_out"] is not None and m["fact_now_held_out"]["n"] > 0
    assert n["fact_now"]["n"] == m["fact_now"]["n"] + m["fact_now_held_out"]["n"]
    assert sum(k["n"] for k in plain["kinds"].values()) == n["fact_now"]["n"]
    for figure in filter(None, [*n.values(), *m.values()]):
        assert 0 <= figure["low"] <= figure["value"] <= figure["high"] <= 1
    assert main(asked) == 0
    out = capsys.readouterr().out
    assert "4 personas" in out and "fact_now" in out and "pet" in out


def test_kinds_that_the_recipe_holds_out_are_asked_all_the_same(checkpoint: Path) -> None:
    writer = "world:persona-writer?values=32&without_slots=pet,drink"
    config = load_config("demo", {"roles": {"writer": writer}})
    report = run_probe(config, str(checkpoint), n_personas=4, n_turns=4)
    assert report.held_out == ("pet", "drink") and report.counts["fact_now_held_out"] > 0


def _demo_writers():
    from aloe.stages.probe import probe_writers

    return probe_writers(load_config("demo"))[0]
