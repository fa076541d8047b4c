"""Trees on the simulated world: valid, independent of concurrency, labels traceable, failures local."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aloe.config import Config, load_config
from aloe.dialogue.forest import grow_forest, plan_jobs
from aloe.dialogue.pairs import check_messages, tree_to_pairs, tree_to_sft
from aloe.dialogue.tree_builder import GrownTree, TreeBuilder, TreePlan
from aloe.models.caller import Caller
from aloe.models.registry import register_scheme
from aloe.prompts import PromptSet
from aloe.store.validate import Report, validate_run
from aloe.types import Persona
from aloe.world.anyone import Anyone
from helpers import world_personas

PROMPTS = PromptSet()


def grow(persona: Persona, plan: TreePlan, seed: int = 0, config: Config | None = None) -> GrownTree:
    async def work() -> GrownTree:
        caller = Caller.open(config or Config(), None, seed=seed, prompts=PROMPTS)
        try:
            return await TreeBuilder(caller, plan, seed).grow(persona)
        finally:
            await caller.aclose()

    return asyncio.run(work())


def problems(grown: GrownTree) -> list[str]:
    """Breaches of a tree, through the validator's own reading."""
    from aloe.store.validate import _check_disclosure, _check_label, _check_tree

    report = Report()
    nodes = grown.tree.by_id
    _check_tree(grown.tree, "tree", report)
    for label in grown.labels:
        _check_label(label, nodes, "tree", report)
    for disclosure in grown.disclosures:
        _check_disclosure(disclosure, nodes, "tree", report)
    return report.breaches


POLICIES = st.one_of(
    st.just("path"), st.integers(0, 3).map(lambda d: f"both:{d}"), st.integers(3, 40).map(lambda n: f"budget:{n}")
)


@settings(deadline=None, max_examples=15, suppress_health_check=list(HealthCheck))
@given(
    policy=POLICIES,
    n_turns=st.integers(1, 4),
    orders=st.sampled_from([1, 2]),
    label=st.sampled_from(["compare", "score"]),
    p=st.sampled_from([0.0, 0.5, 1.0]),
    which=st.integers(0, 5),
)
def test_any_policy_grows_a_valid_tree_and_pairs_are_part_of_it(policy, n_turns, orders, label, p, which) -> None:
    persona = world_personas(6)[which]
    grown = grow(persona, TreePlan(n_turns=n_turns, policy=policy, orders=orders, label=label, p_preferred=p))
    assert problems(grown) == []
    assert max(n.turn for n in grown.tree.nodes) == n_turns
    texts = {n.message.content for n in grown.tree.nodes}
    pairs = list(tree_to_pairs(grown.tree, grown.labels))
    for pair in pairs:
        assert check_messages([*pair.prompt, *pair.chosen]) == ""
        assert {m.content for m in (*pair.prompt, *pair.chosen, *pair.rejected)} <= texts
    for example in tree_to_sft(grown.tree, grown.labels):
        assert example.messages[-1].role == "assistant" and check_messages(example.messages) == ""
    n_user = sum(n.kind == "user" for n in grown.tree.nodes)
    if policy.startswith("both"):
        depth = min(int(policy[5:]), n_turns - 1)
        assert n_user == sum(2 ** min(t, depth) for t in range(n_turns))
    if policy == "path":
        assert n_user == n_turns
    if policy.startswith("budget"):
        assert len(grown.tree.nodes) <= max(int(policy[7:]), 3 * n_turns)


def test_p_preferred_decides_who_continues() -> None:
    persona = world_personas(1)[0]
    for p, field in ((1.0, "chosen"), (0.0, "rejected")):
        grown = grow(persona, TreePlan(n_turns=6, p_preferred=p))
        continued = {n.node_id for n in grown.tree.nodes if n.continued}
        wanted = {getattr(x, field) for x in grown.labels if x.chosen and set(x.node_ids) & continued}
        assert wanted <= continued


def test_chosen_and_continued_are_different_things() -> None:
    grown = grow(world_personas(1)[0], TreePlan(n_turns=10))
    continued = {n.node_id for n in grown.tree.nodes if n.continued}
    chosen = [x.chosen in continued for x in grown.labels[:-1] if x.chosen]
    assert any(chosen) and not all(chosen)


def test_order_of_showing_is_drawn_and_both_orders_are_kept() -> None:
    grown = grow(world_personas(1)[0], TreePlan(n_turns=10, orders=2))
    kinds = {n.node_id: n.kind for n in grown.tree.nodes}
    first = [kinds[x.judgements[0].node_ids[0]] for x in grown.labels]
    assert {"tailored", "generic"} <= set(first)
    for label in grown.labels:
        assert label.judgements[0].node_ids == tuple(reversed(label.judgements[1].node_ids))


def test_a_judge_that_always_says_first_makes_no_pair_in_both_orders() -> None:
    from aloe.config import parse_overrides

    config = load_config(None, parse_overrides(["--roles.judge", "world:judge?bias=first"]))
    grown = grow(world_personas(1)[0], TreePlan(n_turns=5, orders=2), config=config)
    assert {x.outcome for x in grown.labels} == {"disagreement"}
    assert not list(tree_to_pairs(grown.tree, grown.labels))
    one_order = grow(world_personas(1)[0], TreePlan(n_turns=10, orders=1), config=config)
    assert {x.judgements[0].verdict for x in one_order.labels} == {"first"}


def test_an_inducer_that_invents_is_counted_and_not_believed() -> None:
    from aloe.config import parse_overrides

    config = load_config(None, parse_overrides(["--roles.inducer", "world:inducer?invent=1"]))
    honest = grow(world_personas(1)[0], TreePlan(n_turns=4))
    invented = grow(world_personas(1)[0], TreePlan(n_turns=4), config=config)
    assert honest.n_unevidenced == 0 and invented.n_unevidenced > 0
    assert problems(invented) == []


@pytest.mark.parametrize("concurrency", [1, 64])
def test_files_do_not_depend_on_concurrency(tmp_path: Path, concurrency: int) -> None:
    files = grow_files(tmp_path / str(concurrency), concurrency, Config())
    assert files == grow_files(tmp_path / "reference", 7, Config())
    assert files["trees.jsonl"].count(b"\n") == 12


def grow_files(folder: Path, concurrency: int, config: Config, journal: Path | None = None) -> dict[str, bytes]:
    """Grow 12 small trees; the bytes of the three files."""

    async def work() -> None:
        caller = Caller.open(config, journal, seed=3, prompts=PROMPTS)
        try:
            builder = TreeBuilder(caller, TreePlan(n_turns=4, policy="both:1"), 3)
            await grow_forest(builder, plan_jobs(world_personas(12), 0, 1), folder, concurrency)
        finally:
            await caller.aclose()

    asyncio.run(work())
    return {p.name: p.read_bytes() for p in sorted(folder.glob("*.jsonl"))}


def test_the_world_over_http_gives_the_same_bytes(tmp_path: Path) -> None:
    """The same logical models behind a real server: byte-identical trees, disclosures and labels."""
    from helpers import world_server

    with world_server() as base_url:
        roles = {
            role: [{"uri": f"world:{role}", "base_url": base_url}]
            for role in ("user", "inducer", "tailored", "generic", "judge")
        }
        remote = Config.model_validate({"roles": roles})
        over_http = grow_files(tmp_path / "http", 16, remote)
    assert over_http == grow_files(tmp_path / "local", 16, Config())


def grow_one(config: Config, prompts: PromptSet) -> GrownTree:
    persona = world_personas(1)[0]

    async def work() -> GrownTree:
        caller = Caller.open(config, None, seed=0, prompts=prompts)
        try:
            return await TreeBuilder(caller, TreePlan(n_turns=3, orders=2), 0).grow(persona)
        finally:
            await caller.aclose()

    return asyncio.run(work())


def test_a_model_of_any_name_is_played_by_whom_its_prompt_asks_for(tmp_path: Path) -> None:
    """A recipe of real models against ``aloe world serve --any-model``: what is said is what the world says."""
    register_scheme("named", lambda config: Anyone(config.uri))
    roles = ("writer", "user", "inducer", "tailored", "generic", "judge")
    for prompts in ("1", "2"):
        said = []
        for config in (Config(), Config.model_validate({"roles": {role: [{"uri": "named:gpt"}] for role in roles}})):
            grown = grow_one(config, PromptSet(None, prompts))
            labels = [[(j.verdict, j.node_ids) for j in label.judgements] for label in grown.labels]
            told = [(d.item, d.evidence) for d in grown.disclosures]
            assert told and labels
            said.append(([n.message.content for n in grown.tree.nodes], told, labels))
        assert said[0] == said[1]


def test_validate_finds_damage(tmp_path: Path) -> None:
    grow_files(tmp_path / "trees", 4, Config())
    assert validate_run(tmp_path).breaches == []
    path = tmp_path / "trees" / "trees.jsonl"
    path.write_text(path.read_text().replace('"turn":2', '"turn":3', 1))
    assert any("turn 3, expected 2" in b for b in validate_run(tmp_path).breaches)
