"""Reads what raters sent back, and says what it shows: win shares, mean ratings, agreement, who did not read.

Intervals treat answers about one persona, and answers of one rater, as related (``stats.clusters``). A rater who fails
more than ``MOST_FAILED`` of the attention checks is left out of everything but the table of raters.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from aloe.bench.panels import RaterAgreement, agreement
from aloe.bench.study.design import StudyItem
from aloe.bench.study.page import KEY
from aloe.config.files import parse_json, refuse_special
from aloe.dialogue.state import content_id
from aloe.errors import DataError
from aloe.stats import Clusters, Estimate, mean_interval, share_interval
from aloe.store.records import atomic_write

MOST_FAILED = 1 / 3
CHOICES = {"pair": ("left", "right", "tie"), "check": ("left", "right", "tie"), "rating": ("1", "2", "3", "4", "5")}


@dataclass(frozen=True, slots=True)
class StudyKey:
    """Which study, the items of each rater, and the benchmark folder of each model."""

    study: str
    raters: Mapping[str, tuple[StudyItem, ...]]
    folders: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RaterAnswers:
    """What one rater sent: answers by the place of the item; seconds likewise."""

    rater: str
    answers: Mapping[int, str]
    seconds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class RaterCheck:
    """How a rater worked: items answered of those given, checks failed of those met, median seconds, if counted."""

    rater: str
    n_answered: int
    n_items: int
    n_failed: int
    n_checks: int
    seconds: float | None
    is_counted: bool


@dataclass(frozen=True, slots=True)
class StudyResult:
    """What people said.

    Attributes:
        wins: (model, other) -> share of their comparisons that the first won, ties half. left: share won by the left.
        ratings: model -> mean rating. pairs_agreement, ratings_agreement: on what several raters were shown.
    """

    raters: tuple[RaterCheck, ...]
    wins: Mapping[tuple[str, str], tuple[int, Estimate | None]]
    left: Estimate | None
    ratings: Mapping[str, tuple[int, Estimate | None]]
    pairs_agreement: RaterAgreement | None
    ratings_agreement: RaterAgreement | None


def read_key(folder: Path) -> StudyKey:
    """The key of a study.

    Raises:
        DataError: there is none, or it is damaged.
    """
    path = folder / KEY
    try:
        found = json.loads(path.read_text("utf-8"))
        raters = {
            str(name): tuple(StudyItem(**{**item, "models": tuple(item["models"])}) for item in items)
            for name, items in found["raters"].items()
        }
        return StudyKey(str(found["study"]), raters, {str(k): str(v) for k, v in found["folders"].items()})
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path} is not the key of a study", "give the folder that 'aloe study new' wrote") from error


def read_answers(paths: Sequence[Path], key: StudyKey) -> list[RaterAnswers]:
    """What the raters' files hold; folders: all ``*.json`` in them.

    Raises:
        DataError: another study, an unknown rater, one who answered twice, or an answer that is not on the page.
    """
    files = [file for path in paths for file in (sorted(path.glob("*.json")) if path.is_dir() else [path])]
    found: dict[str, RaterAnswers] = {}
    for file in files:
        one = _read_file(file, key)
        if one.rater in found:
            raise DataError(f"{file}: {one.rater} has answered already", "keep one file for each rater")
        found[one.rater] = one
    if not found:
        raise DataError("there are no answers", "give the files that raters have sent back, or their folder")
    return list(found.values())


def _read_file(path: Path, key: StudyKey) -> RaterAnswers:
    refuse_special(path)
    hint = "give the file as the page saved it"
    try:
        row = parse_json(path.read_bytes())
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON", hint) from error
    if not isinstance(row, dict) or not isinstance(row.get("answers"), list):
        raise DataError(f"{path} holds no answers", hint)
    if row.get("study") != key.study:
        raise DataError(f"{path} is of another study", "give the folder of its own key")
    items = key.raters.get(str(row.get("rater")))
    if items is None:
        raise DataError(f"{path}: rater '{row.get('rater')}' is not of this study", hint)
    answers, seconds = {}, []
    for number, one in enumerate(row["answers"], 1):
        answer, at = (one.get("answer"), one.get("item")) if isinstance(one, dict) else (None, None)
        if (
            not isinstance(at, int)
            or not 0 <= at < len(items)
            or answer not in CHOICES[items[at].kind]
            or at in answers
        ):
            raise DataError(f"{path}, answer {number}: not an answer to an item of the page", hint)
        answers[at] = str(answer)
        if isinstance(one.get("seconds"), int | float):
            seconds.append(float(one["seconds"]))
    return RaterAnswers(str(row["rater"]), answers, tuple(seconds))


def analyse(key: StudyKey, given: Sequence[RaterAnswers]) -> StudyResult:
    """What the answers show, over the raters who passed the attention checks."""
    checks = [_check(key.raters[one.rater], one) for one in given]
    counted = [one for one, check in zip(given, checks, strict=True) if check.is_counted]
    rows = [(one.rater, key.raters[one.rater][at], answer) for one in counted for at, answer in one.answers.items()]
    pairs = [(rater, item, answer) for rater, item, answer in rows if item.kind == "pair"]
    rated = [(rater, item, answer) for rater, item, answer in rows if item.kind == "rating"]
    won = {"left": 1.0, "right": 0.0, "tie": 0.5}
    wins: dict[tuple[str, str], tuple[int, Estimate | None]] = {}
    for couple in sorted({tuple(sorted(item.models)) for _, item, _ in pairs}):
        own = [
            (r, i, won[a] if i.models[0] == couple[0] else 1 - won[a]) for r, i, a in pairs if {*i.models} == {*couple}
        ]
        wins[couple[0], couple[1]] = len(own), share_interval([v for *_, v in own], _clusters(own))
    ratings = {}
    for model in sorted({item.models[0] for _, item, _ in rated}):
        mine = [(r, i, float(a)) for r, i, a in rated if i.models[0] == model]
        ratings[model] = len(mine), mean_interval([v for *_, v in mine], _clusters(mine))
    left = share_interval([won[a] for *_, a in pairs], _clusters(pairs)) if pairs else None
    codes = [(r, (*sorted(i.models), i.persona_id), _verdict(i, a)) for r, i, a in pairs]
    scores = [(r, (i.models[0], i.node_id), float(a)) for r, i, a in rated]
    return StudyResult(
        tuple(checks),
        wins,
        left,
        ratings,
        _agreement(codes, of_categories=True),
        _agreement(scores, of_categories=False),
    )


def _clusters(rows: Sequence[tuple[str, StudyItem, Any]]) -> Clusters:
    return Clusters([item.persona_id for _, item, _ in rows], [rater for rater, _, _ in rows])


def _verdict(item: StudyItem, answer: str) -> float:
    """0 or 1: the first or second model by name won; 2: a tie. The same whichever side they were on."""
    if answer == "tie":
        return 2.0
    return float(sorted(item.models).index(item.models[0 if answer == "left" else 1]))


def _check(items: Sequence[StudyItem], one: RaterAnswers) -> RaterCheck:
    met = [(items[at].expected, answer) for at, answer in one.answers.items() if items[at].kind == "check"]
    failed = sum(expected != answer for expected, answer in met)
    seconds = median(one.seconds) if one.seconds else None
    is_counted = failed <= MOST_FAILED * len(met)
    return RaterCheck(one.rater, len(one.answers), len(items), failed, len(met), seconds, is_counted)


def _agreement(rows: Sequence[tuple[str, tuple[str, ...], float]], *, of_categories: bool) -> RaterAgreement | None:
    """Alpha of all raters over what at least two of them were shown; None where nothing was."""
    by_item: dict[tuple[str, ...], dict[str, float]] = defaultdict(dict)
    for rater, item, value in rows:
        by_item[item][rater] = value
    shared = {item: given for item, given in by_item.items() if len(given) > 1}
    if not shared:
        return None
    raters = sorted({rater for given in shared.values() for rater in given})
    table = np.full((len(shared), len(raters)), np.nan)
    for (row, given), (column, rater) in itertools.product(enumerate(shared.values()), enumerate(raters)):
        table[row, column] = given.get(rater, np.nan)
    found = agreement(table, ["/".join(item) for item in shared], of_categories=of_categories, with_kappas=False)
    return found


def write_ratings(key: StudyKey, given: Sequence[RaterAnswers], out: Path) -> int:
    """The ratings of counted raters as a sheet for ``aloe judge calibrate``; returns how many."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("rater", "item", "score"))
    n = 0
    for one in given:
        items = key.raters[one.rater]
        if not _check(items, one).is_counted:
            continue
        for at, answer in one.answers.items():
            item = items[at]
            if item.kind == "rating":
                writer.writerow((one.rater, content_id("sheet", key.folders[item.models[0]], item.node_id), answer))
                n += 1
    with atomic_write(out) as file:
        file.write(buffer.getvalue().encode())
    return n
