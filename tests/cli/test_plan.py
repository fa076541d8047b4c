"""The dry run: what it predicts is what the real run then asks, within a tenth; nothing is sent or written."""

import json
import re
from pathlib import Path

import pytest

import aloe
from aloe.__main__ import main
from aloe.config import load_config
from aloe.errors import AloeError
from aloe.forecast.calls import cacheable_share, format_plan, make_plan
from aloe.forecast.spending import budget_notes, unpriced
from aloe.stages.pipeline import run_pipeline
from aloe.store.rundir import RunDir

ROOT = Path(__file__).resolve().parents[2]
PEOPLE = {"seeds": "world", "embedder": "world", "n_profiles": 30, "n_personalities": 16, "n_personas": 24,
          "n_bench_profiles": 6, "n_bench_personalities": 4, "n_bench": 24}  # fmt: skip
NO_TRAINING = ["base", "sft", "rollout", "dpo"]


def recipe(**sections):
    base = {
        "skip": [*NO_TRAINING, "report"],
        "personas": PEOPLE,
        "bench": {"n_bootstrap": 100, "models": ["world:generic"]},
    }
    return load_config(
        overrides={k: {**base.get(k, {}), **v} if isinstance(v, dict) else v for k, v in {**base, **sections}.items()}
    )


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {
            "trees": {"policy": "both:2", "n_turns": 5, "orders": 2},
            "bench": {
                "full": True,
                "samples": 2,
                "n_turns": 4,
                "models": ["world:assistant+selfcritic", "world:oracle"],
            },
        },
    ],
    ids=["path", "branching and full"],
)
def test_prediction_within_a_tenth_of_the_run(sections, tmp_path):
    config = recipe(**sections)
    plan = make_plan(config)
    run = RunDir(tmp_path / "run")
    run_pipeline(config, run, "test", say=lambda *_: None)
    calls = run.manifest()["calls"]
    asked = {(stage, role): row for stage, roles in calls.items() for role, row in roles.items() if row["n_calls"]}
    assert {(line.stage, line.role) for line in plan.lines} == set(asked)
    for line in plan.lines:
        real = asked[line.stage, line.role]
        assert line.calls == pytest.approx(real["n_calls"], rel=0.1), line
        assert line.prompt_tokens == pytest.approx(real["prompt_tokens"], rel=0.1), line
        assert line.completion_tokens == pytest.approx(real["completion_tokens"], rel=0.1), line
    assert plan.total("cost") == 0


def test_an_embeddings_endpoint_has_a_line_of_its_own():
    people = {**PEOPLE, "embedder": "openai:text-embedding-3-small"}
    (line,) = [line for line in make_plan(recipe(personas=people), "personas").lines if line.role == "embedder"]
    assert line.stage == "personas" and line.models == ("openai:text-embedding-3-small",)
    assert line.calls >= 30 + 16 and line.completion_tokens == 0  # at least every member, each text once
    assert 5 < line.prompt_tokens / line.calls < 100
    assert line.cost == pytest.approx(line.prompt_tokens * 0.02 / 1e6)
    assert all(line.role != "embedder" for line in make_plan(recipe(), "personas").lines)


def test_most_of_a_conversation_can_come_from_a_prefix_cache():
    assert make_plan(recipe()).cacheable >= 0.6


def test_prices_of_a_recipe_with_real_models():
    priced = {"uri": "openai:some-model", "price_prompt": 1.0, "price_completion": 10.0}
    config = recipe(roles={"judge": priced, "user": "openai:gpt-4o"})
    plan = make_plan(config)
    for line in plan.lines:
        expected = {"judge": (1.0, 10.0), "user": (2.5, 10.0)}.get(line.role, (0.0, 0.0))
        cost = (expected[0] * line.prompt_tokens + expected[1] * line.completion_tokens) / 1e6
        assert line.cost == pytest.approx(cost, abs=1e-5)
    unknown = make_plan(recipe(roles={"judge": "openai:nobody-knows"}))
    assert unknown.total("cost") is None
    assert "price_prompt" in format_plan(unknown)


def test_a_budget_is_compared_with_the_estimate_before_anything_is_paid_for(tmp_path):
    priced = {"uri": "openai:some-model", "price_prompt": 1.0, "price_completion": 10.0}
    plan = make_plan(recipe(roles={"judge": priced}))
    whole = plan.total("cost")
    assert whole > 0 and plan.budget == ()

    def told(**budget):
        config = recipe(roles={"judge": priced}, budget=budget)
        spent = [(line.stage, line.cost, line.prompt_tokens + line.completion_tokens) for line in plan.lines]
        return budget_notes(config, ["personas", "trees", "bench"], spent)

    assert told(usd=2 * whole) == (f"budget.usd = {2 * whole:,g} suffices for the estimate of ${whole:,.2f}",)
    assert "will stop the run in stage trees" in told(usd=whole / 100)[0]
    assert "will stop the run in stage bench" in told(usd=0.999 * whole)[0]
    assert "will stop the run in stage personas" in told(tokens=1)[0] and len(told(usd=1e9, tokens=10**12)) == 2
    unknown = recipe(
        roles={"judge": {"uri": "openai:nobody-knows", "base_url": "http://127.0.0.1:9/v1"}}, budget={"usd": 5.0}
    )
    (line,) = make_plan(unknown).budget
    assert (
        "refused" in line and "openai:nobody-knows at 127.0.0.1:9" in line and line in format_plan(make_plan(unknown))
    )
    with pytest.raises(AloeError, match=r"price of openai:nobody-knows is not known"):
        run_pipeline(unknown, RunDir(tmp_path / "run"), "test", say=None)


def test_cacheable_share_is_exact():
    assert cacheable_share({"m": ["abcd", "abcdefgh", "xy"]}) == pytest.approx(4 / 14)
    assert cacheable_share({"m": ["abc"], "n": ["abc"]}) == 0
    assert cacheable_share({}) is None


def test_what_the_readme_prints_as_a_recipe_is_not_refused_for_its_budget(tmp_path):
    blocks = re.findall(r"^```toml\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert any("[budget]" in block for block in blocks)
    for block in blocks:
        (tmp_path / "printed.toml").write_text(block)
        config = load_config(tmp_path / "printed.toml")
        assert config.budget.usd is None or not unpriced(config, ["personas", "trees", "bench"])


@pytest.mark.slow
def test_the_budget_that_the_papers_recipe_advises_suffices():
    text = (Path(aloe.__file__).parent / "recipes" / "paper.toml").read_text("utf-8")
    advised = float(re.search(r"--budget\.usd (\d+)", text).group(1))
    (line,) = make_plan(load_config("paper", {"budget": {"usd": advised}})).budget
    assert "suffices" in line


def test_models_of_the_command_line_may_be_tables(capsys):
    """A judge at one's own server, with a temperature: as a table, where a URI could not say it."""
    own = '{uri = "openai:mine", base_url = "http://127.0.0.1:9/v1", price_prompt = 2, price_completion = 0}'
    people = '{uri = "world:user", temperature = 0.5}'
    assert main(["bench", "--dry", "--json", "--model", "world:oracle", "--judge", own, "--user", people]) == 0
    lines = {line["role"]: line for line in json.loads(capsys.readouterr().out)["lines"]}
    assert lines["judge"]["models"] == ["openai:mine at 127.0.0.1:9"] and lines["user"]["models"] == ["world:user"]
    assert lines["judge"]["cost"] == pytest.approx(2e-6 * lines["judge"]["prompt_tokens"])
    for wrong, says in (("{uri = ", "not a valid TOML table"), ('{uri = "world:judge", warmth = 1}', "warmth")):
        assert main(["bench", "--dry", "--judge", wrong]) == 2
        assert main(["chat", "--model", wrong]) == 2
        errors = capsys.readouterr().err.splitlines()
        assert len(errors) == 2 and all(says in line for line in errors)


def test_dry_run_by_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = "\n".join(f"{k} = {json.dumps(v)}" for k, v in PEOPLE.items())
    (tmp_path / "small.toml").write_text(f"skip = {json.dumps(NO_TRAINING)}\n[personas]\n{table}\n")
    assert main(["run", "small.toml", "--dry", "--trees.n_trees", "7"]) == 0
    text = capsys.readouterr().out
    assert "prefix cache" in text
    assert [line.split()[2] for line in text.splitlines() if line.startswith("trees")] == ["70"] * 5
    assert main(["plan", "small.toml", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["lines"]
    assert (
        main(["bench", "--dry", "--model", "world:assistant+inducer", "--judge", "openai:gpt-4o", "--turns", "3"]) == 0
    )
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("bench")]
    assert {line[1]: line[2] for line in lines} == {"user": "300", "responder": "600", "judge": "300"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["small.toml"]
    assert main(["plan"]) != 0
