"""Stage ``personas``: grow the pool, split it, pair profiles with personalities."""

from __future__ import annotations

from typing import Any

from aloe.stages.context import Context, with_caller
from aloe.stages.failures import failed_part


def run_personas(context: Context) -> dict[str, Any]:
    """Grow the pool, split it, pair it."""
    from aloe.personas.stage import run_personas as grow

    out = context.run.stage_dir("personas")

    def report(done: int, total: int, note: str = "") -> None:
        context.progress.update(done, total, "entries", note)

    summary = with_caller(context, lambda caller: grow(caller, context.config, out, report, context.allow_failed))
    waves = [wave for kind in ("profile", "personality") for wave in summary.get(kind, {}).get("waves", ())]
    n_lost, n_calls = (sum(wave[name] for wave in waves) for name in ("n_lost", "n_calls"))
    first = next(
        (line for kind in ("profile", "personality") for line in summary.get(kind, {}).get("failures", ())), ""
    )
    return summary | failed_part(n_lost, n_calls, "writer calls", first)
