"""A stage in which calls failed is not done: nothing is made from it unless allowed, and a rerun mends all of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aloe.__main__ import main
from aloe.config import Config, load_config
from aloe.errors import AloeError, BudgetExceeded, EndpointError
from aloe.stages.pipeline import Outcome, run_pipeline
from aloe.store.rundir import RunDir
from aloe.store.validate import validate_run
from models.faulty import Fault, FaultyServer, faulty_world, refusal

ROLES = {
    "writer": "world:persona-writer", "user": "world:user", "inducer": "world:inducer", "tailored": "world:tailored",
    "generic": "world:generic", "judge": "world:judge",
}  # fmt: skip
POOL = {
    "seeds": "world", "embedder": "world", "personality_words": 25, "n_profiles": 12, "n_personalities": 8,
    "n_personas": 8, "n_bench_profiles": 2, "n_bench_personalities": 2, "n_bench": 3, "wave": 2, "n_new": 3,
}  # fmt: skip
FILES = (
    "personas/personas.jsonl", "personas/pool.jsonl", "trees/trees.jsonl", "trees/labels.jsonl",
    "trees/disclosures.jsonl", "datasets/dpo.parquet", "datasets/sft.parquet", "bench/generic/conversations.jsonl",
    "bench/generic/scores.jsonl",
)  # fmt: skip


def configure(server: FaultyServer, **sections: Any) -> Config:
    """A run of a second, all roles behind ``server``."""
    where = {"base_url": server.base_url, "max_attempts": 2}
    return load_config(
        None,
        {
            "skip": "base,sft,rollout,dpo",
            "roles": {role: {"uri": uri, **where} for role, uri in ROLES.items()},
            "personas": POOL,
            "trees": {"n_turns": 2},
            "bench": {"n_turns": 2, "models": [{"uri": "world:generic", **where}]},
            **sections,
        },
    )


def run(config: Config, out: Path, **options: Any) -> Outcome:
    return run_pipeline(config, RunDir(out), "mine", say=None, **options)


def files(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in FILES}


@pytest.fixture(scope="module")
def faultless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("faultless") / "run"
    with faulty_world(lambda body, n: None) as server:
        run(configure(server), out)
    return out


def asks(body: dict[str, Any], role: str) -> bool:
    return body["model"].partition("?")[0] == ROLES[role]


def some(role: str, share: int = 3) -> Any:
    """Refuses the same part of a role's calls for good."""

    def script(body: dict[str, Any], n: int) -> Fault | None:
        return refusal("content policy", 400) if asks(body, role) and body["seed"] % share == 0 else None

    return script


@pytest.mark.parametrize("role", ["writer", "user", "inducer", "tailored", "judge"])
def test_failed_calls_stop_the_run_and_a_rerun_ends_as_if_nothing_had_failed(
    faultless: Path, tmp_path: Path, role: str
) -> None:
    with faulty_world(some(role)) as server:
        config = configure(server)
        with pytest.raises(EndpointError, match="content policy") as caught:
            run(config, tmp_path)
        stage = "personas" if role == "writer" else "trees"
        assert caught.value.__notes__ == [stage]
        assert role == "writer" or "--allow-failed" in str(caught.value)
        assert not (tmp_path / "datasets").exists() and not (tmp_path / "bench").exists()
        state = RunDir(tmp_path).stage_state(stage)
        assert role == "writer" or state["summary"]["failed"]["n"] > 0
        server.world_script = lambda body, n: None
        run(config, tmp_path)
    assert files(tmp_path) == files(faultless)
    assert "failed" not in RunDir(tmp_path).stage_state(stage)["summary"]


def test_what_was_made_from_incomplete_trees_is_made_again_once_they_are_complete(
    faultless: Path, tmp_path: Path
) -> None:
    with faulty_world(some("judge")) as server:
        config = configure(server)
        run(config, tmp_path, allow_failed=1.0)
        made = files(tmp_path)
        assert made["datasets/dpo.parquet"] != files(faultless)["datasets/dpo.parquet"]
        assert validate_run(tmp_path).breaches == []
        with pytest.raises(EndpointError):  # allowed once is not allowed for ever
            run(config, tmp_path)
        server.world_script = lambda body, n: None
        run(config, tmp_path, only="trees")
        assert not (tmp_path / "datasets" / "dpo.parquet").exists()  # nobody trains on it meanwhile
        outcome = run(config, tmp_path)
        assert "export" in outcome.seconds and files(tmp_path) == files(faultless)
        assert run(config, tmp_path).skipped == ["personas", "trees", "export"]


def test_a_benchmark_in_which_calls_failed_is_an_error_with_its_results_kept(tmp_path: Path, faultless: Path) -> None:
    def script(body: dict[str, Any], n: int) -> Fault | None:
        is_bench = asks(body, "judge") and "two replies" not in body["messages"][0]["content"]
        return refusal("too long", 400) if is_bench and (tmp_path / "datasets").exists() and n % 4 == 0 else None

    with faulty_world(script) as server:
        config = configure(server)
        with pytest.raises(EndpointError, match=r"calls failed in \d of 3 conversations") as caught:
            run(config, tmp_path)
        assert caught.value.__notes__ == ["bench"] and caught.value.exit_code == 4
        assert "too long" in (tmp_path / "report" / "index.html").read_text("utf-8")  # it is shown what is missing
        server.world_script = lambda body, n: None
        run(config, tmp_path)
    assert files(tmp_path) == files(faultless)


def test_a_changed_file_is_noticed_and_only_what_depends_on_its_content_is_made_again(
    tmp_path: Path, faultless: Path
) -> None:
    with faulty_world(lambda body, n: None) as server:
        config = configure(server)
        run(config, tmp_path)
        labels = tmp_path / "trees" / "labels.jsonl"
        rows = labels.read_bytes().splitlines(keepends=True)
        labels.write_bytes(b"".join(rows[:-1]))
        assert "export" in run(config, tmp_path, only="export").seconds
        assert (tmp_path / "datasets" / "dpo.parquet").read_bytes() != files(faultless)["datasets/dpo.parquet"]
        trees = tmp_path / "trees" / "trees.jsonl"
        whole = trees.read_bytes()
        trees.write_bytes(b"".join(whole.splitlines(keepends=True)[:-1]))
        assert any("export: made from another trees/trees.jsonl" in b for b in validate_run(tmp_path).breaches)
        trees.write_bytes(whole)
        labels.write_bytes(b"".join(rows))
        run(config, tmp_path, only="export")
        assert files(tmp_path) == files(faultless)
        labels.touch()
        assert run(config, tmp_path, only="export").skipped == ["personas", "trees", "export"]


def test_a_run_of_an_earlier_version_stays_done_unless_its_trees_are_newer_than_its_data(tmp_path: Path) -> None:
    with faulty_world(lambda body, n: None) as server:
        config = configure(server)
        run(config, tmp_path)
        manifest = json.loads((tmp_path / "manifest.json").read_text("utf-8"))
        for state in manifest["stages"].values():
            del state["inputs"], state["outputs"]
        path = tmp_path / "manifest.json"
        path.write_text(json.dumps(manifest), "utf-8")
        assert run(config, tmp_path, only="export").skipped == ["personas", "trees", "export"]
        manifest["stages"]["trees"]["finished"] += 1e6
        path.write_text(json.dumps(manifest), "utf-8")
        assert list(run(config, tmp_path, only="export").seconds) == ["export"]


def test_a_budget_that_ends_in_stage_personas_gives_the_same_people_once_it_is_lifted(
    tmp_path: Path, faultless: Path
) -> None:
    with faulty_world(lambda body, n: None) as server:
        for tokens in (4300, 4350, 4400):
            with pytest.raises(BudgetExceeded):
                run(configure(server, budget={"tokens": tokens}), tmp_path)
            assert RunDir(tmp_path).stage_state("personas") is None
        run(configure(server), tmp_path)
    assert files(tmp_path) == files(faultless)


def test_the_command_line_says_it_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with faulty_world(some("judge")) as server:
        config = configure(server)
        with pytest.raises(AloeError):
            run(config, tmp_path)
        assert main(["run", str(tmp_path), "--trust-run"]) == 4
        said = capsys.readouterr().err
        assert said.startswith("aloe: error in stage trees: calls failed in") and said.count("\n") == 1
        assert main(["run", str(tmp_path), "--trust-run", "--allow-failed", "1", "-q"]) == 0
        assert main(["run", str(tmp_path), "--allow-failed", "2"]) == 2
