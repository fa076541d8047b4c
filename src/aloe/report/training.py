"""The section on training: tokens with and without packing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from aloe.report.bars import Bar, bars_figure
from aloe.report.charts import Figure
from aloe.report.data import Row, RunData, number, text
from aloe.report.explorer import clip
from aloe.report.figures import shown
from aloe.training.methods import METHODS

#: Stages that fit a model on conversations, and what a nested outcome of theirs is called.
FITTED = tuple(
    (method.name, inner, checkpoint)
    for method in METHODS
    for inner, checkpoint in zip(("", "control"), method.leaves, strict=False)
)


def outcomes(run: RunData) -> Iterator[tuple[str, Row]]:
    """Checkpoint and outcome of each fit that says how its conversations were packed."""
    for stage, inner, checkpoint in FITTED:
        summary = run.stages.get(stage, {}).get("summary")
        found = summary.get(inner) if inner and isinstance(summary, Mapping) else summary
        if isinstance(found, dict) and packing_ratio(found) is not None:
            yield checkpoint, found


def packing_ratio(outcome: Mapping[str, object]) -> float | None:
    """Tokens of all rows, each with its whole history, per token that went through the model; None where unknown."""
    expanded, packed = number(outcome.get("tokens_expanded")), number(outcome.get("tokens_packed"))
    if expanded is not None and packed:
        return expanded / packed
    return number(outcome.get("packing_ratio"))


def packing_figure(run: RunData) -> Figure | None:
    """Packing ratio of each fit with its tokens; None where no stage recorded them."""
    bars, rows = [], []
    for name, found in outcomes(run):
        ratio = packing_ratio(found) or 0.0
        expanded, packed = number(found.get("tokens_expanded")), number(found.get("tokens_packed"))
        bars.append(Bar(name, ratio, f"{shown(ratio, 2)} ×", style=0))
        n = [number(found.get(key)) for key in ("n_conversations", "n_packs", "longest_row")]
        form = clip(text(found.get("attention")), 40) or "–"
        rows.append((name, form, *(None if v is None else int(v) for v in (*n, expanded, packed)), ratio))
    if not bars:
        return None
    columns = (
        "checkpoint",
        "form",
        "conversations",
        "packs",
        "longest row",
        "tokens of rows",
        "tokens packed",
        "ratio",
    )
    return bars_figure(
        "packing", "Packing ratio",
        "Tokens of all training rows, each with its whole history, divided by the tokens that the model processed. "
        "What branches share is computed once; 1 means that nothing is shared.",
        "tokens of rows per packed token", bars, columns, rows, end=1.0,
    )  # fmt: skip
