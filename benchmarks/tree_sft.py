"""SFT on conversation trees: packed, against expanded rows, stock TRL and the linear all-preferred form.

    python benchmarks/tree_sft.py --turns 10 --rounds 3

Every preferred reply is a target under the history that the user really answered; half of the turns went on from the
other reply. One thread, CPU seconds of a whole step per conversation, a subprocess for each measurement, rounds
interleaved, medians.

- ``tree``: ours, the conversation as one packed sequence.
- ``rows``: each target with its history, alone and without padding, scored as transformers scores ``labels``.
- ``lean``: the same with our head on the reply's tokens only: what sharing alone gives.
- ``trl``: SFTTrainer as shipped on the same rows (prompt and completion), one row a batch, accumulated into one step.
- ``linear``: all preferred replies in one sequence, as the paper trains. Cheaper still, but another loss: its histories
  hold replies that the user never answered. Shown for its cost only.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from random import Random
from statistics import median
from typing import Any

from tree_dpo import SIZES, VOCABULARY, Memory, make_model

VARIANTS = ("tree", "rows", "lean", "trl", "linear")


def conversation(turns: int, seed: int) -> tuple[Any, list[tuple[list[int], list[int]]]]:
    """The rows of the targets, and the turns of the linear form as (user's tokens, preferred reply)."""
    from aloe.training.data import TokenRows

    rng = Random(seed)

    def tokens(mean: int) -> list[int]:
        return [rng.randrange(5, VOCABULARY) for _ in range(rng.randint(int(mean * 0.8), int(mean * 1.2)))]

    made, linear = TokenRows(f"c{seed}"), []
    trunk: list[int] = []
    for _ in range(turns):
        asked, preferred, other = tokens(55), tokens(115), tokens(115)
        trunk = trunk + asked
        made.add([(trunk + preferred, len(trunk))])
        linear.append((asked, preferred))
        trunk = trunk + (preferred if rng.random() < 0.5 else other)
    return made, linear


def step(variant: str, model: Any, made: Any, linear: Any) -> float:
    """Mean cross-entropy of the target tokens and its gradient; returns the loss."""
    import torch

    from aloe.training.trees.head import TargetLogProbs
    from aloe.training.trees.packs import Collator, Pack

    n_targets = sum(len(row) - start for row, start in zip(made.rows, made.starts, strict=True))
    if variant == "tree":
        batch = Collator([Pack([made], 0)], 0, True)([{"pack": 0}])
        found = model(input_ids=batch["input_ids"], tree=batch["tree"], fused_lm_head=True).log_probs
        loss = -found.sum() / n_targets
        loss.backward()
        return float(loss)
    if variant == "linear":
        ids = torch.tensor([token for turn in linear for part in turn for token in part])[None]
        labels = torch.tensor([t for asked, reply in linear for t in [-100] * len(asked) + reply])[None]
        loss = model(input_ids=ids, labels=labels, use_cache=False).loss
        loss.backward()
        return float(loss)
    total = 0.0
    for number in sorted(range(len(made.rows)), key=lambda i: -len(made.rows[i])):
        ids, start = torch.tensor(made.rows[number])[None], made.starts[number]
        if variant == "lean":
            states = model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state[0, start - 1 :]
            loss = -TargetLogProbs.apply(states, model.lm_head.weight, None, ids[0, start:])[0].sum() / n_targets
        else:
            labels = ids.clone()
            labels[:, :start] = -100
            n_row = ids.shape[1] - start
            loss = model(input_ids=ids, labels=labels, use_cache=False).loss * n_row / n_targets
        loss.backward()
        total += float(loss)
    return total


def measure(variant: str, turns: int, size: str, seed: int) -> dict[str, Any]:
    import torch

    torch.set_num_threads(1)
    made, linear = conversation(turns, seed)
    if variant == "trl":
        return measure_trl(made, size)
    model = make_model(size)
    model.train()
    if variant == "tree":
        from trl.trainer.utils import add_fused_lm_head

        from aloe.training.trees.model import add_trees

        add_fused_lm_head(model, outputs=("log_probs", "entropy", "mean_logits", "is_top1"))
        add_trees(model, "segments")
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    step(variant, model, *conversation(1, 99))
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    memory = Memory()
    started = time.process_time()
    loss = step(variant, model, made, linear)
    optimizer.step()
    seconds = time.process_time() - started
    return {"seconds": seconds, "mb": memory.peak(), "loss": loss}


def measure_trl(made: Any, size: str) -> dict[str, Any]:
    """The same rows through SFTTrainer; the time of ``train`` alone."""
    import torch
    from datasets import Dataset
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast
    from trl import SFTConfig, SFTTrainer

    words = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel({"<pad>": 0}, "<pad>")), pad_token="<pad>", eos_token="<pad>"
    )
    rows = []
    for ids, start in zip(made.rows, made.starts, strict=True):
        labels = [-100] * start + ids[start:]
        rows.append({"input_ids": ids, "labels": labels})
    model = make_model(size)
    with tempfile.TemporaryDirectory() as out:
        arguments = SFTConfig(
            output_dir=out, per_device_train_batch_size=1, gradient_accumulation_steps=len(rows), max_length=None,
            bf16=False, use_cpu=True, gradient_checkpointing=False, optim="sgd", learning_rate=1e-4, max_steps=1,
            lr_scheduler_type="constant", report_to="none", save_strategy="no", disable_tqdm=True, max_grad_norm=0.0,
            dataloader_pin_memory=False, train_sampling_strategy="sequential",
            dataset_kwargs={"skip_prepare_dataset": True},
        )  # fmt: skip
        trainer = SFTTrainer(model=model, args=arguments, train_dataset=Dataset.from_list(rows), processing_class=words)
        memory = Memory()
        torch.set_num_threads(1)
        started = time.process_time()
        loss = trainer.train().training_loss
        seconds = time.process_time() - started
    return {"seconds": seconds, "mb": memory.peak(), "loss": loss}


def spawn(variant: str, turns: int, size: str, seed: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--variant", variant, "--turns", str(turns), "--size", size]
    done = subprocess.run([*command, "--seed", str(seed)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{variant} failed:\n{done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def compare(turns: int, size: str, rounds: int) -> dict[str, float]:
    from aloe.training.trees.trie import build_trie

    seen: dict[str, list[dict[str, Any]]] = {name: [] for name in VARIANTS}
    token_ratios = []
    for number in range(rounds):
        made, _ = conversation(turns, number)
        token_ratios.append(made.n_expanded / len(build_trie(made.rows)))
        for name in VARIANTS:
            seen[name].append(spawn(name, turns, size, number))
        losses = {name: seen[name][-1]["loss"] for name in ("tree", "rows", "lean", "trl")}
        spread = max(losses.values()) / min(losses.values()) - 1
        assert spread < 1e-5, f"the same loss, yet: {losses}"
    cost = {name: median(r["seconds"] for r in some) for name, some in seen.items()}
    memory = {name: median(r["mb"] for r in some) for name, some in seen.items()}
    for name, some in seen.items():
        low, high = min(r["seconds"] for r in some), max(r["seconds"] for r in some)
        line = f"  T={turns:<3} {name:<6} {cost[name]:8.2f} CPU s ({low:.2f} to {high:.2f}) {memory[name]:7.0f} MB"
        print(f"{line}  loss {some[0]['loss']:.6f}", flush=True)
    return {
        f"token_ratio_T{turns}": median(token_ratios),
        f"ratio_T{turns}": cost["rows"] / cost["tree"],
        f"ratio_lean_T{turns}": cost["lean"] / cost["tree"],
        f"ratio_trl_T{turns}": cost["trl"] / cost["tree"],
        f"ratio_linear_T{turns}": cost["linear"] / cost["tree"],
        f"memory_ratio_T{turns}": memory["tree"] / memory["rows"],
        f"memory_ratio_lean_T{turns}": memory["tree"] / memory["lean"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", default="10")
    parser.add_argument("--size", default="large", choices=SIZES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--variant", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.variant:
        print(json.dumps(measure(options.variant, int(options.turns), options.size, options.seed)))
        return
    figures: dict[str, float] = {}
    for turns in map(int, options.turns.split(",")):
        figures |= compare(turns, options.size, options.rounds)
    print(json.dumps({"benchmark": "tree_sft", "figures": {k: round(v, 3) for k, v in figures.items()}}))


if __name__ == "__main__":
    main()
