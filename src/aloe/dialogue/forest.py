"""Grows many trees concurrently and writes them in the order of their ids, in bounded memory.

Trees, disclosures and labels go to growing files while the stage runs and are put in order at its end, so that
the files do not depend on which conversation finished first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aloe.dialogue.ledger import Ledger
from aloe.dialogue.statistics import TreeStatistics
from aloe.dialogue.tree_builder import GrownTree, TreeBuilder
from aloe.prompts.suspicion import is_verdict_like, verdict_like
from aloe.store.merging import merge_sorted
from aloe.store.records import SortedJsonlWriter
from aloe.types import Persona

Job = tuple[Persona, int]
FILES = ("trees", "disclosures", "labels")  # of a forest, each sorted by tree_id


@dataclass(slots=True)
class ForestSummary:
    """Counts over all trees of a stage.

    Attributes:
        statistics: shares that need no ground truth. warnings: what among them looks wrong.
        n_failed_nodes: failed calls and answers without use. n_incomplete: trees that lack a call; first_failure:
            why the first of them (by tree id) does.
        n_verdict_like: replies with text in the form of a judge's answer (``prompts.suspicion``).
        truth: comparison with the world's ground truth. by_turn: coverage and new facts by turn.
    """

    n_trees: int = 0
    n_nodes: int = 0
    n_labels: int = 0
    n_preferred: int = 0
    n_ties: int = 0
    n_disagreements: int = 0
    n_unparsed: int = 0
    n_disclosures: int = 0
    n_stated: int = 0
    n_implied: int = 0
    n_unevidenced: int = 0
    n_inducer_unread: int = 0
    n_tailored_preferred: int = 0
    n_failed_nodes: int = 0
    n_failed_trees: int = 0
    n_verdict_like: int = 0
    n_incomplete: int = 0
    first_failure: str = ""
    statistics: dict[str, float | None] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    truth: dict[str, float | None] = field(default_factory=dict)
    by_turn: dict[str, list[float | None]] = field(default_factory=dict)
    _first_tree: str = ""

    def add(self, grown: GrownTree) -> None:
        self.n_trees += 1
        self.n_nodes += len(grown.tree.nodes)
        self.n_failed_nodes += len(grown.tree.errors)
        self.n_failed_trees += bool(grown.tree.errors)
        if grown.failures:
            self.n_incomplete += 1
            if not self._first_tree or grown.tree.tree_id < self._first_tree:
                self._first_tree, self.first_failure = grown.tree.tree_id, min(grown.failures)
        self.n_disclosures += len(grown.disclosures)
        self.n_stated += sum(d.status == "stated" for d in grown.disclosures)
        self.n_implied += sum(d.status == "implied" for d in grown.disclosures)
        self.n_unevidenced += grown.n_unevidenced
        self.n_inducer_unread += grown.n_unread
        self.n_verdict_like += sum(is_verdict_like(n.message.content) for n in grown.tree.nodes if n.kind != "user")
        self.n_labels += len(grown.labels)
        for label in grown.labels:
            self.n_preferred += label.outcome == "preferred"
            self.n_ties += label.outcome == "tie"
            self.n_disagreements += label.outcome == "disagreement"
            self.n_unparsed += label.outcome == "unparsed"
            self.n_tailored_preferred += label.chosen is not None and grown.tree.by_id[label.chosen].kind == "tailored"

    def add_counts(self, counts: Mapping[str, Any]) -> None:
        """Add what another summary has counted, as :meth:`counted` tells it."""
        for name, value in counts.items():
            if isinstance(value, int):
                setattr(self, name, getattr(self, name) + value)
        tree_id, why = counts["first"]
        if tree_id and (not self._first_tree or tree_id < self._first_tree):
            self._first_tree, self.first_failure = tree_id, why

    def counted(self) -> dict[str, Any]:
        """What can be added up."""
        numbers = {name: value for name in self.__slots__ if isinstance(value := getattr(self, name), int)}
        return {**numbers, "first": [self._first_tree, self.first_failure]}

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__ if not name.startswith("_")}


class ForestCounts:
    """All that is counted over the trees of a stage; the counts of its shards add up to it."""

    def __init__(self) -> None:
        self._summary, self._ledger, self._statistics = ForestSummary(), Ledger(), TreeStatistics()

    @property
    def n_trees(self) -> int:
        return self._summary.n_trees

    @property
    def n_incomplete(self) -> int:
        return self._summary.n_incomplete

    def add(self, persona: Persona, grown: GrownTree) -> None:
        """Count one finished tree of ``persona``."""
        self._summary.add(grown)
        self._ledger.add(persona, grown)
        self._statistics.add(grown)

    def as_json(self) -> dict[str, Any]:
        """The counts as JSON holds them."""
        turns = [[name, turn, n] for (name, turn), n in self._ledger.turns.items()]
        parts = {"statistics": dict(self._statistics.counts), "ledger": dict(self._ledger.counts), "turns": turns}
        return {"trees": self._summary.counted(), **parts}

    def add_json(self, counts: Mapping[str, Any]) -> None:
        """Add the counts of other trees."""
        self._summary.add_counts(counts["trees"])
        self._statistics.counts.update(counts["statistics"])
        self._ledger.counts.update(counts["ledger"])
        self._ledger.turns.update({(name, turn): n for name, turn, n in counts["turns"]})

    def summary(self) -> ForestSummary:
        """The counts with the figures and warnings that follow from them."""
        summary = self._summary
        summary.statistics, summary.warnings = self._statistics.figures(), self._statistics.warnings()
        if summary.n_verdict_like:
            summary.warnings.append(verdict_like(summary.n_verdict_like))
        summary.truth, summary.by_turn = self._ledger.figures(), self._ledger.by_turn()
        return summary


def join_forests(folders: Sequence[Path], counts: Iterable[Mapping[str, Any]], out_dir: Path) -> ForestCounts:
    """Merge the files of several forests into those of one; ``counts``: what was counted over each."""
    for name in FILES:
        merge_sorted([folder / f"{name}.jsonl" for folder in folders], out_dir / f"{name}.jsonl", "tree_id")
    joined = ForestCounts()
    for some in counts:
        joined.add_json(some)
    return joined


def plan_jobs(personas: Sequence[Persona], n_trees: int, replicates: int) -> list[Job]:
    """(persona, replicate) for every tree: all personas per replicate, or the first ``n_trees`` of that order."""
    jobs = [(persona, replicate) for replicate in range(replicates) for persona in personas]
    if n_trees == 0:
        return jobs
    extra = replicates
    while len(jobs) < n_trees and personas:
        jobs.extend((persona, extra) for persona in personas)
        extra += 1
    return jobs[:n_trees]


async def grow_forest(
    builder: TreeBuilder,
    jobs: Iterable[Job],
    out_dir: Path,
    concurrency: int,
    progress: Callable[[int, GrownTree], None] | None = None,
) -> ForestSummary:
    """All trees of a stage, as :func:`grow_jobs` grows them."""
    return (await grow_jobs(builder, jobs, out_dir, concurrency, progress)).summary()


async def grow_jobs(
    builder: TreeBuilder,
    jobs: Iterable[Job],
    out_dir: Path,
    concurrency: int,
    progress: Callable[[int, GrownTree], None] | None = None,
) -> ForestCounts:
    """Grow trees into ``out_dir/{trees,disclosures,labels}.jsonl``.

    Args:
        concurrency: trees open at once; changes nothing but the time.
        progress: called after each tree with the number finished.
    """
    writers = {name: SortedJsonlWriter(out_dir / f"{name}.jsonl") for name in FILES}
    counts = ForestCounts()
    queue: Iterator[Job] = iter(jobs)

    async def work() -> None:
        for persona, replicate in queue:
            grown = await builder.grow(persona, replicate)
            tree_id = grown.tree.tree_id
            writers["trees"].add(tree_id, [grown.tree])
            writers["disclosures"].add(
                tree_id, [{"tree_id": tree_id, **d.model_dump(mode="json")} for d in grown.disclosures]
            )
            writers["labels"].add(tree_id, grown.labels)
            counts.add(persona, grown)
            if progress is not None:
                progress(counts.n_trees, grown)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(work())
    except BaseExceptionGroup as errors:
        for writer in writers.values():
            writer.abandon()
        raise errors.exceptions[0] from None
    except BaseException:
        for writer in writers.values():
            writer.abandon()
        raise
    for writer in writers.values():
        writer.close()
    return counts
