"""Compares a judge with people: blind rating sheets, agreement, bias, and corrected means.

``write_sheet`` draws benchmarked replies of all models of a run, shuffled and without the models' names; the key
beside it says which reply each item is. ``calibrate_scores`` compares people's scores with the judge's on the same
replies. The corrected mean of a model is mean(judge over all replies) + mean(person - judge over rated replies): right
on average however biased the judge is, and narrower than people's ratings alone where the judge tracks them
(prediction-powered inference, Angelopoulos et al. 2023). Intervals are over personas that share groups; those of means
over rated replies count two ratings more than there are, one a step above and one a step below the judge's, because
a few ratings that all agree with the judge don't show that it is always right.
"""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from aloe.bench.compare import find_models
from aloe.bench.scales import SCALES, Scale
from aloe.config.files import parse_json, refuse_special
from aloe.dialogue.state import content_id
from aloe.errors import DataError
from aloe.seeding import derive_rng
from aloe.stats import (
    Clusters,
    Estimate,
    cohen_kappa,
    mean_interval,
    share_interval,
    spearman,
    t_quantile,
)
from aloe.store.records import atomic_write, read_jsonl, write_json
from aloe.store.rundir import read_result
from aloe.types import BenchScore, ConversationTree, Persona

COLUMNS = ("item", "profile", "personality", "conversation", "reply", "score", "comment")
CHOICES = {"first": "first", "a": "first", "1": "first", "left": "first", "second": "second", "b": "second",
           "2": "second", "right": "second", "tie": "tie", "both": "tie", "neither": "tie", "equal": "tie"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rated:
    """A reply that was judged: which item of a sheet it is, whose it is, and the judge's score."""

    item: str
    model: str
    persona_id: str
    groups: tuple[str, str]  # profile, personality: what personas may share
    score: float
    is_empty: bool = False  # the model left the reply empty: nobody needs to rate it


@dataclass(frozen=True, slots=True)
class Corrected:
    """A model's mean by the judge and as people would have scored it (None with fewer than two rated personas)."""

    model: str
    judge: float
    n_rated: int
    corrected: Estimate | None


@dataclass(frozen=True, slots=True)
class JudgeCalibration:
    """People against judge. ``bias``: judge minus people, in points. Kappa is over scores rounded to whole points."""

    n_items: int
    n_raters: int
    kappa: float | None
    kappa_quadratic: float | None
    spearman: float | None
    bias: Estimate | None
    between_raters: float | None  # quadratic kappa of two people on the same items, mean over pairs of raters
    models: tuple[Corrected, ...]
    n_unknown: int = 0  # rated items that are not a scored reply of the run


@dataclass(frozen=True, slots=True)
class ChoiceCalibration:
    """People's blind choices against the judge's: agreement where both decide, kappa over first, second and tie."""

    n_items: int
    n_decided: int
    agreement: Estimate | None
    kappa: float | None
    n_unjudged: int  # choices that the judge did not judge
    win_rates: dict[str, tuple[float, float]]  # model -> share of comparisons won by people, by the judge; ties half
    win_intervals: dict[str, tuple[Estimate, Estimate]] = field(default_factory=dict)  # the same with intervals


def read_rated(run: Path) -> list[Rated]:
    """Every scored reply of a run's benchmark, those among them that the model left empty.

    Raises:
        DataError: there is no benchmark in the run.
    """
    found = []
    for folder in find_models([run]):
        for row in read_jsonl(folder / "scores.jsonl", BenchScore):
            is_empty = row.outcome == "empty"
            if row.score is not None and (row.node_id or is_empty):
                item = "" if is_empty else content_id("sheet", folder.name, row.node_id)
                groups = (row.profile_id, row.personality_id)
                found.append(Rated(item, folder.name, row.persona_id, groups, row.score, is_empty))
    return found


def write_sheet(run: Path, out: Path, n: int, seed: int, personas: Sequence[Persona]) -> int:
    """Write a blind sheet of ``n`` replies (as many of each model as can be) and its key; returns how many.

    The rows are shuffled; nothing in a row tells the model or the judge's score. Fill in ``score`` and keep ``item``.

    Raises:
        DataError: no benchmark, personas that the run does not hold, or ``out`` holds people's ratings already.
    """
    if n < 1:
        raise DataError(f"a sheet of {n} replies would be empty", "use --n 1 or more")
    if out.is_file() and _is_rated(out):
        raise DataError(f"{out} already contains ratings", "choose another --out, or move the file")
    people = {p.persona_id: p for p in personas}
    rng = derive_rng(seed, "judge", "sheet")
    by_model: dict[str, list[Rated]] = defaultdict(list)
    for rated in read_rated(run):
        if not rated.is_empty:
            by_model[rated.model].append(rated)
    drawn: list[Rated] = []
    for place, (_, rows) in enumerate(sorted(by_model.items())):
        share = n // len(by_model) + (place < n % len(by_model))
        drawn += [rows[i] for i in rng.permutation(len(rows))[:share]]
    drawn = [drawn[i] for i in rng.permutation(len(drawn))]
    texts = _texts(run, {rated.item for rated in drawn})
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for rated in drawn:
        persona = people.get(rated.persona_id)
        if persona is None:
            raise DataError(
                f"persona {rated.persona_id} is not a persona of the run", "give its persona file with --personas"
            )
        conversation, reply = texts[rated.item]
        row = (rated.item, persona.profile, persona.personality, conversation, reply, "", "")
        writer.writerow([_harmless(cell) for cell in row])
    with atomic_write(out) as file:
        file.write(b"\xef\xbb\xbf" + buffer.getvalue().encode())  # so that spreadsheets read it as UTF-8
    write_json(key_path(out), {"run": str(run), "items": [r.item for r in drawn]})
    return len(drawn)


def key_path(sheet: Path) -> Path:
    """Where a sheet's key lies."""
    return sheet.with_suffix(".key.json")


def _harmless(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell


def _texts(run: Path, wanted: set[str]) -> dict[str, tuple[str, str]]:
    """Item -> conversation up to the user's message, and the reply."""
    found: dict[str, tuple[str, str]] = {}
    for folder in find_models([run]):
        for tree in read_jsonl(folder / "conversations.jsonl", ConversationTree):
            said: list[str] = []
            for node in tree.nodes:
                if node.message.role == "assistant":
                    item = content_id("sheet", folder.name, node.node_id)
                    if item in wanted:
                        found[item] = ("\n".join(said), node.message.content)
                said.append(f"{'User' if node.message.role == 'user' else 'Assistant'}: {node.message.content}")
    return found


def scale_of(run: Path) -> Scale | None:
    """The scale on which a run's replies were scored; None where no result says it.

    Raises:
        DataError: there are several, so that no mean or difference over models means anything.
    """
    results = [result for folder in find_models([run]) if (result := read_result(folder / "result.json")) is not None]
    names = sorted({result.scale for result in results})
    if len(names) > 1:
        raise DataError(
            f"{run} was scored on several scales: {', '.join(names)}", "give one of its bench/MODEL directories"
        )
    return SCALES[names[0]] if names else None


def _is_rated(sheet: Path) -> bool:
    try:
        return bool(read_ratings(sheet))
    except DataError:
        return False


def _sheet_rows(path: Path) -> tuple[dict[str, str], list[dict[str, str | None]]]:
    """Columns (lower case -> as written) and rows of a sheet as spreadsheets save it.

    Only ids and numbers are read of it, so bytes of another code page do no harm.
    """
    refuse_special(path)
    raw = path.read_bytes()
    text = raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig", errors="replace")
    first = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text, newline=None), delimiter=max(",;\t", key=first.count))
    try:
        return {(name or "").strip().lower(): name for name in reader.fieldnames or ()}, list(reader)
    except csv.Error as error:
        raise DataError(f"{path}, row {reader.line_num}: not valid CSV ({error})", "save the sheet as CSV") from None


def read_ratings(path: Path, scale: Scale | None = None) -> dict[str, dict[str, float]]:
    """Rater -> item -> score from a filled-in sheet; rows without a score are left out.

    Columns needed: ``item`` and ``score``; ``rater`` where several people share a file.

    Args:
        scale: the judge's; a score outside of it is a slip of the pen, or of another scale.

    Raises:
        DataError: a column is missing, a score is not a number or outside ``scale``, one person rated an item twice, or
            nobody rated anything.
    """
    names, rows = _sheet_rows(path)
    if not {"item", "score"} <= set(names):
        shown = ", ".join(names)[:200] or "none"
        raise DataError(f"{path} has the columns {shown}", "the columns 'item' and 'score' are required")
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for number, row in enumerate(rows, 2):
        written = (row[names["score"]] or "").strip().replace(",", ".")
        if not written:
            continue
        try:
            score = float(written)
        except ValueError:
            score = math.nan
        if not math.isfinite(score):
            raise DataError(
                f"{path}, row {number}: score {written[:30]!r} is not a number", "write a number or nothing"
            )
        if scale is not None and not scale.low <= score <= scale.high:
            raise DataError(f"{path}, row {number}: score {written[:30]} is not on the judge's scale, {scale.name}",
                            "rate on that scale")  # fmt: skip
        rater = (row[names["rater"]] or "").strip() if "rater" in names else ""
        item = (row[names["item"]] or "").strip().lstrip("'")
        if item in found[rater]:
            raise DataError(f"{path}, row {number}: item {item[:40]} was rated before by the same person",
                            "keep one of the rows, or tell people apart in a column 'rater'")  # fmt: skip
        found[rater][item] = score
    if not found:
        raise DataError(f"{path} contains no ratings yet", "fill in the column 'score'")
    return dict(found)


def calibrate_scores(
    judged: Sequence[Rated], ratings: Mapping[str, Mapping[str, float]], step: float = 1.0
) -> JudgeCalibration:
    """People's scores against the judge's.

    Args:
        step: of the scale, by which a rating that is off is off.

    Raises:
        DataError: no rated item is among those judged.
    """
    people: dict[str, float] = {}
    for item in dict.fromkeys(i for rows in ratings.values() for i in rows):
        people[item] = float(np.mean([rows[item] for rows in ratings.values() if item in rows]))
    both = [rated for rated in judged if rated.item in people]
    if not both:
        raise DataError("none of the rated items is a reply of this run", "give the run that the sheet was made from")
    human = np.array([people[r.item] for r in both])
    judge = np.array([r.score for r in both])
    whole_h, whole_j = [round(h) for h in human.tolist()], [round(j) for j in judge.tolist()]
    return JudgeCalibration(
        n_items=len(both),
        n_raters=len(ratings),
        kappa=cohen_kappa(whole_h, whole_j),
        kappa_quadratic=cohen_kappa(whole_h, whole_j, "quadratic"),
        spearman=spearman(human, judge),
        bias=_widened(
            mean_interval(judge - human, Clusters([r.groups[0] for r in both], [r.groups[1] for r in both])),
            len(both),
            step,
        ),
        between_raters=_between(list(ratings.values())),
        models=tuple(
            corrected_mean(name, [r for r in judged if r.model == name], people, step)
            for name in dict.fromkeys(r.model for r in judged)
        ),
        n_unknown=len(people.keys() - {rated.item for rated in both}),
    )


def _between(raters: Sequence[Mapping[str, float]]) -> float | None:
    kappas = []
    for i, first in enumerate(raters):
        for second in raters[i + 1 :]:
            shared = [item for item in first if item in second]
            pairs = [(round(first[item]), round(second[item])) for item in shared]
            kappa = cohen_kappa([a for a, _ in pairs], [b for _, b in pairs], "quadratic") if pairs else None
            if kappa is not None:
                kappas.append(kappa)
    return float(np.mean(kappas)) if kappas else None


def _widened(found: Estimate | None, n: int, step: float) -> Estimate | None:
    """An interval over ``n`` ratings as if there were two more, a step above and a step below."""
    if found is None:
        return None
    unseen = t_quantile(0.95, max(n - 1, 1)) * step * math.sqrt(2.0 / ((n + 1) * (n + 2)))
    half = math.hypot(0.5 * (found.high - found.low), unseen)
    return Estimate(found.value, found.value - half, found.value + half)


def corrected_mean(name: str, judged: Sequence[Rated], people: Mapping[str, float], step: float = 1.0) -> Corrected:
    """Mean of the judge over all of a model's replies, moved by the mean difference on the rated ones.

    Both means are over personas (each the mean of its replies). A persona with rated replies counts with its judge's
    mean and, as much more as there are personas for each rated one, with its difference; so what the two have in
    common is in the interval. An empty reply needs no correction: the move is that of the others times their share.
    """
    scores: dict[str, list[float]] = defaultdict(list)
    gaps: dict[str, list[float]] = defaultdict(list)
    groups = {rated.persona_id: rated.groups for rated in judged}
    for rated in judged:
        scores[rated.persona_id].append(rated.score)
        if rated.item in people:
            gaps[rated.persona_id].append(people[rated.item] - rated.score)
    means = np.array([float(np.mean(v)) for v in scores.values()])
    n_rated, spoken = sum(map(len, gaps.values())), 1.0 - float(np.mean([r.is_empty for r in judged]))
    n, m = means.size, len(gaps)
    if m < 2:
        return Corrected(name, float(means.mean()), n_rated, None)
    is_rated = np.array([p in gaps for p in scores])
    gap = np.array([spoken * float(np.mean(gaps[p])) if p in gaps else 0.0 for p in scores])
    move = float(gap[is_rated].mean())
    wider = math.sqrt(m / (m - 1) * (n - 1) / n)
    values = means + move + np.where(is_rated, (gap - move) * wider * n / m, 0.0)
    variance = np.var(means, ddof=1) / n**2 + is_rated * np.var(gap[is_rated], ddof=1) / m**2
    total, fourth = float(variance.sum()), float(variance @ variance)
    clusters = Clusters([groups[p][0] for p in scores], [groups[p][1] for p in scores])
    found = mean_interval(values, clusters, df=total**2 / fourth - 1.0 if fourth > 0.0 else None)
    return Corrected(name, float(means.mean()), n_rated, _widened(found, m, step * spoken))


def read_choices(path: Path) -> list[dict[str, Any]]:
    """Blind choices (``RUN/studio/ratings.jsonl``): rows with ``choice`` and what was compared.

    A row holds ``choice`` (first, second or tie; a, b and left, right are understood), and either ``scores`` (the
    judge's of both replies) or ``judge`` (its choice); or ``profile``, ``personality``, ``messages`` (ending with the
    user's) and ``replies`` (two texts), which are then judged. ``models`` (two names) gives win rates.

    Raises:
        DataError: the file is missing, a line is not JSON, or there is no choice in it.
    """
    rows = _json_lines(path)
    kept = [{**row, "choice": choice} for row in rows if (choice := _choice(row.get("choice"))) is not None]
    if not kept:
        raise DataError(f"{path} contains no blind choices", "compare two models in the studio first")
    return kept


def _json_lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        raise DataError(
            f"{path} does not exist", "rate replies in the studio, or fill in a sheet of 'aloe judge sheet'"
        )
    rows = []
    refuse_special(path)
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except ValueError as error:
            raise DataError(f"{path}, line {number}: not valid JSON ({error})", "restore or remove the line") from None
        if isinstance(row, dict):
            rows.append(row)
    return rows


def _choice(value: Any) -> str | None:
    return CHOICES.get(str(value).strip().lower()) if value is not None else None


def judge_choice(row: Mapping[str, Any], tie: float = 0.0) -> str | None:
    """The judge's choice in a row: its own, or by its two scores (closer than ``tie``: a tie); None = unscored."""
    own = _choice(row.get("judge"))
    if own is not None:
        return own
    scores = row.get("scores")
    if not isinstance(scores, list | tuple) or len(scores) != 2:
        return None
    if any(isinstance(s, bool) or not isinstance(s, int | float) or not math.isfinite(s) for s in scores):
        return None
    gap = float(scores[0]) - float(scores[1])
    return "tie" if abs(gap) <= tie else "first" if gap > 0 else "second"


def calibrate_choices(rows: Sequence[Mapping[str, Any]]) -> ChoiceCalibration:
    """People's blind choices against the judge's; rows that the judge did not judge are left out and counted.

    Raises:
        DataError: the judge judged none.
    """
    pairs = [(row, str(row["choice"]), judge) for row in rows if (judge := judge_choice(row)) is not None]
    if not pairs:
        raise DataError(
            f"the judge judged none of the {len(rows)} blind choices",
            "a row needs 'scores' (two numbers), or 'messages' and two 'replies' to be judged now",
        )
    human, judged = [h for _, h, _ in pairs], [j for _, _, j in pairs]
    decided = [h == j for h, j in zip(human, judged, strict=True) if "tie" not in (h, j)]
    wins: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row, h, j in pairs:
        models = row.get("models")
        if isinstance(models, list | tuple) and len(models) == 2:
            for name, place in zip(models, ("first", "second"), strict=True):
                wins[str(name)].append(tuple(0.5 if c == "tie" else float(c == place) for c in (h, j)))  # type: ignore[arg-type]
    return ChoiceCalibration(
        n_items=len(pairs),
        n_decided=len(decided),
        agreement=share_interval([float(d) for d in decided]),
        kappa=cohen_kappa(human, judged),
        n_unjudged=len(rows) - len(pairs),
        win_rates={m: (float(np.mean([a for a, _ in w])), float(np.mean([b for _, b in w]))) for m, w in wins.items()},
        win_intervals={m: (_won([a for a, _ in w]), _won([b for _, b in w])) for m, w in wins.items()},
    )


def _won(wins: Sequence[float]) -> Estimate:
    found = share_interval(wins)
    assert found is not None  # a model is listed because it was compared
    return found
