"""DPO on conversation trees: packed, against rows without padding and against stock TRL.

    python benchmarks/tree_dpo.py --turns 5,10,20,40

One process at one thread, process-CPU seconds per conversation of a whole step (forward, backward, SGD) with given
reference log-probabilities and no checkpointing. Each variant runs in a subprocess of its own; memory is the
peak above the loaded model after a warm-up; rounds are interleaved, figures are medians.

- ``tree``: ours, the conversation as one packed sequence.
- ``rows``: each row alone, longest first, no padding at all, through TRL's own fused head (which on a CPU scores
  every token): stock TRL without its padding.
- ``lean``: the same with our head, on the reply's tokens only, so that the only difference is what is shared. The
  head then costs the same on both sides, which bounds this ratio well below the ratio of tokens.
- ``trl:N``: DPOTrainer as shipped with N pairs a batch, ``max_length=None``, accumulated into one step.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

VOCABULARY = 32_000
SIZES = {"large": (512, 1408, 8, 8), "small": (96, 256, 3, 4)}  # width, feed-forward, layers, heads
BETA = 0.1


class Memory:
    """Peak resident memory of a block above what was resident at its start, in MB (Linux)."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        self.before = self._read("VmRSS")

    def peak(self) -> float:
        return self._read("VmHWM") - self.before

    @staticmethod
    def _read(name: str) -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def conversation(turns: int, seed: int) -> Any:
    """User messages of about 55 tokens, replies of about 115, chosen and rejected; the chosen one goes on."""
    from aloe.training.data import TokenRows

    rng = Random(seed)

    def tokens(mean: int) -> list[int]:
        return [rng.randrange(5, VOCABULARY) for _ in range(rng.randint(int(mean * 0.8), int(mean * 1.2)))]

    made = TokenRows(f"c{seed}")
    trunk: list[int] = []
    for turn in range(turns):
        trunk = trunk + tokens(55)
        chosen, rejected = tokens(115), tokens(115)
        made.pairs.append((2 * turn, 2 * turn + 1))
        made.add([(trunk + chosen, len(trunk)), (trunk + rejected, len(trunk))])
        trunk = trunk + (chosen if rng.random() < 0.5 else rejected)
    return made


def make_model(size: str) -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    width, ffn, layers, heads = SIZES[size]
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=width, intermediate_size=ffn, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=heads, max_position_embeddings=16_384, pad_token_id=0,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def loss_of(chosen: Any, rejected: Any) -> Any:
    """Sigmoid loss, mean over pairs, with reference log-probabilities of zero difference."""
    import torch

    return -torch.nn.functional.logsigmoid(BETA * (chosen - rejected)).mean()


def step_tree(model: Any, made: Any) -> Any:
    """One packed sequence. Returns the log-probabilities of all rows, chosen first."""
    from aloe.training.trees.packs import Collator, Pack

    batch = Collator([Pack([made], 0)], 0, True)([{"pack": 0}])
    found = model(input_ids=batch["input_ids"], tree=batch["tree"], fused_lm_head=True).log_probs.sum(1)
    chosen, rejected = found.chunk(2)
    loss_of(chosen, rejected).backward()
    return found.detach()


def step_rows(model: Any, made: Any, lean: bool = False) -> Any:
    """Row by row, longest pairs first; the two rows of a pair are held at once, since its loss needs both sums."""
    import torch

    from aloe.training.trees.head import TargetLogProbs

    def logps(number: int) -> Any:
        ids = torch.tensor(made.rows[number])[None]
        start = made.starts[number]
        if lean:
            states = model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state[0, start - 1 :]
            return TargetLogProbs.apply(states, model.lm_head.weight, None, ids[0, start:])[0].sum()
        labels = ids.clone()
        labels[:, :start] = -100
        return model(input_ids=ids, labels=labels, fused_lm_head=True).log_probs.sum()

    found: dict[int, Any] = {}
    for one, two in sorted(made.pairs, key=lambda pair: -len(made.rows[pair[0]])):
        chosen, rejected = logps(one), logps(two)
        (loss_of(chosen, rejected) / len(made.pairs)).backward()
        found[one], found[two] = chosen.detach(), rejected.detach()
    return torch.stack([found[one] for one, _ in made.pairs] + [found[two] for _, two in made.pairs])


def step_lean(model: Any, made: Any) -> Any:
    return step_rows(model, made, lean=True)


def measure(variant: str, turns: int, size: str, seed: int) -> dict[str, Any]:
    """CPU seconds of a step and peak memory above the loaded model, after a warm-up on a short conversation."""
    import torch

    torch.set_num_threads(1)
    if variant.startswith("trl"):
        return measure_trl(int(variant.partition(":")[2]), turns, size, seed)
    model = make_model(size)
    model.train()
    from trl.trainer.utils import add_fused_lm_head

    add_fused_lm_head(model, outputs=("log_probs", "entropy", "mean_logits", "is_top1"))
    if variant == "tree":
        from aloe.training.trees.model import add_trees

        add_trees(model, "segments")
    step = {"tree": step_tree, "rows": step_rows, "lean": step_lean}[variant]
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    step(model, conversation(1, 99))
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    made = conversation(turns, seed)
    memory = Memory()
    started = time.process_time()
    found = step(model, made)
    optimizer.step()
    seconds = time.process_time() - started
    return {"seconds": seconds, "mb": memory.peak(), "logps": found.tolist()}


def measure_trl(batch_size: int, turns: int, size: str, seed: int) -> dict[str, Any]:
    """The same pairs through DPOTrainer, accumulated into one step; the time of ``train`` alone."""
    import torch
    from datasets import Dataset
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast
    from trl import DPOConfig, DPOTrainer

    class Stock(DPOTrainer):  # type: ignore[misc]
        def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
            return dataset

    made = conversation(turns, seed)
    rows = [
        {
            "prompt_ids": made.rows[one][: made.starts[one]], "chosen_ids": made.rows[one][made.starts[one] :],
            "rejected_ids": made.rows[two][made.starts[two] :], "ref_chosen_logps": 0.0, "ref_rejected_logps": 0.0,
        }
        for one, two in made.pairs
    ]  # fmt: skip
    words = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"<pad>": 0}, "<pad>")), pad_token="<pad>")
    model = make_model(size)
    with tempfile.TemporaryDirectory() as out:
        arguments = DPOConfig(
            output_dir=out, per_device_train_batch_size=batch_size, gradient_accumulation_steps=-(-turns // batch_size),
            max_length=None, bf16=False, use_cpu=True, gradient_checkpointing=False, optim="sgd", max_steps=1,
            report_to="none", save_strategy="no", disable_tqdm=True, precompute_ref_log_probs=True, beta=BETA,
            dataloader_pin_memory=False, train_sampling_strategy="sequential",
        )  # fmt: skip

        class Given(Stock):
            def _precompute_ref_logps(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
                return dataset

        trainer = Given(model=model, args=arguments, train_dataset=Dataset.from_list(rows), processing_class=words)
        memory = Memory()
        torch.set_num_threads(1)
        started = time.process_time()
        trainer.train()
        seconds = time.process_time() - started
    return {"seconds": seconds, "mb": memory.peak(), "logps": None}


def spawn(variant: str, turns: int, size: str, seed: int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, __file__, "--variant", variant, "--turns", str(turns), "--size", size, "--seed", str(seed)],
        capture_output=True,
        text=True,
        check=True,
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def compare(turns: int, size: str, rounds: int, trl_batches: list[int], lean: bool) -> dict[str, float]:
    """Medians over interleaved rounds; each round is another conversation, the same for all variants."""
    from aloe.training.trees.trie import build_trie

    variants = ["tree", "rows", *(["lean"] if lean else []), *(f"trl:{n}" for n in trl_batches)]
    seen: dict[str, list[dict[str, Any]]] = {name: [] for name in variants}
    token_ratios = []
    for number in range(rounds):
        made = conversation(turns, number)
        token_ratios.append(made.n_expanded / len(build_trie(made.rows)))
        for name in variants:
            if name.startswith("trl") and number and seen[name][0]["seconds"] > 120:
                continue  # minutes a step: once is enough
            seen[name].append(spawn(name, turns, size, number))
        worst = max(abs(a / b - 1) for a, b in zip(seen["tree"][-1]["logps"], seen["rows"][-1]["logps"], strict=True))
        assert worst < 1e-5, f"log-probabilities of replies differ by {worst:.1e} of their value"
    cost = {name: median(r["seconds"] for r in some) for name, some in seen.items()}
    memory = {name: median(r["mb"] for r in some) for name, some in seen.items()}
    for name in variants:
        low, high = min(r["seconds"] for r in seen[name]), max(r["seconds"] for r in seen[name])
        line = f"  T={turns:<3} {name:<6} {cost[name]:8.2f} CPU s ({low:.2f} to {high:.2f}) {memory[name]:7.0f} MB"
        print(line, flush=True)
    ratio, tokens = cost["rows"] / cost["tree"], median(token_ratios)
    found = {
        f"token_ratio_T{turns}": tokens,
        f"ratio_unpadded_T{turns}": ratio,
        f"share_of_token_ratio_T{turns}": ratio / tokens,
        f"memory_ratio_T{turns}": memory["tree"] / memory["rows"],
    }
    if lean:
        found[f"ratio_lean_T{turns}"] = cost["lean"] / cost["tree"]
        found[f"memory_ratio_lean_T{turns}"] = memory["tree"] / memory["lean"]
    if trl_batches:
        found[f"ratio_trl_T{turns}"] = min(cost[f"trl:{n}"] for n in trl_batches) / cost["tree"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", default="10,40")
    parser.add_argument("--size", default="large", choices=SIZES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--trl", default="1,2,4", help="batch sizes for stock TRL (up to 10 turns); empty: leave it out"
    )
    parser.add_argument("--no-lean", action="store_true", help="leave out the rows with our head")
    parser.add_argument("--variant", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.variant:
        print(json.dumps(measure(options.variant, int(options.turns), options.size, options.seed)))
        return
    figures: dict[str, float] = {}
    for turns in map(int, options.turns.split(",")):
        batches = [int(n) for n in options.trl.split(",") if n] if turns <= 10 else []
        figures |= compare(turns, options.size, options.rounds, batches, not options.no_lean)
    print(json.dumps({"benchmark": "tree_dpo", "figures": {k: round(v, 3) for k, v in figures.items()}}))


if __name__ == "__main__":
    main()
