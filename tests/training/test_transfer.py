"""Transfer between users: figures with known answers, the users' URIs, what a base model hears of dialects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from aloe.bench.transfer import MIXTURE, TransferPlan, as_json, measure_transfer, read_members, summary
from aloe.errors import ConfigError
from aloe.report.matrix import matrix_svg
from aloe.stages.transfer import user_uri
from aloe.stats import Clusters
from aloe.store.records import write_jsonl
from aloe.types import BenchScore, Persona
from aloe.world.dialects.speech import heard
from aloe.world.lexicon.options import narrow, parse_options

PLAN = TransferPlan(users=("plain", "terse"), judges=("a", "b"))


def scores(noise: float = 0.0) -> dict[tuple[str, str], np.ndarray]:
    """Each user's own model 0.6 above the other's, the mixture 0.45; everybody 1 lower under the second judge."""
    rng = np.random.default_rng(3)
    level = {"own": 3.6, "other": 3.0, MIXTURE: 3.45}
    hard = {"plain": 0.0, "terse": -0.5}  # one user is harder for everybody
    found = {}
    for trained in PLAN.trained:
        for tested in PLAN.users:
            kind = MIXTURE if trained == MIXTURE else "own" if trained == tested else "other"
            base = np.array([[level[kind] + hard[tested], level[kind] + hard[tested] - 1]] * 20)
            found[trained, tested] = base + noise * rng.normal(size=base.shape)
    return found


def test_the_gap_and_what_the_mixture_closes_have_their_known_values():
    clusters = Clusters([f"p{i}" for i in range(20)])
    found = measure_transfer(scores(), PLAN, clusters)
    assert found.diagonal_minus_off.value == pytest.approx(0.6)
    assert found.closes == pytest.approx(0.75) and found.costs is not None
    assert found.costs.value == pytest.approx(0.15)
    assert {judge: one.value for judge, one in found.by_judge.items()} == pytest.approx({"a": 0.6, "b": 0.6})
    noisy = measure_transfer(scores(0.5), PLAN, clusters)
    assert noisy.diagonal_minus_off.low < 0.6 < noisy.diagonal_minus_off.high
    flat = {place: np.full((20, 2), 3.0) for place in scores()}
    assert measure_transfer(flat, PLAN, clusters).closes is None
    assert "nothing to close" in summary(measure_transfer(flat, PLAN, clusters))[1]
    plain = as_json(found, scores(), PLAN, clusters)
    assert plain["matrix"]["b"]["plain -> terse"][0] == pytest.approx(1.5)


def test_a_user_is_the_recipes_own_in_another_dialect():
    assert user_uri("world:user?hints=0&dialect=moody", "terse") == "world:user?hints=0&dialect=terse"
    assert user_uri("world:user?hints=0", "plain") == "world:user?hints=0"
    assert user_uri("world:user", "plain,terse") == "world:user?dialect=plain,terse"
    with pytest.raises(ConfigError, match="world's user"):
        user_uri("openai:x", "terse")
    with pytest.raises(ConfigError, match="dialect"):
        user_uri("world:user", "ters")


def test_members_scores_are_read_by_persona_and_judge(tmp_path: Path):
    people = [
        Persona(persona_id=name, profile="", personality="", profile_id=name, personality_id=name) for name in "xy"
    ]
    common = {"tree_id": "t", "profile_id": "", "personality_id": ""}
    rows = [
        BenchScore(persona_id="x", turn=1, score=2.0, parts={"judge 1": 1.0, "judge 2": 3.0}, **common),
        BenchScore(persona_id="x", turn=2, score=4.0, parts={"judge 1": 3.0, "judge 2": 5.0}, **common),
        BenchScore(persona_id="y", turn=1, score=2.5, parts={"judge 1": 2.0, "judge 2": 3.0}, **common),
        BenchScore(persona_id="y", turn=2, score=1.0, outcome="left", **common),
    ]
    write_jsonl(tmp_path / "scores.jsonl", rows)
    assert read_members(tmp_path, people, 2).tolist() == [[2.0, 4.0], [1.5, 2.0]]


def test_the_base_model_hears_what_its_users_say():
    plain = parse_options("values=32&slots=pet,diet&hints=0", "test")
    assert heard(plain) == narrow(plain)
    terse = heard(parse_options("slots=pet,diet&dialect=terse", "test"))
    both = heard(parse_options("slots=pet,diet&dialect=plain,terse", "test"))
    assert set(both.by_slot["pet"].said) == {*narrow(plain).by_slot["pet"].said, *terse.by_slot["pet"].said}
    assert len(both.by_topic["dinner"].requests) > len(terse.by_topic["dinner"].requests)


def test_a_matrix_is_drawn_with_its_diagonal_framed():
    cells = {(a, b): (1.0 + (a == b), 0.9, 2.1) for a in PLAN.users for b in PLAN.users}
    text = matrix_svg("judge <x>", PLAN.users, PLAN.users, cells)
    assert text.count('stroke="#1d4e89"') == 2 and "judge &lt;x&gt;" in text and text.count("[0.90, 2.10]") == 4
