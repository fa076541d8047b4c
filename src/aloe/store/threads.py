"""How threads of matrix products wait for each other."""

from __future__ import annotations

import os
import sys

PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}  # of GNU's and Intel's OpenMP


def wait_passively() -> None:
    """Let idle threads of matrix products sleep instead of spinning; counts only before torch is loaded.

    A thread that spins at the end of each product takes the core from the thread that it waits for, once other
    processes are at work: what took half a minute on an idle machine then took a quarter of an hour. What is set in
    the environment already stays.
    """
    if "torch" not in sys.modules:
        for name, value in PASSIVE.items():
            os.environ.setdefault(name, value)
