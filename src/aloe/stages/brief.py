"""One line for the screen about what a stage has made, from its summary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def brief(summary: Mapping[str, Any]) -> str:
    """The first five figures of a summary."""
    simple = {k: v for k, v in summary.items() if isinstance(v, int | float | str) and k != "path"}
    return ", ".join(
        f"{v:,} {k.removeprefix('n_')}" if isinstance(v, int) else f"{k} {v}" for k, v in list(simple.items())[:5]
    )


def trees_brief(summary: Mapping[str, Any]) -> str:
    """Trees, preferences, failed calls and warnings."""
    parts = [f"{summary.get('n_trees', 0):,} trees", f"{summary.get('n_preferred', 0):,} preferences"]
    if (failed := summary.get("failed")) is not None:
        parts.append(f"calls failed in {failed['n']:,} of them (run again to retry these)")
    elif summary.get("n_failed_nodes"):
        parts.append(f"{summary['n_failed_nodes']} answers without use")
    parts += [f"warning: {text}" for text in summary.get("warnings", ())]
    return ", ".join(parts)


def bench_brief(summary: Mapping[str, Any]) -> str:
    """Models, personas and failed conversations."""
    failed = f", {summary['n_failed']} failed conversations" if summary.get("n_failed") else ""
    return f"{len(summary.get('models', {}))} models x {summary.get('n_personas', 0)} personas{failed}"
