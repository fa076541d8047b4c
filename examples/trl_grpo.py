"""GRPO by TRL against a simulated user: python examples/trl_grpo.py MODEL OUT [STEPS]"""

import sys
from dataclasses import dataclass, field

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

import aloe

TURNS, GENERATIONS, REPLY_TOKENS = 3, 4, 64


@dataclass
class Talk:
    """A conversation as token ids: ``mask`` is 1 for the policy's own tokens and 0 for what the user says."""

    simulator: aloe.UserSimulator
    messages: list[dict[str, str]]
    prompt: list[int]
    completion: list[int] = field(default_factory=list)
    mask: list[int] = field(default_factory=list)
    done: bool = False

    def add(self, ids: list[int], own: int) -> None:
        self.completion += ids
        self.mask += [own] * len(ids)


class Users:
    """A ``rollout_func``: every prompt is a persona's first message, and its conversation goes on from there."""

    def __init__(self, people: list[aloe.Persona], n_turns: int = TURNS, **options) -> None:
        first = aloe.UserSimulator(people[0], n_turns=n_turns, **options)
        self.simulators = {simulator.reset(): simulator for simulator in map(first.another, people)}
        self.prompts = [{"prompt": [{"role": "user", "content": said}]} for said in self.simulators]

    def __call__(self, prompts: list[list[dict[str, str]]], trainer: GRPOTrainer) -> dict[str, list]:
        tokenizer = trainer.processing_class
        talks = []
        for prompt in prompts:
            known = self.simulators[prompt[0]["content"]]
            simulator = known.another(known.persona)
            simulator.reset()
            ids = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=False)
            talks.append(Talk(simulator, list(prompt), ids))
        while open_talks := [talk for talk in talks if not talk.done]:
            for talk, reply in zip(open_talks, draw(trainer, open_talks), strict=True):
                take(tokenizer, talk, reply)
        return {
            "prompt_ids": [talk.prompt for talk in talks],
            "completion_ids": [talk.completion for talk in talks],
            "logprobs": None,
            "env_mask": [talk.mask for talk in talks],  # what the user says carries no loss
            "reward": [mean_score(talk.simulator.scores) for talk in talks],
        }


def draw(trainer: GRPOTrainer, talks: list[Talk]) -> list[list[int]]:
    """A reply to each conversation, drawn from the policy in one batch; up to its end token, that included."""
    tokenizer, device = trainer.processing_class, trainer.accelerator.device
    rows = [talk.prompt + talk.completion for talk in talks]
    width = max(map(len, rows))
    ids = torch.tensor([[tokenizer.pad_token_id] * (width - len(row)) + row for row in rows], device=device)
    seen = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    model = trainer.accelerator.unwrap_model(trainer.model)
    with torch.no_grad():
        drawn = model.generate(
            input_ids=ids, attention_mask=seen, max_new_tokens=REPLY_TOKENS, do_sample=True, top_k=0,
            temperature=trainer.args.temperature, eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
    replies = drawn[:, width:].tolist()
    ends = [r.index(tokenizer.eos_token_id) + 1 if tokenizer.eos_token_id in r else len(r) for r in replies]
    return [reply[:end] for reply, end in zip(replies, ends, strict=True)]


def take(tokenizer, talk: Talk, reply: list[int]) -> None:
    """The reply, and what the user says to it."""
    talk.add(reply, own=1)
    text = tokenizer.decode(reply, skip_special_tokens=True)
    message, _, talk.done, _ = talk.simulator.step(text)
    if talk.done:
        return
    end = tokenizer.eos_token_id
    if reply[-1] != end:
        talk.add([end], own=0)
    answered = [*talk.messages, {"role": "assistant", "content": text}]
    talk.messages = [*answered, {"role": "user", "content": message}]
    before = tokenizer.apply_chat_template(answered, return_dict=False)
    after = tokenizer.apply_chat_template(talk.messages, add_generation_prompt=True, return_dict=False)
    if end not in before or after[: len(before)] != before:
        raise ValueError("the chat template changes earlier turns, so that a conversation can't be continued by tokens")
    closed = len(before) - before[::-1].index(end)  # behind the end token of the reply
    talk.add(after[closed:], own=0)


def mean_score(scores: tuple[float | None, ...]) -> float:
    known = [score for score in scores if score is not None]
    return sum(known) / len(known) if known else float("nan")


def judged(completions, reward: list[float], **_) -> list[float]:
    return reward


def make_trainer(model: str, out: str, users: Users, steps: int, **options) -> GRPOTrainer:
    gpu = torch.cuda.is_available()
    usual = {"per_device_train_batch_size": 2 * GENERATIONS, "num_generations": GENERATIONS, "logging_steps": 1}
    arguments = GRPOConfig(
        out, max_steps=steps, report_to="none", save_strategy="no", bf16=gpu, use_cpu=not gpu, **usual | options
    )
    tokenizer = AutoTokenizer.from_pretrained(model, padding_side="left")
    return GRPOTrainer(
        AutoModelForCausalLM.from_pretrained(model), reward_funcs=judged, args=arguments, processing_class=tokenizer,
        train_dataset=Dataset.from_list(users.prompts), rollout_func=users,
    )  # fmt: skip


if __name__ == "__main__":
    model, out = sys.argv[1:3]
    people = [p for p in aloe.read_personas(n=64) if p.split == "bench"]
    trainer = make_trainer(model, out, Users(people), int(sys.argv[3]) if sys.argv[3:] else 100)
    trainer.train()
    trainer.save_model(out)
