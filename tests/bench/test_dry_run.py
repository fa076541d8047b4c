"""The dry run of a benchmark alone: calls and tokens by role within a tenth of the run, for wrappers and options."""

import pytest

from aloe.config import load_config
from aloe.forecast.calls import make_plan
from aloe.models.uri import WRAPPERS
from aloe.stages.pipeline import run_pipeline
from aloe.store.rundir import RunDir

PEOPLE = {"seeds": "world", "embedder": "world", "n_profiles": 30, "n_personalities": 16, "n_personas": 8,
          "n_bench_profiles": 6, "n_bench_personalities": 4, "n_bench": 24}  # fmt: skip


@pytest.mark.parametrize(
    "bench",
    [
        *({"models": [f"world:assistant+{wrapper}"]} for wrapper in WRAPPERS),
        {"models": ["world:oracle", "world:knows-all", "world:generic", "world:swapped"], "scope": "persona"},
        {"models": ["world:oracle"], "samples": 2, "n_turns": 3, "n_personas": 12},
        {"models": ["world:generic"], "n_turns": 1, "n_personas": 17},
        {"models": ["world:oracle", "world:generic+reminder"], "full": True, "n_turns": 6},
    ],
    ids=[*WRAPPERS, "controls, whole persona", "samples", "one turn", "full"],
)
def test_prediction_within_a_tenth(bench, tmp_path):
    config = load_config(overrides={"personas": PEOPLE, "bench": {"n_bootstrap": 100, **bench}})
    plan = make_plan(config, "bench")
    run = RunDir(tmp_path / "run")
    run_pipeline(config, run, "test", only="bench", say=lambda *_: None)
    asked = {role: row for role, row in run.manifest()["calls"]["bench"].items() if row["n_calls"]}
    assert {line.role for line in plan.lines if line.stage == "bench"} == set(asked)
    for line in plan.lines:
        if line.stage != "bench":
            continue
        real = asked[line.role]
        assert line.calls == pytest.approx(real["n_calls"], rel=0.1), line.role
        assert line.prompt_tokens == pytest.approx(real["prompt_tokens"], rel=0.1), line.role
        assert line.completion_tokens == pytest.approx(real["completion_tokens"], rel=0.1), line.role
