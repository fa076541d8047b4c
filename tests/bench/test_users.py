"""Users against people: features with known answers, a classifier that finds what is there and nothing else."""

from __future__ import annotations

import json
import os
from pathlib import Path
from random import Random

import numpy as np
import pytest

from aloe.__main__ import main
from aloe.bench.users.features import FEATURES, count_features
from aloe.bench.users.people import world_personas
from aloe.bench.users.realism import compare_users, floor_of
from aloe.bench.users.talks import UserTalk, front_loading, read_talks
from aloe.bench.users.tune import tune_user
from aloe.errors import DataError
from aloe.stats.logistic import auc, fit_logistic, predict_logistic
from aloe.types import Message

ROOT = Path(__file__).resolve().parents[2]
PEOPLE = Path(os.environ.get("ALOE_PEOPLE") or ROOT.parent / "shared" / "reference" / "simulatorarena")
WORDS = ("the", "a", "plan", "report", "letter", "team", "budget", "idea", "draft", "note", "week", "month", "part")


def talk(*said: str) -> tuple[Message, ...]:
    """User and assistant in turn."""
    return tuple(Message(role="assistant" if at % 2 else "user", content=text) for at, text in enumerate(said))


def features(*said: str) -> dict[str, float]:
    return dict(zip(FEATURES, count_features([talk(*said)])[0], strict=True))


def writer(number: int, questions: float, seed: int) -> tuple[Message, ...]:
    """Somebody who asks with a given chance, and says random words."""
    rng = Random(seed * 1000 + number)
    said = []
    for _ in range(6):
        text = " ".join(rng.choice(WORDS) for _ in range(rng.randint(4, 12)))
        said += [text + ("?" if rng.random() < questions else "."), "Noted."]
    return talk(*said)


def test_features_have_the_values_that_a_hand_count_gives():
    found = features("Could you help me please?", "Here is a letter.", "no i dont like the letter", "Sorry.")
    assert found["questions"] == found["polite"] == 0.5
    assert found["objects"] == found["slips"] == found["small_start"] == found["no_stop"] == 0.5
    assert found["first_person"] == pytest.approx(2 / 11) and found["second_person"] == pytest.approx(1 / 11)
    assert found["echoes"] == pytest.approx(1 / 3)  # of dont, like and letter, the letter
    assert found["first_longer"] == pytest.approx(np.log(6) - np.log(7))
    assert features("I'd be happy to help! Here are some tips:", "Thanks.")["role_flips"] == 1.0
    assert features("My persona is a baker.", "Fine.")["leaks"] == 1.0
    assert features("Add a line here.", "Done.", "Add a line here, too.", "Done.")["repeats"] == pytest.approx(2 / 5)


def test_what_conversations_of_a_side_share_is_counted_within_the_side():
    same = [talk("please write me a short letter", "Done."), talk("now write me a short letter", "Done.")]
    alike = list(FEATURES).index("alike")
    assert [row[alike] for row in count_features(same)] == pytest.approx([2 / 3, 2 / 3])
    assert [row[alike] for row in count_features(same[:1], same[1:])] == [0.0]


def test_logistic_regression_finds_the_direction_and_auc_its_known_values():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 2))
    y = (x[:, 0] + 0.3 * rng.normal(size=400) > 0).astype(float)
    weights = fit_logistic(x, y)
    assert weights[0] > 2 and abs(weights[1]) < 0.6
    gradient = x.T @ (predict_logistic(weights, x) - y) + weights[:2]
    assert np.abs(gradient).max() < 1e-5
    assert np.isfinite(fit_logistic(x[:, :1], (x[:, 0] > 0).astype(float))).all(), "separable sides have a fit, too"
    assert auc([1, 2, 3, 4], [0, 0, 1, 1]) == 1.0 and auc([1, 1], [0, 1]) == 0.5 and auc([3, 1, 2], [0, 1, 1]) == 0.0
    assert auc([1.0], [1]) is None


def test_a_planted_difference_is_found_and_named_and_none_is_not():
    some = [writer(n, 0.2, 1) for n in range(24)]
    other = [writer(n, 0.8, 2) for n in range(24)]
    found = compare_users(some, other)
    assert found.auc.value > 0.9 and found.auc.low > 0.8
    assert found.features[0].feature == "questions" and found.features[0].second > found.features[0].first
    again = compare_users(some, [writer(n, 0.2, 3) for n in range(24)])
    assert again.auc.low < 0.5 < again.auc.high
    floor = floor_of([*some[:16], *(writer(n, 0.2, 4) for n in range(16))], ["a"] * 32)
    assert floor.auc.low < 0.5 < floor.auc.high and floor.n_first == 16
    with pytest.raises(DataError, match="at least 10"):
        compare_users(some[:9], other)


@pytest.mark.slow
def test_people_are_not_told_from_people_but_the_world_user_is(capsys: pytest.CaptureFixture[str]):
    files = [PEOPLE / name for name in ("document_creation.jsonl", "math_tutoring.jsonl")]
    if not all(file.is_file() for file in files):
        pytest.skip("SimulatorArena's conversations are not here: set ALOE_PEOPLE to their folder")
    human = [part for file in files for part in ("--human", str(file))]
    assert main(["users", "check", *human, "--user", "world:user?dialect=terse", "--n", "30", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    floor, simulated = found["human_vs_human"], found["simulated_vs_human"]
    assert floor["low"] < 0.5 < floor["high"]
    assert simulated["low"] > floor["high"] and simulated["n"] == [30, 30]
    assert found["across_tasks"]["auc"] > 0.9, "a task shows in the form, too"


def test_a_file_of_talks_is_compared_with_a_file_of_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for name, questions in (("people", 0.2), ("simulator", 0.8)):
        rows = [{"messages": [m.model_dump() for m in writer(n, questions, len(name))]} for n in range(20)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    people, simulator = tmp_path / "people.jsonl", tmp_path / "simulator.jsonl"
    assert main(["users", "check", "--human", str(people), "--talks", str(simulator)]) == 0
    said = capsys.readouterr().out
    assert "people against people (the floor)" in said and "questions      AUC" in said
    assert main(["users", "check", "--human", str(people), "--user", "world:user", "--talks", str(simulator)]) != 0


def test_conversations_are_read_from_messages_and_refused_with_their_place(tmp_path: Path):
    file = tmp_path / "people.jsonl"
    rows = [{"messages": [m.model_dump() for m in writer(n, 0.2, 5)], "task": "t"} for n in range(3)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    talks = read_talks(file)
    assert [t.n_turns for t in talks] == [6, 6, 6] and {t.group for t in talks} == {"t"}
    file.write_text('{"text": "x"}\n', "utf-8")
    with pytest.raises(DataError, match="line 1: not a conversation"):
        read_talks(file)


def test_front_loading_counts_facts_by_turn():
    persona = world_personas(1, 0)[0].model_copy(
        update={"profile": "She works as a baker. She keeps a rabbit as a pet.", "personality": ""}
    )
    told = UserTalk(talk("I work as a baker.", "Fine.", "I keep a rabbit as a pet.", "Fine."), persona=persona)
    assert front_loading([told]) == [0.5, 1.0]
    assert front_loading([UserTalk(talk("Hello.", "Fine."))]) == []


def test_tuning_chooses_what_is_least_told_from_people_and_measures_it_on_others():
    people = [UserTalk(writer(n, 0.2, 1), "one") for n in range(60)]
    asked: list[tuple[str, int, int]] = []

    def hold(setting: str, some: list[UserTalk], seed: int) -> list[UserTalk]:
        asked.append((setting, len(some), seed))
        return [UserTalk(writer(n, float(setting), 100 + seed)) for n in range(len(some))]

    found = tune_user(people, "0.95", ["0.7", "0.2", "0.5"], hold, seed=4)
    assert found.best == "0.2" and [one.name for one in found.tried] == ["0.95", "0.7", "0.2", "0.5"]
    assert found.before.auc.low > found.after.auc.high and found.gain_low > 0.1
    assert found.before.features[0].feature == "questions"
    assert [seed for *_, seed in asked] == [4, 4, 4, 4, 5, 5]  # other personas than those of the choice
    assert all(n == 30 for _, n, _ in asked)
    losses = [one.loss for one in found.tried]
    assert losses[0] < losses[1] < losses[2]  # nats: the classifier is less and less sure
    with pytest.raises(DataError, match="no setting to try"):
        tune_user(people, "0.5", ["0.5"], hold)


def test_the_tune_command_prints_before_and_after(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "people.jsonl"
    rows = [{"messages": [m.model_dump(include={"role", "content"}) for m in writer(n, 0.2, 2)[:6]]} for n in range(24)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    command = ["users", "tune", "--human", str(file), "--try", "world:user?typing=1"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "world:user?typing=1" in said and "before" in said and "what gave it away" in said
    assert main(["users", "tune", "--human", str(file), "--user", "world:generic"]) == 2
    assert "--try URI" in capsys.readouterr().err
