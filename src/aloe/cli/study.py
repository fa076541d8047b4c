"""``aloe study plan | new | read``: a blind study with people, from what has been benchmarked."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from aloe.cli import completers
from aloe.cli.arguments import completed, existing_path
from aloe.cli.parser import Overrides, Parser
from aloe.errors import ConfigError, DataError

if TYPE_CHECKING:
    from aloe.bench.study.answers import StudyResult
    from aloe.stats import Estimate

NAME = "study"
GROUP = "measure"
HELP = "a blind study with people: how many are needed, a page for each rater, what their answers show"


def add_arguments(parser: Parser) -> None:
    plan = parser.add_verb("plan", "how many raters a comparison of two models needs, before anybody is asked", _plan)
    _number(plan, "--pairs", 20, "comparisons of two models per rater")
    _share(plan, "--win-share", 0.6, "the share of comparisons that the better model is expected to win")
    _share(plan, "--related", 0.05, "correlation of two answers of one rater, 0 = none")
    _number(plan, "--raters", 0, "say the power of this many raters instead")
    new = parser.add_verb(
        "new",
        "write a page for each rater, with blind pairs and replies in balanced order, and the key",
        _new,
        usage="aloe study new RUN [RUN ...] --out DIR [--raters N] [--pairs N] [--ratings N] [--checks N] [--shared N]",
    )
    runs = new.add_argument("runs", nargs="+", type=existing_path, metavar="RUN", help="runs, or bench/MODEL folders")
    out = new.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the study is written")
    _number(new, "--raters", 12, "people")
    _number(new, "--pairs", 10, "pairs of conversations per rater")
    _number(new, "--ratings", 10, "single replies per rater, to be rated 1 to 5")
    _number(new, "--checks", 3, "attention checks per rater")
    _number(new, "--shared", 4, "pairs and ratings that all raters have in common, for their agreement")
    _number(new, "--seed", 0, "what is drawn, in which order")
    consent = new.add_argument("--consent", type=existing_path, metavar="FILE", help="your own text on the first page")
    people = new.add_argument("--personas", metavar="FILE", help="persona file, or 'packaged' (default: the runs' own)")
    read = parser.add_verb(
        "read",
        "what the answers show, with intervals; --ratings FILE writes a sheet for 'aloe judge calibrate'",
        _read,
        usage="aloe study read DIR ANSWERS [ANSWERS ...] [--ratings FILE] [--json]",
    )
    study = read.add_argument("study", type=existing_path, metavar="DIR", help="the study's folder, with its key")
    given = read.add_argument(
        "answers", nargs="+", type=existing_path, metavar="ANSWERS", help="files that raters sent back, or their folder"
    )
    sheet = read.add_argument("--ratings", type=Path, metavar="FILE", help="write the ratings as CSV")
    read.add_argument("--json", action="store_true", help="print JSON")
    for action in (runs, out, consent, people, study, given, sheet):
        completed(action, completers.paths)


def _number(parser: Parser, name: str, default: int, what: str) -> None:
    action = parser.add_argument(name, type=int, default=default, metavar="N", help=f"{what} (default: {default})")
    completed(action, completers.nothing)


def _share(parser: Parser, name: str, default: float, what: str) -> None:
    action = parser.add_argument(name, type=float, default=default, metavar="P", help=f"{what} (default: {default})")
    completed(action, completers.nothing)


def run(options: Namespace, overrides: Overrides) -> int:
    return int(options.verb(options, overrides))


def _plan(options: Namespace, overrides: Overrides) -> int:
    from aloe.bench.study.power import effective_comparisons, power_of, raters_needed

    for name in ("win_share", "related"):
        if not 0 <= getattr(options, name) < 1:
            raise ConfigError(f"--{name.replace('_', '-')} {getattr(options, name)} is not in [0, 1)", "give a share")
    if options.pairs < 1:
        raise ConfigError(f"--pairs {options.pairs} compares nothing", "give 1 or more")
    share, each = options.win_share, options.pairs
    if options.raters:
        worth = effective_comparisons(options.raters, each, options.related)
        print(f"{options.raters} raters x {each} pairs are worth {worth:.0f} independent comparisons: a share of "
              f"{share:g} is found with probability {power_of(share, worth):.2f}")  # fmt: skip
        return 0
    found = raters_needed(share, each, options.related)
    if found is None:
        print(f"no number of raters is enough for a share of {share:g}")
    else:
        print(f"{found} raters x {each} pairs find a share of {share:g} with probability 0.80")
    return 0


def _new(options: Namespace, overrides: Overrides) -> int:
    from aloe.bench.study.design import StudySize, assign, read_study_talks
    from aloe.bench.study.page import CONSENT, PAGES, write_study
    from aloe.personas.stage import read_bench_file
    from aloe.store.records import read_jsonl
    from aloe.types import Persona

    talks = read_study_talks(options.runs)
    places = [run / "personas" / "personas.jsonl" for run in options.runs]
    people = [persona for place in places if place.is_file() for persona in read_jsonl(place, Persona)]
    if options.personas:
        people += read_bench_file(options.personas, 10**6, options.seed)
    size = StudySize(options.raters, options.pairs, options.ratings, options.checks, options.shared)
    raters = assign(talks, size, options.seed)
    by_id = {persona.persona_id: persona for persona in people}
    consent = options.consent.read_text("utf-8") if options.consent else CONSENT
    name = write_study(options.out, raters, talks, by_id, consent=consent, seed=options.seed)
    print(f"study {name}: {len(raters)} pages in {options.out / PAGES} (send each to one rater); "
          f"{options.out / 'key.json'} names the models, keep it from raters")  # fmt: skip
    return 0


def _read(options: Namespace, overrides: Overrides) -> int:
    from aloe.bench.study.answers import analyse, read_answers, read_key, write_ratings

    key = read_key(options.study)
    given = read_answers(options.answers, key)
    found = analyse(key, given)
    if options.json:
        plain = {
            "raters": [asdict(one) for one in found.raters],
            "wins": [{"model": a, "other": b, "n": n, "share": _three(e)} for (a, b), (n, e) in found.wins.items()],
            "left": _three(found.left),
            "ratings": {model: {"n": n, "mean": _three(e)} for model, (n, e) in found.ratings.items()},
            "alpha_pairs": _three(found.pairs_agreement.alpha) if found.pairs_agreement else None,
            "alpha_ratings": _three(found.ratings_agreement.alpha) if found.ratings_agreement else None,
        }
        print(json.dumps(plain, indent=2))
    else:
        print("\n".join(_lines(found)))
    if options.ratings:
        n = write_ratings(key, given, options.ratings)
        if not n:
            raise DataError("no rating of a counted rater", "ask for ratings: aloe study new --ratings N")
        print(f"{n} ratings -> {options.ratings} (aloe judge calibrate {options.ratings} RUN)")
    return 0


def _lines(found: StudyResult) -> list[str]:
    left_out = [one for one in found.raters if not one.is_counted]
    lines = [f"{len(found.raters)} raters, {len(left_out)} left out because they failed attention checks"]
    lines += [f"  {one.rater}: failed {one.n_failed} of {one.n_checks}" for one in left_out]
    lines += [f"  {one.rater}: answered {one.n_answered} of {one.n_items}"
              for one in found.raters if one.n_answered < one.n_items]  # fmt: skip
    lines += [f"{a} against {b}: wins {_shown(e)} of {n} comparisons" for (a, b), (n, e) in found.wins.items()]
    if found.left is not None:
        lines.append(f"won by what stood on the left: {_shown(found.left)} (0.5 is fair)")
    lines += [f"{model}: mean rating {_shown(e)} of {n}" for model, (n, e) in found.ratings.items()]
    for what, one in (("choices", found.pairs_agreement), ("ratings", found.ratings_agreement)):
        if one is not None:
            lines.append(f"agreement on {what}: alpha {_shown(one.alpha)} over {one.n_items} that several raters had")
    return lines


def _shown(one: Estimate | None) -> str:
    return "undefined" if one is None else f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]"


def _three(one: Estimate | None) -> list[float] | None:
    return None if one is None else [one.value, one.low, one.high]
