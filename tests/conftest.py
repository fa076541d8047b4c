"""Settings of all tests: hypothesis measures no time, since machines are shared."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("aloe", deadline=None)
settings.load_profile("aloe")
