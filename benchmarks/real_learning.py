"""Does a real language model learn to adapt, and how far does what it learns carry?

The recipe (SmolLM2-135M-Instruct by default) is run with some kinds of fact and some phrasings held out of all
training: no training persona has these facts, no training user and no reply says anything in the held-out phrasings.
Then, on fresh personas, under the recipe's user and judge:

- ``seen``: personas of the training's kinds; the base, SFT, preference training, the generic assistant, the oracle;
- ``kinds``: personas that all have the held-out kinds of fact;
- ``phrasings``: personas of the seen kinds whose users say everything in held-out phrasings;
- ``general``: 220 plain instructions of our own, teacher-forced, before and after: what was forgotten.

Figures (the lowest over seeds, of ``false`` and ``minutes`` the highest): SFT - generic and IR of SFT with the lower
ends of their intervals, recall, untrue facts, style recall, repetition, the share of (oracle - generic) reached over
the last three turns, preference training - SFT, recall of held-out over seen kinds and phrasings, loss of general
instructions after minus before in nats a token. The better of SFT and preference training is what recall, false,
style, share and held-out recall are figures of. ``minutes`` are those of the run's stages; a stage that was interrupted
counts from its last start.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from general_items import general_items

from aloe.bench.compare import compare_pair, read_scored
from aloe.bench.kinds import Counts, count_kinds, recall_of, untrue_of
from aloe.bench.runner import run_benchmark
from aloe.config import Config, ModelConfig, load_config
from aloe.models.caller import Caller
from aloe.models.local.checkpoint import load_model, load_tokenizer
from aloe.models.local.packaged import resolve
from aloe.seeding import derive_seed
from aloe.stages.pipeline import run_pipeline
from aloe.stages.probe import probe_writers, run_probe
from aloe.store.records import read_jsonl
from aloe.store.rundir import RunDir
from aloe.training.probe import answer
from aloe.types import BenchmarkResult, ConversationTree, Persona
from aloe.world.latent import draw_facts, draw_traits, write_personality, write_profile
from aloe.world.lexicon.options import Options, narrow

HELD_OUT = ("pet", "instrument", "studies")
WRITERS = ("writer", "user", "tailored", "generic")


def with_options(config: Config, roles: Sequence[str], options: str) -> Config:
    """The config with more options in the URIs of these roles' world models."""
    changed = {}
    for role in roles:
        model = getattr(config.roles, role)[0]
        joint = "&" if "?" in model.uri else "?"
        changed[role] = (model.model_copy(update={"uri": f"{model.uri}{joint}{options}"}),)
    return config.model_copy(update={"roles": config.roles.model_copy(update=changed)})


def draw_personas(config: Config, n: int, name: str, held: Sequence[str], have: bool) -> list[Persona]:
    """Fresh personas that have all of the held-out kinds of fact, or none of them."""
    writers = probe_writers(config)[0]
    lexicon = narrow(writers.persona)
    found = []
    for number in range(n):
        rng = Random(derive_seed(config.seed, "real-learning", name, number))
        facts = dict(draw_facts(rng, lexicon))
        others = [pair for pair in facts.items() if pair[0] not in held]
        own = [(slot, rng.choice(lexicon.by_slot[slot].values).text) for slot in held] if have else []
        facts_now = [*own, *others[: max(0, 8 - len(own))]]
        rng.shuffle(facts_now)
        found.append(
            Persona(
                persona_id=f"{name}{number}",
                profile=write_profile(facts_now, "She", rng, lexicon),
                personality=write_personality(draw_traits(rng, lexicon), "She", rng, lexicon),
                profile_id=f"{name}-profile{number}",
                personality_id=f"{name}-personality{number}",
                split="bench",
            )
        )
    return found


async def evaluate(
    config: Config, models: dict[str, str], out: Path, personas: list[Persona], temperature: float
) -> dict[str, BenchmarkResult]:
    """Benchmark models (name -> URI) on personas; what is done is kept."""
    results = {}
    for name, uri in models.items():
        file = out / name / "result.json"
        if file.is_file():
            results[name] = BenchmarkResult.model_validate_json(file.read_text("utf-8"))
            continue
        model = ModelConfig(uri=uri, temperature=temperature, max_tokens=80, batch_size=128)
        caller = Caller.open(config, None, seed=config.seed)
        try:
            results[name] = await run_benchmark(caller, personas, model, config=config, out_dir=out / name, name=name)
        finally:
            await caller.aclose()
    return results


def kinds_in(folder: Path, personas: list[Persona]) -> Counts:
    trees = read_jsonl(folder / "conversations.jsonl", ConversationTree)
    return count_kinds(trees, {p.persona_id: p for p in personas})


def general_loss(model: str) -> tuple[float, float]:
    """Mean loss of the right answers in nats a question, and how often their first token is the likeliest."""
    path = resolve(model)
    answers = answer(load_model(path), load_tokenizer(path), general_items())
    return -sum(a.right for a in answers) / len(answers), sum(a.is_first for a in answers) / len(answers)


def late_mean(result: BenchmarkResult) -> float:
    if result.late_mean is None:
        raise SystemExit(f"{result.model}: no turn has enough scores; give more --personas")
    return result.late_mean


def run_seed(arguments: argparse.Namespace, seed: int) -> dict[str, float]:
    """All figures of one seed."""
    overrides: dict[str, Any] = {"seed": seed, "skip": [*load_config(arguments.recipe).skip, "bench", "report"]}
    overrides["bench"] = {"n_turns": arguments.turns}
    if arguments.model:
        overrides["sft"] = {"model": arguments.model}
    config = load_config(arguments.recipe, overrides)
    held = tuple(arguments.held_out.split(","))
    training = with_options(config, WRITERS, f"hold_out=1&without_slots={','.join(held)}")
    run, out = arguments.out / f"seed{seed}", arguments.out / f"bench{seed}"
    before = sum(os.times()[:4])
    run_pipeline(training, RunDir(run), arguments.recipe)
    stages = RunDir(run).manifest()["stages"]
    minutes = sum(stage["seconds"] for stage in stages.values()) / 60
    print(
        f"seed {seed}: {minutes:.1f} minutes, {sum(os.times()[:4]) - before:,.0f} CPU s of this start; {_work(stages)}"
    )
    trained = {name: f"hf:{path}" for name, path in RunDir(run).checkpoints(("sft", "dpo")).items()}
    trained = {name: uri for name, uri in trained.items() if name in ("sft", "dpo")}
    base = f"hf:{str(config.sft.model).removeprefix('hf:')}"
    everyone = {**trained, "base": base, "generic": "world:generic", "oracle": "world:oracle"}
    n, temperature = arguments.personas, arguments.temperature
    seen = draw_personas(config, n, "seen", held, have=False)
    apart = draw_personas(config, n, "kinds", held, have=True)
    results = asyncio.run(evaluate(config, everyone, out / "seen", seen, temperature))
    best = max(trained, key=lambda name: results[name].avg or 0.0)
    asyncio.run(evaluate(config, {best: trained[best]}, out / "kinds", apart, temperature))
    rare = with_options(config, ("user",), "held_out=1")
    asyncio.run(evaluate(rare, {best: trained[best]}, out / "phrasings", seen, temperature))
    figures = compared(out, results, minutes)
    figures |= carried_over(out, best, seen, apart, held)
    before, after = general_loss(base), general_loss(trained[best])
    figures["general_loss_added"] = after[0] - before[0]
    figures["general_first_token"] = after[1]
    print(f"seed {seed}: general instructions: loss {before[0]:.2f} -> {after[0]:.2f} nats, first token "
          f"{before[1]:.2f} -> {after[1]:.2f}")  # fmt: skip
    probe = run_probe(training, trained[best], n_personas=min(16, n))
    for name, estimate in probe.figures.items():
        if estimate is not None:
            print(f"seed {seed}: probe {name} {estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]")
    return figures


def _work(stages: dict[str, Any]) -> str:
    """Tokens of the trainings, each once where it is packed, and seconds by stage."""
    found = []
    for name, stage in stages.items():
        summary = stage.get("summary") or {}
        tokens = summary.get("tokens_packed")
        found.append(f"{name} {stage['seconds']:.0f} s" + (f" ({tokens / 1e6:.2f}M tokens)" if tokens else ""))
    return ", ".join(found)


def compared(out: Path, results: dict[str, BenchmarkResult], minutes: float) -> dict[str, float]:
    """Figures of the seen kinds, each model's line printed."""
    for name, r in results.items():
        shown = {key: r.truth.get(key) for key in ("fact_use", "untrue_rate", "style_recall", "repetition")}
        cells = "  ".join(f"{k} {v:.2f}" for k, v in shown.items() if v is not None)
        print(f"{name:<8} AVG {r.avg or 0:.2f}  late {r.late_mean or 0:.2f}  IR {r.ir or 0:+.3f} {r.ir_ci}  {cells}")
    scored = {name: read_scored(out / "seen" / name) for name in results}

    def difference(first: str, second: str) -> float:
        found = compare_pair(scored[first], scored[second]).avg
        if found is None:
            return float("nan")
        print(f"{first} - {second}: {found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]")
        return found.low

    best = max((n for n in ("sft", "dpo") if n in results), key=lambda name: results[name].avg or 0.0)
    own, generic, oracle = results[best], late_mean(results["generic"]), late_mean(results["oracle"])
    found = {
        "sft_minus_generic_low": difference("sft", "generic"),
        "ir_low": (results["sft"].ir_ci or (float("nan"),))[0],
        "recall": own.truth.get("fact_use") or 0.0,
        "false": own.truth.get("untrue_rate") or 0.0,
        "style_recall": own.truth.get("style_recall") or 0.0,
        "repetition": own.truth.get("repetition") or 0.0,
        "share_of_oracle_late": (late_mean(own) - generic) / (oracle - generic),
        "minutes": minutes,
    }
    if "dpo" in results:
        found["preference_minus_sft_low"] = difference("dpo", "sft")
    return found


def carried_over(
    out: Path, best: str, seen: list[Persona], apart: list[Persona], held: Sequence[str]
) -> dict[str, float]:
    """Recall of held-out kinds and phrasings over that of seen ones, with counts printed."""
    every = [slot.name for slot in narrow(Options()).slots]
    usual = [name for name in every if name not in held]
    plain = kinds_in(out / "seen" / best, seen)
    kinds = kinds_in(out / "kinds" / best, apart)
    rare = kinds_in(out / "phrasings" / best, seen)
    rows = {
        "seen kinds": (plain, usual),
        **{f"held out: {slot}": (kinds, [slot]) for slot in held},
        "held out, all": (kinds, list(held)),
        "beside them": (kinds, usual),
        "held-out phrasings": (rare, usual),
    }
    shares: dict[str, float] = {}
    for name, (counts, slots) in rows.items():
        (recall, due), (untrue, named) = recall_of(counts, slots), untrue_of(counts, slots)
        shares[name] = recall.value if recall else float("nan")
        span = f"[{recall.low:.2f}, {recall.high:.2f}]" if recall else ""
        print(f"{best} {name:<22} recall {shares[name]:.2f} {span} of {due}; untrue "
              f"{untrue.value if untrue else 0:.2f} of {named}")  # fmt: skip
    base = shares["seen kinds"] or float("nan")
    return {
        "heldout_over_seen_recall": shares["held out, all"] / base,
        "phrasings_over_seen_recall": shares["held-out phrasings"] / base,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2", help="comma-separated (default: 0,1,2)")
    parser.add_argument("--recipe", default="smollm2")
    parser.add_argument("--model", help="another chat model in its place")
    parser.add_argument("--personas", type=int, default=100, help="of each kind of benchmark (default: 100)")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--held-out", default=",".join(HELD_OUT), help="kinds of fact held out of training")
    parser.add_argument("--out", type=Path, default=Path("runs/real-learning"), help="what is done there is kept")
    arguments = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    seeds = [run_seed(arguments, int(seed)) for seed in arguments.seeds.split(",")]
    figures: dict[str, float | None] = {}
    for name in seeds[0]:
        worst = max if name in ("false", "minutes", "repetition", "general_loss_added") else min
        values = [found[name] for found in seeds]
        figures[name] = None if any(map(math.isnan, values)) else round(worst(values), 4)
    print(json.dumps({"benchmark": "real_learning", "figures": figures}))


if __name__ == "__main__":
    main()
