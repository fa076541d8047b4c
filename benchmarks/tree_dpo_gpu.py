"""DPO on conversation trees on a GPU: FlexAttention over packed trees, against variable-length rows and stock TRL.

    python benchmarks/tree_dpo_gpu.py --size 0.5b --turns 10,20 --rounds 5

A Qwen2-like model with random weights in bfloat16, AdamW left out, reference log-probabilities given, no
checkpointing unless asked for. Wall seconds per conversation of forward and backward, synchronised, after a warm-up;
rounds are interleaved, figures are medians.

- ``tree``: ours, conversations as packed sequences under the token budget.
- ``varlen``: every row with its whole history, rows laid end to end under the same budget, each attending within
  itself through torch's variable-length FlashAttention; the head sees the reply's tokens only, as ours does.
- ``trl``: DPOTrainer as shipped, the best of several batch sizes.

``--device cpu --size tiny`` runs the same code where there is no GPU (dense masks, one attention call a row), to see
that it works; its times mean nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from statistics import median
from typing import Any

from tree_dpo import BETA, conversation

SIZES = {  # width, feed-forward, layers, heads, key-value heads, vocabulary
    "tiny": (64, 128, 2, 4, 2, 32_000),
    "0.5b": (896, 4864, 24, 14, 2, 151_936),
    "1.5b": (1536, 8960, 28, 12, 2, 151_936),
}
N_CONVERSATIONS = 4  # of a step
BAR_VARLEN, BAR_TRL = 4.0, 6.0


def make_model(size: str, device: str) -> Any:
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    width, ffn, layers, heads, kv_heads, words = SIZES[size]
    config = Qwen2Config(
        vocab_size=words, hidden_size=width, intermediate_size=ffn, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=kv_heads, max_position_embeddings=32_768, tie_word_embeddings=True, pad_token_id=0,
    )  # fmt: skip
    with torch.device(device):
        return Qwen2ForCausalLM(config).to(torch.bfloat16).train()


def loss_of(logps: Any, n_pairs: int) -> Any:
    import torch

    chosen, rejected = logps.chunk(2)
    return -torch.nn.functional.logsigmoid(BETA * (chosen - rejected)).sum() / n_pairs


def prepare_tree(size: str, device: str, checkpointing: bool) -> tuple[Any, Callable[[list[Any], int], Any]]:
    """The model, and a step over conversations; it returns the replies' log-probabilities, pair by pair."""
    import torch
    from trl.trainer.utils import add_fused_lm_head

    from aloe.training.trees.model import add_trees
    from aloe.training.trees.packs import Collator, make_packs

    model = make_model(size, device)
    add_fused_lm_head(model, outputs=("log_probs", "entropy", "mean_logits", "is_top1"))
    add_trees(model, "flex" if device == "cuda" else "dense")
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})

    def step(made: list[Any], budget: int) -> Any:
        packs, _ = make_packs(made, seed=0, budget=budget, items=10**6, trees=True)
        n_pairs = sum(len(c.pairs) for c in made)
        found = {}
        for number, pack in enumerate(packs):
            batch = Collator(packs, 0, True)([{"pack": number}])
            logps = model(
                input_ids=batch["input_ids"].to(device), tree=batch["tree"].to(device), fused_lm_head=True
            ).log_probs.sum(1)
            loss_of(logps, n_pairs).backward()
            values = logps.detach().float().chunk(2)
            keys = [(c.key, pair) for c in pack.conversations for pair in range(len(c.pairs))]
            found.update({key: (a, b) for key, a, b in zip(keys, *values, strict=True)})
        return torch.stack([torch.stack(found[c.key, i]) for c in made for i in range(len(c.pairs))])

    return model, step


def _varlen(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, cu: Any = None, longest: int = 0, **kwargs: Any
) -> tuple[Any, None]:
    """Each row attends within itself. Shapes as transformers has them: (1, heads, tokens, width of a head)."""
    import torch

    scale = kwargs.get("scaling")
    if query.is_cuda:
        from torch.nn.attention.varlen import varlen_attn

        q, k, v = (x[0].transpose(0, 1).contiguous() for x in (query, key, value))
        out = varlen_attn(
            q, k, v, cu, cu, longest, longest, scale=scale, window_size=(-1, 0), enable_gqa=q.shape[1] != k.shape[1]
        )
        return out[None], None
    bounds = cu.tolist()
    parts = [
        torch.nn.functional.scaled_dot_product_attention(
            query[:, :, a:b], key[:, :, a:b], value[:, :, a:b], is_causal=True, scale=scale, enable_gqa=True
        )
        for a, b in pairwise(bounds)
    ]
    return torch.cat(parts, 2).transpose(1, 2).contiguous(), None


def prepare_varlen(size: str, device: str, checkpointing: bool) -> tuple[Any, Callable[[list[Any], int], Any]]:
    import torch
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask
    from trl.trainer.utils import add_fused_lm_head

    AttentionInterface.register("rows_varlen", _varlen)
    AttentionMaskInterface.register("rows_varlen", sdpa_mask)
    model = make_model(size, device)
    add_fused_lm_head(model, outputs=("log_probs", "entropy", "mean_logits", "is_top1"))
    model.set_attn_implementation("rows_varlen")
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    predicting: list[Any] = []

    def select(_module: Any, _args: Any, output: Any) -> Any:
        output.last_hidden_state = output.last_hidden_state.index_select(1, predicting[0])
        return output

    model.base_model.register_forward_hook(select)

    def batch_of(pairs: list[tuple[Any, int, int]], n_pairs: int) -> Any:
        rows = [(c, one) for c, one, _ in pairs] + [(c, two) for c, _, two in pairs]
        ids, positions, at, targets, owners, cu = [], [], [], [], [], [0]
        for number, (c, row) in enumerate(rows):
            tokens, start = c.rows[row], c.starts[row]
            at += range(len(ids) + start - 1, len(ids) + len(tokens) - 1)
            targets += tokens[start:]
            owners += [number] * (len(tokens) - start)
            positions += range(len(tokens))
            ids += tokens
            cu.append(len(ids))
        predicting[:] = [torch.tensor(at, device=device)]
        output = model(
            input_ids=torch.tensor(ids, device=device)[None], position_ids=torch.tensor(positions, device=device)[None],
            attention_mask=torch.zeros(1, 1, 1, 1, device=device), use_cache=False,
            cu=torch.tensor(cu, dtype=torch.int32, device=device), longest=max(positions) + 1,
            shift_labels=torch.tensor(targets, device=device)[None], fused_lm_head=True,
        )  # fmt: skip
        logps = torch.zeros(len(rows), device=device, dtype=output.log_probs.dtype)
        logps = logps.index_add(0, torch.tensor(owners, device=device), output.log_probs[0])
        loss_of(logps, n_pairs).backward()
        return torch.stack(logps.detach().float().chunk(2), 1)

    def step(made: list[Any], budget: int) -> Any:
        pairs = [(c, one, two) for c in made for one, two in c.pairs]
        order = sorted(range(len(pairs)), key=lambda i: -len(pairs[i][0].rows[pairs[i][1]]))
        found: dict[int, Any] = {}
        at = 0
        while at < len(order):
            group, tokens = [], 0
            while at < len(order):
                c, one, two = pairs[order[at]]
                tokens += len(c.rows[one]) + len(c.rows[two])
                if group and tokens > budget:
                    break
                group.append(order[at])
                at += 1
            values = batch_of([pairs[i] for i in group], len(pairs))
            found.update(zip(group, values, strict=True))
        return torch.stack([found[i] for i in range(len(pairs))])

    return model, step


def synchronise(device: str) -> None:
    import torch

    if device == "cuda":
        torch.cuda.synchronize()


def timed(device: str, work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Wall seconds, peak memory in GB on the device (0 on a CPU), and what the work returned."""
    import torch

    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    synchronise(device)
    started = time.perf_counter()
    result = work()
    synchronise(device)
    seconds = time.perf_counter() - started
    return seconds, torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else 0.0, result


def time_trl(size: str, device: str, made: list[Any], batch_size: int, checkpointing: bool) -> float:
    """Wall seconds of one optimiser step over all pairs, after a step that warms up."""
    from datasets import Dataset
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast, TrainerCallback
    from trl import DPOConfig, DPOTrainer

    class Given(DPOTrainer):  # type: ignore[misc]
        """Takes rows that are tokens already, with their reference log-probabilities."""

        def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
            return dataset

        def _precompute_ref_logps(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
            return dataset

    class Clock(TrainerCallback):  # type: ignore[misc]
        def __init__(self) -> None:
            self.ticks: list[float] = []

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            synchronise(device)
            self.ticks.append(time.perf_counter())

    rows = [
        {
            "prompt_ids": c.rows[one][: c.starts[one]], "chosen_ids": c.rows[one][c.starts[one] :],
            "rejected_ids": c.rows[two][c.starts[two] :], "ref_chosen_logps": 0.0, "ref_rejected_logps": 0.0,
        }
        for c in made for one, two in c.pairs
    ]  # fmt: skip
    words = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"<pad>": 0}, "<pad>")), pad_token="<pad>")
    clock = Clock()
    with tempfile.TemporaryDirectory() as out:
        arguments = DPOConfig(
            output_dir=out, per_device_train_batch_size=batch_size,
            gradient_accumulation_steps=-(-len(rows) // batch_size),
            max_length=None, bf16=False, use_cpu=device == "cpu", gradient_checkpointing=checkpointing, optim="sgd",
            max_steps=3, report_to="none", save_strategy="no", disable_tqdm=True,
            precompute_ref_log_probs=True, beta=BETA,
        )  # fmt: skip
        trainer = Given(
            model=make_model(size, device), args=arguments, train_dataset=Dataset.from_list(rows),
            processing_class=words, callbacks=[clock],
        )  # fmt: skip
        trainer.train()
    return clock.ticks[2] - clock.ticks[1]


def compare(turns: int, options: argparse.Namespace) -> dict[str, float]:
    import torch

    device, size = options.device, options.size
    made = [conversation(turns, seed) for seed in range(N_CONVERSATIONS)]
    variants = {
        "tree": prepare_tree(size, device, options.checkpointing),
        "varlen": prepare_varlen(size, device, options.checkpointing),
    }
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    memory: dict[str, float] = {}
    logps: dict[str, Any] = {}
    gradients: dict[str, Any] = {}
    for number in range(options.rounds + 1):  # the first warms up, compiles and is compared
        for name, (model, step) in variants.items():
            model.zero_grad(set_to_none=True)
            taken, peak, logps[name] = timed(device, lambda step=step: step(made, options.budget))  # type: ignore[misc]
            if number:
                seconds[name].append(taken)
                memory[name] = peak
            else:
                gradients[name] = torch.cat([p.grad.float().flatten().cpu() for p in model.parameters()])
    difference = float((logps["tree"] / logps["varlen"] - 1).abs().max())
    angle = float(torch.nn.functional.cosine_similarity(gradients["tree"], gradients["varlen"], dim=0))
    del variants
    if device == "cuda":
        torch.cuda.empty_cache()
    for name, taken in seconds.items():
        line = f"  T={turns:<3} {name:<7} {median(taken):8.3f} s ({min(taken):.3f} to {max(taken):.3f})"
        print(f"{line} {memory[name]:6.1f} GB", flush=True)
    print(
        f"  T={turns:<3} log-probabilities of replies differ by {difference:.1e}, cosine of the gradients {angle:.5f}"
    )
    best = float("inf")
    for batch_size in (int(n) for n in options.trl.split(",") if n):
        try:
            taken_trl = time_trl(size, device, made, batch_size, options.checkpointing)
        except torch.OutOfMemoryError:
            print(f"  T={turns:<3} trl:{batch_size} out of memory")
            continue
        print(f"  T={turns:<3} trl:{batch_size:<3} {taken_trl:8.3f} s", flush=True)
        best = min(best, taken_trl)
    tree = median(seconds["tree"])
    found = {
        f"ratio_varlen_T{turns}": median(seconds["varlen"]) / tree,
        f"logps_difference_T{turns}": difference,
        f"gradient_cosine_T{turns}": angle,
    }
    if device == "cuda":
        found[f"memory_ratio_T{turns}"] = memory["tree"] / memory["varlen"]
    if best < float("inf"):
        found[f"ratio_trl_T{turns}"] = best / tree
    return found


def main() -> int:
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="0.5b", choices=SIZES)
    parser.add_argument("--turns", default="10")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--budget", type=int, default=16_384, help="tokens of a forward pass, for both forms")
    parser.add_argument("--trl", default="1,2,4,8", help="batch sizes for stock TRL; empty: leave it out")
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device here; '--device cpu --size tiny' only shows that the script works", file=sys.stderr)
        return 2
    where = torch.cuda.get_device_name() if options.device == "cuda" else "a CPU"
    print(f"{options.size} on {where}, torch {torch.__version__}", flush=True)
    figures: dict[str, float] = {}
    for turns in map(int, options.turns.split(",")):
        figures |= compare(turns, options)
    rounded = {name: float(f"{value:.4g}") for name, value in figures.items()}
    print(json.dumps({"benchmark": "tree_dpo_gpu", "device": where, "size": options.size, "figures": rounded}))
    if "ratio_varlen_T10" not in figures:
        return 0
    held = figures["ratio_varlen_T10"] >= BAR_VARLEN and figures.get("ratio_trl_T10", BAR_TRL) >= BAR_TRL
    print(f"bars at T=10: {BAR_VARLEN}x varlen rows, {BAR_TRL}x TRL: {'held' if held else 'missed'}")
    return int(not held)


if __name__ == "__main__":
    sys.exit(main())
