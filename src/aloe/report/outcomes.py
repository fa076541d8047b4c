"""The table of stages: time and outcome of each, in words made from its summary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from aloe.report.data import RunData, number, text
from aloe.report.explorer import clip
from aloe.report.figures import shown
from aloe.report.sections import NAME, duration, percent, when

TREES = (
    ("n_trees", "{n} trees"),
    ("n_nodes", "{n} messages"),
    ("n_preferred", "{n} preferences"),
    ("n_ties", "{n} ties"),
    ("n_disagreements", "{n} disagreements of the judge with itself"),
    ("n_unparsed", "{n} unreadable verdicts"),
    ("n_verdict_like", "{n} replies like a judge's answer"),
    ("n_unevidenced", "{n} claims of the inducer without evidence"),
    ("n_inducer_unread", "{n} unreadable answers of the inducer"),
    ("n_pairs", "{n} pairs"),
    ("n_failed_trees", "{n} trees with a failed call"),
    ("skipped", "{text}"),
)
TRAINING = (
    ("n_conversations", "{n} conversations"),
    ("n_pairs", "{n} pairs"),
    ("n_replies", "{n} replies"),
    ("n_steps", "{n} steps"),
    ("mean_loss", "mean loss {x}"),
    ("eval_loss", "evaluation loss {x}"),
    ("pair_accuracy", "{share} of the pairs ranked correctly"),
    ("margin", "reward margin {x}"),
    ("chosen_drift_nats", "log-probability of the chosen replies changed by {x} nats"),
    ("n_cut", "{n} rows cut"),
    ("n_dropped", "{n} rows dropped"),
    ("n_targets_lost", "{n} preferred replies not on the longest history"),
)
#: What is told of a stage: keys of its summary, and the words for their values (a number, a share, any figure).
WORDS: dict[str, tuple[tuple[str, str], ...]] = {
    "personas": (
        ("n_train", "{n} training personas"),
        ("n_bench", "{n} benchmark personas"),
        ("profile.n_members", "{n} profiles"),
        ("profile.n_rejected", "{n} candidates for profiles rejected"),
        ("personality.n_members", "{n} personalities"),
        ("personality.n_rejected", "{n} candidates for personalities rejected"),
    ),
    "trees": TREES,
    "export": (
        ("n_pairs", "{n} preference pairs"),
        ("n_sft", "{n} SFT conversations"),
        ("dropped.tie", "{n} ties left out"),
        ("length.chosen_longer", "the chosen reply is longer in {share} of the pairs"),
    ),
    "base": (
        ("n_parameters", "{n} parameters"),
        ("n_steps", "{n} steps"),
        ("n_tokens", "{n} tokens"),
        ("copy_accuracy", "{share} of the values copied correctly"),
        ("decision_accuracy", "{share} of the decisions correct"),
    ),
    "rollout": TREES,
    "sft": TRAINING,
    "dpo": TRAINING,
    "report": (("bytes", "{n} bytes"),),
    "bench": (("models", "{n} models"), ("n_personas", "{n} personas"), ("n_failed", "{n} failed conversations")),
}


def stage_table(run: RunData) -> list[dict[str, str]]:
    """Time and outcome of every stage that finished."""
    return [
        {
            "name": name,
            "seconds": duration(number(stage.get("seconds"))),
            "finished": when(stage.get("finished")),
            "summary": ", ".join(outcome(name, stage.get("summary"))),
        }
        for name, stage in run.stages.items()
    ]


def outcome(stage: str, summary: Any) -> list[str]:
    """What a summary says, in a few words each; a stage that this module does not know has its plain figures."""
    if not isinstance(summary, Mapping):
        return []
    if stage not in WORDS:
        return list(_plain(summary))[:12]
    said = []
    for place, (path, words) in enumerate(WORDS[stage]):
        if "{text}" in words:
            said += [clip(text(summary.get(path)), NAME)] if summary.get(path) else []
            continue
        value = _at(summary, path)
        if value is not None and (value or not place or "{n}" not in words):  # of counts that are 0 only the first
            said.append(words.format(n=f"{value:,.0f}", share=percent(value), x=shown(value, 3)))
    n, of = _at(summary, "failed.n"), _at(summary, "failed.of")
    if n is not None and of is not None:
        said.append(f"calls failed in {n:,.0f} of {of:,.0f} {clip(text(summary['failed'].get('what')), NAME)}".rstrip())
    return said


def _at(summary: Mapping[str, Any], path: str) -> float | None:
    value: Any = summary
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return float(len(value)) if isinstance(value, Mapping) else number(value)


def _plain(summary: Mapping[str, Any]) -> Iterator[str]:
    for key, value in summary.items():
        name = key.removeprefix("n_").replace("_", " ")
        if (figure := number(value)) is not None:
            yield f"{name} {shown(figure, 0 if figure.is_integer() else 3)}"
        elif isinstance(value, str) and len(value) < 60:
            yield f"{name} {value}"
