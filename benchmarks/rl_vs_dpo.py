"""Is reinforcement learning against the simulated user better than DPO at equally many generated tokens?

For each seed, from the demo's SFT checkpoint: ``rl`` until it has generated ``--tokens``; ``dpo`` on a rollout of as
many tokens; and ``rl`` with rewards shuffled among siblings, the control. ``sft`` and these three meet the same fresh
personas at temperature 0.7, under the demo's user and judge. Differences are paired by persona, with intervals
clustered by profile and personality. Untrue facts are the share of mentioned facts that are not the user's.

Two more parts: packed trees against unpacked rows (process-CPU seconds of forward, backward and update, siblings of one
message as a batch without padding between turns), and credit ``return`` against ``turn`` in a toy world in which asking
earns nothing until the user has answered (``rl_estimator.py``: a policy of 25 logits, not a language model).

What is finished is kept in ``--out``: an interrupted benchmark continues, and seeds can be added.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dpo_vs_control import fresh_personas
from rl_estimator import learn_to_ask

from aloe.bench.compare import compare_pair, read_scored
from aloe.bench.runner import run_benchmark
from aloe.config import Config, ModelConfig, load_config
from aloe.models.caller import Caller
from aloe.rl.train import train_rl
from aloe.stages.pipeline import run_pipeline
from aloe.stats import t_quantile
from aloe.store.rundir import RunDir

PARTS = ("learning", "packing", "asking")
#: Chosen on development seed 1000, whose people and personas are nobody else's.
RL = {
    "iterations": 10_000, "conversations": 16, "siblings": 4, "minibatches": 8, "passes": 2, "learning_rate": 3e-4,
    "warmup_steps": 8, "eval_every": 5, "eval_personas": 24, "checkpoint_every": 2,
}  # fmt: skip


def seed_config(seed: int, tokens: int, **more: Any) -> Config:
    return load_config("demo", {"seed": seed, "rl": RL | {"max_tokens": tokens}, **more})


def timed(folder: Path, name: str, work: Callable[[], Any]) -> float:
    """Minutes that ``work`` took, also when it was done before."""
    file = folder / "minutes.json"
    known: dict[str, float] = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    if name not in known:
        started = time.perf_counter()
        work()
        known[name] = (time.perf_counter() - started) / 60
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(known), "utf-8")
    return known[name]


def train_with(config: Config, run: Path, out: Path, **options: Any) -> None:
    section = config.rl.model_copy(update=options)
    train_rl(section, run, run / "checkpoints" / "sft", out, config=config, seed=config.seed)


def run_dpo(config: Config, run: Path, out: Path, rl: Path, tokens: int) -> None:
    """DPO on a rollout that generates as many tokens as RL did."""
    row = json.loads((rl / "metrics.jsonl").read_text("utf-8").splitlines()[0])
    n_trees = round(tokens / (config.rollout.n_candidates * config.trees.n_turns * row["reply_tokens"]))
    more = seed_config(config.seed, tokens, rollout=config.rollout.model_dump() | {"n_trees": n_trees})
    if not out.is_dir():
        shutil.copytree(run, out)
    run_pipeline(more, RunDir(out), "demo", only="dpo", say=None)


async def evaluate(config: Config, checkpoint: Path, out: Path, n: int) -> None:
    if (out / "result.json").is_file():
        return
    model = ModelConfig(uri=f"hf:{checkpoint}", temperature=0.7, max_tokens=96, batch_size=128)
    caller = Caller.open(config, None, seed=config.seed)
    try:
        people = fresh_personas(config, n, "rl-vs-dpo")
        await run_benchmark(caller, people, model, config=config, out_dir=out, name=out.name)
    finally:
        await caller.aclose()


def run_seed(seed: int, out: Path, tokens: int, n: int, sft: Path | None) -> dict[str, float]:
    """Differences of one seed, and the minutes of its RL training."""
    config, folder = seed_config(seed, tokens), out / f"seed{seed}"
    run = sft or folder / "run"
    if sft is None:
        run_pipeline(config, RunDir(run), "demo", only="sft", say=None)
    minutes = timed(folder, "rl", lambda: train_with(config, run, folder / "rl"))
    timed(folder, "shuffled", lambda: train_with(config, run, folder / "shuffled", shuffle=True))
    dpo = folder / "dpo"
    timed(folder, "dpo", lambda: run_dpo(config, run, dpo, folder / "rl", tokens))
    places = {
        "sft": run / "checkpoints" / "sft",
        "rl": folder / "rl",
        "shuffled": folder / "shuffled",
        "dpo": dpo / "checkpoints" / "dpo",
    }
    for name, place in places.items():
        asyncio.run(evaluate(config, place, folder / "eval" / name, n))
    scored = {name: read_scored(folder / "eval" / name) for name in places}
    untrue = {
        name: json.loads((folder / "eval" / name / "result.json").read_text("utf-8"))["truth"]["untrue_rate"]
        for name in places
    }
    found = {"minutes": minutes, "false_rl_minus_sft": untrue["rl"] - untrue["sft"]}
    for first, second in (("rl", "dpo"), ("rl", "sft"), ("dpo", "sft"), ("shuffled", "sft")):
        difference = compare_pair(scored[first], scored[second]).avg
        if difference is None:
            raise SystemExit(f"seed {seed}: no scores to compare in {folder}")
        low, high = difference.low, difference.high
        print(f"seed {seed}: {first} - {second} {difference.value:+.3f} [{low:+.3f}, {high:+.3f}]", flush=True)
        found |= {f"{first}_{second}": difference.value, f"{first}_{second}_low": low, f"{first}_{second}_high": high}
    print(f"seed {seed}: untrue facts {untrue}; RL took {minutes:.1f} minutes", flush=True)
    return found


def packed_speedup(rounds: int) -> float:
    """CPU seconds of unpacked rows over those of packed trees, for one update of conversations of ten turns."""
    import tempfile
    from random import Random

    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from aloe.config import RLConfig
    from aloe.training.data import TokenRows
    from aloe.training.reinforce.policy import Drawn, Policy
    from aloe.training.tiny.tokenizer import build_tokenizer

    torch.set_num_threads(1)
    rng, config = Random(0), LlamaConfig(
        vocab_size=8000, hidden_size=256, intermediate_size=688, num_hidden_layers=6, num_attention_heads=8,
        max_position_embeddings=4096, bos_token_id=None, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    rows: list[TokenRows] = []
    history = [rng.randrange(5, 8000) for _ in range(40)]
    for turn in range(10):
        replies = [[rng.randrange(5, 8000) for _ in range(100)] for _ in range(4)]
        rows.append(TokenRows(str(turn), [history + r for r in replies], [len(history)] * 4))
        history = history + replies[0] + [rng.randrange(5, 8000) for _ in range(40)]
    whole = TokenRows("0", [r for c in rows for r in c.rows], [s for c in rows for s in c.starts])
    seconds: dict[str, list[float]] = {"segments": [], "rows": []}
    with tempfile.TemporaryDirectory() as folder:
        LlamaForCausalLM(config).save_pretrained(folder)
        build_tokenizer([" ".join(f"w{i}" for i in range(7000))]).save_pretrained(folder)
        for _ in range(rounds):
            for packing, conversations in (("segments", [whole]), ("rows", rows)):
                budget = 1 if packing == "rows" else 10**6
                policy = Policy(RLConfig(packing=packing, token_budget=budget, warmup_steps=0), folder)
                drawn = [Drawn(0, c, [0.5] * len(c.rows), [1.0] * len(c.rows)) for c in conversations]
                started = time.process_time()
                policy.measure(drawn)
                policy.update(drawn, 1, 0, 0)
                seconds[packing].append(time.process_time() - started)
    ratio = statistics.median(seconds["rows"]) / statistics.median(seconds["segments"])
    print(f"packing: CPU s of an update {seconds}, ratio {ratio:.1f}", flush=True)
    return ratio


def asking(n: int) -> tuple[float, float]:
    """Mean difference of reward per conversation, ``return`` minus ``turn``, and the low end of its t interval."""
    gaps = [learn_to_ask("return", seed) - learn_to_ask("turn", seed) for seed in range(n)]
    half = t_quantile(0.975, n - 1) * statistics.stdev(gaps) / n**0.5
    print(f"asking pays later (toy): return - turn {statistics.fmean(gaps):+.3f} +- {half:.3f}", flush=True)
    return statistics.fmean(gaps), statistics.fmean(gaps) - half


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/rl-vs-dpo"), help="where everything is kept")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--tokens", type=int, default=600_000, help="generated by each side")
    parser.add_argument("--personas", type=int, default=300)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--sft", type=Path, help="a demo run of the only seed, whose SFT checkpoint is there already")
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}", flush=True)
    parts, figures = options.parts.split(","), {}
    if "packing" in parts:
        figures["packed_speedup_T10"] = packed_speedup(3)
    if "asking" in parts:
        figures["return_minus_turn_mean"], figures["return_minus_turn_low"] = asking(6)
    if "learning" in parts:
        names = [int(seed) for seed in options.seeds.split(",")]
        seeds = [run_seed(seed, options.out, options.tokens, options.personas, options.sft) for seed in names]
        figures |= {
            "rl_minus_dpo_mean": statistics.fmean(s["rl_dpo"] for s in seeds),
            "rl_minus_dpo_min_low": min(s["rl_dpo_low"] for s in seeds),
            "rl_minus_sft_mean": statistics.fmean(s["rl_sft"] for s in seeds),
            "shuffled_minus_sft_low": min(s["shuffled_sft_low"] for s in seeds),
            "shuffled_minus_sft_high": max(s["shuffled_sft_high"] for s in seeds),
            "false_rl_minus_sft_max": max(s["false_rl_minus_sft"] for s in seeds),
            "minutes_max": max(s["minutes"] for s in seeds),
            "n_seeds": len(seeds),
        }
    print(json.dumps({"benchmark": "rl_vs_dpo", "figures": {k: round(v, 4) for k, v in figures.items()}}))


if __name__ == "__main__":
    main()
