"""Settings of all tests: hypothesis measures no time, confirmations stay in a place of their own, CPU is counted."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("aloe", deadline=None)
settings.load_profile("aloe")

# What a test's recipes bring about must not count as confirmed for the account that runs the tests.
_state = tempfile.mkdtemp(prefix="aloe-state-")
atexit.register(shutil.rmtree, _state, ignore_errors=True)
os.environ["XDG_STATE_HOME"] = _state
os.environ.pop("OPENAI_BASE_URL", None)  # tests ask the servers that they start

# Where tests run in the background of a shell, interrupts are ignored, also by what they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Where Python may not write bytecode, every process that a test starts would compile all of aloe: half a second each.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cpu", metavar="FILE", help="append to FILE the CPU seconds that each test takes, and its name")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """CPU time does not depend on what else the machine does; the first test of a module pays for its fixtures."""
    before = sum(os.times()[:4])  # of this process and of the children that it has waited for
    try:
        return (yield)
    finally:
        if place := item.config.getoption("--cpu"):
            with open(place, "a", encoding="utf-8") as file:
                file.write(f"{sum(os.times()[:4]) - before:8.2f} {item.nodeid}\n")
