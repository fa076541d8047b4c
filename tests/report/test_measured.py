"""One measure for all models of the page: same replies, thin turns, older results, guarded IR; levels come first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson
import pytest
from reading import Page

from aloe.bench.metrics import measure, result_figures
from aloe.report.build import build_report
from aloe.stats import Clusters
from aloe.store.records import write_json, write_jsonl
from aloe.types import BenchmarkResult, BenchScore


def store(run: Path, name: str, curves: Mapping[str, Sequence[float | None]], **more: object) -> None:
    """A benchmarked model: persona -> scores by turn (None = unscored)."""
    rows = [
        BenchScore(tree_id=p, persona_id=p, profile_id=p, personality_id=p, turn=k, node_id=f"{p}{k}", score=score,
                   outcome="unparsed" if score is None else "scored")
        for p, curve in curves.items()
        for k, score in enumerate(curve, 1)
    ]  # fmt: skip
    table = [[float("nan") if v is None else v for v in curve] for curve in curves.values()]
    figures = result_figures(measure(table, Clusters.independent(len(table))))
    result = BenchmarkResult(model=name, uri="openai:x", judge_model="j", user_model="u", config_digest="",
                             n_personas=len(table), **figures)  # type: ignore[arg-type]  # fmt: skip
    write_jsonl(run / "bench" / name / "scores.jsonl", rows)
    write_json(run / "bench" / name / "result.json", result.model_dump(mode="json") | more)


def people(curve: Sequence[float | None], n: int = 20) -> dict[str, list[float | None]]:
    return {f"p{i}": [None if v is None else v + 0.01 * (i % 5) for v in curve] for i in range(n)}


def test_levels_come_before_rates(whole_run: Path) -> None:
    page = Page(whole_run / "report" / "index.html")
    head = page.text.index("AVG late AL(1) AL(K) guarded IR N-IR")
    assert head < page.text.index("User, judge and personas are the same")
    names = ("al", "levels", "paired-avg", "paired-late", "guarded-ir", "ir", "paired-guarded", "paired-ir")
    order = [page.source.index(f'id="fig-{name}"') for name in names]
    assert order == sorted(order)
    dpo = next(words for words in page.words if words.strip().startswith("averages"))
    assert "over the last three" in dpo


def test_a_saboteur_is_not_said_to_suit_its_users(tmp_path: Path) -> None:
    store(tmp_path, "generic", people([2.0] * 6))
    store(tmp_path, "gpt", people([1.0, 1.0, 1.0, 1.8, 1.9, 2.0]), gain=0.4, gain_ci=[0.3, 0.5])
    page = Page(build_report(tmp_path))
    assert "It rises from below the score of generic replies, but not above it." in page.text
    assert "personal gain 0.40" in page.text and "AVG late gain AL(1)" in page.text
    rates = {row[0]: row[1] for row in page.data["figures"]["guarded-ir"]["rows"]}
    assert rates["gpt"] < 0 == rates["generic"]
    assert next(row for row in page.data["figures"]["ir"]["rows"] if row[0] == "gpt")[1] > 0.2


def test_what_is_unscored_for_one_model_is_left_out_of_all(tmp_path: Path) -> None:
    whole = people([3.0, 3.0]) | {"hard": [1.0, 1.0]}
    store(tmp_path, "good", whole)
    store(tmp_path, "short", {**whole, "hard": [None, None]})
    assert orjson.loads((tmp_path / "bench/short/result.json").read_bytes())["avg"] > 3.0
    page = Page(build_report(tmp_path))
    levels = {row[0]: row[1] for row in page.data["figures"]["levels"]["rows"]}
    assert levels["short"] == levels["good"]
    assert "left out of all: figures are over 40 of 42 replies." in page.text
    assert "2 replies unscored" in page.text


def test_turns_with_few_scores_are_hollow(tmp_path: Path) -> None:
    curves = people([3.0, 3.1, 3.2, 3.3])
    store(tmp_path, "gpt", {p: c if i < 9 else [*c[:3], None] for i, (p, c) in enumerate(curves.items())})
    store(tmp_path, "other", curves)
    page = Page(build_report(tmp_path))
    assert "Hollow points: fewer than ten conversations were scored" in page.text
    assert "gpt: too few conversations were scored at turn 4; left out of figures." in page.text
    assert page.source.count('class="mark hollow"') == 4  # both models, for what one lacks the other does not show
    assert ".hollow{fill:var(--paper)" in page.styles[0]


@pytest.mark.parametrize("has_scores", [True, False])
def test_older_results_are_shown_and_said_to_be_older(tmp_path: Path, has_scores: bool) -> None:
    store(tmp_path, "gpt", people([2.0 + k / 10 for k in range(10)]))
    path = tmp_path / "bench/gpt/result.json"
    result = orjson.loads(path.read_bytes())
    for name in ("rules", "n_empty", "late_mean", "late_mean_ci"):
        del result[name]
    write_json(path, result | {"late": 2.82, "late_ci": [2.7, 2.9], "avg_ci": [0.5, 4.5]})
    if not has_scores:
        (tmp_path / "bench/gpt/scores.jsonl").unlink()
    page = Page(build_report(tmp_path))
    assert "Measured with an earlier version, which left empty replies unscored: gpt." in page.text
    assert ("[0.50, 4.50]" in page.text) is not has_scores
    late = next(row for row in page.data["figures"]["levels"]["rows"] if row[0] == "gpt, late")
    assert late[1] == pytest.approx(2.82)
