"""The benchmark of world policies: known order, paired openings, counted failures, files that depend on nothing."""

import asyncio
import json

import pytest

from aloe.bench.compare import compare
from aloe.bench.ground_truth import TruthFigures
from aloe.bench.runner import run_benchmark
from aloe.config import Config, ModelConfig, load_config
from aloe.errors import DataError, EndpointError
from aloe.models.caller import Caller
from aloe.models.registry import register_scheme
from aloe.protocols import Completion
from aloe.store.records import read_jsonl
from aloe.types import BenchmarkResult, BenchScore, ConversationTree, Message, Persona

CONTROLS = ["world:generic", "world:oracle", "world:knows-all", "world:swapped"]
FILES = ("conversations.jsonl", "scores.jsonl", "result.json")


class Scripted:
    """A model that answers by a function of the request."""

    def __init__(self, name, answer):
        self.name, self.revision, self.answer = name, "1", answer

    async def complete(self, request):
        return Completion(self.answer(request))

    async def aclose(self):
        return None


@pytest.fixture(scope="module")
def controls(bench, personas, tmp_path_factory):
    folder = tmp_path_factory.mktemp("controls")
    return bench(personas, CONTROLS, folder), folder


def test_controls_come_out_in_the_order_known_in_advance(personas, bench, tmp_path):
    results = bench(personas, CONTROLS, tmp_path, bench__n_turns=10)
    assert [name for name, _ in compare([tmp_path]).models] == ["oracle", "knows-all", "generic", "swapped"]
    assert all(pair.difference.avg.low > 0 for pair in compare([tmp_path]).differences)
    assert results["world:oracle"].ir_ci[0] > 0
    low, high = results["world:generic"].ir_ci
    assert low <= 0 <= high


def test_result_file_holds_what_others_read(controls):
    results, folder = controls
    stored = json.loads((folder / "oracle" / "result.json").read_text())
    assert set(stored) >= {"model", "points", "avg", "ir", "ir_ci", "n_ir", "n_r2", "truth", "fact_use_by_lag"}
    assert set(stored["points"][0]) == {"k", "al", "ci_low", "ci_high", "n_scored", "n_unscored", "in_figures"}
    assert stored["model"] == "oracle"
    assert [p["k"] for p in stored["points"]] == [1, 2, 3, 4]
    assert BenchmarkResult.model_validate(stored) == results["world:oracle"]
    assert stored["usage"]["user"]["prompt_tokens"] > 0


def test_truth_figures_of_the_controls(controls):
    results, _ = controls
    oracle, knows, swapped, generic = (
        results[f"world:{name}"].truth for name in ("oracle", "knows-all", "swapped", "generic")
    )
    assert oracle["fact_use"] > 0.95
    assert oracle["premature_rate"] == 0.0
    assert oracle["style_accuracy"] > 0.95
    assert knows["premature_rate"] > 0.2
    assert swapped["untrue_rate"] > 0.8 > oracle["untrue_rate"] + 0.5
    assert generic["fact_use"] == 0.0
    assert generic["untrue_rate"] is None
    assert 0 < oracle["leak_turn_1"] < 0.5


def test_every_model_meets_the_same_opening(controls):
    _, folder = controls
    openings = []
    for uri in CONTROLS:
        trees = read_jsonl(folder / uri[6:] / "conversations.jsonl", ConversationTree)
        openings.append([(t.persona_id, t.nodes[0].message.content, t.nodes[0].generation.call_key) for t in trees])
    assert all(opening == openings[0] for opening in openings)


def test_conversations_are_trees_with_one_branch_in_order_of_the_personas(controls, personas):
    _, folder = controls
    trees = list(read_jsonl(folder / "oracle" / "conversations.jsonl", ConversationTree))
    assert [t.persona_id for t in trees] == [p.persona_id for p in personas]
    for tree in trees:
        assert [n.turn for n in tree.nodes] == [1, 1, 2, 2, 3, 3, 4, 4]
        assert [n.message.role for n in tree.nodes] == ["user", "assistant"] * 4
        assert [n.parent_id for n in tree.nodes] == [None, *(n.node_id for n in tree.nodes[:-1])]
        assert [n.continued for n in tree.nodes] == [True] * 7 + [False]
    rows = list(read_jsonl(folder / "oracle" / "scores.jsonl", BenchScore))
    assert [(r.persona_id, r.turn) for r in rows] == [(p.persona_id, k) for p in personas for k in (1, 2, 3, 4)]
    replies = {n.node_id for t in trees for n in t.nodes if n.kind == "responder"}
    assert {r.node_id for r in rows} == replies
    assert all(r.outcome == "scored" and 1 <= r.score <= 5 for r in rows)


def test_models_under_test_are_told_nothing_of_the_persona(personas, tmp_path, bench):
    seen = []

    def answer(request):
        seen.extend(m.content for m in request.messages)
        return "Tell me more."

    register_scheme("spy", lambda config: Scripted(config.uri, answer))
    bench(personas[:2], ["spy:x"], tmp_path)
    assert seen
    assert not any("<persona>" in text or "<revealed>" in text for text in seen)


@pytest.mark.parametrize("concurrency", [1, 3])
def test_files_do_not_depend_on_concurrency(controls, personas, bench, tmp_path, concurrency):
    _, folder = controls
    bench(personas, CONTROLS[:2], tmp_path, execution__concurrency=concurrency)
    for name in ("generic", "oracle"):
        for file in FILES:
            assert (tmp_path / name / file).read_bytes() == (folder / name / file).read_bytes()


def test_a_replayed_benchmark_is_the_same_to_the_byte(personas, bench, tmp_path):
    journal = tmp_path / "journal.sqlite"
    bench(personas[:4], ["world:oracle"], tmp_path / "a", journal=journal)
    size = journal.stat().st_size
    bench(personas[:4], ["world:oracle"], tmp_path / "b", journal=journal)
    assert journal.stat().st_size == size
    for file in FILES:
        assert (tmp_path / "a" / "oracle" / file).read_bytes() == (tmp_path / "b" / "oracle" / file).read_bytes()


def test_samples_are_conversations_of_their_own(personas, bench, tmp_path):
    (result,) = bench(personas[:3], ["world:oracle"], tmp_path, bench__samples=2).values()
    assert result.n_samples == 2
    assert [p.n_scored for p in result.points] == [6] * 4
    rows = list(read_jsonl(tmp_path / "oracle" / "scores.jsonl", BenchScore))
    assert sorted({(r.persona_id, r.sample) for r in rows}) == [(p.persona_id, s) for p in personas[:3] for s in (0, 1)]
    trees = list(read_jsonl(tmp_path / "oracle" / "conversations.jsonl", ConversationTree))
    assert len({t.tree_id for t in trees}) == 6
    assert trees[0].nodes[0].message.content != trees[1].nodes[0].message.content


def test_a_failed_call_ends_its_conversation_and_is_counted(personas, bench, tmp_path):
    unlucky = {}

    def answer(request):
        if len(request.messages) >= 5 and not unlucky:  # the third turn of whoever gets there first
            unlucky["opening"] = request.messages[0].content
        if request.messages[0].content == unlucky.get("opening") and len(request.messages) >= 5:
            raise EndpointError("the model is gone", "start it again", status=503)
        return "Tell me more."

    register_scheme("flaky", lambda config: Scripted(config.uri, answer))
    seen = []
    (result,) = bench(
        personas[:5], ["flaky:x"], tmp_path, execution__concurrency=1, progress=lambda n, of: seen.append((n, of))
    ).values()
    assert result.n_failed == 1
    assert seen[0] == (0, 20) and seen[-1] == (20, 20) and len(seen) == 20  # two turns are lost in one step
    assert [(p.n_scored, p.n_unscored) for p in result.points] == [(5, 0), (5, 0), (4, 1), (4, 1)]
    tree = next(t for t in read_jsonl(tmp_path / "x" / "conversations.jsonl", ConversationTree) if t.errors)
    assert (tree.errors[0].turn, tree.errors[0].role) == (3, "responder")
    assert "the model is gone" in tree.errors[0].error
    rows = [r for r in read_jsonl(tmp_path / "x" / "scores.jsonl", BenchScore) if r.tree_id == tree.tree_id]
    assert [r.outcome for r in rows] == ["scored", "scored", "failed", "failed"]


@pytest.mark.parametrize("reply", ["  *smiles*  ", " \n\t ", "\u200b\u2060", ""])
def test_an_empty_reply_scores_the_lowest_and_so_does_what_it_ends(personas, bench, tmp_path, reply):
    register_scheme("mute", lambda config: Scripted(config.uri, lambda request: reply))
    (result,) = bench(personas[:12:4], ["mute:x"], tmp_path, bench__gain=True).values()
    assert (result.n_failed, result.n_empty, result.avg, result.gain) == (0, 12, 1.0, 0.0)
    assert [(p.al, p.n_scored, p.n_unscored) for p in result.points] == [(1.0, 3, 0)] * 4
    rows = list(read_jsonl(tmp_path / "x" / "scores.jsonl", BenchScore))
    assert [(r.outcome, r.score, r.others, r.node_id) for r in rows] == [("empty", 1.0, {"swapped": 1.0}, "")] * 12
    assert result.truth["fact_use"] in (0.0, None)
    trees = list(read_jsonl(tmp_path / "x" / "conversations.jsonl", ConversationTree))
    assert {t.errors[0].error for t in trees} == {"an empty reply, also when asked again"}


@pytest.mark.parametrize(("scale", "lowest"), [("1-100", 1.0), ("binary", 0.0)])
def test_the_lowest_score_is_that_of_the_scale(personas, bench, tmp_path, scale, lowest):
    register_scheme("mute", lambda config: Scripted(config.uri, lambda request: ""))
    (result,) = bench(personas[:3], ["mute:x"], tmp_path, bench__scale=scale).values()
    assert result.avg == lowest


def test_quitting_does_not_pay(personas, bench, tmp_path):
    """One that leaves two conversations of three from turn 3 on: what it leaves counts, so that it falls."""

    def answer(request):
        return "" if len(request.messages) >= 5 and len(request.messages[0].content) % 3 else "Tell me more."

    register_scheme("quitter", lambda config: Scripted(config.uri, answer))
    register_scheme("stayer", lambda config: Scripted(config.uri, lambda request: "Tell me more."))
    left = bench(personas, ["quitter:x"], tmp_path / "a")["quitter:x"]
    stayed = bench(personas, ["stayer:x"], tmp_path / "b")["stayer:x"]
    assert 0 < left.n_empty < 2 * len(personas)
    assert left.n_failed == 0
    assert left.avg < stayed.avg - 0.2
    assert left.ir < stayed.ir
    assert all(p.n_unscored == 0 for p in left.points)


@pytest.mark.parametrize("words", ["I would rather not say.", "", "between 3/5 and 4/5", "x" * 10_000, "Score: 9"])
def test_a_judge_that_cannot_be_read_leaves_replies_unscored(personas, bench, tmp_path, words):
    register_scheme("vague", lambda config: Scripted(config.uri, lambda request: words))
    (result,) = bench(personas[:2], ["world:generic"], tmp_path, roles={"judge": "vague:x"}).values()
    assert result.n_failed == 0
    assert [(p.al, p.n_unscored) for p in result.points] == [(None, 2)] * 4
    rows = list(read_jsonl(tmp_path / "generic" / "scores.jsonl", BenchScore))
    assert {r.outcome for r in rows} == {"unparsed"}
    assert all(r.raw == words[:2000] for r in rows)


def test_whole_persona_judging_rewards_mind_reading(controls, personas, bench, tmp_path):
    results, _ = controls
    (whole,) = bench(personas, ["world:knows-all"], tmp_path, bench__scope="persona").values()
    assert whole.avg > results["world:knows-all"].avg + 0.5
    assert whole.points[0].al > 4


def test_personas_of_no_world_have_scores_but_no_truth(bench, tmp_path):
    people = [
        Persona(
            persona_id=f"x{i}",
            profile=f"A {40 + i} year old baker from Lyon who restores old radios and has two sons.",
            personality="Patient, dry-humoured, and slow to trust strangers.",
            profile_id=f"p{i}",
            personality_id="t",
        )
        for i in range(2)
    ]
    (result,) = bench(people, ["world:oracle"], tmp_path).values()
    assert [p.n_scored for p in result.points] == [2] * 4
    assert result.truth["fact_use"] is None
    assert result.truth["leak_turn_1"] is None
    assert result.truth["reply_words"] > 0


def test_no_personas_or_two_of_one_id(personas, tmp_path, bench):
    with pytest.raises(DataError, match="no benchmark personas"):
        bench([], ["world:generic"], tmp_path)
    with pytest.raises(DataError, match="same persona_id"):
        bench([personas[0], personas[0]], ["world:generic"], tmp_path)


def test_progress_and_name(personas, tmp_path):
    config, seen = Config(bench=load_config(overrides={"bench": {"n_turns": 2}}).bench), []

    async def work():
        caller = Caller.open(config, None, seed=0)
        model = ModelConfig(uri="world:generic")
        result = await run_benchmark(
            caller,
            personas[:3],
            model,
            config=config,
            out_dir=tmp_path,
            name="generic-2",
            progress=lambda n, of: seen.append((n, of)),
        )
        await caller.aclose()
        return result

    result = asyncio.run(work())
    assert result.model == "generic-2"
    assert seen == [(n, 6) for n in range(7)]  # turn by turn: conversations that advance together end together


def test_one_turn_has_no_slope(personas, tmp_path, bench):
    (result,) = bench(personas[:3], ["world:generic"], tmp_path, bench__n_turns=1).values()
    assert result.ir is None
    assert result.points[0].n_scored == 3


def test_truth_figures_do_not_need_scores_or_an_answer(personas):
    figures = TruthFigures(3)
    figures.add(personas[0], [Message(role="user", content="Hello!")], [])
    assert figures.figures()["fact_use"] is None
    assert figures.figures()["leak_turn_1"] == 0.0
    assert figures.facts_by_turn() == (0.0, None, None)
