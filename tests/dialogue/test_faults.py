"""Faults of the models, each caught by a statistic, a warning or the validator; and a world that fails at random."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aloe.dialogue.pairs import check_messages, tree_to_pairs
from aloe.dialogue.tree_builder import TreePlan
from aloe.dialogue.user import is_repeated, release_allowance, says_goodbye, speaks_as_user
from aloe.errors import ParseError
from aloe.prompts.catalog import USER
from aloe.protocols import PromptMessage
from aloe.report.outcomes import outcome
from aloe.stages.brief import trees_brief
from aloe.store.records import read_jsonl, write_jsonl
from aloe.store.validate import validate_run
from aloe.types import ConversationTree, Label
from dialogue.growing import grow, grow_into, with_roles
from helpers import world_personas


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory):
    return grow_into(tmp_path_factory.mktemp("honest") / "trees", TreePlan(n_turns=6, orders=2))


def test_an_honest_world_raises_no_warning_and_prints_its_truth(honest) -> None:
    assert honest.warnings == []
    truth = honest.truth
    assert truth["inducer_precision"] == 1.0 and truth["inducer_recall_stated"] == 1.0
    assert 0.5 < truth["inducer_recall_implied"] < 1.0  # it misses some hints
    assert truth["leak_turn_1"] < 0.3 and truth["label_agreement"] > 0.9 and truth["contradictions"] == 0.0
    coverage = honest.by_turn["coverage"]
    assert len(coverage) == 6 and coverage == sorted(coverage) and coverage[-1] > 2 * coverage[0]
    assert honest.statistics["judge_consistency"] == 1.0
    assert honest.statistics["length_ratio"] > 1


@pytest.mark.parametrize(
    ("roles", "statistic", "says"),
    [
        ({"user": "world:user?leak=1"}, "facts_told_at_turn_1", "revealed in the first message"),
        ({"user": "world:user?repeat=0.6"}, "repeated_messages", "repeats itself"),
        ({"user": "world:user?flip=0.6"}, "unlike_a_user", "read like an assistant's"),
        ({"inducer": "world:inducer?invent=1"}, "unevidenced_claims", "have no evidence"),
        ({"judge": "world:judge?bias=first"}, "judge_says_first", "says 'first'"),
    ],
)
def test_each_fault_moves_its_statistic_and_is_warned_of(tmp_path: Path, honest, roles, statistic, says) -> None:
    summary = grow_into(tmp_path / "trees", TreePlan(n_turns=6), with_roles(**roles))
    assert summary.statistics[statistic] > max(0.25, 2 * honest.statistics[statistic] - 0.5)
    assert any(says in warning for warning in summary.warnings), summary.warnings
    assert validate_run(tmp_path).breaches == []


def test_replies_that_speak_to_their_judge_are_counted_and_named(tmp_path: Path, honest) -> None:
    summary = grow_into(tmp_path, TreePlan(n_turns=2), with_roles(tailored="pleading:tailored"), n=2)
    assert honest.n_verdict_like == 0
    assert summary.n_verdict_like == 4  # of every pair the tailored one
    told = summary.as_dict()
    assert "4 replies hold text like a judge's answer" in trees_brief(told)
    assert "4 replies like a judge's answer" in outcome("trees", told) and "like a" not in str(outcome("rollout", {}))


def test_a_judge_of_position_has_no_consistency_in_both_orders(tmp_path: Path) -> None:
    summary = grow_into(tmp_path, TreePlan(n_turns=4, orders=2), with_roles(judge="world:judge?bias=first"))
    assert summary.statistics["judge_consistency"] == 0.0 and summary.n_preferred == 0
    assert any("are the same in both orders" in w for w in summary.warnings)


def test_a_leaking_user_shows_in_the_truth_too_and_the_budget_steers_it(tmp_path: Path, honest) -> None:
    leaky = with_roles(user="world:user?leak=1")
    told = grow_into(tmp_path / "a", TreePlan(n_turns=4), leaky)
    steered = grow_into(tmp_path / "b", TreePlan(n_turns=4, release=1), leaky)
    assert told.truth["leak_turn_1"] > 0.9 > 0.3 > steered.truth["leak_turn_1"]
    for tree in read_jsonl(tmp_path / "b" / "trees.jsonl", ConversationTree):
        assert all("<task" not in n.message.content for n in tree.nodes)


@pytest.mark.parametrize(
    ("release", "turn", "n_revealed", "allowance"),
    [(0, 1, 0, None), (2, 1, 0, 2), (2, 2, 1, None), (2, 2, 2, None), (2, 2, 3, 1), (1, 3, 9, 0)],
)
def test_the_release_budget_speaks_only_when_a_path_is_ahead(release, turn, n_revealed, allowance) -> None:
    assert release_allowance(release, turn, n_revealed) == allowance


def test_a_label_on_a_repeated_tree_or_leaked_hint_is_a_breach(tmp_path: Path) -> None:
    grow_into(tmp_path / "trees", TreePlan(n_turns=2), n=3)
    path = tmp_path / "trees" / "trees.jsonl"
    trees = list(read_jsonl(path, ConversationTree))
    write_jsonl(path, [*trees, trees[0]])
    assert any("is there twice" in b for b in validate_run(tmp_path).breaches)
    write_jsonl(path, [*trees, trees[0].model_copy(update={"tree_id": "other"})])
    assert any(f"is in tree {trees[0].tree_id} too" in b for b in validate_run(tmp_path).breaches)
    labels = list(read_jsonl(tmp_path / "trees" / "labels.jsonl", Label))
    write_jsonl(tmp_path / "trees" / "labels.jsonl", [*labels, labels[0]])
    assert any("twice" in b and labels[0].labeler in b for b in validate_run(tmp_path).breaches)
    write_jsonl(tmp_path / "trees" / "labels.jsonl", labels)
    text = trees[0].model_dump_json().replace('"content":"', '"content":"<revealed>x</revealed>', 1)
    write_jsonl(path, [ConversationTree.model_validate_json(text), *trees[1:]])
    assert any("hint text" in b for b in validate_run(tmp_path).breaches)


@pytest.mark.parametrize(
    "text",
    ["As an AI, I can't do that.", "How can I help you today?", "*nods*", "", "Is there anything else I can do?"],
)
def test_a_user_that_falls_out_of_its_role_is_asked_again(text: str) -> None:
    with pytest.raises(ParseError):
        USER.read(text)


def test_an_echo_of_the_assistant_is_no_user_message() -> None:
    with pytest.raises(ParseError, match="words back"):
        USER.read("Try a walk.", [PromptMessage("user", ("Try ", "a walk."))])
    assert USER.read("Try a walk.", [PromptMessage("user", ("Another.",))]) == "Try a walk." == USER.read("Try a walk.")


@pytest.mark.parametrize(
    ("text", "over"),
    [
        ("Thanks so much, bye!", True),
        ("That's all for today, thank you.", True),
        ("Good night, and thanks again.", True),
        ("See you later.", True),
        ("How do I say goodbye to my dog?", False),
        ("Goodbye is a sad word. What shall I cook?", False),
        ("I stand by you.", False),
        ("Tea, that is all.", False),
        ("Bye-bye, sleep! What now?", False),
    ],
)
def test_goodbyes_are_told_from_talk_of_them(text: str, over: bool) -> None:
    assert says_goodbye(text) is over


def test_a_branch_ends_when_the_user_leaves() -> None:
    class Leaver:
        name, revision = "leaver:x", "1"

        async def complete(self, request):
            from aloe.protocols import Completion

            turn = sum(m.role == "assistant" for m in request.messages) + 1
            return Completion(f"I have my {turn}. day off." if turn < 3 else "I must go now. Goodbye!")

        async def aclose(self) -> None:
            return None

    from aloe.models.registry import register_scheme

    register_scheme("leaver", lambda config: Leaver())
    config = with_roles(user="leaver:x")
    grown = grow(world_personas(1)[0], TreePlan(n_turns=8), config=config)
    assert max(n.turn for n in grown.tree.nodes) == 3 and grown.n_goodbyes == 1 and not grown.tree.errors
    assert sum(n.turn == 3 and n.message.role == "assistant" for n in grown.tree.nodes) == 2  # answered, then over
    on = grow(world_personas(1)[0], TreePlan(n_turns=5, end_on_goodbye=False), config=config)
    assert max(n.turn for n in on.tree.nodes) == 5


def test_what_a_user_says_is_told_from_what_an_assistant_says() -> None:
    assert speaks_as_user("I like tea.") and speaks_as_user("Any ideas?") and speaks_as_user("Tell a joke.")
    assert not speaks_as_user("One option is a short break. That is a common answer.")
    assert is_repeated("a", ["b", "a"]) and not is_repeated("c", ["a"])


@settings(deadline=None, max_examples=12, suppress_health_check=list(HealthCheck))
@given(
    fail=st.sampled_from([0.0, 0.05, 0.3]),
    garbage=st.sampled_from([0.0, 0.1, 0.4]),
    salt=st.integers(0, 99),
    policy=st.sampled_from(["path", "both:2", "budget:15", "chance:0.7,0.4"]),
    label=st.sampled_from(["compare", "score"]),
    n_tailored=st.integers(1, 2),
)
def test_random_faults_leave_valid_trees_and_end_only_their_branch(
    fail, garbage, salt, policy, label, n_tailored
) -> None:
    query = f"?fail={fail}&garbage={garbage}&salt={salt}"
    config = with_roles(**{r: f"troubled:{r}{query}" for r in ("user", "inducer", "tailored", "generic", "judge")})
    plan = TreePlan(n_turns=3, policy=policy, label=label, n_tailored=n_tailored)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        summary = grow_into(root / "trees", plan, config, n=4)
        assert validate_run(root).breaches == []
        assert summary.n_trees == 4
        assert fail or garbage or summary.n_failed_nodes == 0
        labels: dict[str, list[Label]] = {}
        for item in read_jsonl(root / "trees" / "labels.jsonl", Label):
            labels.setdefault(item.tree_id, []).append(item)
        for tree in read_jsonl(root / "trees" / "trees.jsonl", ConversationTree):
            texts = {n.message.content for n in tree.nodes}
            for pair in tree_to_pairs(tree, labels.get(tree.tree_id, [])):
                assert check_messages([*pair.prompt, *pair.chosen]) == ""
                assert {m.content for m in (*pair.prompt, *pair.chosen, *pair.rejected)} <= texts
        again = grow_into(root / "again", plan, config, n=4, concurrency=1)
        assert again.as_dict() == summary.as_dict()
        for file in ("trees", "labels", "disclosures"):
            assert (root / "again" / f"{file}.jsonl").read_bytes() == (root / "trees" / f"{file}.jsonl").read_bytes()
