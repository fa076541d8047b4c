"""The section on model calls: calls, tokens, cost and failures by role, and response times.

Counts by role come from the manifest (each stage as it was last paid for); what was read from the run's journal, if
it has one, adds the time that every answer took and what each model was asked over all sessions.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from aloe.report.bars import Bar, bars_figure
from aloe.report.charts import Figure
from aloe.report.data import Row, RunData, note, number
from aloe.report.explorer import clip

CALL_COLUMNS = ("n_calls", "n_replayed", "n_failed", "prompt_tokens", "cached_tokens", "completion_tokens", "cost")
MODEL_COLUMNS = (
    "model", "role", "calls", "failed attempts", "prompt tokens", "cached tokens", "completion tokens", "cost",
    "cost of failed attempts at most", "median time", "95% within",
)  # fmt: skip
Table = tuple[list[str], list[list[str]]]


@dataclass(slots=True)
class JournalData:
    """What a run's journal says, read by whoever asks for the page; empty where there is none.

    Attributes:
        uses: what one model was asked in one role, a row each: model, role, n_calls, n_failed, prompt_tokens,
            cached_tokens, completion_tokens, cost and cost_lost (USD; cost None where a price was unknown).
        failures: attempts without an answer by status.
        ms: (model, role) -> milliseconds of every answer.
        problem: why the journal could not be read; empty otherwise.
    """

    uses: Sequence[Row] = ()
    failures: Mapping[str, int] = field(default_factory=dict)
    ms: Mapping[tuple[str, str], Sequence[int]] = field(default_factory=dict)
    problem: str = ""

    def latency(self, role: str, model: str | None = None) -> tuple[float, float] | None:
        """Median and 95th percentile in milliseconds, over the role's models or of one; None without an answer."""
        found = [ms for (name, asked), ms in self.ms.items() if asked == role and model in (None, name) and ms]
        if not found:
            return None
        middle, most = np.quantile(np.concatenate(found), (0.5, 0.95))
        return float(middle), float(most)

    @property
    def roles(self) -> list[str]:
        return list(dict.fromkeys(role for _, role in self.ms))


def calls_section(run: RunData, journal: JournalData) -> dict[str, Any]:
    """Tables of calls by role and by model, and the figure of how long answers took."""
    if journal.problem:
        note(run.problems, journal.problem)
    columns, rows = calls_table(run)
    if journal.ms and rows:
        columns += ["median time", "95% within"]
        for row in rows:
            row.extend(_times(journal.latency(row[0])))
    figure = latency_figure(journal)
    failed = ", ".join(
        f"{status} ({n:,})" for status, n in sorted(journal.failures.items(), key=lambda f: (-f[1], f[0]))
    )
    return {
        "by_role": (columns, rows),
        "by_model": models_table(journal),
        "figures": [figure] if figure else [],
        "failed": failed,
        "has_journal": bool(journal.uses),
    }


def calls_table(run: RunData) -> Table:
    """Calls by role, summed over the stages: column names and rows, with a sum at the end."""
    found = run.manifest.get("calls")
    totals: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    unpriced: set[str] = set()
    for key, value in (found if isinstance(found, dict) else {}).items():
        if not isinstance(value, dict):
            continue
        nested = any(isinstance(item, dict) and "n_calls" in item for item in value.values())
        for role, row in value.items() if nested else ((key, value),):
            if not isinstance(row, dict):
                continue
            for name, item in _flat(row).items():
                totals[role][name] += item
            if "cost" in row and row["cost"] is None:
                unpriced.add(role)
    names = {name for row in totals.values() for name in row}
    columns = [c for c in CALL_COLUMNS if c in names] + sorted(names - set(CALL_COLUMNS) - {"latency", "n_answers"})
    rows = []
    for role, row in totals.items():
        rows.append(
            [role, *("unknown" if c == "cost" and role in unpriced else _count(row.get(c), c) for c in columns)]
        )
    if len(rows) > 1:
        sums = {c: sum(row.get(c, 0.0) for row in totals.values()) for c in columns}
        more = {"cost": " and more"} if unpriced else {}
        rows.append(["all roles", *(_count(sums[c], c) + more.get(c, "") for c in columns)])
    names_shown = ["role", *(c.removeprefix("n_").replace("_", " ") for c in columns)]
    return without_empty(names_shown, rows, ("cached tokens", "again", "cut"))


def models_table(journal: JournalData) -> Table:
    """What each model was asked in each role over all sessions: column names and rows."""
    rows = []
    plain = Counter((use["model"].partition("?")[0], use["role"]) for use in journal.uses)
    for use in journal.uses:
        cost = "unknown" if use["cost"] is None else _count(use["cost"], "cost")
        tokens = (use[c] for c in ("n_calls", "n_failed", "prompt_tokens", "cached_tokens", "completion_tokens"))
        lost = _count(use["cost_lost"], "cost") if use["cost_lost"] else "–"
        times = _times(journal.latency(use["role"], use["model"]))
        short, options, _ = use["model"].partition("?")
        name = f"{short}?…" if options and plain[short, use["role"]] == 1 else use["model"]
        rows.append([clip(name, 400), use["role"], *(f"{n:,}" for n in tokens), cost, lost, *times])
    return without_empty(list(MODEL_COLUMNS), rows, ("cost of failed attempts at most", "cached tokens"))


def without_empty(columns: list[str], rows: list[list[str]], names: Sequence[str]) -> Table:
    """The table without those of the named columns that tell nothing in any row."""
    kept = [i for i, c in enumerate(columns) if c not in names or any(row[i] not in ("–", "0") for row in rows)]
    return [columns[i] for i in kept], [[row[i] for i in kept] for row in rows]


def latency_figure(journal: JournalData) -> Figure | None:
    """How long answers took, by role: the median as a bar, the 95th percentile as a tick; None without answers."""
    bars, table = [], []
    for role in journal.roles:
        found = journal.latency(role)
        if found is None:
            continue
        n = sum(len(ms) for (_, asked), ms in journal.ms.items() if asked == role)
        middle, most = found[0] / 1000, found[1] / 1000
        note = show_ms(found[0]) if found[1] < 1 else f"{show_ms(found[0])}, 95% within {show_ms(found[1])}"
        bars.append(Bar(clip(role, 60), middle, note, most))
        table.append((clip(role, 60), n, middle, most))
    if not bars:
        return None
    return bars_figure(
        "latency", "Response times",
        "Bar: median; tick: 95th percentile. From sending a call to its answer, including the time in a batch or "
        "queue of the model. Answers replayed from the journal are not counted.",
        "seconds", bars, ("role", "answers", "median seconds", "95% within seconds"), table,
    )  # fmt: skip


def show_ms(ms: float) -> str:
    """A time for people: milliseconds below a second, else seconds."""
    if ms < 1:
        return "under 1 ms"
    return f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1000:.1f} s"


def _times(found: tuple[float, float] | None) -> tuple[str, str]:
    return ("–", "–") if found is None else (show_ms(found[0]), show_ms(found[1]))


def _flat(row: Row) -> dict[str, float]:
    found: dict[str, float] = {}
    for key, value in row.items():
        if isinstance(value, dict):
            found.update(_flat(value))
        elif (n := number(value)) is not None:
            found[key] = n
    return found


def _count(value: float | None, column: str) -> str:
    if value is None:
        return "–"
    return f"{value:,.4f} USD" if column == "cost" else f"{value:,.0f}" if value == int(value) else f"{value:,.2f}"
