"""Failed calls of a stage: counts them, and refuses more than are allowed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aloe.errors import EndpointError


def failed_part(n: int, of: int, what: str, first: str) -> dict[str, Any]:
    """The entry of a stage's summary that says which of its parts lack a call; empty if none does.

    Args:
        n, of: parts in which a call failed, and all parts.
        what: their name in the plural.
        first: the first failure, as the endpoint's error tells it.
    """
    return {"failed": {"n": n, "of": of, "what": what, "first": first[:500]}} if n else {}


def has_failed_calls(state: Mapping[str, Any]) -> bool:
    """Whether a stage, by its entry in the manifest, lacks calls that the next run tries again."""
    summary = state.get("summary", {})
    if "inputs" in state:
        return bool(summary.get("failed"))
    return bool(summary.get("n_failed_nodes") or summary.get("n_failed"))  # of versions that told no more


def refuse_failed(summary: Mapping[str, Any], allowed: float) -> EndpointError | None:
    """The error of a stage in which more calls failed than may; None where they may.

    Args:
        allowed: share of the parts that may lack a call, in [0, 1].
    """
    failed = summary.get("failed")
    if not failed or failed["n"] <= allowed * failed["of"]:
        return None
    share = failed["n"] / max(failed["of"], 1)
    return EndpointError(
        f"calls failed in {failed['n']:,} of {failed['of']:,} {failed['what']}; the first: {failed['first']}",
        "correct the cause and run the same command again, which sends the failed calls only "
        f"(--allow-failed {min(1.0, share + 0.005):.2f} goes on without them)",
    )
