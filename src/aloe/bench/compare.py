"""Paired comparison of benchmarked models, from their ``scores.jsonl``: the table of ``aloe compare``.

Models are compared on the personas that both have scores for; the interval is that of the difference itself,
clustered by profile and personality. What makes a comparison unfair (another judge, user or scope) is said, and below
any table of results why replies are unscored.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aloe.bench.metrics import (
    Measurement,
    PairedDifference,
    average_samples,
    measure,
    paired_difference,
)
from aloe.bench.metrics_file import align, format_value
from aloe.bench.scales import EMPTY_REPLY
from aloe.errors import DataError, EndpointError
from aloe.stats import Clusters, Estimate, Floats
from aloe.store.records import read_jsonl, read_rows
from aloe.store.rundir import read_result
from aloe.types import BenchmarkResult, BenchScore

_LENGTH = 200  # characters of an error or an answer that are shown


@dataclass(frozen=True, slots=True)
class Scored:
    """The scores of one model. ``scores``: (n_personas, n_samples, n_turns), NaN = unscored or never there.

    ``n_replies`` and ``n_unscored`` count rows, so that a turn which a short logged conversation never had is neither.
    """

    name: str
    folder: Path
    persona_ids: tuple[str, ...]
    groups: dict[str, tuple[str, str]]  # persona id -> profile id, personality id
    scores: Floats
    result: BenchmarkResult | None
    n_replies: int = 0
    n_unscored: int = 0


@dataclass(frozen=True, slots=True)
class Difference:
    """First minus second model."""

    first: str
    second: str
    difference: PairedDifference


@dataclass(frozen=True, slots=True)
class Comparison:
    """Models by falling AVG, every pair of them, and what to keep in mind."""

    models: tuple[tuple[str, Measurement], ...]
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]


def find_models(paths: Sequence[str | Path]) -> list[Path]:
    """Folders that hold a ``scores.jsonl``: the paths themselves, or in ``bench/`` of a run directory.

    Raises:
        DataError: a path that leads to none.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        folder = path.parent if path.is_file() else path
        here = [folder] if (folder / "scores.jsonl").is_file() else []
        inside = here or sorted(f.parent for f in (folder / "bench").glob("*/scores.jsonl"))
        inside = inside or sorted(f.parent for f in folder.glob("*/scores.jsonl"))
        if not inside:
            raise DataError(f"{path} holds no benchmark scores", "run 'aloe bench' on it first, or give bench/MODEL")
        found += inside
    return list(dict.fromkeys(found))


def read_scored(folder: Path, name: str | None = None) -> Scored:
    """The scores of a ``bench/MODEL`` folder.

    Raises:
        DataError: missing or damaged file, or two scores for one reply.
    """
    path = folder / "scores.jsonl"
    rows = list(read_jsonl(path, BenchScore))
    if not rows:
        raise DataError(f"{path} holds no scores", "redo the bench stage with --from bench")
    ids = tuple(dict.fromkeys(row.persona_id for row in rows))
    place = {persona_id: i for i, persona_id in enumerate(ids)}
    shape = (len(ids), 1 + max(row.sample for row in rows), max(row.turn for row in rows))
    scores, seen = np.full(shape, np.nan), set()
    for row in rows:
        index = (place[row.persona_id], row.sample, row.turn - 1)
        if index in seen:
            raise DataError(
                f"{path}: two rows for persona {row.persona_id}, sample {row.sample}, turn {row.turn}",
                "redo the bench stage with --from bench",
            )
        seen.add(index)
        if row.score is not None:
            scores[index] = row.score
    groups = {row.persona_id: (row.profile_id, row.personality_id) for row in rows}
    result, n_unscored = read_result(folder / "result.json"), sum(row.score is None for row in rows)
    return Scored(name or folder.name, folder, ids, groups, scores, result, len(rows), n_unscored)


def _names(folders: Sequence[Path]) -> list[str]:
    """Short names: the model's folder, with its run in front where two are alike."""
    plain = [folder.resolve().name for folder in folders]
    names = []
    for folder, name in zip(folders, plain, strict=True):
        parent = folder.resolve().parent
        run = parent.parent.name if parent.name == "bench" else parent.name
        names.append(name if plain.count(name) == 1 else f"{run}/{name}")
    return [name if names.count(name) == 1 else f"{name}#{i + 1}" for i, name in enumerate(names)]


def _clusters(model: Scored, persona_ids: Sequence[str]) -> Clusters:
    labels = [model.groups[p] for p in persona_ids]
    return Clusters([a for a, _ in labels], [b for _, b in labels])


def compare_pair(first: Scored, second: Scored) -> PairedDifference:
    """First minus second on shared personas and the turns that both have.

    A turn of a persona that is unscored in one of the two is left out of both: where a model's conversations end
    early with the personas that it serves badly, its later turns would else look better than the other's.
    """
    known = set(second.persona_ids)
    shared = [p for p in first.persona_ids if p in known]
    if not shared:
        return PairedDifference(0, None, None, None)
    n_turns = min(first.scores.shape[2], second.scores.shape[2])

    def table(model: Scored) -> Floats:
        row = {p: i for i, p in enumerate(model.persona_ids)}
        return average_samples(model.scores[[row[p] for p in shared], :, :n_turns])

    a, b = table(first), table(second)
    both = np.isfinite(a) & np.isfinite(b)
    return paired_difference(np.where(both, a, np.nan), np.where(both, b, np.nan), _clusters(first, shared))


def compare(paths: Sequence[str | Path]) -> Comparison:
    """Measure every model found under ``paths`` and every pair of them.

    Raises:
        DataError: fewer than two models, or a damaged file.
    """
    folders = find_models(paths)
    if len(folders) < 2:
        raise DataError(f"only one benchmarked model found ({folders[0]})", "give at least two")
    models = [read_scored(folder, name) for folder, name in zip(folders, _names(folders), strict=True)]
    measured = {m.name: measure(m.scores, _clusters(m, m.persona_ids)) for m in models}

    def height(model: Scored) -> float:
        avg = measured[model.name].figures.avg
        return -np.inf if avg is None else avg

    ranked = sorted(models, key=lambda m: (-height(m), m.name))
    pairs = [Difference(a.name, b.name, compare_pair(a, b)) for a, b in itertools.combinations(ranked, 2)]
    return Comparison(tuple((m.name, measured[m.name]) for m in ranked), tuple(pairs), _notes(models, pairs))


def unlike(results: Sequence[BenchmarkResult]) -> list[str]:
    """What makes models not comparable: they had another judge or user, another scope or scale."""
    notes = []
    for what, name in (
        ("judge_model", "judges"),
        ("user_model", "users"),
        ("scope", "judging scopes"),
        ("scale", "scales"),
    ):
        values = sorted({str(getattr(r, what)) for r in results})
        if len(values) > 1:
            notes.append(f"different {name}: {', '.join(values)}; the models are not comparable")
    return notes


def _notes(models: Sequence[Scored], pairs: Sequence[Difference]) -> tuple[str, ...]:
    notes = unlike([m.result for m in models if m.result is not None])
    turns = sorted({m.scores.shape[2] for m in models})
    if len(turns) > 1:
        notes.append(f"different numbers of turns: {', '.join(map(str, turns))}; pairs are compared on those shared")
    for m in models:
        if m.n_unscored:
            notes.append(f"{m.name}: {m.n_unscored} of {m.n_replies} replies unscored")
    alone = [f"{p.first} and {p.second}" for p in pairs if p.difference.n_personas == 0]
    if alone:
        notes.append(f"no personas in common: {'; '.join(alone)}")
    return tuple(notes)


def _estimate(estimate: Estimate | None, digits: int) -> list[str]:
    if estimate is None:
        return ["none", "none"]
    low, high = format_value(estimate.low, digits), format_value(estimate.high, digits)
    return [format_value(estimate.value, digits), f"[{low}, {high}]"]


def format_comparison(comparison: Comparison) -> str:
    """Two tables: the models, and the differences with a star where the interval excludes 0."""
    cells = [["model", "AL(1)", "AL(K)", "AVG", "95%", "IR", "95%", "N-IR", "N-R2"]]
    for name, m in comparison.models:
        f = m.figures
        ends = [format_value(f.al_1, 2), format_value(f.al_k, 2)]
        normal = [format_value(f.n_ir, 3), format_value(f.n_r2, 3)]
        cells.append([name, *ends, *_estimate(m.avg, 3), *_estimate(m.ir, 4), *normal])
    pairs = [["difference", "personas", "AVG", "95%", "", "IR", "95%", ""]]
    for pair in comparison.differences:
        d = pair.difference
        star = ["*" if e is not None and e.excludes_zero else "" for e in (d.avg, d.ir)]
        avg, ir = [*_estimate(d.avg, 3), star[0]], [*_estimate(d.ir, 4), star[1]]
        pairs.append([f"{pair.first} - {pair.second}", str(d.n_personas), *avg, *ir])
    text = f"{align(cells)}\n\n{align(pairs)}\n* the 95% interval of the paired difference excludes 0"
    if len(comparison.differences) > 1:
        n = len(comparison.differences)
        text += f" ({n} pairs, not corrected for their number)"
    return "\n".join([text, *(f"note: {note}" for note in comparison.notes)])


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
    """A benchmark in which failed calls left not a single score is not a success.

    Raises:
        EndpointError: so it is, with the first call's failure.
    """
    if results and all(result.n_failed and result.avg is None for _, result in results):
        why = _first_error(results[0][0] / "conversations.jsonl")
        raise EndpointError(f"no reply could be scored{why}", "mend that and run the same command again")


def _first_error(path: Path) -> str:
    for _, row in read_rows(path) if path.is_file() else ():
        for error in row.get("errors") or ():
            if error["error"] == EMPTY_REPLY:
                continue
            return f"; the first: {error['role']} at turn {error['turn']}, {error['error'][:_LENGTH]}"
    return ""


def _first_unread(path: Path) -> str | None:
    for _, row in read_rows(path) if path.is_file() else ():
        if row.get("outcome") == "unparsed":
            return str(row.get("raw") or "")[:_LENGTH]
    return None
