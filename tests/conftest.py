"""Settings of all tests: hypothesis measures no time, and what tests confirm is kept away from the account's list."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

from hypothesis import settings

settings.register_profile("aloe", deadline=None)
settings.load_profile("aloe")

# What a test's recipes bring about must not count as confirmed for the account that runs the tests.
_state = tempfile.mkdtemp(prefix="aloe-state-")
atexit.register(shutil.rmtree, _state, ignore_errors=True)
os.environ["XDG_STATE_HOME"] = _state
