"""Stage transfer on models of a few steps: a run's report shows the matrix, and no cell takes over another's scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from aloe.bench.transfer import TransferPlan
from aloe.config import Config, load_config
from aloe.errors import ConfigError
from aloe.forecast.calls import make_plan
from aloe.stages.pipeline import run_pipeline
from aloe.stages.table import stages_of
from aloe.stages.transfer import plan_of, run_transfer
from aloe.store.rundir import RunDir

JUDGES = ("world:judge?weighing=style", "world:judge?weighing=tact")
SMALL: dict[str, Any] = {
    "skip": ["base", "sft", "rollout", "dpo"],  # the run's own; those of its transfer are trained
    "world": {"values": 8, "slots": ["pet", "diet", "hobby", "sport"], "traits": ["warmth"], "topics": ["dinner"]},
    "personas": {"n_profiles": 8, "n_personalities": 2, "n_personas": 4, "n_bench_profiles": 4, "n_bench": 4}
    | {"n_bench_personalities": 1, "personality_words": 8},
    "trees": {"n_turns": 2},
    "base": {"max_steps": 2, "d_model": 16, "n_layers": 1, "n_heads": 2, "d_ffn": 16, "batch_size": 8},
    "sft": {"max_steps": 1},
    "bench": {"n_turns": 2, "models": ["world:generic"], "n_bootstrap": 100, "gain": False},
    "execution": {"replicas": 1},
    "transfer": {
        "users": ["plain", "terse"],
        "judges": list(JUDGES),
        "checkpoint": "sft",
        "personas": 3,
        "mixture": False,
    },
}


def small(**transfer: Any) -> Config:
    return load_config("demo", SMALL | {"transfer": SMALL["transfer"] | transfer})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("transfer") / "run"
    run_pipeline(small(), RunDir(out), "demo", say=None)
    return out


def cells(out: Path) -> dict[tuple[str, str], set[str]]:
    """The folders of measured cells by (trained on, tested on)."""
    found: dict[tuple[str, str], set[str]] = {}
    for result in (out / "bench").glob("*/*/*/result.json"):
        place = result.parent
        found.setdefault((place.parent.parent.name, place.parent.name), set()).add(place.name)
    return found


def test_a_run_with_users_to_transfer_to_shows_their_matrix(run: Path) -> None:
    found = json.loads((run / "transfer" / "transfer.json").read_text("utf-8"))
    assert {name.split(" -> ")[0] for name in found["matrix"][JUDGES[0]]} == {"plain", "terse"}
    made = {path.name: path / "checkpoints" / "base" for path in (run / "transfer" / "train").iterdir()}
    assert made["base"].is_dir() and not made["plain"].exists()  # all start from one base model
    page = (run / "report" / "index.html").read_text("utf-8")
    section = page[page.index('<section id="transfer"') :]
    section = section[: section.index("</section>")]
    value = found["diagonal_minus_off"][0]
    assert section.count("<svg") == 2 and f"{abs(value):.3f}" in section and "weighing=tact" in section
    assert run.joinpath("transfer", "index.html").read_text("utf-8").count("<svg") == 2


def test_cells_are_those_of_their_judges_people_and_weights(run: Path) -> None:
    """What another judge gave, or was said of other people or by other weights, stands in another place."""
    config, out = small(), run / "transfer"
    plan = plan_of(config.transfer)
    before, (figures, scores) = cells(out), run_transfer(config, plan, out, say=lambda line: None)
    assert cells(out) == before and all(len(names) == 1 for names in before.values()) and len(before) == 4
    content = TransferPlan(
        plan.users, ("world:judge?weighing=content",), "sft", 3, with_mixture=False, shared_base=True
    )
    _, other = run_transfer(config, content, out, say=lambda line: None)
    assert all(len(names) == 2 for names in cells(out).values())
    assert other["plain", "plain"].shape == (3, 1)
    fewer = TransferPlan(plan.users, JUDGES, "sft", 2, with_mixture=False, shared_base=True)
    _, less = run_transfer(config, fewer, out, say=lambda line: None)
    assert all(len(names) == 3 for names in cells(out).values()) and less["plain", "plain"].shape == (2, 2)
    file = out / "train" / "plain" / "checkpoints" / "sft" / "model.safetensors"
    save_file({k: v + 0.01 for k, v in load_file(file).items()}, file, metadata={"format": "pt"})
    run_transfer(config, plan, out, say=lambda line: None)
    after = {place[0]: len(names) for place, names in cells(out).items()}
    assert after == {"plain": 4, "terse": 3}
    assert scores["plain", "plain"].shape == (3, 2) and figures.costs is None


def test_without_users_there_is_no_such_stage() -> None:
    names = [stage.name for stage in stages_of(load_config("demo"))]
    assert "transfer" not in names and [s.name for s in stages_of(small())][-2:] == ["transfer", "report"]
    with pytest.raises(ConfigError, match="users is empty"):
        run_pipeline(load_config("demo"), RunDir(Path("nowhere")), "demo", only="transfer", say=None)
    with pytest.raises(ConfigError, match="one user alone"):
        run_transfer(small(users=["plain"]), plan_of(small(users=["plain"]).transfer), Path("nowhere"))


def test_the_plan_counts_what_the_stage_asks_for() -> None:
    calls = {(line.stage, line.role): line.calls for line in make_plan(small()).lines}
    assert calls["transfer", "inducer"] == 2 * calls["trees", "inducer"]
    cells_turns = 2 * 2 * 3 * 2  # models, users, people, turns
    assert calls["transfer", "responder"] == cells_turns
    assert calls["transfer", "user"] == 2 * calls["trees", "user"] + cells_turns
