"""One line for the screen about what a stage has made, from its summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any


def brief(summary: Mapping[str, Any]) -> str:
    """The first five figures of a summary."""
    simple = {k: v for k, v in summary.items() if isinstance(v, int | float | str) and k != "path"}
    return ", ".join(
        f"{v:,} {k.removeprefix('n_')}" if isinstance(v, int) else f"{k} {v}" for k, v in list(simple.items())[:5]
    )


def personas_brief(summary: Mapping[str, Any]) -> str:
    """Counts of people; how a pool fared that did not reach its target, or of whose candidates most were refused."""
    parts = [brief(summary)]
    for kind in ("profile", "personality"):
        grown = summary.get(kind)
        if not isinstance(grown, Mapping) or not grown.get("waves"):
            continue
        waves, reason = grown["waves"], grown.get("stop_reason")
        n_accepted, n_candidates = (sum(w.get(name, 0) for w in waves) for name in ("n_accepted", "n_candidates"))
        if reason == "target" and 2 * n_accepted >= n_candidates:
            continue
        reasons: Counter[str] = Counter()
        for wave in waves:
            reasons.update(wave.get("reasons", {}))
        refused = ", ".join(f"{why} {n:,}" for why, n in sorted(reasons.items(), key=lambda r: (-r[1], r[0])))
        ended = "" if reason == "target" else f"ends at {grown['n_members']:,} of {grown['target']:,} ({reason}), "
        parts.append(f"{kind}: {ended}{n_accepted:,} of {n_candidates:,} accepted; refused: {refused or 'none'}")
    return "; ".join(part for part in parts if part)


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
