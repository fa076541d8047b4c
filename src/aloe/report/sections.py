"""The texts and tables of the report, made from the numbers alone.

Functions take what ``data`` has read and return plain values for the template, without markup.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from aloe.bench.families import family_notes
from aloe.report.data import TRAINED, BenchModel, Row, RunData, family, interval, is_logged, number, scale_of, text
from aloe.report.explorer import clip
from aloe.report.figures import shown
from aloe.report.measured import late_mean
from aloe.stats import Estimate

NAME = 160  # characters of a name in a table
Cell = tuple[str, str]  # a value and its interval

#: Ground-truth figures in the order of the table: keys that may hold them, and what to call them.
TRUTH_NAMES = {
    "recall": "recall of facts",
    "implied_recall": "recall of implied facts",
    "false_memory": "false memory",
    "premature": "facts not yet revealed",
    "style": "style accuracy",
    "on_topic": "on topic",
    "personal_gain": "personal gain",
    "over_personalisation": "facts off topic",
    "style_recall": "style recall",
    "repetition": "repeated facts",
    "stale_use": "use of what no longer holds",
    "stale_replies": "replies that use it",
    "fresh_use": "use of what is new",
    "changes_used": "changes used",
    "turns_to_update": "turns until a change is used",
    "contradiction_rate": "contradictions",
    "contradicts_user": "contradict the user",
    "contradicts_itself": "contradict themselves",
    "reply_words": "words per reply",
    "length_score_r": "correlation of length and score",
    "leak_turn_1": "facts revealed at turn 1",
    "facts_revealed": "facts revealed",
    "user_contradictions": "contradictions of the persona",
    "user_role_flips": "messages not from a user",
    "user_repeats": "repeated messages",
}
USER_TRUTH = {"leak_turn_1", "facts_revealed", "user_contradictions", "user_role_flips", "user_repeats"}
TREE_TRUTH = {  # of the trees: aloe.dialogue.ledger
    "inducer_precision": "precision of the inducer",
    "inducer_recall": "recall of the inducer",
    "inducer_recall_stated": "recall of stated facts",
    "inducer_recall_implied": "recall of implied facts",
    "leak_turn_1": "share of facts revealed at turn 1",
    "facts_per_message": "facts per user message",
    "implied_share": "share of facts only implied",
    "contradictions": "contradictions of the persona per message",
    "label_agreement": "labels that agree with the ground truth",
    "branches_differ": "branches after which the user's next message differs",
}
_SAME = {
    "untrue_rate": "false_memory",
    "false_memory_rate": "false_memory",  # of rules 1
    "false": "false_memory",
    "style_accuracy": "style",
    "style_fit": "style",
    "implied_fact_use": "implied_recall",
    "fact_recall": "recall",
    "fact_use": "recall",
    "premature_rate": "premature",
    "gain": "personal_gain",
}


def truth_of(model: BenchModel) -> dict[str, float | None]:
    """The ground-truth figures of a result under their usual names."""
    found = model.result.get("truth")
    rows = found if isinstance(found, dict) else {}
    return {_SAME.get(str(key), clip(str(key), NAME)): number(value) for key, value in rows.items()}


def with_interval(value: float | None, bounds: tuple[float, float] | None, digits: int = 2) -> tuple[str, str]:
    """A number and its interval (empty if none) for a cell of two lines."""
    if value is None:
        return "undefined", ""
    digits = max(digits, _digits(bounds)) if bounds else digits
    return shown(value, digits), f"[{shown(bounds[0], digits)}, {shown(bounds[1], digits)}]" if bounds else ""


def _digits(bounds: tuple[float, float]) -> int:
    """So many digits that the two ends of an interval can be told apart, five at most."""
    width = bounds[1] - bounds[0]
    if not width:
        return 2
    return 2 if width >= 0.02 else 3 if width >= 0.005 else 4 if width >= 0.0005 else 5


def percent(value: float | None) -> str:
    """A share in [0, 1] for people; 0% and 100% are said only where nothing or everything is meant."""
    if value is None:
        return "–"
    return f"{100 * value:.1f}%" if 0 < value < 0.01 or 0.99 < value < 1 else f"{100 * value:.0f}%"


def headline(models: Sequence[BenchModel], guarded: Mapping[str, Estimate | None]) -> list[Row]:
    """One row per model for the table at the top.

    Args:
        guarded: guarded IR by model.
    """
    rows: list[Row] = []
    gained = any(number(model.result.get("gain")) is not None for model in models)
    for model in models:
        result, points = model.result, model.points
        scored = [p for p in points if number(p.get("al")) is not None]
        truth = truth_of(model)
        late, late_bounds = late_mean(result)
        safe = guarded.get(model.name)
        rows.append(
            {
                "name": model.name,
                "control": model.is_control,
                "uri": clip(result.get("uri"), NAME),
                "avg": with_interval(number(result.get("avg")), interval(result.get("avg_ci"))),
                "late": with_interval(late, interval(late_bounds)),
                "gain": with_interval(number(result.get("gain")), interval(result.get("gain_ci"))) if gained else None,
                "guarded": with_interval(safe.value, (safe.low, safe.high), 3) if safe else ("–", ""),
                "first": shown(number(points[0].get("al")) if points else None, 2),
                "last": shown(number(points[-1].get("al")) if points else None, 2),
                "ir": with_interval(number(result.get("ir")), None, 3)[0],
                "n_ir": with_interval(number(result.get("n_ir")), None, 3)[0],
                "recall": percent(truth.get("recall")),
                "false": percent(truth.get("false_memory")),
                "style": percent(truth.get("style")),
                "style_recall": percent(truth.get("style_recall")),
                "n": int(number(result.get("n_personas")) or 0),
                "n_failed": int(number(result.get("n_failed")) or 0),
                "n_unscored": sum(int(number(p.get("n_unscored")) or 0) for p in points),
                "n_empty": int(number(result.get("n_empty")) or 0),
                "empty": not scored,
            }
        )
    return rows


def degraded_notes(run: RunData) -> list[str]:
    """What the manifest says of roles whose answers were of little use, with the stage."""
    found = run.manifest.get("degraded")
    return [
        f"{stage}: {text(line)}"
        for stage, lines in (found.items() if isinstance(found, dict) else ())
        for line in (lines if isinstance(lines, list) else ())
        if text(line)
    ]


def unfair_notes(models: Sequence[BenchModel]) -> list[str]:
    """What makes scores unfit to compare: another judge, user, scope, set of turns, or words to the judge."""
    found = []
    for key, name in (
        ("judge_model", "judges"),
        ("user_model", "users"),
        ("scope", "judging scopes"),
        ("scale", "scales"),
    ):
        values = sorted({clip(m.result.get(key), NAME) for m in models if m.result.get(key)})
        if len(values) > 1:
            found.append(f"The models had different {name} ({', '.join(values)}), so their scores cannot be compared.")
    if len({len(m.points) for m in models if m.points}) > 1:
        found.append("The models were measured over different numbers of turns.")
    for m in models:
        if n := int(number(m.result.get("n_verdict_like")) or 0):
            found.append(f"{n} replies of {m.name} hold text like a judge's answer, which a judge may repeat.")
    return found


def kin_notes(run: RunData) -> list[str]:
    """Judges that share a family with tested models or the user; trained models are of the family they started from."""
    start = run.config.get("sft", {}).get("model") if isinstance(run.config.get("sft"), Mapping) else None
    judges, users = (
        list(dict.fromkeys(uri for m in run.bench for uri in text(m.result.get(key)).split(", ") if uri))
        for key in ("judge_model", "user_model")
    )
    named = []
    for m in run.bench:
        uri = text(m.result.get("uri"))
        own = m.name in TRAINED and isinstance(start, str)
        named.append((m.name, f"hf:{start}" if own else uri))
    return [clip(line, 4 * NAME) for line in family_notes(judges, users, named, look=False)]


def truth_tables(models: Sequence[BenchModel]) -> list[tuple[str, list[str], list[tuple[str, list[Cell]]]]]:
    """Every ground-truth figure that any model has, in two tables: its replies, its users (title, columns, rows)."""
    found = [(model.name, truth_of(model)) for model in models]
    known = {key for _, truth in found for key, value in truth.items() if value is not None}
    keys = [*(key for key in TRUTH_NAMES if key in known), *sorted(known - set(TRUTH_NAMES))]
    tables = []
    for title, about_user in (("The replies", False), ("The simulated user", True)):
        own = [key for key in keys if (key in USER_TRUTH) == about_user]
        rows = [
            (
                model.name,
                [
                    with_interval(truth[key], _share_bounds(model, key)) if truth.get(key) is not None else ("–", "")
                    for key in own
                ],
            )
            for model, (_, truth) in zip(models, found, strict=True)
            if truth
        ]
        if own and rows:
            tables.append((title, [TRUTH_NAMES.get(key, key.replace("_", " ")) for key in own], rows))
    return tables


def _share_bounds(model: BenchModel, key: str) -> tuple[float, float] | None:
    """The interval of a ground-truth share by its usual name; None where the result has none."""
    bounds = model.result.get("truth_ci")
    rows = bounds if isinstance(bounds, dict) else {}
    return next((interval(value) for name, value in rows.items() if _SAME.get(str(name), str(name)) == key), None)


NOTICEABLE = 0.025  # of the judge's scale, first turn to last: a tenth of a point from 1 to 5


def findings(models: Sequence[BenchModel], guarded: Mapping[str, Estimate | None]) -> list[tuple[str, str]]:
    """What each trained model did (each model where none is trained), level first: (name, sentences)."""
    told = [m for m in models if family(m.name) in TRAINED] or [m for m in models if not m.is_control] or list(models)
    return [(m.name, sentence) for m in told if (sentence := _finding(m, guarded.get(m.name)))]


def _finding(model: BenchModel, guarded: Estimate | None) -> str:
    scored = [p for p in model.points if number(p.get("al")) is not None]
    if not scored:
        return "no reply of this model could be scored."
    first, last = scored[0], scored[-1]
    if len(scored) == 1:
        return f"scores {shown(number(first['al']), 2)} at turn {int(first['k'])}; one turn cannot show a change."
    if all(p["al"] == first["al"] for p in scored):
        return f"scores {shown(number(first['al']), 2)} at every turn: no change at all over the conversation."
    return f"{_level(model)}. {_change(model, first, last, guarded)}"


def _level(model: BenchModel) -> str:
    """AVG with its interval, the late mean, and the personal gain where it was measured."""
    value, bounds = with_interval(number(model.result.get("avg")), interval(model.result.get("avg_ci")))
    said = f"averages {value} {bounds}".rstrip()
    late, gain = late_mean(model.result)[0], number(model.result.get("gain"))
    if late is not None:
        said += f" over all turns and {shown(late, 2)} over the last three"
    if gain is not None:
        said += f", personal gain {shown(gain, 2)}"
    return said


def _change(model: BenchModel, first: Row, last: Row, guarded: Estimate | None) -> str:
    words = (
        f"From {shown(number(first['al']), 2)} at turn {int(first['k'])} to {shown(number(last['al']), 2)} "
        f"at turn {int(last['k'])}"
    )
    slope, bounds = number(model.result.get("ir")), interval(model.result.get("ir_ci"))
    if slope is None or bounds is None:
        return f"{words}."
    (rise, _), digits = with_interval(slope, bounds, 3), max(3, _digits(bounds))
    span = f"{shown(bounds[0], digits)} to {shown(bounds[1], digits)}"
    change = f"{'+' if slope > 0 else ''}{rise} per turn (95% interval {span})"
    over_all = abs(slope) * (int(last["k"]) - int(first["k"]))
    width = model.scale.high - model.scale.low
    if over_all < NOTICEABLE * width and not bounds[0] <= 0 <= bounds[1]:
        return f"{words}: {change}. The change is significant, but too small to matter over the whole conversation."
    if bounds[0] > 0 and guarded is not None and guarded.high <= 0:
        return f"{words}: {change}. It rises from below the score of generic replies, but not above it."
    if bounds[0] > 0:
        return f"{words}: {change}. Its replies suit the user better as the conversation goes on."
    if bounds[1] < 0:
        return f"{words}: {change}. Its replies suit the user less as the conversation goes on."
    return f"{words}: {change}. The interval contains zero: no significant change over the conversation."


def shares(what: str, counts: Counter[str]) -> list[tuple[str, str]]:
    """Counts with their share of all: ``[("labels: tie", "12 (4%)"), ...]``."""
    total = sum(counts.values())
    return [(f"{what}: {name}", f"{n:,} ({percent(n / total)})") for name, n in counts.most_common()]


def stage_truth(run: RunData, stage: str) -> list[tuple[str, str]]:
    """What the world's ground truth says about a tree stage (how well the inducer listened, and so on)."""
    summary = run.stages.get(stage, {}).get("summary")
    truth = summary.get("truth") if isinstance(summary, dict) else None
    rows = truth.items() if isinstance(truth, dict) else ()
    named = [(TREE_TRUTH.get(str(key), str(key).replace("_", " ")), number(value)) for key, value in rows]
    return [(name, shown(value)) for name, value in named if value is not None]


def roles_table(run: RunData) -> list[tuple[str, list[str]]]:
    """Who plays which role, from the resolved config."""
    roles = run.config.get("roles")
    if not isinstance(roles, dict):
        return []
    table = []
    for role, models in roles.items():
        entries = models if isinstance(models, list) else [models]
        uris = [clip(m.get("uri") if isinstance(m, dict) else m, NAME) for m in entries]
        table.append((role, [short_uri(uri) for uri in uris if uri]))
    return table


def short_uri(uri: str) -> str:
    """A model's URI without its options; the config at the end of the page has them."""
    name, options, _ = uri.partition("?")
    return f"{name}?…" if options else name


def synthetic_note(run: RunData) -> str:
    """What on this page is made up, by whom; of logged conversations, that people took part."""
    uris = [uri for _, found in roles_table(run) for uri in found]
    logged = [m.name for m in run.bench if is_logged(m)]
    if logged:
        return _logged_note(logged, [m.name for m in run.bench if m.name not in logged])
    if uris and all(uri.startswith("world:") for uri in uris):
        return (
            "All texts on this page are synthetic. User, responders and judge are actors of a rule-based simulated "
            "world, and the personas are generated; no people took part. Because the world knows the ground truth, "
            "recall and false memory are exact. Scores show how well a model does in this world, not with people."
        )
    if uris:
        return (
            "The users are played by language models with generated personas, and the scores come from a judge model; "
            "no people took part. Scores show what that judge prefers."
        )
    return "Personas and users are simulated; no people took part."


def _logged_note(logged: Sequence[str], simulated: Sequence[str]) -> str:
    said = (
        f"The conversations of {', '.join(logged)} were logged elsewhere: people took part in them, as far as the log "
        "is of people, and their words are on this page. Treat it as personal data. Scores come from a judge model and "
        "show what that judge prefers, not what these people thought."
    )
    if simulated:
        said += f" The users of {', '.join(simulated)} are simulated, and so are their personas."
    return said


def judging(models: Sequence[BenchModel]) -> str:
    """How replies are scored, as the second half of a sentence: the scope and the scale of the models' judge."""
    scopes = {clip(m.result.get("scope"), NAME) for m in models if m.result.get("scope")}
    who = {
        frozenset({"persona"}): "a judge that knows the whole persona scores how well it suits the user",
        frozenset({"revealed"}): "a judge scores how well it suits the user, given what the user has revealed so far",
    }.get(frozenset(scopes), "a judge scores how well it suits the user")
    scale = scale_of(models)
    if scale is None:
        return who
    if scale.name == "binary":
        return f"{who}: 1 if this user would be pleased, 0 if not"
    return f"{who}, from {scale.low:g} to {scale.high:g}"


def overview(run: RunData) -> list[tuple[str, str]]:
    """Recipe, seed, version, date: the facts that name a run."""
    manifest = run.manifest
    seconds = sum(number(s.get("seconds")) or 0 for s in run.stages.values())
    found = [
        ("recipe", clip(manifest.get("recipe"), NAME)),
        ("seed", clip(str(manifest.get("seed", run.config.get("seed", ""))), NAME)),
        ("aloe", clip(manifest.get("aloe_version"), NAME)),
        ("created", when(manifest.get("created"))),
        ("computing time", duration(seconds) if seconds else ""),
    ]
    return [(name, value) for name, value in found if value]


def when(value: Any) -> str:
    """A point in time, from seconds since the epoch or from text."""
    stamp = number(value)
    if stamp is None:
        return clip(value, NAME)
    try:
        return datetime.fromtimestamp(stamp, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError, OSError):
        return ""


def duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours} h {rest // 60:02d} min" if hours else f"{rest // 60} min {rest % 60:02d} s"


def failures(run: RunData, tree_errors: Mapping[str, Counter[tuple[str, str]]]) -> list[tuple[str, str]]:
    """What went wrong, where: from the manifest, the log and the conversations."""
    found: list[tuple[str, str]] = []
    listed = run.manifest.get("failures")
    for entry in listed if isinstance(listed, list) else ():
        if isinstance(entry, dict):
            where = clip(entry.get("stage"), NAME) or "run"
            what = text(entry.get("error")) or ", ".join(f"{k} {v}" for k, v in entry.items() if k != "stage")
            found.append((where, clip(what, 400)))
        else:
            found.append(("run", clip(str(entry), 400)))
    ended: dict[str, Row] = {}  # the last word on each stage; a stage that failed and then finished is fine
    for row in run.rows("log.jsonl"):
        if "fail" in text(row.get("event")) or "finished" in text(row.get("event")):
            ended[text(row.get("stage")) or text(row.get("event"))] = row
    for stage, row in ended.items():
        if "fail" in text(row.get("event")):
            found.append((stage, clip(row.get("error"), 400) or text(row.get("event"))))
    for where, errors in tree_errors.items():
        found.extend((where, f"{n} × {role}: {error}") for (role, error), n in errors.most_common(8))
    found.extend(("reading", problem) for problem in run.problems)
    return list(dict.fromkeys(found))[:100]
