"""Runs whose terminal, disk or user goes away: they end at once or go on, lose nothing, and say it in one line."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aloe.errors import DataError
from aloe.stages.context import read_personas
from aloe.store.rundir import RunDir
from cli.test_incomplete import configure, files, run
from models.faulty import Fault, FaultyServer, faulty_world


def heed_interrupts() -> None:
    """Where these tests run in the background of a shell, interrupts are ignored, also by what they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(out: Path, shell: str = "exec {}", **more: object) -> subprocess.Popen[str]:
    command = f"'{sys.executable}' -m aloe run '{out.parent / 'mine.toml'}' --out '{out}'"
    return subprocess.Popen(
        ["bash", "-c", shell.format(command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"}, **{"preexec_fn": heed_interrupts, **more},
    )  # type: ignore[call-overload, no-any-return]  # fmt: skip


def write_recipe(folder: Path, server: FaultyServer, **sections: object) -> None:
    made = RunDir(folder / "recipe")
    made.path.mkdir()
    made.save_config(configure(server, **sections))
    made.config_path.rename(folder / "mine.toml")


@pytest.fixture(scope="module")
def faultless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("hard") / "run"
    with faulty_world(lambda body, n: None) as server:
        run(configure(server), out)
    return out


@pytest.mark.parametrize(
    "shell", ["exec {} >&- 2>&-", "set -o pipefail\n{} | head -1", "exec {} > /dev/full 2> /dev/full"]
)
def test_a_run_goes_on_where_nobody_takes_what_it_says(tmp_path: Path, faultless: Path, shell: str) -> None:
    with faulty_world(lambda body, n: None) as server:
        write_recipe(tmp_path, server)
        process = start(tmp_path / "run", shell)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert files(tmp_path / "run") == files(faultless)


def test_a_full_disk_is_one_line_and_the_same_command_goes_on(tmp_path: Path, faultless: Path) -> None:
    most = 60_000  # bytes of a file
    with faulty_world(lambda body, n: None) as server:
        write_recipe(tmp_path, server)
        process = start(tmp_path / "run", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)))
        _, errors = process.communicate(timeout=120)
        assert process.returncode in (3, 4) and "Traceback" not in errors, errors
        assert "aloe: error" in errors.strip().splitlines()[-1]
        assert start(tmp_path / "run").wait(timeout=120) == 0
    assert files(tmp_path / "run") == files(faultless)


def test_a_run_that_was_killed_at_its_first_rename_begins_again(tmp_path: Path, faultless: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    for name in (".lock", ".config.toml.7.tmp"):
        (out / name).touch()
    with faulty_world(lambda body, n: None) as server:
        run(configure(server), out)
    assert files(out) == files(faultless) and not list(out.rglob(".*.tmp"))


def test_ctrl_c_ends_a_run_whose_embeddings_never_come(tmp_path: Path) -> None:
    pool = {
        "embedder": "openai:embedder", "profile_threshold": 0.9, "personality_threshold": 0.9, "n_profiles": 12,
        "n_personalities": 8, "n_personas": 4, "n_bench_profiles": 2, "n_bench_personalities": 2, "n_bench": 2,
    }  # fmt: skip
    asked: list[int] = []

    def script(body: dict, n: int) -> Fault | None:
        if "input" in body:
            asked.append(n)
            return Fault(hang=True)
        return None

    with faulty_world(script) as server:
        config = configure(server, personas=pool)
        writer = config.roles.writer[0].model_copy(update={"uri": "openai:world:persona-writer"})
        roles = config.roles.model_copy(update={"writer": (writer,)})
        made = RunDir(tmp_path / "recipe")
        made.path.mkdir()
        made.save_config(config.model_copy(update={"roles": roles}))
        made.config_path.rename(tmp_path / "mine.toml")
        process = start(tmp_path / "run")
        deadline = time.monotonic() + 60
        while not asked and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert asked, process.communicate(timeout=20)
        process.send_signal(signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 130 and "interrupted in stage personas" in errors and "Traceback" not in errors


def test_a_torn_persona_file_is_damage(tmp_path: Path, faultless: Path) -> None:
    folder = tmp_path / "personas"
    folder.mkdir()
    raw = (faultless / "personas" / "personas.jsonl").read_bytes()
    (folder / "personas.jsonl").write_bytes(raw[:-30])
    with pytest.raises(DataError, match="not valid JSON"):
        read_personas(RunDir(tmp_path), "train")


def test_ctrl_c_while_a_class_is_made_has_the_exit_code_of_any_other(tmp_path: Path) -> None:
    about = tmp_path / "clocks-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: clocks\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[aloe.models]\nclock = clocks:Clock\n")
    strikes = "exec('import os, signal; os.kill(os.getpid(), signal.SIGINT)\\nwhile True: pass')\n"
    (tmp_path / "clocks.py").write_text(strikes)  # as a dataclass does: it executes text
    process = subprocess.run(
        [sys.executable, "-m", "aloe", "run", "demo", "--roles.user", "clock:now", "--out", str(tmp_path / "run")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])},
        capture_output=True, text=True, timeout=60, check=False, preexec_fn=heed_interrupts,
    )  # fmt: skip
    assert process.returncode == 130 and "aloe: interrupted" in process.stderr, process.stderr
