"""What a table of benchmark results does not say by itself: why replies are unscored, and what can't be compared.

Read from the files of a finished benchmark; nothing is computed anew. For the screen: one line each.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from aloe.bench.compare import unlike
from aloe.errors import EndpointError
from aloe.store.records import read_rows
from aloe.types import BenchmarkResult

_LENGTH = 200  # characters of an error or an answer that are shown


def result_notes(results: Sequence[tuple[Path, BenchmarkResult]]) -> list[str]:
    """Lines to print below the table of these results (each with its folder): failures, unreadable judges, mixtures."""
    notes = unlike([result for _, result in results])
    for what, sizes in (
        ("turns", {len(result.points) for _, result in results}),
        ("personas", {result.n_personas for _, result in results}),
    ):
        if len(sizes) > 1:
            notes.append(f"different numbers of {what}: {', '.join(map(str, sorted(sizes)))}")
    for folder, result in results:
        if result.n_failed:
            why = _first_error(folder / "conversations.jsonl")
            if result.user_model == "logged":
                what = f"{result.n_failed} conversations hold replies that no judge could be asked about"
            else:
                what = f"{result.n_failed} of {result.n_personas * result.n_samples} conversations ended early"
            notes.append(f"{result.model}: {what}{why}")
        answer = _first_unread(folder / "scores.jsonl") if any(p.n_unscored for p in result.points) else None
        if answer is not None:
            notes.append(f"{result.model}: some of the judge's answers cannot be read, the first: {answer!r}")
    return notes


def refuse_nothing(results: Sequence[tuple[Path, BenchmarkResult]]) -> None:
    """A benchmark in which failed calls left not a single score is no success.

    Raises:
        EndpointError: so it is, with the first call's failure.
    """
    if results and all(result.n_failed and result.avg is None for _, result in results):
        why = _first_error(results[0][0] / "conversations.jsonl")
        raise EndpointError(f"no reply could be scored{why}", "mend that and run the same command again")


def _first_error(path: Path) -> str:
    for _, row in read_rows(path) if path.is_file() else ():
        for error in row.get("errors") or ():
            return f"; the first: {error['role']} at turn {error['turn']}, {error['error'][:_LENGTH]}"
    return ""


def _first_unread(path: Path) -> str | None:
    for _, row in read_rows(path) if path.is_file() else ():
        if row.get("outcome") == "unparsed":
            return str(row.get("raw") or "")[:_LENGTH]
    return None
