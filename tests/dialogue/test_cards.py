"""The user is dealt its cards, and the prompts of version 2 are read by the world as those of version 1 are."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from aloe.config import Config, load_config, parse_overrides
from aloe.dialogue.cards import deal
from aloe.dialogue.forest import ForestSummary, grow_forest, plan_jobs
from aloe.dialogue.state import PathState
from aloe.dialogue.tree_builder import TreeBuilder, TreePlan
from aloe.models.caller import Caller
from aloe.prompts import PromptSet
from aloe.stages.pipeline import stage_digests
from aloe.store.records import read_jsonl
from aloe.types import ConversationTree, Persona
from aloe.world.truth import disclosed, read_message, read_persona
from helpers import world_personas

ADA = Persona(
    persona_id="p", profile_id="", personality_id="",
    profile="She is a night nurse in Leeds, and she keeps two greyhounds. She is saving for a boat.",
    personality="She is blunt. She dislikes small talk.",
)  # fmt: skip


def grow_with(folder: Path, plan: TreePlan, version: str, n: int = 10) -> ForestSummary:
    jobs = plan_jobs(world_personas(n), 0, 1)

    async def work() -> ForestSummary:
        caller = Caller.open(Config(), None, seed=3, prompts=PromptSet(version=version))
        try:
            return await grow_forest(TreeBuilder(caller, plan, 3), jobs, folder, 16)
        finally:
            await caller.aclose()

    return asyncio.run(work())


def test_the_world_reads_version_2_as_well(tmp_path: Path) -> None:
    summary = grow_with(tmp_path, TreePlan(n_turns=5, orders=2, release=2), "2")
    truth = summary.truth
    assert summary.n_failed_nodes == summary.n_unparsed == 0 and summary.warnings == []
    assert truth["inducer_precision"] == 1.0 and truth["inducer_recall_stated"] == 1.0
    assert truth["label_agreement"] > 0.9 and summary.statistics["judge_consistency"] == 1.0
    assert summary.statistics["tailored_preferred"] > 0.7 and 0 < truth["leak_turn_1"] < 0.3


@pytest.mark.parametrize("cards", [1, 3])
def test_no_message_gives_away_more_than_was_dealt(tmp_path: Path, cards: int) -> None:
    summary = grow_with(tmp_path, TreePlan(n_turns=4, cards=cards), "2")
    people = {p.persona_id: p for p in world_personas(10)}
    most = 0
    for tree in read_jsonl(tmp_path / "trees.jsonl", ConversationTree):
        persona = people[tree.persona_id]
        latent, state = read_persona(persona.profile, persona.personality), PathState(tree.tree_id)
        node = tree.children(None)[0]
        while node is not None:
            hand = deal(persona, state, n=cards, seed=3, tree_id=tree.tree_id)
            said = [*(m.content for m in state.messages if m.role == "user"), node.message.content]
            new = {s.item.clause for s in disclosed(latent, said)[-1] if s.item.kind == "fact"}
            assert new <= set(hand.new) and len(hand.new) <= cards
            assert read_message(node.message.content).topic == hand.topic
            assert not set(hand.new) & set(hand.told)
            most = max(most, len(new))
            state = state.with_user(node.node_id, node.message.content)
            reply = next((n for n in tree.children(node.node_id) if n.continued), None)
            if reply is None:
                break
            state = state.with_reply(reply.node_id, reply.message.content)
            node = next(iter(tree.children(reply.node_id)), None)
    assert most == cards
    assert summary.truth["leak_turn_1"] == pytest.approx(cards / 8, abs=0.01)
    assert summary.n_failed_nodes == 0 and summary.truth["inducer_precision"] == 1.0


def test_the_deal_depends_on_the_seed_and_the_talk_only() -> None:
    start = PathState("t")
    hand = deal(ADA, start, n=1, seed=1, tree_id="t")
    assert hand == deal(ADA, start, n=1, seed=1, tree_id="t") and hand.told == () and len(hand.new) == 1
    assert len({deal(ADA, start, n=1, seed=s, tree_id="t") for s in range(20)}) > 3
    told = start.with_user("a", "I'm a night nurse here in Leeds. Any idea for dinner?").with_reply(
        "b", "A stew. How many greyhounds do you keep?"
    )
    after = deal(ADA, told, n=1, seed=1, tree_id="t")
    assert "nurse" in after.told[0] and "greyhounds" in after.new[0]  # what was asked for comes up first
    known = after.known_persona(ADA)
    assert "boat" not in known.profile and known.personality == ADA.personality


def test_a_user_has_each_goal_once_before_one_comes_again() -> None:
    states = [PathState("t", turn=turn) for turn in range(10)]
    assert len({deal(ADA, s, n=1, seed=1, tree_id="t").topic for s in states}) == 10


def test_cards_and_versions_are_part_of_what_a_stage_depends_on() -> None:
    def digests(*arguments: str) -> dict[str, str]:
        config = load_config("demo", parse_overrides(list(arguments)))
        return stage_digests(config, PromptSet(config.prompts_dir, config.prompt_set))

    plain, cards, bench, second = (
        digests(),
        digests("--trees.cards=1"),
        digests("--bench.cards=1"),
        digests("--prompt_set=2"),
    )
    assert plain["trees"] != cards["trees"] != digests("--trees.cards=2")["trees"] and plain["bench"] == cards["bench"]
    assert plain["bench"] != bench["bench"] and plain["trees"] == bench["trees"]
    assert all(plain[stage] != second[stage] for stage in ("personas", "trees", "bench"))
    assert "user_cards" not in PromptSet().stamp()  # runs that were made before there were cards stay done
