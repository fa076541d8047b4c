"""Labels: margins from log-probabilities, several labelers, look-ahead, agreement, best-of-n, branching by chance."""

from __future__ import annotations

import asyncio
import json
import math
from pathlib import Path

import pytest

from aloe.config import Config, ModelConfig
from aloe.dialogue.judge import comparison_margin, verdict_probabilities
from aloe.dialogue.relabel import (
    Judging,
    agreement,
    judge_trees,
    keep_other_labels,
    look_ahead_labels,
    look_ahead_turns,
    merge_labels,
    reply_scores,
    restore_labels,
)
from aloe.dialogue.tree_builder import TreePlan
from aloe.models.caller import Caller
from aloe.models.registry import register_scheme
from aloe.protocols import ChatRequest, Completion
from aloe.store.records import read_jsonl
from aloe.store.validate import validate_run
from aloe.types import ConversationTree, Judgement, Label, Message, Node
from aloe.world.model import WorldModel
from dialogue.growing import PROMPTS, grow, grow_into, with_roles
from helpers import world_personas


def tokens(*pairs: tuple[str, dict[str, float]]) -> list[dict[str, object]]:
    """OpenAI's list of tokens from (token, probabilities of the alternatives)."""
    return [
        {
            "token": token,
            "logprob": math.log(options.get(token, 1.0)),
            "top_logprobs": [{"token": t, "logprob": math.log(p)} for t, p in options.items()],
        }
        for token, options in pairs
    ]


ANSWER = [('{"', {}), ("reason", {}), ('": "the first is longer", "', {}), ("verdict", {}), ('": "', {})]


@pytest.mark.parametrize(
    ("tail", "expected"),
    [
        ([("second", {"second": 0.7, "first": 0.2, "tie": 0.1})], {"first": 0.2, "second": 0.7, "tie": 0.1}),
        ([("sec", {"sec": 0.6, "f": 0.2}), ("ond", {})], {"first": 0.25, "second": 0.75, "tie": 0.0}),
        ([("tie", {"tie": 0.3, "maybe": 0.7})], {}),  # most of the probability is on no verdict
        ([("hm", {"hm": 1.0})], {}),
    ],
)
def test_probabilities_are_read_at_the_verdicts_token(tail, expected) -> None:
    assert verdict_probabilities(tokens(*ANSWER, *tail)) == pytest.approx(expected)


def test_a_bare_verdict_is_read_too() -> None:
    assert verdict_probabilities(tokens((" First", {" First": 0.9, " Second": 0.1})))["first"] == pytest.approx(0.9)


def test_margins_average_the_orders_and_are_one_without_probabilities() -> None:
    first = Judgement(node_ids=("a", "b"), verdict="first", parts={"first": 0.8, "second": 0.1, "tie": 0.1})
    second = Judgement(node_ids=("b", "a"), verdict="second", parts={"first": 0.4, "second": 0.5, "tie": 0.1})
    assert comparison_margin([first, second], "a") == pytest.approx((0.7 + 0.1) / 2)
    assert comparison_margin([first, Judgement(node_ids=("b", "a"), verdict="second")], "a") == 1.0


class Sure:
    """The world's judge with probabilities: 0.9 for its verdict."""

    name, revision = "sure:judge", "1"

    async def complete(self, request: ChatRequest) -> Completion:
        answer = await WorldModel("world:judge").complete(request)
        verdict = json.loads(answer.text)["verdict"]
        others = {v: 0.05 for v in ("first", "second", "tie") if v != verdict}
        logprobs = tokens(('{"verdict": "', {}), (verdict, {verdict: 0.9, **others}))
        return Completion(f'{{"verdict": "{verdict}"}}', logprobs=logprobs)

    async def aclose(self) -> None:
        return None


def test_the_margin_of_a_label_is_the_judges_own_certainty() -> None:
    register_scheme("sure", lambda config: Sure())
    grown = grow(world_personas(1)[0], TreePlan(n_turns=3, orders=2), config=with_roles(judge="sure:judge"))
    margins = [x.margin for x in grown.labels if x.chosen]
    assert margins == pytest.approx([0.85] * len(margins)) and margins


def reply(node_id: str, parent: str, turn: int, continued: bool) -> Node:
    message = Message(role="assistant", content=node_id)
    return Node(node_id=node_id, parent_id=parent, turn=turn, message=message, continued=continued, kind="generic")


def user(node_id: str, parent: str | None, turn: int) -> Node:
    message = Message(role="user", content=node_id)
    return Node(node_id=node_id, parent_id=parent, turn=turn, message=message, continued=True)


#: u1 -> a, b; below a: u2 -> a1, a2; below a1: u3 -> a11, a12; below b: v2 -> b1, b2
TREE = ConversationTree(
    tree_id="t", persona_id="p", seed=0,
    nodes=(
        user("u1", None, 1), reply("a", "u1", 1, True), reply("b", "u1", 1, True),
        user("u2", "a", 2), user("v2", "b", 2),
        reply("a1", "u2", 2, True), reply("a2", "u2", 2, False),
        reply("b1", "v2", 2, False), reply("b2", "v2", 2, False),
        user("u3", "a1", 3), reply("a11", "u3", 3, False), reply("a12", "u3", 3, False),
    ),
)  # fmt: skip
SCORES = {"a": 2.0, "b": 5.0, "a1": 4.0, "a2": 3.0, "b1": 2.0, "b2": 3.0, "a11": 5.0, "a12": 4.0}


def test_look_ahead_by_hand() -> None:
    turns = look_ahead_turns(TREE, SCORES)
    assert {k: v for k, v in turns.items() if v} == {"a": {2: 3.5, 3: 4.5}, "b": {2: 2.5}, "a1": {3: 4.5}}
    (label,) = look_ahead_labels(TREE, SCORES, "ahead")  # turn 2 alone: b has no turn 3; the own score never counts
    assert (label.chosen, label.rejected, label.margin) == ("a", "b", 1.0)  # although b's own score is higher
    assert look_ahead_labels(TREE, SCORES, "ahead", min_margin=1.5)[0].outcome == "tie"
    assert look_ahead_labels(TREE, {"a1": 3.0}, "ahead") == []
    assert look_ahead_labels(TREE, {"a11": 3.0, "b1": 3.0}, "ahead") == []  # no turn that both reach


def test_a_longer_branch_is_not_better_by_its_length() -> None:
    """Alignment grows with the turns: below a, turn 3 is better than turn 2; below b, turn 2 is all there is."""
    scores = {**SCORES, "b1": 4.0, "b2": 3.5}
    (label,) = look_ahead_labels(TREE, scores, "ahead")
    assert (label.chosen, label.margin) == ("b", 0.25)
    (label,) = look_ahead_labels(TREE, {**scores, "b1": 3.5}, "ahead")
    assert (label.outcome, label.chosen, label.node_ids) == ("tie", None, ("a", "b"))


def label(ids: tuple[str, str], chosen: str | None, labeler: str) -> Label:
    other = None if chosen is None else ids[1] if chosen == ids[0] else ids[0]
    outcome = "preferred" if chosen else "tie"
    return Label(tree_id="t", node_ids=ids, chosen=chosen, rejected=other, labeler=labeler, outcome=outcome)


def test_agreement_by_hand_and_whatever_the_order_of_the_nodes() -> None:
    one = [
        label(("a", "b"), "a", "x"),
        label(("c", "d"), "c", "x"),
        label(("e", "f"), None, "x"),
        label(("g", "h"), "h", "x"),
    ]
    two = [label(("b", "a"), "a", "y"), label(("d", "c"), "d", "y"), label(("e", "f"), "f", "y")]
    (found,) = agreement([*one, *two])
    assert (found.n, found.same, found.opposite) == (3, 0.3333, 0.5)
    (full,) = agreement([*one, *(x.model_copy(update={"labeler": "z"}) for x in one)])
    assert full.kappa == 1.0 and full.same == 1.0


@pytest.fixture
def run(tmp_path: Path) -> Path:
    grow_into(tmp_path / "trees", TreePlan(n_turns=4, policy="both:2", labeler="world:judge"), n=6)
    return tmp_path


def judge(run: Path, uri: str, judging: Judging) -> list[Label]:
    trees = list(read_jsonl(run / "trees" / "trees.jsonl", ConversationTree))
    personas = {p.persona_id: p for p in world_personas(6)}

    async def work() -> list[Label]:
        caller = Caller.open(Config(), None, seed=0, prompts=PROMPTS, models={"judge": [ModelConfig(uri=uri)]})
        try:
            labels, n_failed = await judge_trees(caller, trees, personas, judging)
            assert n_failed == 0
            return labels
        finally:
            await caller.aclose()

    return asyncio.run(work())


def test_relabelling_adds_a_labeler_and_leaves_the_trees_alone(run: Path) -> None:
    path = run / "trees" / "labels.jsonl"
    before, trees = path.read_bytes(), (run / "trees" / "trees.jsonl").read_bytes()
    biased = judge(run, "world:judge?bias=first", Judging("biased", orders=2))
    assert {x.outcome for x in biased} == {"disagreement"}
    merge_labels(path, biased, "biased")
    merge_labels(path, biased, "biased")  # twice is once
    labels = list(read_jsonl(path, Label))
    assert sum(x.labeler == "biased" for x in labels) == sum(x.labeler == "world:judge" for x in labels)
    assert (run / "trees" / "trees.jsonl").read_bytes() == trees
    assert validate_run(run).breaches == []
    merge_labels(path, [], "biased")
    assert path.read_bytes() == before


def test_the_same_judge_asked_again_says_the_same(run: Path) -> None:
    again = judge(run, "world:judge", Judging("again", orders=1, seed=3))
    first = list(read_jsonl(run / "trees" / "labels.jsonl", Label))
    (found,) = agreement([*first, *again])
    assert found.same == 1.0 and found.kappa == 1.0


def test_look_ahead_differs_from_what_is_best_now_in_some_nodes(run: Path) -> None:
    scores = reply_scores(judge(run, "world:judge", Judging("scores", label="score")))
    trees = list(read_jsonl(run / "trees" / "trees.jsonl", ConversationTree))
    ahead = [x for t in trees for x in look_ahead_labels(t, scores, "lookahead")]
    myopic = list(read_jsonl(run / "trees" / "labels.jsonl", Label))
    (found,) = agreement([*myopic, *ahead])
    assert found.n == len(ahead) == 6 * 3  # both:2: three forks a tree
    assert 0.0 < (found.opposite or 0.0) < 0.6
    merge_labels(run / "trees" / "labels.jsonl", ahead, "lookahead")
    assert validate_run(run).breaches == []


def test_labels_of_others_survive_growing_again(run: Path) -> None:
    folder = run / "trees"
    merge_labels(folder / "labels.jsonl", judge(run, "world:judge", Judging("other")), "other")
    whole = (folder / "labels.jsonl").read_bytes()
    kept = keep_other_labels(folder, "world:judge")
    grow_into(folder, TreePlan(n_turns=4, policy="both:2", labeler="world:judge"), n=6)
    assert restore_labels(folder, kept) == len(kept) > 0
    assert (folder / "labels.jsonl").read_bytes() == whole
    grow_into(folder, TreePlan(n_turns=4, policy="both:2", labeler="world:judge"), n=6, seed=99)
    assert restore_labels(folder, kept) < len(kept)  # other trees: labels of replies that are gone are gone


def test_best_of_n_candidates_come_from_several_models_and_are_told_apart() -> None:
    config = Config.model_validate(
        {"roles": {"tailored": [{"uri": "world:tailored"}, {"uri": "world:knows-all"}], "generic": "world:generic"}}
    )
    grown = grow(world_personas(1)[0], TreePlan(n_turns=5, n_tailored=3, n_generic=1), config=config)
    first = [n for n in grown.tree.nodes if n.turn == 1 and n.message.role == "assistant"]
    assert [n.kind for n in first].count("tailored") == 3 and len({n.node_id for n in first}) == 4
    models = {n.generation.model for n in grown.tree.nodes if n.kind == "tailored" and n.generation}
    assert models == {"world:tailored", "world:knows-all"}
    for item in grown.labels:
        scores = {j.node_ids[0]: j.score for j in item.judgements}
        assert len(scores) == 4
        if item.chosen:
            assert scores[item.chosen] == max(scores.values()) and scores[item.rejected] == min(scores.values())


def test_branching_by_chance_stays_between_none_and_all() -> None:
    persona = world_personas(1)[0]

    def shape(policy: str) -> int:
        return len(grow(persona, TreePlan(n_turns=4, policy=policy)).tree.nodes)

    assert shape("chance:0") == shape("path") and shape("chance:1,1") == shape("both:2")
    sizes = [len(grow(p, TreePlan(n_turns=4, policy="chance:0.5,0.5,0.5")).tree.nodes) for p in world_personas(8)]
    assert min(sizes) < max(sizes) and shape("path") <= min(sizes) and max(sizes) <= shape("both:3")


def test_after_different_replies_the_user_says_different_things(tmp_path: Path) -> None:
    summary = grow_into(tmp_path, TreePlan(n_turns=4, policy="both:3"), with_roles(user="world:user"))
    assert summary.truth["branches_differ"] > 0.5


def test_kinds_of_conversation_are_drawn_per_tree_and_told_to_the_user_only() -> None:
    heard: list[str] = []

    class Listener:
        name, revision = "listener:user", "1"

        async def complete(self, request: ChatRequest) -> Completion:
            heard.append(request.messages[0].content)
            return await WorldModel("world:user").complete(request)

        async def aclose(self) -> None:
            return None

    register_scheme("listener", lambda config: Listener())
    plan = TreePlan(n_turns=2, tasks=("advice", "knitting patterns"))
    trees = [grow(p, plan, config=with_roles(user="listener:user")).tree for p in world_personas(8)]
    assert {t.task for t in trees} == {"advice", "knitting patterns"}
    assert sum("Today you want advice" in text for text in heard) == 2 * sum(t.task == "advice" for t in trees)
    assert any("of this kind: knitting patterns." in text for text in heard)
    assert not any("knitting" in n.message.content for t in trees for n in t.nodes)
    assert grow(world_personas(1)[0], TreePlan(n_turns=1)).tree.task == ""
