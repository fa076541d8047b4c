"""Shards in several processes of one driver: the same files, one set of limits, and nothing lost however it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aloe.config import load_config
from aloe.config.exposure import exposures
from models.faulty import FaultyServer, faulty_world
from scale.sharded_runs import aloe, at, begin, committed, copy, read, start, wait_for

BY_TWO = ("--execution.executor", "processes", "--execution.workers", "2", "--execution.concurrency", "2")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("processes")
    with faulty_world(lambda body, n: None) as server:
        begin(server, folder / "begun", trees={"n_turns": 2})
        grown = copy(folder / "begun", folder / "grown")
        assert aloe("trees", grown, "-q").returncode == 0
    return folder / "begun", grown


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    told = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False).stdout
    return [int(line) for line in told.split()]


def until_half(server: FaultyServer, process: subprocess.Popen[str]) -> None:
    wait_for(lambda: len(server.requests) > 15, process)


def test_a_killed_worker_is_replaced_and_sends_nothing_again(whole: tuple[Path, Path], tmp_path: Path) -> None:
    begun, grown = whole
    with faulty_world(lambda body, n: None) as server:
        server.delay = 0.05
        run = at(copy(begun, tmp_path / "run"), server.base_url)
        before = committed(run)
        process = start("trees", run, *BY_TWO, "--budget.tokens", 500_000)
        until_half(server, process)
        os.kill(workers_of(process)[0], signal.SIGKILL)
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0 and "has died (signal 9): begun again" in said, said
        assert len(server.requests) - (committed(run) - before) <= 2 * 2 * 2  # two conversations, two calls of each
    assert read(run) == read(grown) and not (run / "shards").exists()


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_driver_that_ends_takes_its_workers_along_and_loses_nothing(
    whole: tuple[Path, Path], tmp_path: Path, how: signal.Signals
) -> None:
    begun, grown = whole
    with faulty_world(lambda body, n: None) as server:
        server.delay = 0.05
        run = at(copy(begun, tmp_path / "run"), server.base_url)
        before = committed(run)
        process = start("trees", run, *BY_TWO)
        until_half(server, process)
        workers = workers_of(process)
        process.send_signal(how)
        _, said = process.communicate(timeout=60)
        assert process.returncode == (130 if how == signal.SIGINT else -9) and "Traceback" not in said, said
        wait_for_end(workers)
        server.delay = 0.0
        sent, kept = len(server.requests), committed(run) - before
        assert 0 < kept <= sent
        assert aloe("trees", run, "-q").returncode == 0  # without an executor: the shards' journals are taken in
        assert len(server.requests) - sent == committed(run) - before - kept  # each call that was not kept, once
    assert read(run) == read(grown) and not (run / "shards").exists()


def test_a_worker_whose_driver_is_gone_before_it_begins_says_nothing() -> None:
    ours, theirs = socket.socketpair()
    ours.close()
    command = [sys.executable, "-m", "aloe.stages.worker", str(theirs.fileno())]
    with theirs:
        done = subprocess.run(command, pass_fds=[theirs.fileno()], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_an_interrupt_reaches_all_workers_at_once(whole: tuple[Path, Path], tmp_path: Path) -> None:
    begun, _ = whole
    with faulty_world(lambda body, n: None) as server:
        server.delay = 0.15
        run = at(copy(begun, tmp_path / "run"), server.base_url)
        before = committed(run)
        process = start("trees", run, *BY_TWO[:-1], "1")  # one call in flight of each
        wait_for(lambda: len(server.requests) > 40, process, 120)  # both have trees, and report how far they are
        sent = len(server.requests)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 130 and "Traceback" not in said, said
        assert len(server.requests) - sent <= 6, "workers went on after the interrupt"
        assert len(server.requests) - (committed(run) - before) <= 2


def wait_for_end(pids: list[int]) -> None:
    until = time.monotonic() + 20
    while any(Path(f"/proc/{pid}/cmdline").exists() and _alive(pid) for pid in pids) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(_alive(pid) for pid in pids)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
def test_a_budget_is_one_for_all_workers(whole: tuple[Path, Path], tmp_path: Path) -> None:
    begun, _ = whole
    with faulty_world(lambda body, n: None) as server:
        run = at(copy(begun, tmp_path / "run"), server.base_url)
        done = aloe("trees", run, *BY_TWO, "--budget.tokens", "6000", "-q")  # 25 for each of 80 calls, 4,200 at worst
        assert done.returncode == 6 and "budget of 6,000 tokens" in done.stderr, done.stderr
        assert len(done.stderr.splitlines()) == 1 and 20 < len(server.requests) < 80


def test_a_foreign_clusters_address_in_a_config_is_to_be_confirmed() -> None:
    config = load_config(None, {"execution": {"executor": "ray", "address": "ray://elsewhere:10001"}})
    assert any("Ray cluster at ray://elsewhere:10001" in exposure.text for exposure in exposures(config))
