"""``aloe judge calibrate``: compares ratings or blind choices by people with the judge's scores."""

from __future__ import annotations

import asyncio
import json
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aloe.cli.parser import Overrides
from aloe.config.files import parse_json
from aloe.errors import ConfigError

if TYPE_CHECKING:
    from aloe.bench.calibration import ChoiceCalibration, JudgeCalibration
    from aloe.config import Config
    from aloe.stats import Estimate


def calibrate(options: Namespace, overrides: Overrides) -> int:
    """Print how far the judge agrees with people.

    Args:
        options: ``source`` (a filled-in sheet or a run with blind choices), ``run`` (of a sheet, or None), ``json``.

    Raises:
        ConfigError: the sheet's run is not known. DataError: there is nothing rated.
    """
    from aloe.bench.calibration import calibrate_choices, calibrate_scores, read_rated, read_ratings, scale_of

    if options.source.is_dir():
        choices = calibrate_choices(_judged_choices(options.source))
        print(json.dumps(asdict(choices), indent=2) if options.json else format_choices(choices))
        return 0
    run = options.run or _run_of(options.source)
    scale = scale_of(run)
    step = 1.0 if scale is None else (scale.high - scale.low) / 4.0
    found = calibrate_scores(read_rated(run), read_ratings(options.source, scale), step)
    print(json.dumps(asdict(found), indent=2) if options.json else format_calibration(found))
    return 0


def _run_of(sheet: Path) -> Path:
    """The run that a sheet was made from, by the key beside it."""
    from aloe.bench.calibration import key_path

    key, advice = key_path(sheet), "name it: aloe judge calibrate FILE.csv RUN"
    if not key.is_file():
        raise ConfigError(f"{key} does not exist, so the run of the sheet is unknown", advice)
    try:
        return Path(parse_json(key.read_bytes())["run"])
    except (ValueError, TypeError, KeyError):
        raise ConfigError(f"{key} is damaged, so the run of the sheet is unknown", advice) from None


def _judged_choices(run: Path) -> list[dict[str, Any]]:
    """The run's blind choices; rows without the judge's opinion are judged now, through the run's journal."""
    from aloe.bench.calibration import judge_choice, read_choices
    from aloe.cli.places import READ_ONLY, bench_config

    rows = read_choices(run / "studio" / "ratings.jsonl")
    open_rows = [row for row in rows if judge_choice(row) is None and _two_texts(row.get("replies"))]
    if open_rows:
        config, _ = bench_config(f"{run}/", {}, READ_ONLY)
        asyncio.run(_score_rows(config, run, open_rows))
    return rows


def _two_texts(replies: object) -> bool:
    return isinstance(replies, list) and len(replies) == 2 and all(isinstance(r, str) and r.strip() for r in replies)


async def _score_rows(config: Config, run: Path, rows: list[dict[str, Any]]) -> None:
    from aloe.bench.logged import UNKNOWN, tidy
    from aloe.bench.scales import SCALES
    from aloe.bench.scoring import score_reply
    from aloe.dialogue.judge import Candidate
    from aloe.dialogue.state import PathState, content_id
    from aloe.models.caller import Caller
    from aloe.store.rundir import RunDir
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
    return f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"


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
        lines.append(f"left out            {found.n_unknown} rated items that are not scored replies of this run")
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
        lines += ["", f"{'model':<{width}}  {'people':<17}  {'judge':<17}  (share of comparisons won, ties half; 95%)"]
        lines += [f"{name:<{width}}  {_share(h)}  {_share(j)}" for name, (h, j) in found.win_intervals.items()]
    return "\n".join(lines)
