"""Trees of personas that change and come back: what replies are told, what is judged, what is recorded."""

import asyncio
import json

import pytest

from aloe.config import Config
from aloe.dialogue.forest import grow_forest, plan_jobs
from aloe.dialogue.relabel import Judging, judge_trees
from aloe.dialogue.tree_builder import TreeBuilder, TreePlan
from aloe.models.caller import Caller
from aloe.types import ConversationTree, Label
from aloe.world.staleness import use_of_changes
from aloe.world.timeline import latent_of
from aloe.world.truth import read_known, weigh
from helpers import world_personas


@pytest.fixture(scope="module")
def people():
    return world_personas(8)


@pytest.fixture(scope="module")
def grown(people, tmp_path_factory):
    """Trees of two sessions of eight turns with four changes, their summary, and the folder."""
    folder = tmp_path_factory.mktemp("trees")
    plan = TreePlan(n_turns=8, sessions=2, drift=4)

    async def work():
        caller = Caller.open(Config(), None, seed=3)
        try:
            return await grow_forest(TreeBuilder(caller, plan, 3), plan_jobs(people, 0, 1), folder, 8)
        finally:
            await caller.aclose()

    summary = asyncio.run(work())
    trees = [ConversationTree.model_validate_json(x) for x in (folder / "trees.jsonl").read_text().splitlines()]
    return trees, summary, folder


def test_trees_hold_their_timeline_and_where_sessions_begin(grown):
    trees, _, _ = grown
    assert all(tree.timeline and tree.session_turns == 8 for tree in trees)
    assert all(max(n.turn for n in tree.nodes) == 16 for tree in trees)
    openings = [n for t in trees for n in t.nodes if n.kind == "user" and n.generation.prompt_name == "user_session"]
    assert openings and {n.turn for n in openings} == {9}


def test_the_inducer_knows_what_holds_when_and_the_labels_agree_with_the_truth(grown):
    _, summary, _ = grown
    assert summary.truth["inducer_precision"] == 1.0
    assert summary.truth["inducer_recall"] > 0.95
    assert summary.truth["label_agreement"] == 1.0
    assert summary.truth["contradictions"] == 0.0
    assert summary.n_unevidenced == 0 and summary.n_failed_nodes == 0


def test_a_tailored_reply_is_not_told_what_no_longer_holds(grown, people):
    trees, _, _ = grown
    by_id = {p.persona_id: p for p in people}
    n_checked = 0
    for tree in trees:
        for node in tree.nodes:
            if node.kind == "tailored":
                latent = latent_of(tree.persona_at(by_id[tree.persona_id], node.turn))
                known = read_known(latent, [n.message for n in tree.path_to(node.parent_id)])
                assert weigh(known, node.message.content).n_false == 0
                uses = use_of_changes(known, node.message.content)
                assert not any(use.stale for use in uses)
                n_checked += any(use.fresh for use in uses)
    assert n_checked > 10


def test_labelling_again_judges_each_turn_by_what_holds_then(grown, people):
    trees, _, folder = grown
    labels = [Label.model_validate_json(line) for line in (folder / "labels.jsonl").read_text().splitlines()]

    async def work():
        caller = Caller.open(Config(), None, seed=3)
        try:
            judging = Judging(labeler="judge", seed=3)
            by_id = {p.persona_id: p for p in people}
            return (await judge_trees(caller, trees, by_id, judging, concurrency=4))[0]
        finally:
            await caller.aclose()

    again = {frozenset(label.node_ids): label.chosen for label in asyncio.run(work())}
    assert again == {frozenset(label.node_ids): label.chosen for label in labels}


def test_without_sessions_and_changes_nothing_of_them_is_written(people, tmp_path):
    async def work():
        caller = Caller.open(Config(), None, seed=3)
        try:
            builder = TreeBuilder(caller, TreePlan(n_turns=3), 3)
            return await grow_forest(builder, plan_jobs(people[:2], 0, 1), tmp_path, 2)
        finally:
            await caller.aclose()

    asyncio.run(work())
    row = json.loads((tmp_path / "trees.jsonl").read_text().splitlines()[0])
    assert not {"timeline", "session_turns"} & set(row)
