"""Stage ``personas``: grow the pool, split it, pair profiles with personalities."""

from __future__ import annotations

from typing import Any

from aloe.stages.context import Context, with_caller


def run_personas(context: Context) -> dict[str, Any]:
    """Grow the pool, split it, pair it."""
    from aloe.personas.stage import run_personas as grow

    out = context.run.stage_dir("personas")

    def report(done: int, total: int, note: str = "") -> None:
        context.progress.update(done, total, "entries", note)

    return with_caller(context, lambda caller: grow(caller, context.config, out, report))
