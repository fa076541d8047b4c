"""A real model on a CPU: bfloat16 against float32, trees against rows, memory against the plan, busy against idle.

    python benchmarks/real_model.py --model smollm2
    python benchmarks/real_model.py --model PATH --parts train,decode --rounds 1

Every measurement runs in a process of its own on one thread; alternatives take turns and figures are medians. Seconds
are those of the process' CPU time, which other work on the machine moves little, except for ``busy``, which is by the
clock. Parts:

- ``train``: CPU seconds of a LoRA step (rank 16) on packs of about 600 tokens, after a first one.
- ``loss``: difference of the mean losses of the last ten of 50 such steps on short conversations.
- ``decode``: 16 prompts of about 60 tokens with 48 new tokens each, in lockstep.
- ``lean``: DPO with LoRA on a conversation of ten turns: the packed tree against its rows through our own head, in the
  format that this machine chooses, as a share of the ratio of their tokens.
- ``memory``: the peak of a training and of a decoding process over what ``aloe plan`` foretells of them.
- ``busy``: twenty steps of the tiny model on all cores, beside four busy processes, over the same steps alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

from aloe.models.local.processor import wait_passively

KINDS = ("float32", "bfloat16")
RANK = 16
PARTS = ("train", "loss", "decode", "lean", "memory", "busy")


def sentences(n: int) -> list[str]:
    """Sentences of the world's personas."""
    from aloe.world.latent import draw_facts, write_profile
    from aloe.world.lexicon.options import narrow

    rng, lexicon = Random(0), narrow()
    found: list[str] = []
    while len(found) < n:
        found += write_profile(draw_facts(rng, lexicon), "She", rng, lexicon).split(". ")
    return found[:n]


def conversations(n: int, turns: int) -> list[dict[str, Any]]:
    """Rows for SFT: ``n`` conversations, every reply a target."""
    texts = iter(sentences(2 * n * turns))
    rows = []
    for number in range(n):
        talk = [{"role": role, "content": next(texts)} for _ in range(turns) for role in ("user", "assistant")]
        rows += [{"messages": talk[: end + 1], "tree_id": f"c{number}"} for end in range(1, 2 * turns, 2)]
    return rows


def peak() -> float:
    """Bytes that this process has held at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024.0 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def run_training(model: str, kind: str, n: int, turns: int, steps: int) -> dict[str, Any]:
    """``train_sft`` itself: CPU seconds of the steps after the first, losses, and the peak beside the plan's."""
    from aloe.config import SFTConfig
    from aloe.training import train_sft

    clock: list[float] = []
    config = SFTConfig(
        lora_rank=RANK, compute_dtype=kind, max_steps=steps, batch_size=turns, epochs=100.0, learning_rate=1e-4,
        token_budget=1, warmup_steps=2, checkpoint_steps=10**6,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        summary = train_sft(
            config, conversations(n, turns), model, folder, progress=lambda *_: clock.append(time.process_time())
        )
        rows = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    return {
        "seconds": clock[-1] - clock[0],
        "tokens": (steps - 1) * summary["tokens_packed"] / n,
        "loss": sum(losses[-10:]) / len(losses[-10:]),
        "peak": peak(),
        "longest": summary["longest_row"],
    }


def run_decoding(model: str, kind: str, n: int, words: int, n_new: int, turns: int) -> dict[str, Any]:
    """CPU seconds of lockstep decoding without loading, and the peak beside the plan's."""
    import torch

    from aloe.forecast.decoding import Load, decoding_bytes
    from aloe.models.local.batch import DecodedRow
    from aloe.models.local.decode import Decoder
    from aloe.models.local.model import most_cached
    from aloe.training.memory import Shape

    torch.set_num_threads(1)
    decoder = Decoder(model, kind, most_cached())
    texts = sentences(4 * n * turns * words)
    chats: list[list[dict[str, str]]] = [[] for _ in range(n)]
    seconds, longest = 0.0, 0
    for turn in range(turns):
        rows = []
        for number, chat in enumerate(chats):
            at = (turn * n + number) * words
            chat.append({"role": "user", "content": ". ".join(texts[at : at + words])})
            rows.append(DecodedRow(decoder.codec.encode(chat), n_new, 0.0, None, None))
        longest = max(longest, *(len(row.ids) for row in rows))
        started = time.process_time()
        decoder.decode(rows)
        seconds += time.process_time() - started
        for row, chat in zip(rows, chats, strict=True):
            chat.append({"role": "assistant", "content": decoder.codec.text(row.new)})
    n_parameters = sum(p.numel() for p in decoder.model.parameters())
    load = Load(n, n, 1, longest, n_new)
    planned = decoding_bytes(Shape.of(decoder.model.config), n_parameters, decoder.model.dtype.itemsize, load)
    return {"seconds": seconds, "peak": peak(), "planned": planned}


def run_lean(model: str, variant: str, turns: int, kind: str) -> dict[str, Any]:
    """CPU seconds of a DPO step with LoRA on one conversation, as a packed tree or row by row."""
    import torch
    from peft import get_peft_model
    from tree_dpo import conversation, loss_of, step_lean
    from trl.trainer.utils import add_fused_lm_head

    from aloe.config import SFTConfig
    from aloe.models.local.checkpoint import load_model
    from aloe.training import precision, trl_run
    from aloe.training.trees.model import add_trees, set_attention
    from aloe.training.trees.packs import Collator, Pack
    from aloe.training.trees.trie import build_trie

    torch.set_num_threads(1)
    torch.manual_seed(0)
    adapted = get_peft_model(
        load_model(model, "float32", trainable=True), trl_run.lora_config(SFTConfig(lora_rank=RANK))
    )
    base = adapted.get_base_model()
    adapted.train()
    if variant == "tree":
        add_fused_lm_head(base, outputs=("log_probs", "entropy", "mean_logits", "is_top1"))
        add_trees(base, "segments")
    elif kind == "bfloat16":
        set_attention(base, "segments")  # rows too have a backward pass of attention in float32

    def step(made: Any) -> Any:
        if variant == "lean":
            return step_lean(base, made)
        batch = Collator([Pack([made], 0)], 0, True)([{"pack": 0}])
        found = base(input_ids=batch["input_ids"], tree=batch["tree"], fused_lm_head=True).log_probs.sum(1)
        loss_of(*found.chunk(2)).backward()
        return found.detach()

    made = conversation(turns, 0)
    with precision.economically(adapted, kind), torch.autocast("cpu", torch.bfloat16, enabled=kind == "bfloat16"):
        step(conversation(1, 99))
        adapted.zero_grad(set_to_none=True)
        started = time.process_time()
        found = step(made)
        seconds = time.process_time() - started
    return {"seconds": seconds, "logps": found.tolist(), "token_ratio": made.n_expanded / len(build_trie(made.rows))}


def run_busy(n_hogs: int) -> dict[str, Any]:
    """Seconds by the clock of twenty steps of the tiny model's size on all cores, beside ``n_hogs`` busy processes."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=960,
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        pad_token_id=0,
    )
    model = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters())
    ids = torch.randint(1, 960, (4, 300))
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n_hogs)]
    try:
        started = 0.0
        for number in range(21):
            if number == 1:
                started = time.perf_counter()
            model(input_ids=ids, labels=ids).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        return {"seconds": time.perf_counter() - started}
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


def spawn(part: str, *arguments: Any, threads: int = 1) -> dict[str, Any]:
    """One measurement in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, __file__, "--one", json.dumps([part, *arguments])]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"  {part} {arguments}: { ({k: v for k, v in result.items() if k != 'logps'}) }", flush=True)
    return result


def ratio_of(part: str, rounds: int, arguments: Any) -> tuple[float, dict[str, list[dict[str, Any]]]]:
    """float32's median CPU seconds over bfloat16's, and all that was measured."""
    seen: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    for _ in range(rounds):
        for kind in KINDS:
            seen[kind].append(spawn(part, *arguments(kind)))
    cost = {kind: median(one["seconds"] for one in some) for kind, some in seen.items()}
    return cost["float32"] / cost["bfloat16"], seen


def planned_training(model: str, kind: str, n_tokens: int) -> float:
    """Bytes that the plan foretells of a training on packs of ``n_tokens``."""
    from aloe.config import SFTConfig, load_config
    from aloe.forecast.training import GB, memory_gb, sizes_of

    sizes = sizes_of(load_config("demo"), model, None)
    assert sizes is not None
    return memory_gb(SFTConfig(lora_rank=RANK, compute_dtype=kind), sizes, n_tokens) * GB


def measure(options: argparse.Namespace, parts: list[str]) -> dict[str, float]:
    from aloe.models.local.packaged import resolve
    from aloe.models.local.processor import pays_on_cpu, width_of

    model = resolve(options.model)
    kind = "bfloat16" if pays_on_cpu(width_of(model)) else "float32"
    figures: dict[str, float] = {}
    if "train" in parts:
        figures["bf16_train_ratio"], seen = ratio_of("train", options.rounds, lambda k: (model, k, 3, 12, 4))
        one = seen["bfloat16"][0]
        figures["bf16_train_tokens_per_second"] = one["tokens"] / one["seconds"]
    if "loss" in parts:
        _, seen = ratio_of("train", 1, lambda k: (model, k, 25, 2, 50))
        figures["bf16_loss_gap"] = abs(seen["float32"][0]["loss"] - seen["bfloat16"][0]["loss"])
    if "decode" in parts:
        figures["bf16_decode_ratio"], _ = ratio_of("decode", options.rounds, lambda k: (model, k, 16, 2, 48, 1))
    if "lean" in parts:
        tree, lean = (spawn("lean", model, variant, options.turns, kind) for variant in ("tree", "lean"))
        worst = max(abs(a / b - 1) for a, b in zip(tree["logps"], lean["logps"], strict=True))
        assert worst < (1e-2 if kind == "bfloat16" else 1e-4), f"log-probabilities of replies differ by {worst:.1e}"
        figures[f"ratio_lean_T{options.turns}"] = lean["seconds"] / tree["seconds"]
        share = lean["seconds"] / tree["seconds"] / tree["token_ratio"]
        figures[f"share_of_token_ratio_lean_T{options.turns}"] = share
    if "memory" in parts:
        one = spawn("train", model, kind, 2, 20, 2)
        figures["memory_over_plan_sft"] = one["peak"] / planned_training(model, kind, one["longest"])
        one = spawn("decode", model, kind, 24, 4, 8, 3)
        figures["memory_over_plan_bench"] = one["peak"] / one["planned"]
    if "busy" in parts:
        cores = os.cpu_count() or 1
        alone, beside = (spawn("busy", n, threads=cores) for n in (0, 4))
        figures["busy_over_idle"] = beside["seconds"] / alone["seconds"]
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2", help="path, id, or the name of a packaged model")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--turns", type=int, default=10, help="of part lean")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    wait_passively()
    if options.one:
        part, *arguments = json.loads(options.one)
        runs = {"train": run_training, "decode": run_decoding, "lean": run_lean, "busy": run_busy}
        print(json.dumps(runs[part](*arguments)))
        return
    figures = measure(options, options.parts.split(","))
    print(json.dumps({"benchmark": "real_model", "figures": {k: round(v, 3) for k, v in figures.items()}}))


if __name__ == "__main__":
    main()
