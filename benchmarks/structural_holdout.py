"""Does what was learnt about adapting carry over to what was never adapted to?

The demo is trained anew, with one kind of fact (``sport``) in no training persona and one phrasing of every kind of
fact said by no training user: the base model has read these words in plain documents, SFT and DPO have not. The
benchmark's personas then all have that fact, and its users say everything in the held-out phrasing only. Compared,
paired, with the generic assistant on the same personas under the same user and judge.

Figures: ``gain_over_generic`` (mean AL of DPO minus generic) with its 95% interval, the same for SFT, ``recall`` of
all revealed facts and ``recall_held_out`` (replies that use the held-out fact where it was revealed and matters).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
from dataclasses import replace
from pathlib import Path
from random import Random

from aloe.bench.compare import compare_pair, read_scored
from aloe.bench.runner import run_benchmark
from aloe.config import Config, ModelConfig, load_config
from aloe.models.caller import Caller
from aloe.seeding import derive_seed
from aloe.stages.pipeline import run_pipeline
from aloe.store.records import read_jsonl
from aloe.store.rundir import RunDir
from aloe.training.tiny.material import read_material
from aloe.types import BenchmarkResult, ConversationTree, Persona
from aloe.world.latent import draw_facts, draw_traits, read_persona, write_personality, write_profile
from aloe.world.lexicon.options import narrow
from aloe.world.reply import read_reply
from aloe.world.truth import read_known

SLOT = "sport"
PHRASINGS = 4  # of each kind of sentence: all but the last are said in training, so that none of them is the key
MODELS = ("base", "sft", "dpo", "generic", "oracle")


def training_config(recipe: str, seed: int) -> Config:
    """The recipe with the slot left out of personas and the last phrasing left out of what is said."""
    config = load_config(recipe, {"seed": seed})
    roles = config.roles
    writer = f"{roles.writer[0].uri.replace('phrasings=2', f'phrasings={PHRASINGS}')}&hold_out=1&without_slots={SLOT}"
    user = f"{roles.user[0].uri.replace('phrasings=2', f'phrasings={PHRASINGS}')}&hold_out=1&without_slots={SLOT}"
    return load_config(recipe, {"seed": seed, "roles": {"writer": writer, "user": user}, "skip": ["bench"]})


def test_config(config: Config) -> Config:
    """The same with users who say everything in the held-out phrasing."""
    user = config.roles.user[0].uri.replace("&hold_out=1", "&held_out=1").replace(f"&without_slots={SLOT}", "")
    roles = config.roles.model_copy(update={"user": (ModelConfig(uri=user),)})
    return config.model_copy(update={"roles": roles})


def personas_with_slot(config: Config, n: int) -> list[Persona]:
    """Fresh personas that all have the held-out fact."""
    lexicon = narrow(replace(read_material(config).persona, phrasings=2))
    found: list[Persona] = []
    number = 0
    while len(found) < n:
        rng = Random(derive_seed(config.seed, "structural-holdout", number))
        number += 1
        facts = draw_facts(rng, lexicon)
        if not any(slot == SLOT for slot, _ in facts):
            continue
        profile = write_profile(facts, "She", rng, lexicon)
        personality = write_personality(draw_traits(rng, lexicon), "She", rng, lexicon)
        found.append(
            Persona(
                persona_id=f"holdout{number}",
                profile=profile,
                personality=personality,
                profile_id=f"profile{number}",
                personality_id=personality,
                split="bench",
            )
        )
    return found


async def evaluate(config: Config, run: Path, out: Path, personas: list[Persona]) -> dict[str, BenchmarkResult]:
    """Benchmark the checkpoints and two controls; results by name."""
    results = {}
    for name in MODELS:
        uri = f"world:{name}" if name in ("generic", "oracle") else f"hf:{run / 'checkpoints' / name}"
        model = ModelConfig(uri=uri, temperature=0.0, max_tokens=96, batch_size=128)
        caller = Caller.open(config, None, seed=config.seed)
        try:
            results[name] = await run_benchmark(caller, personas, model, config=config, out_dir=out / name, name=name)
        finally:
            await caller.aclose()
    return results


def recall_of_slot(folder: Path, personas: list[Persona]) -> float | None:
    """Share of replies that use the held-out fact where it was revealed before and matters to the topic."""
    by_id = {p.persona_id: p for p in personas}
    used = available = 0
    for tree in read_jsonl(folder / "conversations.jsonl", ConversationTree):
        persona = by_id[tree.persona_id]
        latent = read_persona(persona.profile, persona.personality)
        messages = [n.message for n in tree.nodes]
        for end in range(1, len(messages), 2):
            known = read_known(latent, messages[:end])
            held = [item for item in known.facts if item.name == SLOT and known.matters(item)]
            if not held:
                continue
            available += 1
            named = [payload for group in read_reply(messages[end].content).values for payload in group]
            used += any(p.name == SLOT and p.value == held[0].value for p in named)
    return used / available if available else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="demo")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--personas", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path("runs/structural-holdout"))
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    config = training_config(options.recipe, options.seed)
    run_pipeline(config, RunDir(options.out / "run"), options.recipe, only="dpo")
    personas = personas_with_slot(config, options.personas)
    results = asyncio.run(evaluate(test_config(config), options.out / "run", options.out / "bench", personas))
    figures: dict[str, float | None] = {}
    for name, result in results.items():
        recall = result.truth.get("fact_use")
        held_out = recall_of_slot(options.out / "bench" / name, personas)
        figures[f"recall_held_out_{name}"] = None if held_out is None else round(held_out, 3)
        shown = "none" if held_out is None else f"{held_out:.2f}"
        print(f"{name:<8} AVG {result.avg:.2f}  IR {result.ir:+.3f}  recall {recall or 0:.2f}  {SLOT} {shown}")
    scored = {name: read_scored(options.out / "bench" / name) for name in MODELS}
    for name in ("sft", "dpo"):
        difference = compare_pair(scored[name], scored["generic"]).avg
        assert difference is not None
        key = "gain_over_generic" if name == "dpo" else "gain_over_generic_sft"
        figures[key] = round(difference.value, 3)
        figures[f"{key}_low"] = round(difference.low, 3)
        print(f"{name} - generic: {difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]")
    print(json.dumps({"benchmark": "structural_holdout", "figures": figures}))


if __name__ == "__main__":
    main()
