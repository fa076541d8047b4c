"""One thread a process: as many tests run at once as there are cores, and threads that wait for each other crawl."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is loaded; child processes inherit it
