"""Estimates the calls, tokens and cost of a recipe per stage and role, before anything is sent.

Nothing is estimated by formula: a small part of each stage is run in memory, by the code of the stage itself, and
scaled up. Every model that would cost something is played by the world's actor of its role, whose
answers are lengthened to what language models typically write; so prompts grow with the conversation as in a real run.
A token is counted as four characters. Costs are without prefix caching; the share that it can serve is given as well.
"""

from __future__ import annotations

import asyncio
import bisect
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from aloe.bench.controls import derange
from aloe.bench.runner import run_benchmark
from aloe.config import BudgetConfig, Config, ModelConfig
from aloe.config.exposure import told
from aloe.dialogue.forest import plan_jobs
from aloe.dialogue.tree_builder import GrownTree, TreeBuilder, TreePlan
from aloe.errors import DataError
from aloe.forecast.decoding import DECODING_NOTE, DecodingLine, decoding_table, loads_of, plan_decoding
from aloe.forecast.line import Line
from aloe.forecast.reinforcement import RLRehearsal, rehearse_rl, rl_line
from aloe.forecast.spending import budget_notes, estimated_cost
from aloe.forecast.stand_ins import SCHEME, StandIn, stand_in
from aloe.forecast.training import TrainingLine, plan_training, sizes_of, tokenizer_of
from aloe.forecast.transfer import merged_lines, rehearsal_panel, rehearse_cell, repeated_lines
from aloe.models.caller import Caller
from aloe.models.calls import Reply
from aloe.models.embed.journaled import ROLE
from aloe.models.registry import register_scheme
from aloe.models.uri import split_uri, split_wrapper
from aloe.personas.embedders import endpoint_of
from aloe.personas.stage import read_bench_file, run_personas
from aloe.prompts import PromptSet
from aloe.protocols import PromptMessage
from aloe.stages.bench import bench_sample, with_bench_roles
from aloe.stages.context import REPLY_TOKENS
from aloe.stages.pipeline import wanted_stages
from aloe.stages.rollout import rollout_plan
from aloe.stages.trees import tree_plan
from aloe.store.records import read_jsonl
from aloe.training.methods import BASE, ROLLOUT_FROM, methods_of
from aloe.types import Persona, PoolEntry

N_TREES, N_TALKS = 16, 16  # rehearsed per stage, and per benchmarked model
MAX_POOL = 400  # members grown in rehearsal; larger pools are scaled up


@dataclass(frozen=True, slots=True)
class RunPlan:
    """Lines by stage and role, and the share of prompt tokens that a prefix cache can serve in one conversation.

    ``training``: what SFT and DPO take, None where the packages for training are not installed. ``decoding``: memory
    of the processes that decode local models, where they are installed. ``budget``: what becomes of its limits.
    """

    lines: tuple[Line, ...]
    n_turns: int
    cacheable: float | None
    training: tuple[TrainingLine, ...] | None = ()
    decoding: tuple[DecodingLine, ...] = ()
    budget: tuple[str, ...] = ()

    def total(self, name: str) -> float | None:
        values = [getattr(line, name) for line in self.lines]
        return None if None in values else sum(values)


def rehearsal_config(config: Config) -> Config:
    """``config`` with stand-ins for everything that costs, no budget, and a pool that is quick to grow."""
    roles = {
        name: tuple(stand_in(name, m) for m in getattr(config.roles, name)) for name in type(config.roles).model_fields
    }
    people = config.personas
    update: dict[str, Any] = {"embedder": people.embedder if people.embedder in ("world", "lexical") else "lexical"}
    if people.embedder != update["embedder"]:
        update |= {"profile_threshold": None, "personality_threshold": None}
    bench = {
        "models": tuple(stand_in("responder", m) for m in config.bench.models),
        "judge": tuple(stand_in("judge", m) for m in config.bench.judge) if config.bench.judge else None,
        "user": tuple(stand_in("user", m) for m in config.bench.user) if config.bench.user else None,
        "n_bootstrap": 100,
    }
    return config.model_copy(
        update={
            "roles": config.roles.model_copy(update=roles),
            "personas": people.model_copy(update=update),
            "bench": config.bench.model_copy(update=bench),
            "budget": BudgetConfig(),
        }
    )


def make_plan(config: Config, only: str | None = None) -> RunPlan:
    """Expected calls and tokens of the stages that would run.

    Args:
        only: up to this stage, as for the command of its name; None: the whole recipe.

    Raises:
        ConfigError: the config contradicts itself.
    """
    register_scheme(SCHEME, StandIn)
    stages = [stage.name for stage in wanted_stages(config, only)]
    return asyncio.run(_Rehearsal(config, stages).run())


class _Rehearsal:
    """Rehearses stage after stage; the personas of the first are those of the others."""

    def __init__(self, config: Config, stages: Sequence[str]) -> None:
        self.config = config
        self.played = rehearsal_config(config)
        self.stages = stages
        self.prompts = PromptSet(config.prompts_dir, config.prompt_set)
        self.lines: list[Line] = []
        self.heard: dict[str, list[str]] = defaultdict(list)
        self.grown: dict[str, tuple[list[GrownTree], float]] = {}
        self.talked: RLRehearsal | None = None

    async def run(self) -> RunPlan:
        with tempfile.TemporaryDirectory(prefix="aloe-plan-") as folder:
            train, bench = await self._personas(Path(folder))
            if "trees" in self.stages:
                await self._trees("trees", tree_plan(self.played), train, self.config.trees.n_trees)
            if "rollout" in self.stages and self.config.rollout.n_trees:
                model = self._checkpoint(ROLLOUT_FROM)
                plan = rollout_plan(self.played, model)
                await self._trees("rollout", plan, train, self.config.rollout.n_trees)
            if "rl" in self.stages:
                await self._rl(train)
            if "bench" in self.stages:
                await self._bench(bench, Path(folder))
            if "transfer" in self.stages:
                await self._transfer(bench, Path(folder))
        training = plan_training(self.config, self.stages, self.grown) if _can_train() else None
        if training is not None and self.talked is not None:
            training = (*training, rl_line(self.config, self.talked))
        decoding = self._decoding() if training is not None else ()
        spent = [(line.stage, line.cost, line.prompt_tokens + line.completion_tokens) for line in self.lines]
        budget, share = budget_notes(self.config, self.stages, spent), cacheable_share(self.heard)
        n_turns = self.config.trees.n_turns * self.config.trees.sessions
        return RunPlan(tuple(self.lines), n_turns, share, training, decoding, budget)

    def _decoding(self) -> tuple[DecodingLine, ...]:
        """Memory of the processes that decode in the wanted stages."""
        config = self.config
        tokenizer = tokenizer_of(config)
        loads = loads_of(config, self.lines, has_own=bool(self._trained()))
        return plan_decoding(config, loads, lambda path: sizes_of(config, path, tokenizer)) if loads else ()

    def _open(self, config: Config) -> Caller:
        return Caller.open(config, None, seed=config.seed, prompts=self.prompts)

    def _hear(self, model: ModelConfig, path: str, messages: Sequence[PromptMessage], reply: Reply) -> None:
        """Keep what was sent to each model."""
        self.heard[model.uri].append("\x1d".join(f"{m.role}\x1e{m.content}" for m in messages))

    def _add(self, stage: str, caller: Caller, scale: float, models: dict[str, tuple[ModelConfig, ...]]) -> None:
        for role, stats in caller.stats.items():
            used = models.get(role, ())
            prompt, completion = round(scale * stats.prompt_tokens), round(scale * stats.completion_tokens)
            cost = estimated_cost(used, prompt, completion)
            calls = round(scale * stats.n_calls)
            self.lines.append(Line(stage, role, tuple(map(told, used)), calls, prompt, completion, cost))

    def _roles(self, config: Config) -> dict[str, tuple[ModelConfig, ...]]:
        return {name: getattr(config.roles, name) for name in type(config.roles).model_fields}

    async def _personas(self, folder: Path) -> tuple[list[Persona], list[Persona]]:
        """Personas of both splits; the writer's line where the stage is wanted."""
        config, options = self.played, self.played.personas
        share = min(1.0, MAX_POOL / max(options.n_profiles, options.n_personalities))
        if share < 1.0:
            sizes = {name: max(8, round(share * getattr(options, name))) for name in ("n_profiles", "n_personalities")}
            sizes["n_bench_profiles"] = min(options.n_bench_profiles, sizes["n_profiles"] // 2)
            sizes["n_bench_personalities"] = min(options.n_bench_personalities, sizes["n_personalities"] // 2)
            sizes["n_bench"] = min(options.n_bench, sizes["n_bench_profiles"] * sizes["n_bench_personalities"])
            left = (sizes["n_profiles"] - sizes["n_bench_profiles"]) * (
                sizes["n_personalities"] - sizes["n_bench_personalities"]
            )
            sizes["n_personas"] = min(options.n_personas, left)
            config = config.model_copy(update={"personas": options.model_copy(update=sizes)})
        if "personas" not in self.stages:
            people = read_bench_file(config.bench.personas or "packaged", 10**6, config.seed)
            return people, people
        caller = self._open(config)
        try:
            await run_personas(caller, config, folder)
        finally:
            await caller.aclose()
        self._add("personas", caller, 1 / share, self._roles(self.config))
        self._add_embedder(folder, 1 / share)
        found = list(read_jsonl(folder / "personas.jsonl", Persona))
        bench = [p for p in found if p.split == "bench"]
        if config.bench.personas is not None:
            bench = read_bench_file(config.bench.personas, 10**6, config.seed)
        return [p for p in found if p.split == "train"], bench

    def _add_embedder(self, folder: Path, scale: float) -> None:
        """The texts that an embeddings endpoint would be asked for, if there is one: each is paid for once."""
        name = self.config.personas.embedder
        if not name.startswith("openai:"):
            return
        texts = {e.text for f in ("pool", "rejected") for e in read_jsonl(folder / f"{f}.jsonl", PoolEntry)}
        tokens = round(scale * sum(map(len, texts)) / 4)
        cost = estimated_cost((endpoint_of(name, self.config),), tokens, 0)
        self.lines.append(Line("personas", ROLE, (name,), round(scale * len(texts)), tokens, 0, cost))

    async def _trees(self, stage: str, plan: TreePlan, personas: list[Persona], n_trees: int) -> None:
        replicates = self.config.trees.replicates if stage == "trees" else 1
        n_personas = self.config.personas.n_personas if self.config.personas.file is None else len(personas)
        n_jobs = n_trees or n_personas * replicates
        jobs = _spread(plan_jobs(personas, min(n_trees, len(personas)), 1), min(N_TREES, n_jobs))
        caller = self._open(self.played)
        grown = []
        try:
            builder = TreeBuilder(caller, plan, self.played.seed)
            for place, (persona, replicate) in enumerate(jobs):
                caller.listener = self._hear if place == 0 and stage == "trees" else None
                grown.append(await builder.grow(persona, replicate))
        finally:
            await caller.aclose()
        self.grown[stage] = grown, n_jobs / len(jobs)
        models = self._roles(self.config)
        models["responder"] = (ModelConfig(uri=f"hf:checkpoints/{ROLLOUT_FROM}"),)
        self._add(stage, caller, n_jobs / len(jobs), models)

    async def _rl(self, personas: list[Persona]) -> None:
        caller, start = self._open(self.played), self.config.rl.start
        try:
            policy = StandIn(self._checkpoint(start))
            self.talked = await rehearse_rl(self.played, caller, personas, policy.answer)
        finally:
            await caller.aclose()
        models = self._roles(self.config) | {"responder": (ModelConfig(uri=f"hf:checkpoints/{start}"),)}
        self._add("rl", caller, self.talked.scale, models)

    def _checkpoint(self, name: str) -> ModelConfig:
        """What plays a checkpoint of the run: one that talks as long as language models do, or as its teacher."""
        teacher = split_uri(split_wrapper(self.played.roles.tailored[0].uri)[0])
        if self.config.sft.model is not None or teacher[0] != "world":
            return ModelConfig(uri=f"{SCHEME}:responder/hf:{name}", max_tokens=REPLY_TOKENS)
        if name == BASE:  # knows nothing of adapting
            return ModelConfig(uri=f"{SCHEME}:responder/hf:{BASE}", max_tokens=24)
        return ModelConfig(uri=f"{SCHEME}:checkpoint/hf:{name}?{teacher[1].partition('?')[2]}")

    def _trained(self) -> list[str]:
        """The checkpoints that the recipe makes, which are benchmarked too."""
        made = [BASE] if BASE in self.stages and self.config.sft.model is None else []
        for method in methods_of(self.config):
            if method.name in self.stages:
                made.append(method.name)
                if method.control and method.settings(self.config).control:
                    made.append(method.control)
        return made

    async def _bench(self, people: list[Persona], folder: Path) -> None:
        config = with_bench_roles(self.played)
        people = bench_sample(people, config.bench.n_personas, config.seed)
        n_all = len(people)
        if self.config.bench.personas is None and self.config.personas.bench_file is None:
            n_all = self.config.bench.n_personas or self.config.personas.n_bench
        sample = _swappable(people, N_TALKS)
        models = list(config.bench.models)
        models += [self._checkpoint(name) for name in self._trained()]
        caller = self._open(config)
        try:
            for place, model in enumerate(models):
                if place == 0 and "trees" not in self.stages:
                    caller.listener = self._hear
                    await run_benchmark(caller, sample[:1], model, config=_plain(config), out_dir=folder)
                    caller.listener = None
                    caller.stats.clear()
                    await caller.aclose()
                    caller = self._open(config)
                await run_benchmark(caller, sample, model, config=config, out_dir=folder)
        finally:
            await caller.aclose()
        roles = self._roles(with_bench_roles(self.config))
        tested = [m.model_copy(update={"uri": split_wrapper(m.uri)[0]}) for m in self.config.bench.models]
        roles["responder"] = tuple(tested)
        self._add("bench", caller, n_all / len(sample), roles)

    async def _transfer(self, people: list[Persona], folder: Path) -> None:
        self.lines += repeated_lines(self.config, self.lines)
        config = rehearsal_panel(self.played)
        caller = self._open(config)
        try:
            model = self._checkpoint(self.config.transfer.checkpoint)
            scale = await rehearse_cell(config, caller, _swappable(people, N_TALKS), model, folder)
        finally:
            await caller.aclose()
        judges = tuple(ModelConfig(uri=uri) for uri in self.config.transfer.judges)
        models = self._roles(self.config) | {"judge": judges, "responder": (ModelConfig(uri="hf:checkpoints"),)}
        self._add("transfer", caller, scale, models)
        self.lines = merged_lines(self.lines)


def _can_train() -> bool:
    return all(find_spec(name) is not None for name in ("torch", "transformers", "trl"))


def _plain(config: Config) -> Config:
    """Without what needs more than one persona."""
    return config.model_copy(update={"bench": config.bench.model_copy(update={"gain": False, "full": False})})


def _spread(items: list[Any], n: int) -> list[Any]:
    """At most ``n`` of the items, evenly spread over all."""
    n = min(n, len(items))
    return [items[i * len(items) // n] for i in range(n)]


def _swappable(personas: list[Persona], n: int) -> list[Persona]:
    """Evenly spread personas of which each has another one to swap with; all of them if a few are not enough."""
    for size in (n, 2 * n, 4 * n):
        sample = _spread(personas, size)
        try:
            derange(sample)
        except DataError:
            continue
        return sample
    return personas


def cacheable_share(heard: dict[str, list[str]]) -> float | None:
    """Share of prompt characters that repeat the beginning of an earlier prompt to the same model."""
    served = total = 0
    for prompts in heard.values():
        earlier: list[str] = []
        for prompt in prompts:
            place = bisect.bisect(earlier, prompt)
            around = earlier[max(0, place - 1) : place + 1]
            served += max((_common(prompt, other) for other in around), default=0)
            total += len(prompt)
            earlier.insert(place, prompt)
    return served / total if total else None


def _common(first: str, second: str) -> int:
    """Length of the longest common beginning."""
    return next(
        (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )


def format_plan(plan: RunPlan) -> str:
    """The plan as a table, totals last."""
    rows = [("stage", "role", "calls", "prompt tokens", "completion tokens", "USD")]
    for line in plan.lines:
        rows.append(
            (line.stage, line.role, *_numbers(line.calls, line.prompt_tokens, line.completion_tokens, line.cost))
        )
    totals = [plan.total(name) for name in ("calls", "prompt_tokens", "completion_tokens", "cost")]
    rows.append(("total", "", *_numbers(*totals)))
    text = _table(rows)
    notes = ["unknown = set price_prompt and price_completion of that model"] if "unknown" in text else []
    if plan.cacheable is not None:
        notes.append(
            f"{plan.cacheable:.0%} of the prompt tokens of a {plan.n_turns}-turn conversation can come from a "
            "provider's prefix cache; the costs are without it"
        )
    notes += plan.budget
    remote = dict.fromkeys(model for line in plan.lines for model in line.models if " at " in model)
    if remote:
        notes.append(f"calls leave this computer for {', '.join(remote)}")
    decoding = ["", _table(decoding_table(plan.decoding)), DECODING_NOTE] if plan.decoding else []
    return "\n".join([text, *notes, *_training_notes(plan.training), *decoding])


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    """Columns under each other, the first two to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _training_notes(lines: tuple[TrainingLine, ...] | None) -> list[str]:
    if lines is None:
        return ["training is not planned: pip install 'aloe-align[train]'"]
    if not lines:
        return []
    rows = [("training", "from", "items", "tokens as rows", "packed", "steps", "memory GB")]
    for line in lines:
        memory = "unknown" if line.memory_gb is None else f"{line.memory_gb:,.2f}"
        memory = memory if line.processes == 1 else f"{line.processes} x {memory}"
        tokens = f"{line.tokens_expanded:,}", f"{line.tokens_packed:,}"
        rows.append((line.stage, line.model, f"{line.items:,}", *tokens, f"{line.steps:,}", memory))
    notes = [
        "tokens of one epoch; memory of a process at its largest pack, its libraries included; pairs of a "
        "rollout depend on what SFT will have learned and are a guess"
    ]
    if any(line.counted_by == "characters" for line in lines):
        notes.append("the model is not here yet: tokens at four characters each")
    return ["", _table(rows), *notes]


def _numbers(calls: Any, prompt: Any, completion: Any, cost: float | None) -> tuple[str, str, str, str]:
    return f"{calls:,}", f"{prompt:,}", f"{completion:,}", "unknown" if cost is None else f"{cost:,.2f}"
