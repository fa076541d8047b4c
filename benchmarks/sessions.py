"""Personas that change, users who come back, long conversations, and memories: what the world shows of them exactly.

On fresh personas of the world, every model on the same ones:

1. Known groups under drift, seed by seed: the oracle that updates against the one that never does, and that one against
   generic replies, by paired intervals; use of stale facts; and the two oracles without drift.
2. CPU time of 100 personas x 3 sessions x 10 turns; of conversations of 100 turns against ones of 10 (conversations of
   both lengths in turn; the median ratio), and the share of a long conversation's prompts that a prefix cache serves.
3. What a running memory keeps of the gain of the full history over generic replies, and its share of the full history's
   prompt tokens (all calls of the model count), for several limits, in conversations of several sessions.
4. Training: the demo's base model, which has read how users tell of changes, and SFT on trees with and without changes;
   both meet the same fresh personas, who change. Kept in ``--out``, so that what was interrupted continues.

Figures: ``drift_order_ok`` (1: in every seed both paired intervals are above 0, and without drift the two oracles are
equal), ``stale_use_updating``, ``stale_use_frozen``, ``cpu_seconds_100x3x10``, ``cost_ratio_100_to_10``,
``cacheable_100``, ``memory256_gain_share``, ``memory256_token_share``, ``drift_trained_stale_gain_low`` (use of what is
stale without changes in training minus with them: the lowest end of the seeds' paired 95% intervals). What was not
measured is null.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

from dpo_vs_control import fresh_personas

from aloe.bench.change_figures import ChangeFigures
from aloe.bench.compare import compare_pair, read_scored
from aloe.bench.runner import run_benchmark
from aloe.config import Config, ModelConfig, load_config
from aloe.forecast.calls import cacheable_share
from aloe.models.caller import Caller
from aloe.protocols import PromptMessage
from aloe.stages.pipeline import run_pipeline
from aloe.stats import Clusters, ratio_difference
from aloe.store.records import read_jsonl
from aloe.store.rundir import RunDir
from aloe.types import BenchmarkResult, ConversationTree, Persona
from aloe.world.latent import draw_facts, draw_traits, write_personality, write_profile
from aloe.world.lexicon.options import narrow

DRIFT = 4  # changes in a conversation, in training and after it
ARMS = {"drift": DRIFT, "plain": 0}
CONTROLS = ("oracle", "frozen", "generic")
FIGURES = (
    "drift_order_ok", "stale_use_updating", "stale_use_frozen", "cpu_seconds_100x3x10", "cost_ratio_100_to_10",
    "cacheable_100", "memory256_gain_share", "memory256_token_share", "drift_trained_stale_gain_low",
)  # fmt: skip


def people(n_profiles: int, n_personalities: int, seed: int) -> list[Persona]:
    """A cross product of the world's profiles and personalities."""
    rng, lexicon = Random(f"sessions-{seed}"), narrow()
    profiles = [write_profile(draw_facts(rng, lexicon), "She", rng, lexicon) for _ in range(n_profiles)]
    manners = [write_personality(draw_traits(rng, lexicon), "She", rng, lexicon) for _ in range(n_personalities)]
    return [
        Persona(
            persona_id=f"{seed}-{i}-{j}", profile=profile, personality=manner, profile_id=f"{seed}-f{i}",
            personality_id=f"{seed}-t{j}", split="bench",
        )
        for i, profile in enumerate(profiles)
        for j, manner in enumerate(manners)
    ]  # fmt: skip


async def measure(
    personas: list[Persona], names: tuple[str, ...], out: Path, seed: int, heard: list[str] | None = None, **bench: Any
) -> dict[str, tuple[BenchmarkResult, float]]:
    """Result and CPU seconds of each of the world's models; ``heard`` takes what the user and the judge were sent."""
    config = Config.model_validate({"seed": seed, "bench": {"n_bootstrap": 100, **bench}})
    caller = Caller.open(config, None, seed=seed)

    def listen(model: ModelConfig, path: str, messages: tuple[PromptMessage, ...], reply: object) -> None:
        if heard is not None:
            heard.append("\x1d".join(f"{m.role}\x1e{m.content}" for m in messages))

    if heard is not None:
        caller.listener = listen
    found = {}
    try:
        for name in names:
            started = time.process_time()
            model = ModelConfig(uri=f"world:{name}")
            result = await run_benchmark(caller, personas, model, config=config, out_dir=out / name)
            found[name] = (result, time.process_time() - started)
    finally:
        await caller.aclose()
    return found


def known_groups(options: argparse.Namespace, out: Path) -> dict[str, float | None]:
    """The order of the controls with and without drift."""
    ok, stale = True, {"oracle": [], "frozen": []}  # type: dict[str, list[float]]
    for seed in range(options.seeds):
        crowd = people(8, 5, seed)
        place = out / f"drift{seed}"
        results = asyncio.run(measure(crowd, CONTROLS, place, seed, drift=4, n_turns=options.turns))
        scored = {name: read_scored(place / name) for name in CONTROLS}
        shown = []
        for better, worse in (("oracle", "frozen"), ("frozen", "generic")):
            gap = compare_pair(scored[better], scored[worse]).avg
            assert gap is not None
            ok &= gap.low > 0
            shown.append(f"{better} - {worse} {gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]")
        for name, values in stale.items():
            value = results[name][0].truth["stale_use"]
            assert value is not None
            values.append(value)
        plain = asyncio.run(measure(crowd[:10], CONTROLS[:2], out / f"plain{seed}", seed, n_turns=options.turns))
        same = plain["oracle"][0].points == plain["frozen"][0].points
        ok &= same
        late = results["oracle"][0].truth["turns_to_update"]
        print(f"seed {seed}: {'; '.join(shown)}; turns to update {late:.2f}; equal without drift: {same}", flush=True)
    return {
        "drift_order_ok": int(ok),
        "stale_use_updating": max(stale["oracle"]),
        "stale_use_frozen": min(stale["frozen"]),
    }


def costs(out: Path) -> dict[str, float | None]:
    """CPU of many sessions, and of long conversations."""
    crowd = people(20, 5, 100)
    many = asyncio.run(measure(crowd, ("oracle",), out / "many", 100, sessions=3, n_turns=10, drift=2))
    seconds = many["oracle"][1]
    print(f"100 personas x 3 sessions x 10 turns: {seconds:.1f} s of CPU", flush=True)
    ratios = []
    heard: list[str] = []
    for round_ in range(5):
        few = people(2, 3, 200 + round_)
        short = asyncio.run(measure(few, ("attentive+history",), out / "short", round_, n_turns=10))
        long = asyncio.run(measure(few, ("attentive+history",), out / "long", round_, n_turns=100))
        ratios.append(long["attentive+history"][1] / short["attentive+history"][1])
    asyncio.run(measure(few[:1], ("attentive+history",), out / "heard", 9, heard, n_turns=100))
    cacheable = cacheable_share({"all": heard})
    print(f"100 turns against 10: {', '.join(f'{r:.1f}' for r in ratios)}; cacheable {cacheable}", flush=True)
    return {
        "cpu_seconds_100x3x10": round(seconds, 2),
        "cost_ratio_100_to_10": round(statistics.median(ratios), 2),
        "cacheable_100": None if cacheable is None else round(cacheable, 3),
    }


def memories(options: argparse.Namespace, out: Path) -> dict[str, float | None]:
    """The gain that a running memory keeps, and the tokens that it takes."""
    crowd = people(6, 3, 300)
    names = ("generic", "attentive", "attentive+history", *(f"attentive+memory:{n}" for n in options.limits.split(",")))
    names = (*names, "attentive+window:8", "attentive+recall:8") if "," in options.limits else names
    results = asyncio.run(
        measure(crowd, names, out / "memory", 300, sessions=options.sessions, n_turns=options.session_turns, drift=4)
    )
    figures: dict[str, float | None] = {}
    floor, full = results["generic"][0].avg, results["attentive+history"][0]
    assert floor is not None and full.avg is not None and full.sessions is not None
    for name, (result, seconds) in results.items():
        sessions = result.sessions
        assert result.avg is not None and sessions is not None and sessions.prompt_tokens_per_turn is not None
        assert full.sessions.prompt_tokens_per_turn is not None
        gain = (result.avg - floor) / (full.avg - floor)
        tokens = sessions.prompt_tokens_per_turn / full.sessions.prompt_tokens_per_turn
        loss = "" if sessions.boundary_loss is None else f"loss at the boundary {sessions.boundary_loss:+.2f}"
        print(
            f"{name:24} AVG {result.avg:.3f}  gain {gain:5.2f}  tokens {tokens:5.2f}  {loss}  {seconds:.0f} s",
            flush=True,
        )
        if name == "attentive+memory:256":
            figures = {"memory256_gain_share": round(gain, 4), "memory256_token_share": round(tokens, 4)}
    return figures


def train_arms(recipe: str, seed: int, out: Path) -> dict[str, Path]:
    """SFT on trees with and without changes, from one base model: their checkpoints."""
    shared = {"seed": seed, "base": {"drift": DRIFT}}
    base = RunDir(out / f"base{seed}")
    run_pipeline(load_config(recipe, shared), base, recipe, only="base")
    start = str(base.checkpoint_dir("base"))
    found = {}
    for name, drift in ARMS.items():
        run = RunDir(out / f"{name}{seed}")
        own = {**shared, "trees": {"drift": drift}, "sft": {"model": start}}
        run_pipeline(load_config(recipe, own), run, recipe, only="sft")
        found[name] = run.checkpoint_dir("sft")
    return found


def trained(options: argparse.Namespace) -> dict[str, float | None]:
    """What training on personas that change does to the use of what no longer holds."""
    lows = []
    for seed in options.train_seeds:
        checkpoints = train_arms(options.recipe, seed, options.out)
        config = load_config(options.recipe, {"seed": seed, "bench": {"drift": DRIFT, "gain": False}})
        crowd = fresh_personas(config, options.personas, "sessions")
        groups = {p.persona_id: (p.profile_id, p.personality_id) for p in crowd}
        figures = {}
        for name, checkpoint in checkpoints.items():
            place = options.out / f"{name}{seed}" / "met"
            figures[name] = changes_of(config, crowd, checkpoint, place)
            shown = ", ".join(
                f"{key} {value:.3f}" for key, value in figures[name].figures().items() if value is not None
            )
            print(f"seed {seed}: trained on {name}: AVG {read_result(place).avg:.2f}, {shown}", flush=True)
        sides = []
        for name in ("plain", "drift"):
            shares = figures[name].shares("stale_use")
            sides.append(tuple([shares.get(p.persona_id, (0, 0))[i] for p in crowd] for i in (0, 1)))
        clusters = Clusters([groups[p.persona_id][0] for p in crowd], [groups[p.persona_id][1] for p in crowd])
        gap = ratio_difference(sides[0], sides[1], clusters)
        assert gap is not None
        print(f"seed {seed}: stale use, plain - drift {gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]", flush=True)
        lows.append(gap.low)
    return {"drift_trained_stale_gain_low": round(min(lows), 4)}


def read_result(place: Path) -> BenchmarkResult:
    return BenchmarkResult.model_validate_json((place / "result.json").read_text())


def changes_of(config: Config, crowd: list[Persona], checkpoint: Path, place: Path) -> ChangeFigures:
    """The figures of changes of one checkpoint, which meets the crowd unless it has."""
    if not (place / "result.json").is_file():

        async def meet() -> None:
            caller = Caller.open(config, None, seed=config.seed)
            model = ModelConfig(uri=f"hf:{checkpoint}", temperature=0.0, max_tokens=96, batch_size=128)
            try:
                await run_benchmark(caller, crowd, model, config=config, out_dir=place)
            finally:
                await caller.aclose()

        asyncio.run(meet())
    found, by_id = ChangeFigures(), {p.persona_id: p for p in crowd}
    for tree in read_jsonl(place / "conversations.jsonl", ConversationTree):
        persona = by_id[tree.persona_id].model_copy(update={"timeline": tree.timeline})
        found.add(persona, [node.message for node in tree.nodes])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="of the known groups")
    parser.add_argument("--turns", type=int, default=10, help="of their conversations")
    parser.add_argument("--sessions", type=int, default=5, help="of the conversations that memories are measured on")
    parser.add_argument("--session-turns", type=int, default=20, help="turns of each of those sessions")
    parser.add_argument("--limits", default="64,128,256,512,1024", help="tokens of the running memories")
    parser.add_argument("--parts", default="groups,costs,memories,training", help="which of the four to measure")
    parser.add_argument("--out", type=Path, default=Path("runs/sessions"), help="where trained runs are kept")
    parser.add_argument("--recipe", default="demo", help="of the training")
    parser.add_argument("--train-seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--personas", type=int, default=100, help="that the trained models meet")
    options = parser.parse_args()
    parts = options.parts.split(",")
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory(prefix="aloe-sessions-") as folder:
        out = Path(folder)
        figures: dict[str, float | None] = dict.fromkeys(FIGURES)
        figures |= known_groups(options, out) if "groups" in parts else {}
        figures |= costs(out) if "costs" in parts else {}
        figures |= memories(options, out) if "memories" in parts else {}
    figures |= trained(options) if "training" in parts else {}
    print(json.dumps({"benchmark": "sessions", "figures": figures}))


if __name__ == "__main__":
    main()
