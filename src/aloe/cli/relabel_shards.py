"""``aloe relabel RUN --shard K/N``: labels a part of the trees; the last part puts all labels into the file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aloe.errors import DataError
from aloe.models.allowance import Allowance
from aloe.models.journal.absorb import absorb
from aloe.models.journal.layered import LayeredJournal
from aloe.store.merging import merge_lines
from aloe.store.records import write_jsonl
from aloe.store.rundir import RunDir
from aloe.store.shards import Shard, ShardDir, ShardState, missing, shards_in
from aloe.types import ConversationTree, Label

if TYPE_CHECKING:
    from aloe.models.journal.journal import Journal

STAGE = "relabel"
Work = Callable[["Journal", Allowance, Sequence[ConversationTree]], tuple[list[Label], int]]


def label_shard(
    run: RunDir, shard: Shard, by: dict[str, Any], trees: Sequence[ConversationTree], work: Work
) -> list[Label] | None:
    """Label the shard's trees; returns the labels of all shards where this was the last one, else None.

    Args:
        by: what the labels depend on, by name.
        work: labels trees with a journal, within an allowance; returns the number of failed calls too.

    Raises:
        DataError: another process works on this shard, or a shard that is there was made otherwise.
    """
    folder = ShardDir(run.path, STAGE, shard)
    with folder.locked():
        folder.reopen()
        journal = LayeredJournal.over(folder.journal_path, run.journal_path)
        labels, n_failed = work(journal, Allowance(shard.of), [t for t in trees if shard.holds(t.tree_id)])
        labels = sorted(labels, key=lambda label: label.tree_id)
        write_jsonl(folder.path / "labels.jsonl", labels)
        failed = {"failed": {"n": n_failed, "of": len(trees), "what": "replies", "first": ""}} if n_failed else {}
        folder.finish(ShardState(by, failed=failed))
    if n_failed:
        print(f"{n_failed} replies of shard {shard} could not be judged (run it again to retry them)")
    shards = [other for other in shards_in(run.path, STAGE) if other.shard.of == shard.of]
    return _join(run, shards, by) if not missing(shards, shard.of, and_failed=True) else None


def _join(run: RunDir, shards: Sequence[ShardDir], by: dict[str, Any]) -> list[Label] | None:
    with ExitStack() as stack:
        try:
            for folder in shards:
                stack.enter_context(folder.locked())
        except DataError:  # two ended at once: the other one joins
            return None
        for folder in shards:
            state = folder.state()
            if state is None:
                return None
            folder.check(state, by)
        absorb(run.journal_path, [folder.journal_path for folder in shards])
        return read_labels([folder.path / "labels.jsonl" for folder in shards])


def read_labels(parts: Sequence[Path]) -> list[Label]:
    """The labels of several files in order of their trees."""
    return [Label.model_validate_json(line) for _, line in merge_lines(parts, "tree_id")]


def clear(run: RunDir, of: int) -> None:
    """Remove the ``of`` shards whose labels are in the file now; others may be at work, or hold what was paid for."""
    for folder in shards_in(run.path, STAGE):
        if folder.shard.of == of:
            folder.remove()
