"""Personal gain, both scopes, identification: known signs and orders on the world, and exact small cases."""

import json

import pytest

from aloe.bench.compare import read_scored
from aloe.bench.gain import identify
from aloe.errors import DataError
from aloe.models.registry import register_scheme
from aloe.protocols import Completion
from aloe.store.records import read_jsonl
from aloe.types import BenchmarkResult, BenchScore, Message

CONTROLS = ["world:generic", "world:oracle", "world:knows-all", "world:swapped"]


@pytest.fixture(scope="module")
def full(bench, personas, tmp_path_factory):
    folder = tmp_path_factory.mktemp("full")
    return bench(personas, CONTROLS, folder, bench__full=True, bench__n_turns=6), folder


def test_gain_is_what_is_personal(full):
    results, _ = full
    gain = {uri.partition(":")[2]: r.gain for uri, r in results.items()}
    assert gain["oracle"] > gain["generic"] + 0.3
    assert gain["knows-all"] > gain["generic"] + 0.3
    assert results["world:swapped"].gain_ci[1] < 0  # it is another one whom these replies suit
    assert abs(gain["generic"]) < 0.15
    oracle = results["world:oracle"]
    assert oracle.gain_ci[0] < oracle.gain < oracle.gain_ci[1]
    assert len(oracle.gain_by_turn) == 6
    assert oracle.gain == pytest.approx(sum(oracle.gain_by_turn) / 6)


def test_gain_is_the_difference_of_stored_scores(full):
    results, folder = full
    rows = list(read_jsonl(folder / "oracle/scores.jsonl", BenchScore))
    differences = [r.score - r.others["swapped"] for r in rows]
    assert results["world:oracle"].gain == pytest.approx(sum(differences) / len(differences))


def test_both_scopes_show_what_rewards_mind_reading(full):
    results, folder = full
    knows, oracle = results["world:knows-all"], results["world:oracle"]
    assert knows.scope == "revealed"
    assert knows.other_scope.scope == "persona"
    assert knows.other_scope.avg > knows.avg + 0.3
    assert knows.other_scope.mind_reading_ci[0] > 0.3
    assert knows.other_scope.mind_reading > oracle.other_scope.mind_reading + 0.3
    assert abs(knows.other_scope.ir) < 0.05 < oracle.ir
    stored = BenchmarkResult.model_validate_json((folder / "knows-all/result.json").read_bytes())
    assert stored == knows


def test_the_other_scope_is_that_benchmark(personas, bench, full, tmp_path):
    results, _ = full
    alone = bench(personas, ["world:oracle"], tmp_path, bench__scope="persona", bench__n_turns=6)["world:oracle"]
    other = results["world:oracle"].other_scope
    assert other.points == alone.points
    assert (other.avg_ci, other.ir_ci) == (alone.avg_ci, alone.ir_ci)


def test_identification_by_turn(full):
    results, _ = full
    oracle, generic = (results[f"world:{n}"].identification for n in ("oracle", "generic"))
    assert set(oracle) == {"judge", "replies", "conversation"}
    assert oracle["replies"][-1] > 0.95 > oracle["replies"][0] - 0.01
    assert oracle["conversation"][-1] > 0.95
    assert generic["replies"] == (0.5,) * 6
    assert generic["conversation"][-1] > 0.8  # the user gives itself away, whatever is replied
    assert oracle["judge"][-1] > 0.9
    assert abs(generic["judge"][-1] - 0.5) < 0.25
    assert results["world:swapped"].identification["replies"][-1] < 0.5


def test_shares_have_intervals_that_hold_them(full):
    results, _ = full
    for result in results.values():
        assert set(result.identification_ci) == set(result.identification)
        for reader, (low, high) in result.identification_ci.items():
            assert 0 <= low <= result.identification[reader][-1] <= high <= 1
            assert low < high
        assert {"fact_use", "on_topic", "user_repeats"} <= set(result.truth_ci)
        for name, (low, high) in result.truth_ci.items():
            assert 0 <= low <= result.truth[name] <= high <= 1
            assert low < high
    oracle = results["world:oracle"]
    assert oracle.truth["user_repeats"] == 0.0
    assert oracle.truth_ci["user_repeats"][1] > 0.1  # eighteen personas: what none of them did is not impossible


def test_who_has_left_is_not_identified_any_more(personas, bench, tmp_path):
    register_scheme("quitter", lambda config: Quitter(config.uri))
    (result,) = bench(personas, ["quitter:x"], tmp_path).values()
    assert result.n_empty == 2 * len(personas)
    assert result.identification["conversation"][1] > 0.7
    assert result.identification["conversation"][3] == 0.5


class Quitter:
    """Answers twice and never again."""

    def __init__(self, name):
        self.name, self.revision = name, "1"

    async def complete(self, request):
        return Completion("" if len(request.messages) > 4 else "Tell me more.")

    async def aclose(self):
        return None


def test_plain_results_stay_what_they_were(personas, bench, tmp_path):
    plain = bench(personas, ["world:oracle"], tmp_path / "a")["world:oracle"]
    gained = bench(personas, ["world:oracle"], tmp_path / "b", bench__gain=True)["world:oracle"]
    assert (plain.gain, plain.gain_ci, plain.gain_by_turn, plain.other_scope) == (None, None, (), None)
    assert plain.points == gained.points
    assert gained.gain is not None
    assert gained.other_scope is None
    assert (tmp_path / "a/oracle/conversations.jsonl").read_bytes() == (
        tmp_path / "b/oracle/conversations.jsonl"
    ).read_bytes()
    row = json.loads((tmp_path / "a/oracle/scores.jsonl").read_text().splitlines()[0])
    assert row["others"] == {}


def test_full_mode_does_not_depend_on_concurrency(personas, bench, tmp_path):
    for n in (1, 7):
        bench(personas[:8], ["world:oracle"], tmp_path / str(n), bench__full=True, execution__concurrency=n)
    for name in ("conversations.jsonl", "scores.jsonl", "result.json"):
        assert (tmp_path / "1/oracle" / name).read_bytes() == (tmp_path / "7/oracle" / name).read_bytes()
    assert read_scored(tmp_path / "1/oracle").scores.shape == (8, 1, 4)


def test_nobody_to_swap_with(personas, bench, tmp_path):
    with pytest.raises(DataError, match="swap"):
        bench(personas[:1], ["world:generic"], tmp_path, bench__gain=True)


class Talk:
    def __init__(self, persona, texts):
        self.persona = persona
        self.messages = [
            Message(role="user" if i % 2 == 0 else "assistant", content=text) for i, text in enumerate(texts)
        ]
        self.scores, self.others = [], []


def test_readers_have_chance_where_nothing_is_said(personas):
    found = identify([Talk(p, ["Hello.", "Hi.", "Hm.", "Yes."]) for p in personas], personas, 3)
    assert found == {"replies": (0.5, 0.5, None), "conversation": (0.5, 0.5, None)}


def test_no_reading_of_personas_in_other_words(personas):
    foreign = personas[0].model_copy(update={"profile": "Una jardinera de Lugo.", "persona_id": "x"})
    people = [foreign, *personas]
    assert identify([Talk(p, ["Hello.", "Hi."]) for p in people], people, 1) == {}


def test_health_of_the_user(personas, bench, tmp_path):
    fine = bench(personas, ["world:generic"], tmp_path / "a")["world:generic"].truth
    assert fine["user_repeats"] == fine["user_role_flips"] == fine["user_contradictions"] == 0.0
    broken = {"user": "world:user?repeat=0.5&flip=0.5&leak=1"}
    ill = bench(personas, ["world:generic"], tmp_path / "b", roles=broken)["world:generic"].truth
    assert ill["user_repeats"] > 0.1
    assert ill["user_role_flips"] > 0.05
    assert ill["leak_turn_1"] > 0.9 > fine["leak_turn_1"] + 0.3


def test_repetition_counts_the_third_mention_on(personas):
    from aloe.bench.ground_truth import TruthFigures
    from aloe.world.latent import read_persona
    from aloe.world.lexicon.options import narrow

    latent = read_persona(personas[0].profile, personas[0].personality)
    item = latent.facts[0]
    slot = narrow().by_slot[item.name]
    use = "Here is a thought, " + slot.uses[0].replace("{v}", item.value).replace("{a}", "a") + "."
    figures = TruthFigures(4)
    texts = [text for _ in range(4) for text in ("Any idea for the weekend?", use)]
    figures.add(personas[0], Talk(personas[0], texts).messages, [1.0, 2.0, 3.0, 4.0])
    assert figures.figures()["repetition"] == pytest.approx(0.5)
