"""Panels of judges put answers together; of a mixture one user is cast for each tree."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from aloe.bench.runner import run_benchmark
from aloe.config import Config, ModelConfig, load_config
from aloe.dialogue.casting import Casting
from aloe.dialogue.forest import plan_jobs
from aloe.dialogue.panel import MEMBER, SPREAD, ask_panel, labeler_of
from aloe.dialogue.tree_builder import GrownTree, TreeBuilder
from aloe.models.caller import Caller
from aloe.prompts import PromptSet
from aloe.stages.trees import tree_plan
from aloe.store.records import read_jsonl
from aloe.types import BenchmarkResult, BenchScore, ConversationTree, Judgement, Persona
from aloe.world.dialects.mood import has_walked_out
from aloe.world.lexicon.mixture import is_mixture

JUDGES = [f"world:judge?weighing={name}" for name in ("style", "content", "tact")]
MEMBERS = [ModelConfig(uri=uri) for uri in JUDGES]


def put_together(answers: list[Judgement], panel: str) -> Judgement:
    waiting = dict(zip(JUDGES, answers, strict=True))

    async def ask(model: ModelConfig | None) -> Judgement:
        assert model is not None
        return waiting[model.uri]

    return asyncio.run(ask_panel(MEMBERS, panel, ask))  # type: ignore[arg-type]


def scored(*scores: float | None) -> list[Judgement]:
    return [Judgement(node_ids=("a",), score=s, parts={"style": s} if s is not None else {}) for s in scores]


def said(*verdicts: str) -> list[Judgement]:
    return [Judgement(node_ids=("a", "b"), verdict=v) for v in verdicts]  # type: ignore[arg-type]


def test_scores_are_averaged_or_their_median_taken_and_the_members_kept():
    found = put_together(scored(1.0, 2.0, 4.5), "mean")
    assert found.score == 2.5 and found.parts["style"] == 2.5
    assert [found.parts[MEMBER.format(n)] for n in (1, 2, 3)] == [1.0, 2.0, 4.5]
    assert found.parts[SPREAD] == pytest.approx(1.47196, abs=1e-5)
    assert put_together(scored(1.0, 2.0, 4.5), "majority").score == 2.0
    assert put_together(scored(1.0, None, 4.5), "mean").score is None


def test_verdicts_are_counted_and_a_split_panel_weighs_less():
    first = put_together(said("first", "first", "second"), "majority")
    assert first.verdict == "first" and first.parts["first"] - first.parts["second"] == pytest.approx(1 / 3, abs=1e-5)
    assert put_together(said("first", "second", "tie"), "majority").verdict == "tie"
    sure = [
        Judgement(node_ids=("a", "b"), verdict=v, parts=p)
        for v, p in (
            ("first", {"first": 0.6, "second": 0.4, "tie": 0.0}),
            ("first", {"first": 0.6, "second": 0.4, "tie": 0.0}),
            ("second", {"first": 0.0, "second": 1.0, "tie": 0.0}),
        )
    ]
    assert put_together(sure, "majority").verdict == "first"
    assert put_together(sure, "mean").verdict == "second"


def test_labels_of_a_panel_bear_its_name():
    assert labeler_of(MEMBERS, "pick") == JUDGES[0]
    assert labeler_of(MEMBERS[:1], "mean") == JUDGES[0]
    assert labeler_of(MEMBERS, "mean") == f"mean of {', '.join(JUDGES)}"


MIXED = "world:user?dialect=plain:2,terse:2,adversarial:1"


def test_a_mixture_is_drawn_by_tree_and_by_weight():
    casting = Casting([ModelConfig(uri=MIXED)], seed=3)
    cast = [casting.user_of(f"tree{n}") for n in range(500)]
    uris = Counter(model.uri for model in cast if model is not None)
    assert set(uris) == {"world:user", "world:user?dialect=terse", "world:user?dialect=adversarial"}
    assert 150 < uris["world:user"] < 250 and 150 < uris["world:user?dialect=terse"] < 250
    assert casting.user_of("tree7") is cast[7]
    assert Casting([ModelConfig(uri="world:user?dialect=terse")], seed=3).user_of("tree7") is None


def bench_config(**roles: object) -> Config:
    return load_config("demo", {"roles": roles, "bench": {"n_turns": 6, "scope": "revealed"}})


def world_personas(n: int) -> list[Persona]:
    from random import Random

    from aloe.world.latent import draw_facts, draw_traits, write_personality, write_profile
    from aloe.world.lexicon.options import narrow

    rng, lexicon = Random(5), narrow()
    return [
        Persona(
            persona_id=f"p{i}",
            profile=write_profile(draw_facts(rng, lexicon), "She", rng, lexicon),
            personality=write_personality(draw_traits(rng, lexicon), "She", rng, lexicon),
            profile_id=f"f{i}",
            personality_id=f"t{i}",
        )
        for i in range(n)
    ]


def grow(config: Config, personas: list[Persona]) -> list[GrownTree]:
    async def work() -> list[GrownTree]:
        caller = Caller.open(config, None, seed=config.seed, prompts=PromptSet())
        try:
            builder = TreeBuilder(caller, tree_plan(config), config.seed)
            return [await builder.grow(persona, replicate) for persona, replicate in plan_jobs(personas, 0, 2)]
        finally:
            await caller.aclose()

    return asyncio.run(work())


def test_a_tree_has_one_dialect_and_says_which():
    config = load_config("demo", {"roles": {"user": MIXED, "judge": JUDGES}, "trees": {"n_turns": 3, "panel": "mean"}})
    trees = grow(config, world_personas(6))
    models = [{n.generation.model for n in t.tree.nodes if n.kind == "user" and n.generation} for t in trees]
    assert all(len(found) == 1 for found in models)
    drawn = set().union(*models)
    assert len(drawn) > 1 and not any(map(is_mixture, drawn))
    labels = [label for t in trees for label in t.labels]
    assert {label.labeler for label in labels} == {f"mean of {', '.join(JUDGES)}"}
    assert any(0 < (label.margin or 0) < 1 for label in labels), "a split panel has a smaller margin"


def run(config: Config, personas: list[Persona], model: str, out: Path) -> BenchmarkResult:
    async def work() -> BenchmarkResult:
        caller = Caller.open(config, None, seed=config.seed, prompts=PromptSet())
        try:
            return await run_benchmark(caller, personas, ModelConfig(uri=model), config=config, out_dir=out)
        finally:
            await caller.aclose()

    return asyncio.run(work())


def test_the_benchmark_keeps_what_each_member_gave(tmp_path: Path):
    config = bench_config(judge=JUDGES)
    config = config.model_copy(update={"bench": config.bench.model_copy(update={"panel": "mean"})})
    run(config, world_personas(4), "world:oracle", tmp_path)
    for row in read_jsonl(tmp_path / "scores.jsonl", BenchScore):
        members = [row.parts[MEMBER.format(n)] for n in (1, 2, 3)]
        assert row.score == pytest.approx(sum(members) / 3, abs=1e-5)


def test_a_model_whose_user_walks_out_has_the_lowest_score_from_there_on(tmp_path: Path):
    personas = world_personas(5)
    config = bench_config(user="world:user?dialect=moody")
    result = run(config, personas, "world:generic", tmp_path)
    rows = read_jsonl(tmp_path / "scores.jsonl", BenchScore)
    left = [row for row in rows if row.outcome == "left"]
    assert left and {row.score for row in left} == {1.0} and result.n_empty == 0 and result.n_failed == 0
    by_id = {t.tree_id: t for t in read_jsonl(tmp_path / "conversations.jsonl", ConversationTree)}
    for tree in by_id.values():
        gone = [n.turn for n in tree.nodes if n.message.role == "user" and has_walked_out(n.message.content)]
        turns = sorted(row.turn for row in left if row.tree_id == tree.tree_id)
        assert turns == (list(range(gone[0], 7)) if gone else [])
        assert len(gone) <= 1
