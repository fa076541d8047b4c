"""Where does a preference add to the likelihood of the better replies? A surface over what the teacher leaves out.

The teacher of the demo leaves out style markers (``slip``) and facts (``lapse``), each with a probability of its own.
For every cell of the grid slip x lapse, fixed beforehand, and every seed: trees, SFT from the seed's base model, then,
on replies drawn from that SFT model at equal cost (240 replies a turn: two for each of 120 conversations, or six for
each of 40) four ways to go on, each at the learning rate that was best for it on a development seed and other personas:

    dpo2, dpo6   DPO on pairs of two draws; on the best of six against the nearest worse one
    best2, best6 likelihood alone, on the better of two; on the best of six

All of them meet the same fresh personas at temperature 0.7, scored by the judge that labelled and by one that did not.
Figures: the DPO that was best on the development seed minus the likelihood that was best there; a t interval over the
seeds, which are the random effect (seeds share neither people, nor weights, nor draws).
What is finished is kept in ``--out``: an interrupted benchmark continues, more seeds or cells can be added, and several
processes may share the seeds among them (``--seeds``) before a last one puts all together.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from dpo_vs_control import fresh_personas

from aloe.bench.compare import compare_pair, read_scored
from aloe.bench.logged import read_conversations
from aloe.bench.offline import score_conversations
from aloe.bench.runner import run_benchmark
from aloe.config import Config, DPOConfig, ModelConfig, load_config
from aloe.models.caller import Caller
from aloe.prompts import PromptSet
from aloe.stages.pipeline import run_pipeline
from aloe.stats import t_quantile
from aloe.store.rundir import RunDir
from aloe.types import Persona

WAYS = {"dpo2": (2, True), "dpo6": (6, True), "best2": (2, False), "best6": (6, False)}  # candidates, preference
TREES = {2: 120, 6: 40}
RATES = (1e-4, 2e-4, 4e-4, 8e-4)  # doubled further while the last is the best
LARGEST_RATE = 6.4e-3
SECOND_JUDGE = "world:judge?weighing=sum"
DEV_SEED = 1000


@dataclass(frozen=True, slots=True)
class Cell:
    """What the teacher leaves out: probabilities of a style marker and of a fact."""

    slip: float
    lapse: float

    def __str__(self) -> str:
        return f"slip{self.slip:g}-lapse{self.lapse:g}"


def cell_config(cell: Cell, seed: int, base: Path | None, n_candidates: int) -> Config:
    """The demo with this teacher; SFT starts from ``base`` where it is given."""
    tailored = f"world:tailored?phrasings=1&advice=2&steady=1&slip={cell.slip:g}&lapse={cell.lapse:g}"
    overrides: dict[str, Any] = {
        "seed": seed,
        "roles": {"tailored": tailored},
        "trees": {"n_trees": 900},  # half of the demo's, so that a grid fits into hours
        "rollout": {"n_candidates": n_candidates, "n_trees": TREES[n_candidates]},
        "execution": {"concurrency": 300},
    }
    if base is not None:
        overrides["sft"] = {"model": str(base)}
    return load_config("demo", overrides)


def quiet_run(config: Config, folder: Path, only: str) -> None:
    run_pipeline(config, RunDir(folder), "demo", only=only, say=None)


def base_of(seed: int, out: Path) -> Path:
    """The seed's base model, which no teacher has touched."""
    folder = out / f"base{seed}"
    quiet_run(cell_config(Cell(0.0, 0.0), seed, None, 2), folder, "base")
    return folder / "checkpoints" / "base"


def rollouts(cell: Cell, seed: int, out: Path) -> dict[int, Path]:
    """Run directories with SFT and pairs from two draws and from six."""
    base, folder = base_of(seed, out), out / f"{cell}-seed{seed}"
    runs = {2: folder / "two", 6: folder / "six"}
    quiet_run(cell_config(cell, seed, base, 2), runs[2], "rollout")
    if not (runs[6] / "datasets" / "rollout.parquet").is_file():
        shutil.rmtree(runs[6], ignore_errors=True)
        shutil.copytree(runs[2], runs[6], ignore=shutil.ignore_patterns("rollout*"))
        manifest = RunDir(runs[6]).manifest()
        manifest["stages"].pop("rollout")
        RunDir(runs[6]).save_manifest(manifest)
        quiet_run(cell_config(cell, seed, base, 6), runs[6], "rollout")
    return runs


def train(way: str, rate: float, runs: dict[int, Path], config: Config, out: Path) -> None:
    """One way to go on from SFT; the same steps and batches as DPO where the preference is off."""
    from aloe.training.dpo import train_dpo

    if (out / "config.json").is_file():
        return
    n_candidates, preference = WAYS[way]
    section: DPOConfig = config.dpo.model_copy(update={"learning_rate": rate})
    run = runs[n_candidates]
    data, start = run / "datasets" / "rollout.parquet", run / "checkpoints" / "sft"
    train_dpo(section, data, start, out, seed=config.seed, preference=preference)


async def evaluate(config: Config, checkpoint: Path, personas: list[Persona], out: Path) -> None:
    """The checkpoint on these personas, by the judge that labelled and by the second one."""
    name = out.name
    prompts = PromptSet(config.prompts_dir)
    if not (out / "result.json").is_file():
        model = ModelConfig(uri=f"hf:{checkpoint}", temperature=0.7, max_tokens=96, batch_size=128)
        caller = Caller.open(config, None, seed=config.seed, prompts=prompts)
        try:
            await run_benchmark(caller, personas, model, config=config, out_dir=out, name=name)
        finally:
            await caller.aclose()
    second = out.parent / "second" / name
    if not (second / "result.json").is_file():
        judged = {"roles": {"judge": SECOND_JUDGE}, "seed": config.seed}
        other = load_config("demo", judged)
        caller = Caller.open(other, None, seed=config.seed, prompts=prompts)
        try:
            await score_conversations(
                caller, logged(out, personas), config=other, out_dir=second, name=name, progress=None
            )
        finally:
            await caller.aclose()


def logged(folder: Path, personas: list[Persona]) -> Any:
    """The conversations of a benchmark as logged ones, so that another judge may score them."""
    file = folder / "messages.jsonl"
    if not file.is_file():
        from aloe.store.records import read_jsonl
        from aloe.types import ConversationTree

        with file.open("w", encoding="utf-8") as out:
            for tree in read_jsonl(folder / "conversations.jsonl", ConversationTree):
                messages = [node.message.model_dump() for node in tree.nodes]
                out.write(json.dumps({"messages": messages, "persona_id": tree.persona_id}) + "\n")
    return read_conversations(file, personas)


def run_cell(cell: Cell, seed: int, rates: dict[str, float], out: Path, n: int) -> dict[str, Path]:
    """Evaluations of SFT and of every way, by name."""
    runs = rollouts(cell, seed, out)
    config = cell_config(cell, seed, None, 2)
    folder = out / f"{cell}-seed{seed}"
    personas = fresh_personas(config, n, "preference-surface")
    checkpoints = {"sft": runs[2] / "checkpoints" / "sft"}
    for way, rate in rates.items():
        checkpoints[way] = folder / f"{way}-{rate:g}"
        train(way, rate, runs, config, checkpoints[way])
    for name, checkpoint in checkpoints.items():
        asyncio.run(evaluate(config, checkpoint, personas, folder / "bench" / name))
    return {name: folder / "bench" / name for name in checkpoints}


def average(folder: Path) -> float:
    result = json.loads((folder / "result.json").read_text("utf-8"))
    return float(result["avg"])


def tune(cell: Cell, out: Path, n: int) -> dict[str, float]:
    """The best rate of each way on the development seed, whose people and personas are nobody else's."""
    file = out / "rates.json"
    if file.is_file():
        return dict(json.loads(file.read_text("utf-8"))["rates"])
    runs, config = rollouts(cell, DEV_SEED, out), cell_config(cell, DEV_SEED, None, 2)
    personas = fresh_personas(config, n, "preference-surface")
    folder = out / f"{cell}-seed{DEV_SEED}"
    table: dict[str, dict[str, float]] = {}
    for way in WAYS:
        rates = list(RATES)
        for rate in rates:
            train(way, rate, runs, config, folder / f"{way}-{rate:g}")
            place = folder / "bench" / f"{way}-{rate:g}"
            asyncio.run(evaluate(config, folder / f"{way}-{rate:g}", personas, place))
            scores = table.setdefault(way, {})
            scores[f"{rate:g}"] = average(place)
            if rate == rates[-1] < LARGEST_RATE and scores[f"{rate:g}"] == max(scores.values()):
                rates.append(2 * rate)
        print(f"tuning, {cell}, {way}: " + ", ".join(f"{r} {v:.3f}" for r, v in table[way].items()), flush=True)
    best = {way: float(max(scores, key=lambda rate: scores[rate])) for way, scores in table.items()}
    file.write_text(json.dumps({"rates": best, "table": table}, indent=2) + "\n", "utf-8")
    return best


def best_on_dev(out: Path, preference: bool) -> str:
    """The way, with or without a preference, that was best on the development seed."""
    table = json.loads((out / "rates.json").read_text("utf-8"))["table"]
    return max((w for w in WAYS if WAYS[w][1] is preference), key=lambda way: max(table[way].values()))


def over_seeds(values: Iterable[float]) -> tuple[float, float, float]:
    """Mean and 95% t interval; the seeds are the sample."""
    seeds = np.asarray(list(values))
    mean = float(seeds.mean())
    if len(seeds) < 2:
        return mean, float("nan"), float("nan")
    half = t_quantile(0.975, len(seeds) - 1) * float(seeds.std(ddof=1)) / np.sqrt(len(seeds))
    return mean, mean - half, mean + half


def difference(first: Path, second: Path) -> float:
    """Paired difference of mean AL on the same personas."""
    found = compare_pair(read_scored(first), read_scored(second)).avg
    if found is None:
        raise SystemExit(f"no scores to compare in {first} and {second}")
    return float(found.value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/preference-surface"), help="where everything is kept")
    parser.add_argument("--slips", type=float, nargs="+", default=[0.0, 0.6])
    parser.add_argument("--lapses", type=float, nargs="+", default=[0.0, 0.4])
    parser.add_argument("--seeds", type=int, nargs="+", default=[10, 11, 12, 13, 14])
    parser.add_argument("--personas", type=int, default=200)
    arguments = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    started = time.perf_counter()
    cells = [Cell(slip, lapse) for slip in arguments.slips for lapse in arguments.lapses]
    arguments.out.mkdir(parents=True, exist_ok=True)
    rates = tune(cells[-1], arguments.out, arguments.personas)
    dpo, likelihood = best_on_dev(arguments.out, True), best_on_dev(arguments.out, False)
    print(f"rates {rates}; compared: {dpo} against {likelihood}", flush=True)
    found: dict[str, dict[Cell, list[float]]] = {"first": {}, "second": {}}
    of_two: dict[str, dict[Cell, list[float]]] = {"first": {}, "second": {}}
    for seed in arguments.seeds:
        for cell in cells:
            places = run_cell(cell, seed, rates, arguments.out, arguments.personas)
            line = ", ".join(f"{name} {average(place):.3f}" for name, place in places.items())
            for judge, table in found.items():
                at = {k: (p if judge == "first" else p.parent / "second" / p.name) for k, p in places.items()}
                table.setdefault(cell, []).append(difference(at[dpo], at[likelihood]))
                of_two[judge].setdefault(cell, []).append(difference(at["dpo2"], at["best2"]))
            print(f"seed {seed}, {cell}: {line}; {dpo} - {likelihood} {found['first'][cell][-1]:+.3f}", flush=True)
    figures: dict[str, float] = {}
    for judge, table in found.items():
        n_positive = 0
        for cell, values in table.items():
            mean, low, high = over_seeds(values)
            n_positive += int(low > 0)
            two = over_seeds(of_two[judge][cell])
            print(
                f"{judge} judge, {cell}: {dpo} - {likelihood} {mean:+.3f} [{low:+.3f}, {high:+.3f}]; "
                f"dpo2 - best2 {two[0]:+.3f} [{two[1]:+.3f}, {two[2]:+.3f}]"
            )
        whole = over_seeds(np.mean(list(table.values()), axis=0))
        print(f"{judge} judge, all cells: {whole[0]:+.3f} [{whole[1]:+.3f}, {whole[2]:+.3f}]")
        end = "" if judge == "first" else "_second_judge"
        figures |= {f"dpo_minus_best_of_n_mean{end}": whole[0], f"dpo_minus_best_of_n_low{end}": whole[1]}
        figures[f"n_cells_positive{end}"] = n_positive
    figures |= {"n_seeds": len(arguments.seeds), "n_cells": len(cells)}
    print(f"{time.perf_counter() - started:.0f} s")
    print(json.dumps({"benchmark": "preference_surface", "figures": {k: round(v, 4) for k, v in figures.items()}}))


if __name__ == "__main__":
    main()
