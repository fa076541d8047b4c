"""What the processor offers to a local model: number formats, cores, memory."""

from __future__ import annotations

import ctypes
import json
import os
import sys
from functools import cache
from pathlib import Path

WIDE = 512  # hidden size from which bfloat16 pays on a CPU: below, casts cost more than shorter products save
SHORT_PRODUCTS = {"amx_bf16", "avx512_bf16"}  # a CPU's instructions for matrix products in bfloat16
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}  # of GNU's and Intel's OpenMP
# oneDNN compiles every product for each number of rows and keeps 1,024 of these programs, in half a gigabyte and more;
# packs are hardly ever of one length, so that only those of the same pack are used again.
FEW_PROGRAMS = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "256"}


@cache
def cpu_has_bfloat16() -> bool:
    """Whether the CPU multiplies matrices in bfloat16 by instructions of its own (known on Linux only)."""
    try:
        lines = Path("/proc/cpuinfo").read_text("ascii", "replace").splitlines()
    except OSError:
        return False
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    return bool(SHORT_PRODUCTS & set(flags))


def pays_on_cpu(width: int | None) -> bool:
    """Whether bfloat16 makes a model of that hidden size (None: unknown, taken as wide) faster on this CPU."""
    return cpu_has_bfloat16() and (width is None or width >= WIDE)


def width_of(path: str | Path) -> int | None:
    """Hidden size of the model at ``path`` (for an adapter: of its base model); None where its config is not here."""
    from aloe.models.local.checkpoint import base_of

    base = Path(base_of(path))
    try:
        if base.is_dir():
            stored = json.loads((base / "config.json").read_text("utf-8"))
            width = stored.get("text_config", stored).get("hidden_size") or stored.get("n_embd")
        else:
            from transformers import AutoConfig

            config = AutoConfig.from_pretrained(
                str(base), local_files_only=True, trust_remote_code=False
            ).get_text_config()
            width = getattr(config, "hidden_size", None)
    except (OSError, ValueError, AttributeError):
        return None
    return width if isinstance(width, int) and width > 0 else None


def free_memory() -> int:
    """Bytes of memory that nothing uses (where the system does not say: 8 GiB)."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return 8 << 30


def resident_memory() -> int:
    """Bytes of memory that this process holds (where the system does not say: 0)."""
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0


def give_back_memory() -> None:
    """Let the system have what was freed: glibc keeps the places of freed weights for itself."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):  # another C library
        return


def cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def wait_passively() -> None:
    """Let idle threads of matrix products sleep instead of spinning; counts only before torch is loaded.

    A thread that spins at the end of each product takes the core from the thread that it waits for, once other
    processes are at work: what took half a minute on an idle machine then took a quarter of an hour. Few compiled
    products are kept. What is set in the environment already stays.
    """
    if "torch" not in sys.modules:
        for name, value in (PASSIVE | FEW_PROGRAMS).items():
            os.environ.setdefault(name, value)
