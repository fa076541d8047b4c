"""Paired comparison of benchmarked models, from their ``scores.jsonl``: the table of ``aloe compare``.

Models are compared on the personas that both have scores for; the interval is that of the difference itself,
clustered by profile and personality. Notes say what makes a comparison unfair (another judge, user or
scope) and, below any table of results, why replies are unscored.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from aloe.bench.metrics import (
    RULES,
    Measurement,
    PairedDifference,
    average_samples,
    measure,
    paired_difference,
    result_figures,
)
from aloe.bench.metrics_file import align, format_value
from aloe.bench.scales import EMPTY_REPLY, SCALES
from aloe.bench.setting import differences
from aloe.bench.unpaired import openings_of, unpaired_difference
from aloe.errors import DataError, EndpointError
from aloe.prompts.suspicion import verdict_like
from aloe.stats import Clusters, Estimate, Floats
from aloe.store.records import read_jsonl, read_rows
from aloe.store.rundir import read_result
from aloe.types import AlignmentPoint, BenchmarkResult, BenchScore

CONTROL = "generic"  # the model that answers everybody alike: what it scores is the floor of guarded IR
_MOST_MISSING = 0.5  # share of unscored replies from which a model no longer decides what the others are compared on
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
    openings: dict[str, str] = field(default_factory=dict)  # see ``openings_of``


@dataclass(frozen=True, slots=True)
class Difference:
    """First minus second model."""

    first: str
    second: str
    difference: PairedDifference


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Models for one table: what each of them scored where all of them have a score.

    ``guarded``: guarded IR of each model over ``CONTROL``, None where that was not benchmarked with it.
    """

    models: tuple[Scored, ...]
    measured: dict[str, Measurement]
    guarded: dict[str, Estimate | None]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Models by falling AVG, every pair of them, and what to keep in mind."""

    models: tuple[tuple[str, Measurement], ...]
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]
    guarded: dict[str, Estimate | None] = field(default_factory=dict)


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
            raise DataError(f"{path} contains no benchmark scores", "run 'aloe bench' on it first, or give bench/MODEL")
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
        raise DataError(f"{path} contains no scores", "redo the bench stage with --from bench")
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
    openings = openings_of(folder) if result is not None and result.user_model == "logged" else {}
    return Scored(name or folder.name, folder, ids, groups, scores, result, len(rows), n_unscored, openings)


def named_folders(folders: Sequence[Path]) -> list[tuple[Path, str]]:
    """Each folder with its short name, unique among them."""
    return list(zip(folders, _names(folders), strict=True))


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

    A turn of a conversation that is unscored in one of the two is left out of both: where a model's conversations end
    early with the personas that it serves badly, its later turns would else look better than the other's.
    """
    known = set(second.persona_ids)
    shared = [p for p in first.persona_ids if p in known and first.openings.get(p) == second.openings.get(p)]
    if not shared:
        return PairedDifference(0)
    n_turns = min(first.scores.shape[2], second.scores.shape[2])
    a, b = (_rows(model, shared)[:, :, :n_turns] for model in (first, second))
    if a.shape != b.shape:  # another number of conversations: the personas' means are compared
        a, b = average_samples(a), average_samples(b)
    both = np.isfinite(a) & np.isfinite(b)
    a, b = (average_samples(np.where(both, table, np.nan)) for table in (a, b))
    return paired_difference(a, b, _clusters(first, shared))


def _difference(first: Scored, second: Scored) -> PairedDifference:
    """First minus second: on the personas that they share, else as of two groups of people."""
    found = compare_pair(first, second)
    if found.n_personas:
        return found
    return unpaired_difference(*((m.scores, _clusters(m, m.persona_ids)) for m in (first, second)))


def _rows(model: Scored, persona_ids: Sequence[str]) -> Floats:
    row = {p: i for i, p in enumerate(model.persona_ids)}
    return model.scores[[row[p] for p in persona_ids]]


def side_by_side(models: Sequence[Scored]) -> SideBySide:
    """What each model scored on the replies for which all of them have a score, as in ``compare_pair``.

    Only models of the same personas, turns and numbers of conversations bear on each other. One of which half of the
    replies are unscored is measured on what it has and the others has, but does not take replies from the others.
    """
    notes, kept = [], list(models)
    groups: dict[object, list[int]] = {}
    for place, model in enumerate(models):
        people = frozenset(model.persona_ids), frozenset(model.openings.items())
        groups.setdefault((people, model.scores.shape), []).append(place)
    for members in groups.values():
        ids = models[members[0]].persona_ids
        tables = {place: _rows(models[place], ids) for place in members}
        whole = [np.isfinite(t) for t in tables.values() if np.isnan(t).mean() < _MOST_MISSING]
        shared = np.logical_and.reduce(whole) if whole else np.ones(tables[members[0]].shape, dtype=bool)
        if len(members) < 2 or shared.all():
            continue
        for place in members:
            if not shared[np.isfinite(tables[place])].all():
                scores = np.where(shared, tables[place], np.nan)
                kept[place] = replace(models[place], persona_ids=ids, scores=scores)
        if len(whole) > 1 and not all(np.array_equal(known, shared) for known in whole):
            said = f"figures are over {int(shared.sum())} of {shared.size} replies"
            notes.append(f"what is unscored for one model is left out of all: {said}")
    measured = {m.name: measure(m.scores, _clusters(m, m.persona_ids)) for m in kept}
    control = next((m for m in kept if m.name == CONTROL), None)
    guarded = {m.name: None if control is None else compare_pair(m, control).guarded for m in kept}
    return SideBySide(tuple(kept), measured, guarded, tuple(notes))


def tabled(
    found: Sequence[tuple[Path, BenchmarkResult]],
) -> tuple[list[BenchmarkResult], dict[str, Estimate | None], list[str]]:
    """Results (each with its folder) as one table shows them, guarded IR by model, and lines to print below.

    Figures of scores are those of ``side_by_side`` where that or newer rules make a difference; what can't be read
    again keeps the result's own.
    """
    scored: dict[str, Scored] = {}
    for folder, result in found:
        with contextlib.suppress(DataError):
            scored[result.model] = read_scored(folder, result.model)
    beside = side_by_side(list(scored.values()))
    results = []
    for _, result in found:
        before, after = scored.get(result.model), next((m for m in beside.models if m.name == result.model), None)
        if before is not None and (result.rules < RULES or after is not before):
            figures = result_figures(beside.measured[result.model])
            kept = {"rules": result.rules, "points": result.points} | (
                {} if after is not before else {"n_ir_ci": result.n_ir_ci, "n_r2_ci": result.n_r2_ci}
            )
            result = result.model_copy(update=figures | kept)
        results.append(result)
    return results, beside.guarded, [*result_notes(found), *beside.notes]


def compare(paths: Sequence[str | Path], strict: bool = False) -> Comparison:
    """Measure every model found under ``paths`` and every pair of them; those of different people unpaired.

    Args:
        strict: refuse models of different settings instead of marking them.

    Raises:
        DataError: fewer than two models, a damaged file, or (strict) models that are not comparable.
    """
    folders = find_models(paths)
    if len(folders) < 2:
        raise DataError(f"only one benchmarked model found ({folders[0]})", "give at least two")
    models = [read_scored(folder, name) for folder, name in zip(folders, _names(folders), strict=True)]
    if strict and (why := unlike([m.result for m in models if m.result is not None])):
        raise DataError("; ".join(why), "compare models of one setting, or leave out --strict")
    found = side_by_side(models)
    measured = found.measured

    def height(model: Scored) -> float:
        avg = measured[model.name].figures.avg
        return -np.inf if avg is None else avg

    ranked = sorted(models, key=lambda m: (-height(m), m.name))
    pairs = [Difference(a.name, b.name, _difference(a, b)) for a, b in itertools.combinations(ranked, 2)]
    ordered = tuple((m.name, measured[m.name]) for m in ranked)
    return Comparison(ordered, tuple(pairs), (*_notes(models, pairs), *found.notes), found.guarded)


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
    said = " ".join(notes)
    settings = [{**r.setting, "personas": ""} if r.setting else {} for r in results]  # pairs share theirs, or are told
    beside = [what for what in differences(settings) if f"different {what}" not in said]
    if beside:
        notes.append(f"different {', '.join(beside)}; the models are not comparable")
    return notes


def _notes(models: Sequence[Scored], pairs: Sequence[Difference]) -> tuple[str, ...]:
    notes = unlike([m.result for m in models if m.result is not None])
    turns = sorted({m.scores.shape[2] for m in models})
    if len(turns) > 1:
        notes.append(f"different numbers of turns: {', '.join(map(str, turns))}; pairs are compared on those shared")
    for m in models:
        if m.n_unscored:
            notes.append(f"{m.name}: {m.n_unscored} of {m.n_replies} replies unscored")
        if m.result is not None and m.result.n_empty:
            notes.append(f"{m.name}: {m.result.n_empty} of {m.n_replies} replies empty, which score the lowest")
        if m.result is not None and m.result.n_verdict_like:
            notes.append(f"{m.name}: {verdict_like(m.result.n_verdict_like)}")
    notes += _older([(m.name, m.result) for m in models if m.result is not None])
    alone = [f"{p.first} and {p.second}" for p in pairs if p.difference.n_personas == 0]
    if alone:
        notes.append(f"no personas in common, compared unpaired: {'; '.join(alone)}")
    return tuple(notes)


def _estimate(estimate: Estimate | None, digits: int) -> list[str]:
    if estimate is None:
        return ["none", "none"]
    low, high = format_value(estimate.low, digits), format_value(estimate.high, digits)
    return [format_value(estimate.value, digits), f"[{low}, {high}]"]


def format_comparison(comparison: Comparison) -> str:
    """Two tables: the models, and the differences with a star where the interval excludes 0."""
    cells = [["model", "AVG", "95%", "late", "95%", "AL(1)", "AL(K)", "guarded IR", "95%", "IR", "95%", "N-IR", "N-R2"]]
    for name, m in comparison.models:
        f = m.figures
        ends = [format_value(f.al_1, 2), format_value(f.al_k, 2)]
        normal = [format_value(f.n_ir, 3), format_value(f.n_r2, 3)]
        rates = [*_estimate(comparison.guarded.get(name), 3), *_estimate(m.ir, 3)]
        cells.append([name, *_estimate(m.avg, 3), *_estimate(m.late, 3), *ends, *rates, *normal])
    titles = [part for name in ("AVG", "late", "guarded IR", "IR") for part in (name, "95%", "")]
    pairs = [["difference", "personas", *titles]]
    for pair in comparison.differences:
        d = pair.difference
        row = [f"{pair.first} - {pair.second}", str(d.n_personas) if d.is_paired else "unpaired"]
        for estimate in (d.avg, d.late, d.guarded, d.ir):
            row += [*_estimate(estimate, 3), "*" if estimate is not None and estimate.excludes_zero else ""]
        pairs.append(row)
    kind = "" if any(not p.difference.is_paired for p in comparison.differences) else "paired "
    text = f"{align(cells)}\n\n{align(pairs)}\n* the 95% interval of the {kind}difference excludes 0"
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
        notes += _missing_notes(result)
        answer = _first_unread(folder / "scores.jsonl") if any(p.n_unscored for p in result.points) else None
        if answer is not None:
            notes.append(f"{result.model}: some of the judge's answers cannot be read, the first: {answer!r}")
    return notes + _older([(result.model, result) for _, result in results])


def _older(results: Sequence[tuple[str, BenchmarkResult]]) -> list[str]:
    older = [name for name, result in results if result.rules < RULES]
    said = "measured when empty replies were left unscored (--from bench measures anew)"
    return [f"{said}: {', '.join(older)}"] if older else []


def _missing_notes(result: BenchmarkResult) -> list[str]:
    """What is missing of one model's scores, and what that can have done to its figures."""
    notes, lowest = [], SCALES[result.scale].low
    n_scored, n_unscored = sum(p.n_scored for p in result.points), sum(p.n_unscored for p in result.points)
    if result.n_empty:
        said = f"{result.n_empty} of {n_scored + n_unscored} replies are empty"
        notes.append(f"{result.model}: {said} and score {lowest:g}, the lowest")
    if result.n_verdict_like:
        notes.append(f"{result.model}: {verdict_like(result.n_verdict_like)}")
    if n_unscored and result.avg is not None:
        worst = float(np.mean([_at_worst(p, lowest) for p in result.points]))
        notes.append(
            f"{result.model}: {n_unscored} of {n_scored + n_unscored} replies unscored; were they as bad as can be, "
            f"AVG would be {worst:.2f} instead of {result.avg:.2f}"
        )
    thin = [str(p.k) for p in result.points if p.n_scored and not p.in_figures]
    if thin:
        notes.append(f"{result.model}: too few conversations were scored at turn {', '.join(thin)}: in no figure")
    if result.rules < RULES:
        notes.append(
            f"{result.model}: measured by older rules (an empty reply was left unscored); --from bench redoes it"
        )
    return notes


def _at_worst(point: AlignmentPoint, lowest: float) -> float:
    n = point.n_scored + point.n_unscored
    return lowest if point.al is None or not n else (point.al * point.n_scored + lowest * point.n_unscored) / n


def refuse_nothing(results: Sequence[tuple[Path, BenchmarkResult]]) -> None:
    """A benchmark in which failed calls left not a single score is not a success.

    Raises:
        EndpointError: so it is, with the first call's failure.
    """
    if results and all(result.n_failed and result.avg is None for _, result in results):
        why = _first_error(results[0][0] / "conversations.jsonl")
        raise EndpointError(f"no reply could be scored{why}", "fix this and run the same command again")


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
