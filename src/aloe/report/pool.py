"""The section on the persona pool: growth, rejections, similarity and contents of its members.

Figures of the members are those of ``aloe pool stats``; how the pool grew is read from its rows. Rows that are not pool
entries are left out of the statistics but not of the counts.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from aloe.personas.stats import QUANTILES, KindStats, PoolStats, describe_pool
from aloe.report.bars import Bar, bars_figure
from aloe.report.charts import Figure, acceptance_figure, growth_figure, similarity_figure
from aloe.report.data import Row, RunData, number, text
from aloe.report.explorer import clip
from aloe.report.figures import shown
from aloe.report.sections import percent
from aloe.types import Persona, PoolEntry

Model = TypeVar("Model", bound=BaseModel)

MAX_MEMBERS = 4000  # of one kind; beyond it comparing all with all takes longer than the rest of the page
MAX_TEXT = 4000  # characters of a description that are read for the statistics
MAX_REASONS = 12
N_PAIRS = 4
KIND_NAMES = {"profile": "profiles", "personality": "personalities"}
ITEM_NAMES = {"profile": "attributes", "personality": "trait poles"}


def pool_section(run: RunData) -> dict[str, Any]:
    """Everything about the pool; empty where there is none."""
    members: dict[str, list[Row]] = defaultdict(list)
    accepted: dict[str, Counter[int]] = defaultdict(Counter)
    refused: dict[str, Counter[int]] = defaultdict(Counter)
    reasons: Counter[tuple[str, str]] = Counter()
    rejected: list[Row] = []
    for row in run.rows("personas/pool.jsonl"):
        kind = text(row.get("kind"))
        members[kind].append(row)
        accepted[kind][int(number(row.get("round_index")) or 0)] += 1
    for row in run.rows("personas/rejected.jsonl"):
        kind = text(row.get("kind"))
        refused[kind][int(number(row.get("round_index")) or 0)] += 1
        reasons[kind, text(row.get("reason")).partition(":")[0][:60] or "no reason given"] += 1
        rejected.append(row)
    stats = _statistics(run, members, rejected)
    found = [one for one in stats.kinds if one.n_members] if stats else []
    growth = [growth_figure(accepted), acceptance_figure(accepted, refused), _reasons_figure(reasons)]
    growth += [_similarities(run, kind, rows) for kind, rows in members.items()]
    coverage = [figure for one in found if (figure := _coverage_figure(one))]
    return {
        "sizes": {kind: len(rows) for kind, rows in members.items()},
        "n_refused": sum(reasons.values()),
        "vocabulary": [(kind, _vocabulary(rows)) for kind, rows in members.items()],
        "facts": _facts(stats, found),
        "nearest": _nearest_table(found),
        "too_many": max(map(len, members.values()), default=0) > MAX_MEMBERS,
        "embedder": stats.embedder if stats else "",
        "figures": [figure for figure in growth if figure],
        "coverage": coverage,
        "pairs": _closest(found),
    }


def _statistics(run: RunData, members: Mapping[str, list[Row]], rejected: Sequence[Row]) -> PoolStats | None:
    """What ``aloe pool stats`` says; None without members, or with too many to compare."""
    if not any(members.values()) or max(map(len, members.values())) > MAX_MEMBERS:
        return None
    entries = list(_valid(PoolEntry, (row for rows in members.values() for row in rows)))
    return describe_pool(
        entries,
        list(_valid(PoolEntry, rejected)),
        list(_valid(Persona, run.rows("personas/personas.jsonl"))),
        n_closest=N_PAIRS,
    )


def _valid(model: type[Model], rows: Iterable[Row]) -> Iterator[Model]:
    """The rows that are what they should be, long texts shortened."""
    for row in rows:
        cut = {k: v[:MAX_TEXT] if isinstance(v, str) else v for k, v in row.items()}
        try:
            yield model.model_validate(cut)
        except ValidationError:
            continue


def _similarities(run: RunData, kind: str, rows: Sequence[Row]) -> Figure | None:
    """How close each member was to its nearest when it came in, with the threshold that it had to stay below."""
    values = [v for row in rows if (v := number(row.get("max_similarity"))) is not None]
    if not values:
        return None
    settings = run.config.get("personas")
    grown = run.stages.get("personas", {}).get("summary")
    told = grown.get(kind) if isinstance(grown, dict) else None
    threshold = number(told.get("threshold")) if isinstance(told, dict) else None
    if threshold is None and isinstance(settings, dict):
        threshold = number(settings.get(f"{kind}_threshold"))
    embedder = grown.get("embedder") if isinstance(grown, dict) else None
    return similarity_figure(kind, values, threshold, clip(embedder, 60))


def _reasons_figure(reasons: Counter[tuple[str, str]]) -> Figure | None:
    """Candidates refused, by reason and kind."""
    if not reasons:
        return None
    order = reasons.most_common(MAX_REASONS)
    kinds = sorted({kind for kind, _ in reasons}, key=lambda k: (k != "profile", k))
    total = sum(reasons.values())
    bars = [
        Bar(f"{reason} ({kind})", float(n), f"{n:,} ({percent(n / total)})", style=kinds.index(kind))
        for (kind, reason), n in order
    ]
    left = total - sum(n for _, n in order)
    note = f"{total:,} candidates were rejected." + (f" {left:,} of them for other reasons." if left else "")
    rows = [(f"{reason} ({kind})", n) for (kind, reason), n in reasons.most_common(400)]
    return bars_figure("pool-reasons", "Why candidates were rejected", note, "candidates", bars,
                       ("reason", "candidates"), rows, compact=True)  # fmt: skip


def _coverage_figure(stats: KindStats) -> Figure | None:
    """Share of the members that tell each attribute or lean to each pole."""
    if not any(share for _, share in stats.coverage):
        return None
    bars = [Bar(name, share, percent(share)) for name, share in stats.coverage if share]
    untold = ", ".join(name for name, share in stats.coverage if not share)
    what = "mention each attribute" if stats.kind == "profile" else "lean to each pole of a trait"
    name = KIND_NAMES[stats.kind]
    note = f"Share of the {stats.n_members:,} {name} that {what}; found with English word lists, so only approximate."
    note += f" Mentioned by none: {untold}." if untold else ""
    return bars_figure(f"coverage-{stats.kind}", f"What {name} mention", note, f"share of {name}", bars,
                       ("mentioned", "share"), list(stats.coverage), end=1.0, compact=True)  # fmt: skip


def _facts(stats: PoolStats | None, found: Sequence[KindStats]) -> list[tuple[str, str]]:
    """Averages and use in a few words each."""
    if stats is None:
        return []
    facts = []
    for one in found:
        facts.append((f"words in a {one.kind}", f"{one.mean_words:.0f}"))
        facts.append((f"{ITEM_NAMES[one.kind]} in a {one.kind}", f"{one.mean_items:.1f}"))
        if one.kind == "profile":
            facts.append(("pronouns", ", ".join(f"{pronoun} {n:,}" for pronoun, n in one.pronouns)))
    for what, low, high in stats.uses:
        facts.append((f"uses of a {what}", f"{low:,}" if low == high else f"{low:,} to {high:,}"))
    return facts


def _nearest_table(found: Sequence[KindStats]) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Quantiles of the cosine to the nearest member: column names and rows."""
    names = {0.0: "lowest", 0.5: "median", 1.0: "highest"}
    columns = [names.get(q, f"{q:.0%}") for q in QUANTILES]
    return columns, [(KIND_NAMES[one.kind], [shown(v) for v in one.nearest]) for one in found if one.nearest]


def _closest(found: Sequence[KindStats]) -> list[dict[str, str]]:
    return [
        {"kind": one.kind, "similarity": shown(similarity, 3), "one": clip(first, 1200), "other": clip(second, 1200)}
        for one in found
        for similarity, first, second in one.closest
    ]


def _vocabulary(rows: Sequence[Row]) -> int:
    """Different words of the descriptions."""
    return len({word.strip(".,;:!?\"'()") for row in rows for word in text(row.get("text")).lower().split()})
