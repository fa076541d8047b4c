"""Benchmarks other than our own on the same harness: one protocol, one driver, entry points for more.

A suite names its items, asks a model about one of them through the Caller (so that every call is journaled, seeded,
limited and counted as any other) and turns the records into figures. The driver runs items side by side, writes
``records.jsonl`` in the order of the items and ``result.json``; a failed call fails its item alone and is counted.
Plug-ins: entry points of the group ``aloe.suites``, the name is the suite's, the object a function
``(options) -> Suite``, given the table ``[suites.NAME]`` of the recipe.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pydantic import Field

from aloe.config import Config, ModelConfig
from aloe.config.plugins import load_plug_in, plug_in_names
from aloe.errors import ConfigError, DataError, EndpointError, nearest
from aloe.models.caller import Caller
from aloe.models.uri import portable
from aloe.stats import Clusters, mean_interval
from aloe.store.records import write_json, write_jsonl
from aloe.types import Record

ENTRY_POINTS = "aloe.suites"
T = TypeVar("T")


class SuiteFigure(Record):
    """A figure of a suite with its 95% interval; None where it is undefined. ``n``: scored records behind it."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = Field(0, ge=0)


class SuiteResult(Record):
    """``result.json`` of one model under one suite."""

    suite: str
    model: str
    uri: str
    n_items: int = Field(ge=0)
    n_failed: int = Field(0, ge=0)
    figures: dict[str, SuiteFigure] = Field(default_factory=dict)


class Suite(Protocol[T]):
    """A benchmark.

    ``items``: what is asked about, in a stable order, each with an id of its own (:meth:`item_id`).
    ``run``: one item with one model; returns a record of plain values. Calls go through ``caller`` with paths that
    begin with ``path``. Raises EndpointError where a call failed for good.
    ``figures``: from the records of the items that did not fail; unscored is None, never a default.
    """

    name: str
    help: str

    def items(self, config: Config) -> Sequence[T]: ...

    def item_id(self, item: T) -> str: ...

    async def run(self, caller: Caller, model: ModelConfig, item: T, path: str) -> dict[str, Any]: ...

    def figures(self, records: Sequence[Mapping[str, Any]]) -> dict[str, SuiteFigure]: ...


def mean_figure(values: Sequence[float | None], clusters: Sequence[str] | None = None) -> SuiteFigure:
    """Mean with a 95% interval; None among ``values`` is unscored and left out.

    Args:
        clusters: what each value belongs to (a persona, a document); None: all are independent.
    """
    kept = [i for i, value in enumerate(values) if value is not None]
    scored = [float(values[i]) for i in kept]  # type: ignore[arg-type]
    estimate = mean_interval(scored, Clusters([clusters[i] for i in kept]) if clusters is not None else None)
    if estimate is None:
        return SuiteFigure(n=len(kept))
    return SuiteFigure(value=estimate.value, low=estimate.low, high=estimate.high, n=len(kept))


def suite_names() -> list[str]:
    """The suites of installed plug-ins."""
    return plug_in_names(ENTRY_POINTS)


def suite_by_name(name: str, options: Mapping[str, Any]) -> Suite[Any]:
    """The suite called ``name`` with its options.

    Raises:
        ConfigError: no installed plug-in brings it, or it refuses its options.
    """
    names = suite_names()
    if name in names:
        make: Callable[[Mapping[str, Any]], Suite[Any]] = load_plug_in(ENTRY_POINTS, name)
        return make(options)
    raise ConfigError(
        f"no benchmark suite '{name}'{nearest(name, names)}",
        f"installed: {', '.join(names) or 'none'}; a package provides one with an entry point of {ENTRY_POINTS}",
    )


async def run_suite(
    suite: Suite[Any],
    caller: Caller,
    model: ModelConfig,
    *,
    name: str,
    config: Config,
    out_dir: Path,
    progress: Callable[[int, int], None] | None = None,
) -> SuiteResult:
    """Every item of ``suite`` with ``model``; writes ``records.jsonl`` and ``result.json`` into ``out_dir``.

    Args:
        name: under which the result is listed.
        progress: called with the items done and their number.

    Raises:
        DataError: the suite has no items, or two with one id.
        BudgetExceeded: nothing final is written; what was paid for is in the journal.
    """
    items = list(suite.items(config))
    ids = [suite.item_id(item) for item in items]
    if not items or len(set(ids)) != len(ids):
        what = "two items with one id" if items else "no items"
        raise DataError(f"suite {suite.name} has {what}", f"correct [suites.{suite.name}] or the suite")
    rows: dict[int, dict[str, Any]] = {}
    queue = iter(enumerate(items))

    async def work() -> None:
        for index, item in queue:
            try:
                record = await suite.run(caller, model, item, f"{suite.name}/{ids[index]}")
                rows[index] = {"item_id": ids[index], "error": None, **record}
            except EndpointError as error:
                rows[index] = {"item_id": ids[index], "error": str(error)[:500]}
            if progress is not None:
                progress(len(rows), len(items))

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(config.execution.concurrency, len(items))):
                group.create_task(work())
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    records = [rows[index] for index in range(len(items))]
    fine = [row for row in records if row["error"] is None]
    result = SuiteResult(
        suite=suite.name,
        model=name,
        uri=portable(model.uri),
        n_items=len(items),
        n_failed=len(items) - len(fine),
        figures=suite.figures(fine),
    )
    write_jsonl(out_dir / "records.jsonl", records)
    write_json(out_dir / "result.json", result.model_dump(mode="json"))
    return result
