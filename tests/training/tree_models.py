"""Small random models and made-up conversations for the training tests."""

from __future__ import annotations

from random import Random
from typing import Any

import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from aloe.training.data import TokenRows
from aloe.training.tiny.tokenizer import build_tokenizer

WORDS = [f"w{a}{b}" for a in "abcdefgh" for b in "abcdefgh"]
COMMON: dict[str, Any] = {
    "vocab_size": 328, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "bos_token_id": None, "eos_token_id": 0,
    "pad_token_id": 0, "tie_word_embeddings": True,
}  # fmt: skip
BOUND = 30  # tokens beyond which the last two models' angles depend on the row's length
LONGROPE: dict[str, Any] = {
    "rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": BOUND,
    "short_factor": [1.0] * 4, "long_factor": [4.0, 9.0, 30.0, 60.0],
}  # fmt: skip
DYNAMIC: dict[str, Any] = {
    **COMMON, "max_position_embeddings": BOUND,
    "rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0},
}  # fmt: skip
MAKERS: dict[str, Any] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**COMMON)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**COMMON)),
    "mistral, window 7": lambda: MistralForCausalLM(MistralConfig(**COMMON, sliding_window=7)),
    "qwen2, window 9 in some layers": lambda: Qwen2ForCausalLM(
        Qwen2Config(**COMMON, use_sliding_window=True, sliding_window=9, max_window_layers=1)
    ),
    # norms of their own precision, so that float64 is float64 throughout
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=328, n_embd=32, n_layer=3, n_head=4, n_positions=512, bos_token_id=0, eos_token_id=0)
    ),
    "phi": lambda: PhiForCausalLM(PhiConfig(**COMMON)),
    "phi3, longrope": lambda: Phi3ForCausalLM(
        Phi3Config(**COMMON, rope_parameters=dict(LONGROPE), original_max_position_embeddings=BOUND)
    ),
    "llama, dynamic": lambda: LlamaForCausalLM(LlamaConfig(**DYNAMIC)),
}


def make_model(name: str, dtype: torch.dtype = torch.float32) -> Any:
    """A random model, its weights large enough that attention matters."""
    torch.manual_seed(7)
    model = MAKERS[name]()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.15)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.config._name_or_path = ""
    return model.to(dtype).eval()


def make_tokenizer() -> Any:
    return build_tokenizer([" ".join(WORDS)])


def conversations(seed: int = 0, n: int = 3, n_turns: int = 4) -> list[TokenRows]:
    """Branching preference data: sometimes both replies continued, sometimes three replies to one message."""
    rng = Random(seed)

    def words(low: int, high: int) -> list[int]:
        return [rng.randrange(5, 320) for _ in range(rng.randint(low, high))]

    found = []
    for number in range(n):
        conversation = TokenRows(f"c{number}")
        leaves = [words(5, 9)]
        for _ in range(n_turns):
            following = []
            for trunk in leaves:
                first = words(2, 6)
                others = [first[:1] + words(1, 5) for _ in range(rng.choice((1, 1, 2)))]
                for other in others:
                    at = len(conversation.rows)
                    conversation.pairs.append((at, at + 1))
                    conversation.add([(trunk + first, len(trunk)), (trunk + other, len(trunk))])
                both = len(leaves) == 1 and rng.random() < 0.5
                for reply in (first, others[0]) if both else (rng.choice((first, others[0])),):
                    following.append(trunk + reply + words(2, 5))
            leaves = following
        found.append(conversation)
    return found


def flat_pairs(found: list[TokenRows]) -> list[dict[str, list[int]]]:
    """The same as rows of TRL's own tokenised form."""
    rows = []
    for c in found:
        for one, two in c.pairs:
            start, first, second = c.starts[one], c.rows[one], c.rows[two]
            rows.append({"prompt_ids": first[:start], "chosen_ids": first[start:], "rejected_ids": second[start:]})
    return rows
