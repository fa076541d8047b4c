"""The command line as a user meets it: one line per error, nothing lost on interruption, no work done twice."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aloe.config import load_config
from aloe.prompts import PromptSet
from aloe.stages.pipeline import stage_digests
from helpers import aloe

SMALL = [
    "--personas.n_profiles=30", "--personas.n_personalities=16", "--personas.n_personas=24",
    "--personas.n_bench_profiles=6", "--personas.n_bench_personalities=4", "--personas.n_bench=6",
    "--trees.n_turns=4", "--bench.n_turns=4", "--bench.n_bootstrap=100", "--skip", "base,sft,rollout,dpo",
]  # fmt: skip


def launch(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "aloe", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cli") / "run"
    done = launch("run", "demo", "--out", out, "--seed", "1", *SMALL)
    assert done.returncode == 0, done.stderr
    assert "report:" in done.stdout and "oracle" in done.stdout
    return out


def files(out: Path) -> dict[str, bytes]:
    """Everything that must not depend on how the run went."""
    names = ["personas/personas.jsonl", "personas/pool.jsonl", "trees/trees.jsonl", "trees/labels.jsonl"]
    names += ["trees/disclosures.jsonl", *(f"bench/{m}/conversations.jsonl" for m in ("oracle", "generic"))]
    return {name: (out / name).read_bytes() for name in names}


def test_a_run_writes_what_it_promises(run_dir: Path) -> None:
    for model in ("generic", "oracle", "knows-all", "swapped"):
        result = json.loads((run_dir / "bench" / model / "result.json").read_text())
        assert result["model"] == model
        assert [p["k"] for p in result["points"]] == [1, 2, 3, 4]
        assert {"al", "ci_low", "ci_high", "n_scored", "n_unscored"} <= set(result["points"][0])
        assert {"avg", "ir", "ir_ci", "n_ir", "n_r2"} <= set(result)
    assert "<html" in (run_dir / "report" / "index.html").read_text()[:500].lower()


def test_a_finished_run_does_nothing_again(run_dir: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in run_dir.rglob("*.jsonl") if p.name != "log.jsonl"}
    again = aloe("run", "demo", "--out", run_dir, "--seed", "1", *SMALL)
    assert again.returncode == 0 and "already done: personas, trees, export" in again.stdout.replace("\n", " ")
    assert before == {p: p.stat().st_mtime_ns for p in run_dir.rglob("*.jsonl") if p.name != "log.jsonl"}


def test_redoing_a_stage_replays_the_journal_and_ends_the_same(run_dir: Path) -> None:
    before = files(run_dir)
    again = aloe("run", run_dir, "--from", "trees")
    assert again.returncode == 0, again.stderr
    assert files(run_dir) == before
    calls = json.loads((run_dir / "manifest.json").read_text())["calls"]["trees"]
    assert all(c["n_replayed"] in (0, c["n_calls"]) for c in calls.values())


def test_validate_passes_on_a_run(run_dir: Path) -> None:
    done = aloe("validate", run_dir)
    assert done.returncode == 0 and done.stdout.startswith("0 breaches")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["run", "dmeo"], 2, "did you mean 'demo'"),
        (["rnu", "demo"], 2, "did you mean 'run'"),
        (["run"], 2, "no recipe given"),
        (["run", "demo", "--trees.n_turn", "4"], 2, "did you mean 'n_turns'"),
        (["run", "demo", "--trees.n_turns", "four"], 2, "valid integer"),
        (["run", "demo", "--from", "tree"], 2, "did you mean 'trees'"),
        (["run", "missing.toml"], 2, "does not exist"),
        (["run", "demo", "--roles.judge", "wrld:judge"], 2, "wrld"),
        (["run", "demo", "--roles.judge", "world:jugde"], 2, "judge"),
        (["run", "demo", "--prompts_dir", "nowhere"], 2, "prompts_dir nowhere"),
        (["run", "demo", "--personas.file", "nowhere.jsonl", *SMALL], 3, "nowhere.jsonl"),
        (["metrics", "nowhere.json"], 2, "does not exist"),
        (["validate", "nowhere"], 2, "does not exist"),
        (["prompts", "show", "judge"], 2, "no prompt named"),
    ],
)
def test_bad_input_is_one_line_and_an_exit_code(tmp_path: Path, arguments: list[str], code: int, says: str) -> None:
    stage = arguments[0] in ("run", "rnu") and len(arguments) > 1
    done = aloe(*arguments, *(["--out", tmp_path / "out"] if stage else []))
    assert done.returncode == code, done.stderr
    assert says in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_process_says_what_the_function_says(tmp_path: Path) -> None:
    for arguments in (["rnu", "demo"], ["run", "demo", "--out", tmp_path, *SMALL, "--personas.file", "no.jsonl"]):
        alone, within = launch(*arguments), aloe(*arguments)
        assert alone.returncode == within.returncode > 0
        assert (alone.stdout, alone.stderr) == (within.stdout, within.stderr) and alone.stderr.count("\n") == 1


def test_a_recipe_that_is_not_toml_names_the_line(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text("[trees]\nn_turns = \n")
    done = aloe("run", recipe, "--out", tmp_path / "out")
    assert done.returncode == 2 and "line 2" in done.stderr and "mine.toml" in done.stderr


def test_another_config_in_the_same_directory_is_refused(run_dir: Path) -> None:
    other = aloe("run", "demo", "--out", run_dir, "--seed", "1", *SMALL, "--trees.n_turns=3")
    assert other.returncode == 2
    assert "trees.n_turns: 4 -> 3" in other.stderr and "--from trees" in other.stderr


def test_another_dtype_asks_for_its_stage_again() -> None:
    def digests(**model: str) -> dict[str, str]:
        tailored = {"uri": "hf:somewhere", **model}
        return stage_digests(load_config("demo", {"roles": {"tailored": tailored}}), PromptSet())

    plain, half = digests(), digests(dtype="bfloat16")
    assert plain == digests(dtype="auto") == digests(base_url="http://127.0.0.1:1/v1")
    assert plain["trees"] != half["trees"] and plain["personas"] == half["personas"]


def test_a_directory_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    done = aloe("run", "demo", "--out", tmp_path, *SMALL)
    assert done.returncode == 2 and "contains other files" in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["notes.txt"]


def test_a_prompt_without_its_section_is_refused(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts"
    assert aloe("prompts", "eject", prompts).returncode == 0
    assert aloe("prompts", "check", prompts).returncode == 0
    text = (prompts / "judge_compare.jinja").read_text()
    (prompts / "judge_compare.jinja").write_text(text.replace('<reply id="second">', "<reply>"))
    done = aloe("run", "demo", "--out", tmp_path / "out", "--prompts_dir", prompts)
    assert done.returncode == 2 and 'lacks the section <reply id="second">' in done.stderr


def test_a_corrupt_line_is_named_and_the_stage_can_be_redone(run_dir: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(run_dir, copy)
    path = copy / "trees" / "trees.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], lines[1][:100] + b"\n", *lines[2:]]))
    broken = aloe("export", copy, "--from", "export")
    assert broken.returncode == 3 and "trees.jsonl, line 2" in broken.stderr and "--from" in broken.stderr
    assert aloe("run", copy, "--from", "trees").returncode == 0
    assert path.read_bytes() == b"".join(lines)


@pytest.mark.parametrize("stage", ["personas", "trees", "bench"])
@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_stage_continues_and_ends_the_same(
    run_dir: Path, tmp_path: Path, stage: str, blow: signal.Signals
) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "aloe", "run", "demo", "--out", str(out), "--seed", "1", *SMALL]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    log = out / "log.jsonl"
    deadline = time.monotonic() + 120
    started = f'"event":"stage_started","stage":"{stage}"'
    while time.monotonic() < deadline and not (log.is_file() and started in log.read_text()):
        time.sleep(0.005)
    process.send_signal(blow)
    _, errors = process.communicate(timeout=60)
    if blow == signal.SIGINT and process.returncode == 130:
        assert "interrupted in stage" in errors and "Traceback" not in errors
    done = aloe("run", "demo", "--out", out, "--seed", "1", *SMALL)
    assert done.returncode == 0, done.stderr
    assert files(out) == files(run_dir)


def test_two_runs_in_one_directory_are_refused(run_dir: Path) -> None:
    import fcntl

    with open(run_dir / ".lock", "a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = aloe("run", "demo", "--out", run_dir, "--seed", "1", *SMALL)
    assert done.returncode == 2 and "another process is working" in done.stderr


def test_help_is_fast_and_loads_nothing_heavy() -> None:
    code = (
        "import sys, aloe, aloe.__main__ as m; m.main(['--help']); m.main(['run', '--help']);"
        "print([n for n in ('torch', 'ray', 'gradio', 'vllm', 'transformers', 'trl') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"
