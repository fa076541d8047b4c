"""``aloe judge check | sheet | calibrate``: is the judge fit to measure, and what would people say?"""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aloe.cli.bench import friendly_options
from aloe.cli.parser import OneLineParser, existing_path
from aloe.config import Config, load_config, parse_overrides
from aloe.errors import ConfigError
from aloe.store.rundir import RunDir

if TYPE_CHECKING:
    from aloe.bench.calibration import ChoiceCalibration, JudgeCalibration
    from aloe.stats import Estimate

USAGE = """usage: aloe judge check [RECIPE|RUN] [--judge URI] [--n N] [--seed S] [--scope S] [--scale S] [--json]
       aloe judge sheet RUN [--out FILE.csv] [--n N] [--seed S] [--personas FILE]
       aloe judge calibrate FILE.csv [RUN] | RUN  [--json]

check      order swaps, repeats and replies whose order is certain: consistency, abstention, sensitivity
sheet      a blind, shuffled CSV of benchmarked replies for people to score
calibrate  people's scores (a filled-in sheet) or blind choices (RUN/studio/ratings.jsonl) against the judge's"""


def judge_command(argv: list[str]) -> int:
    """``aloe judge ACTION ...``.

    Raises:
        ConfigError: no such action, or options that do not fit.
    """
    if not argv or argv[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    actions = {"check": _check, "sheet": _sheet, "calibrate": _calibrate}
    action = actions.get(argv[0])
    if action is None:
        raise ConfigError(f"aloe judge has no action '{argv[0]}'", f"use one of: {', '.join(actions)}")
    return action(argv[1:])


def _config(recipe: str | None, rest: list[str]) -> tuple[Config, Path | None]:
    """The config meant by a recipe or a run directory, with overrides; and the run's directory."""
    from aloe.stages.bench import with_bench_roles

    overrides = parse_overrides([a for a in friendly_options(rest) if a != "bench"])
    run = Path(recipe) if recipe is not None and (Path(recipe) / "config.toml").is_file() else None
    source = run / "config.toml" if run is not None else recipe
    return with_bench_roles(load_config(source, overrides)), run


def _check(argv: list[str]) -> int:
    from aloe.bench.check import check_judge, fitness, format_fitness, known_items
    from aloe.bench.scales import SCALES
    from aloe.models.caller import Caller
    from aloe.progress import stage_progress

    recipe = argv.pop(0) if argv and not argv[0].startswith("-") else None
    parser = OneLineParser(prog="aloe judge check", usage=USAGE, allow_abbrev=False)
    parser.add_argument("--n", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options, rest = parser.parse_known_args(argv)
    if options.n < 4:
        raise ConfigError(f"--n {options.n} is too few items", "give at least 4, one of each kind")
    config, run = _config(recipe, rest)
    items = known_items(options.n, options.seed)

    async def work() -> list[Any]:
        journal = RunDir(run).journal_path if run is not None else None
        caller = Caller.open(config, journal, seed=config.seed)
        try:
            with stage_progress("check") as shown:
                return await check_judge(
                    caller,
                    items,
                    config=config,
                    scope=config.bench.scope,
                    scale=SCALES[config.bench.scale],
                    progress=lambda n, of: shown.update(n, of, "items"),
                )
        finally:
            await caller.aclose()

    found = fitness(asyncio.run(work()))
    judge = ", ".join(m.uri for m in config.roles.judge)
    print(json.dumps({"judge": judge, **asdict(found)}, indent=2) if options.json else format_fitness(found, judge))
    return 0


def _sheet(argv: list[str]) -> int:
    from aloe.bench.calibration import key_path, write_sheet
    from aloe.personas.stage import read_bench_file
    from aloe.store.records import read_jsonl
    from aloe.types import Persona

    parser = OneLineParser(prog="aloe judge sheet", usage=USAGE)
    parser.add_argument("run", type=existing_path)
    parser.add_argument("--out", type=Path, default=Path("sheet.csv"))
    parser.add_argument("--n", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--personas")
    options = parser.parse_args(argv)
    if not (options.run / "config.toml").is_file():
        raise ConfigError(f"{options.run} is no run directory", "give the one that holds config.toml and bench/")
    config, _ = _config(str(options.run), [])
    own = options.run / "personas" / "personas.jsonl"
    source = options.personas or config.bench.personas
    people = list(read_jsonl(own, Persona)) if own.is_file() else []
    if source:
        people += read_bench_file(source, 10**6, config.seed)
    n = write_sheet(options.run, options.out, options.n, options.seed, people)
    print(f"{n} replies -> {options.out} (fill in 'score'; which is which: {key_path(options.out)}, not for raters)")
    return 0


def _calibrate(argv: list[str]) -> int:
    from aloe.bench.calibration import calibrate_choices, calibrate_scores, read_rated, read_ratings, scale_of

    parser = OneLineParser(prog="aloe judge calibrate", usage=USAGE)
    parser.add_argument("source", type=existing_path)
    parser.add_argument("run", nargs="?", type=existing_path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    if options.source.is_dir():
        choices = calibrate_choices(_judged_choices(options.source))
        print(json.dumps(asdict(choices), indent=2) if options.json else format_choices(choices))
        return 0
    run = options.run or _run_of(options.source)
    found = calibrate_scores(read_rated(run), read_ratings(options.source, scale_of(run)))
    print(json.dumps(asdict(found), indent=2) if options.json else format_calibration(found))
    return 0


def _run_of(sheet: Path) -> Path:
    """The run that a sheet was made from, by the key beside it."""
    from aloe.bench.calibration import key_path

    key, advice = key_path(sheet), "name it: aloe judge calibrate FILE.csv RUN"
    if not key.is_file():
        raise ConfigError(f"{key} is not there, so the run is not known", advice)
    try:
        return Path(json.loads(key.read_bytes())["run"])
    except (ValueError, TypeError, KeyError):
        raise ConfigError(f"{key} is damaged, so the run is not known", advice) from None


def _judged_choices(run: Path) -> list[dict[str, Any]]:
    """The run's blind choices; rows without the judge's opinion are judged now, through the run's journal."""
    from aloe.bench.calibration import judge_choice, read_choices

    rows = read_choices(run / "studio" / "ratings.jsonl")
    open_rows = [row for row in rows if judge_choice(row) is None and _two_texts(row.get("replies"))]
    if open_rows:
        config, _ = _config(str(run), [])
        asyncio.run(_score_rows(config, run, open_rows))
    return rows


def _two_texts(replies: object) -> bool:
    return isinstance(replies, list) and len(replies) == 2 and all(isinstance(r, str) and r.strip() for r in replies)


async def _score_rows(config: Config, run: Path, rows: list[dict[str, Any]]) -> None:
    from aloe.bench.offline import UNKNOWN, tidy
    from aloe.bench.scales import SCALES
    from aloe.bench.scoring import score_reply
    from aloe.dialogue.judge import Candidate
    from aloe.dialogue.state import PathState, content_id
    from aloe.models.caller import Caller
    from aloe.types import Persona

    caller = Caller.open(config, RunDir(run).journal_path, seed=config.seed)
    try:
        for number, row in enumerate(rows, 1):
            where = f"{run / 'studio' / 'ratings.jsonl'}, rating {number}"
            profile, personality = (str(row.get(k) or UNKNOWN) for k in ("profile", "personality"))
            persona = Persona(
                persona_id="rated", profile=profile, personality=personality, profile_id="", personality_id=""
            )
            state = PathState(content_id("rated", profile, personality))
            for message in tidy([*row.get("messages", ()), {"role": "assistant", "content": "."}], where)[:-1]:
                put = state.with_user if message.role == "user" else state.with_reply
                state = put(content_id(state.node_id, message.role, message.content), message.content)
            asked = [Candidate(content_id(state.node_id, "assistant", str(r)), str(r)) for r in row["replies"]]
            scale = SCALES[config.bench.scale]
            judged = [await score_reply(caller, persona, state, c, config.bench.scope, scale) for c in asked]
            row["scores"] = [j.score for j in judged]
    finally:
        await caller.aclose()


def _plain(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def _with_interval(estimate: Estimate | None) -> str:
    return "none" if estimate is None else f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def _share(estimate: Estimate | None) -> str:
    if estimate is None:
        return "none"
    return f"{estimate.value:.3f} [{max(0.0, estimate.low):.3f}, {min(1.0, estimate.high):.3f}]"


def format_calibration(found: JudgeCalibration) -> str:
    """A calibration as text."""
    lines = [
        f"{found.n_items} replies rated by {found.n_raters} {'person' if found.n_raters == 1 else 'people'}",
        f"kappa               {_plain(found.kappa)} (quadratic weights: {_plain(found.kappa_quadratic)})",
        f"Spearman            {_plain(found.spearman)}",
        f"bias, judge-people  {_with_interval(found.bias)}",
    ]
    if found.between_raters is not None:
        lines.append(f"between people      {_plain(found.between_raters)} (quadratic kappa)")
    if found.n_unknown:
        lines.append(f"left out            {found.n_unknown} rated items that are no scored reply of this run")
    lines.append("")
    width = max(len(m.model) for m in found.models)
    lines.append(f"{'model':<{width}}  judge  rated  corrected mean, 95%")
    lines += [
        f"{m.model:<{width}}  {m.judge:5.2f}  {m.n_rated:5d}  {_with_interval(m.corrected)}" for m in found.models
    ]
    return "\n".join(lines)


def format_choices(found: ChoiceCalibration) -> str:
    """A calibration by blind choices as text."""
    lines = [
        f"{found.n_items} blind choices, {found.n_decided} decided by both",
        f"agreement  {_share(found.agreement)} where both decided",
        f"kappa      {_plain(found.kappa)} over first, second, tie",
    ]
    if found.n_unjudged:
        lines.append(f"left out   {found.n_unjudged} choices that the judge did not judge")
    if found.win_rates:
        width = max(map(len, found.win_rates))
        lines += ["", f"{'model':<{width}}  people  judge  (share of comparisons won, ties half)"]
        lines += [f"{name:<{width}}  {human:6.2f}  {judge:5.2f}" for name, (human, judge) in found.win_rates.items()]
    return "\n".join(lines)


__all__ = ["format_calibration", "format_choices", "judge_command"]
