"""kill -9 in the middle of growing trees: nothing that was answered and stored is paid for again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "kill_resume.py"


def test_a_run_killed_at_random_moments_sends_no_committed_call_again_and_ends_the_same() -> None:
    command = [sys.executable, SCRIPT, "--kills", "4", "--personas", "8", "--turns", "4", "--seed", "7"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])["figures"]
    assert figures["resent_committed"] == 0 and figures["identical"] == 1 and figures["kills"] == 4
    assert 0 < figures["resent_total"] <= figures["in_flight_total"]
