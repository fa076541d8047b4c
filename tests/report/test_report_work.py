"""Calls and their latency, the pool's statistics, packing: the page says what the journal and the files say."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import numpy as np
import orjson
import pytest
from reading import Page
from test_report_extras import world_run

from aloe.models.journal.inspect import Reader
from aloe.personas.stats import pool_stats
from aloe.report.build import build_report
from aloe.report.calls import show_ms
from aloe.report.pool import MAX_MEMBERS
from aloe.stages.report import write_report
from aloe.store.records import write_json, write_jsonl


@pytest.fixture(scope="module")
def timed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose journal says that answers took 0, 7, 14, ... milliseconds, and that three attempts brought none."""
    run = world_run(tmp_path_factory.mktemp("timed") / "run", "1-5")
    with closing(sqlite3.connect(run / "journal.sqlite")) as database, database:
        database.execute("UPDATE calls SET ms = NULLIF((id * 37 % 400) * 7, 0)")
        for status in (503, 429, 429):
            database.execute(
                "INSERT INTO attempts (key, plan, path, number, at, ms, status, error, billed, tokens, cost)"
                " SELECT key, plan, path, 1, at, 5, ?, '<b>busy</b>', 1, 10, 0.25 FROM calls WHERE id = 1",
                (status,),
            )
    write_report(run)
    return run


def latencies(run: Path) -> dict[str, list[int]]:
    """Role -> milliseconds, straight from the tables."""
    found: dict[str, list[int]] = {}
    with closing(sqlite3.connect(run / "journal.sqlite")) as database:
        plans = {i: orjson.loads(body)["role"] for i, body in database.execute("SELECT id, body FROM plans")}
        for plan, ms in database.execute("SELECT plan, ms FROM calls"):
            found.setdefault(plans[plan], []).append(ms or 0)
    return found


def cells(page: Page, label: str) -> list[list[str]]:
    """The rows of the table in the region of this name, as lists of words."""
    region = page.source.partition(f'aria-label="{label}"')[2].partition("</table>")[0]
    rows = re.findall(r"<tr>(.*?)</tr>", region, re.DOTALL)
    return [[re.sub(r"<[^>]+>", "", c).strip() for c in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", r)] for r in rows]


def test_latency_by_role_is_that_of_the_journal(timed: Path) -> None:
    page = Page(timed / "report" / "index.html")
    rows = {row[0]: row[1:] for row in page.data["figures"]["latency"]["rows"]}
    expected = latencies(timed)
    assert set(rows) == set(expected) >= {"writer", "user", "inducer", "tailored", "generic", "judge", "responder"}
    for role, ms in expected.items():
        assert rows[role] == [len(ms), np.median(ms) / 1000, pytest.approx(np.percentile(ms, 95) / 1000)]
    header, *table = cells(page, "Calls by role")
    assert header[-2:] == ["median time", "95% within"]
    for row in table[:-1]:
        ms = expected[row[0]]
        assert row[-2:] == [show_ms(float(np.median(ms))), show_ms(float(np.percentile(ms, 95)))]


def test_calls_tokens_and_failures_by_model_are_those_of_the_journal(timed: Path) -> None:
    page = Page(timed / "report" / "index.html")
    header, *table = cells(page, "Calls by model")
    with Reader(timed) as reader:
        uses = reader.uses()
    assert len(table) == len(uses)
    place = {name: i for i, name in enumerate(header)}
    for row, use in zip(table, uses, strict=True):
        assert use.model.startswith(row[0].removesuffix("?…")) and row[place["role"]] == use.role
        assert row[place["calls"]] == f"{use.n_calls:,}" and row[place["failed attempts"]] == f"{use.n_failed:,}"
        assert row[place["prompt tokens"]] == f"{use.prompt_tokens:,}"
        lost = row[place["cost of failed attempts at most"]]
        assert lost == (f"{use.cost_lost:,.4f} USD" if use.n_failed else "–")
    assert "Attempts without an answer, by status: 429 (2), 503 (1)." in page.text


def test_without_a_journal_a_line_says_so(timed: Path, run: Path) -> None:
    page = Page(write_report(run))
    assert "There is no journal beside this run" in page.text and "latency" not in page.data["figures"]
    assert "There is no journal" not in Page(timed / "report" / "index.html").text
    (run / "journal.sqlite").write_bytes(b"not a database " * 100)
    page = Page(write_report(run))
    assert "journal.sqlite cannot be read" in page.text and str(run) not in page.text


def test_a_price_that_is_unknown_is_never_shown_as_nothing(run: Path) -> None:
    manifest = orjson.loads((run / "manifest.json").read_bytes())
    manifest["calls"]["trees"]["judge"]["cost"] = None
    write_json(run / "manifest.json", manifest)
    header, *table = cells(Page(build_report(run)), "Calls by role")
    costs = {row[0]: row[header.index("cost")] for row in table}
    assert costs == {"user": "0.0000 USD", "judge": "unknown", "all roles": "0.0000 USD and more"}


def test_times_for_people() -> None:
    assert [show_ms(v) for v in (0, 0.5, 1, 999.4, 1000, 12_340)] == [
        "under 1 ms", "under 1 ms", "1 ms", "999 ms", "1.0 s", "12.3 s",
    ]  # fmt: skip


def test_the_pool_is_described_as_pool_stats_does(timed: Path) -> None:
    page = Page(timed / "report" / "index.html")
    stats = pool_stats(timed / "personas")
    _, *nearest = cells(page, "Similarity to the nearest member")
    assert [[float(v) for v in row[1:]] for row in nearest] == [
        pytest.approx(one.nearest, abs=6e-4) for one in stats.kinds
    ]
    reasons = Counter(dict(page.data["figures"]["pool-reasons"]["rows"]))
    assert reasons == {f"{reason} ({one.kind})": n for one in stats.kinds for reason, n in one.reasons}
    for one in stats.kinds:
        assert [tuple(row) for row in page.data["figures"][f"coverage-{one.kind}"]["rows"]] == list(one.coverage)
        assert all(first in page.text and second in page.text for _, first, second in one.closest)
        accepted = page.data["figures"]["pool-growth"]["series"]
        assert next(s for s in accepted if s["name"] == one.kind)["y"][-1] == one.n_members
    for what, low, high in stats.uses:
        assert f"uses of a {what} {low}" + (f" to {high}" if high > low else "") in page.text


def test_packing_is_read_from_the_outcomes_of_the_stages(run: Path) -> None:
    assert "packing" not in Page(build_report(run)).data["figures"]
    manifest = orjson.loads((run / "manifest.json").read_bytes())
    fit = {"n_conversations": 1800, "n_packs": 449, "tokens_expanded": 5_189_232, "tokens_packed": 1_077_214}
    fit |= {"packing_ratio": 4.817, "longest_row": 717, "attention": "segments"}
    manifest["stages"]["sft"] = {"seconds": 1.0, "summary": fit}
    manifest["stages"]["dpo"] = {"seconds": 1.0, "summary": {"packing_ratio": 2.5, "control": {"tokens_packed": 0}}}
    write_json(run / "manifest.json", manifest)
    page = Page(build_report(run))
    ratio = 5_189_232 / 1_077_214
    assert page.data["figures"]["packing"]["rows"] == [
        ["sft", "segments", 1800, 449, 717, 5_189_232, 1_077_214, pytest.approx(ratio)],
        ["dpo", "–", None, None, None, None, None, 2.5],
    ]
    assert "5,189,232" in page.text and "4.82 ×" in page.source


def test_a_pool_too_large_to_compare_is_said_to_be(run: Path) -> None:
    """Counts stay; what would compare all members with all is left out."""
    entry = {"kind": "profile", "text": "He is a baker.", "round_index": 0}
    write_jsonl(run / "personas" / "pool.jsonl", [{**entry, "entry_id": str(i)} for i in range(MAX_MEMBERS + 1)])
    page = Page(build_report(run))
    assert "too large for the page to compare" in page.text and "4,001" in page.text
    assert "Most similar pairs" not in page.text and "coverage-profile" not in page.data["figures"]


def test_stages_tell_their_outcome_in_words(run: Path) -> None:
    """Counts of nothing are left out, shares are percentages; a plug-in's stage has its figures by their names."""
    manifest = orjson.loads((run / "manifest.json").read_bytes())
    length = {"mean_chosen": 144.9, "chosen_longer": 0.971}
    summaries = {
        "trees": {"n_trees": 0, "n_preferred": 1_938, "n_ties": 62, "n_unparsed": 0, "statistics": {"early_ends": 0.0}},
        "export": {"n_pairs": 1_938, "n_sft": 1_938, "dropped": {"tie": 62}, "length": length},
        "rollout": {"skipped": "rollout.n_trees is 0", "failed": {"n": 2, "of": 30, "what": "trees", "first": "busy"}},
        "bench": {"n_personas": 25, "n_failed": 0, "models": {"dpo": {}, "sft": {}}},
        "grpo": {"n_groups": 3, "mean_reward": 0.25, "by_turn": {"a": 1}},
    }
    manifest["stages"] = {name: {"seconds": 1.0, "summary": summary} for name, summary in summaries.items()}
    write_json(run / "manifest.json", manifest)
    told = {row[0]: row[3] for row in cells(Page(build_report(run)), "Stages")[1:]}
    assert told == {
        "trees": "0 trees, 1,938 preferences, 62 ties",
        "export": "1,938 preference pairs, 1,938 SFT conversations, 62 ties left out, "
        "the chosen reply is longer in 97% of the pairs",
        "rollout": "rollout.n_trees is 0, calls failed in 2 of 30 trees",
        "bench": "2 models, 25 personas",
        "grpo": "groups 3, mean reward 0.250",
    }
