"""The report as a file: self-contained, truthful, safe, and never a stack trace."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import orjson
import pytest
from made_run import made_personas, made_tree, write_bench, write_run, write_trees
from reading import Page, sha256

from aloe.errors import DataError
from aloe.report.build import build_report, write_figures
from aloe.report.charts import logged_series, training_figures
from aloe.report.data import read_run
from aloe.report.explorer import pack_trees
from aloe.store.records import write_json, write_jsonl
from aloe.types import Persona


def test_the_page_needs_nothing_from_outside(whole_run: Path) -> None:
    page = Page(whole_run / "report" / "index.html")
    loading = [(t, n, v) for t, n, v in page.attributes if n in ("src", "href", "srcset", "action", "data", "poster")]
    assert all(v.startswith(("#", "data:")) for _, _, v in loading), loading
    assert not re.search(r"url\(|@import|@font-face", "".join(page.styles))
    assert not re.search(
        r"\bfetch\(|XMLHttpRequest|WebSocket|importScripts|innerHTML|insertAdjacentHTML|\beval\(", page.scripts[0]
    )
    assert not any(name == "style" or name.startswith("on") for _, name, _ in page.attributes)


def test_the_policy_admits_the_pages_own_script_and_style_only(whole_run: Path) -> None:
    page = Page(whole_run / "report" / "index.html")
    assert len(page.scripts) == 1 and len(page.styles) == 1
    assert f"script-src '{sha256(page.scripts[0])}'" in page.policy
    assert f"style-src '{sha256(page.styles[0])}'" in page.policy
    assert "default-src 'none'" in page.policy and "unsafe" not in page.policy


def test_the_numbers_are_those_of_the_results(whole_run: Path) -> None:
    page = Page(whole_run / "report" / "index.html")
    for folder in sorted((whole_run / "bench").iterdir()):
        result = orjson.loads((folder / "result.json").read_bytes())
        low, high = result["avg_ci"]
        assert f"{result['avg']:.2f} [{low:.2f}, {high:.2f}]" in page.text
        curve = next(s for s in page.data["figures"]["al"]["series"] if s["name"] == folder.name)
        assert curve["y"] == [p["al"] for p in result["points"]]
        assert curve["low"] == [p["ci_low"] for p in result["points"]]
    names = {row[0] for row in page.data["figures"]["paired-avg"]["rows"]}
    assert {"sft − base", "dpo − sft", "dpo − generic", "oracle − generic"} <= names
    gain = next(r for r in page.data["figures"]["paired-avg"]["rows"] if r[0] == "dpo − base")
    assert gain[1] > 0 and gain[2] < gain[1] < gain[3]
    assert "What training changed" in page.text and "synthetic" in page.text
    tables = [value for _, name, value in page.attributes if name == "aria-label" and "ground truth" in value]
    assert tables == ["The replies, ground truth", "The simulated user, ground truth"]
    columns = [page.source.count(f'<th scope="col">{c}</th>') for c in ("repeated facts", "facts revealed at turn 1")]
    assert columns == [1, 1]  # each in one of the two
    assert "false memory" in page.text and "facts not yet revealed" not in page.text  # undefined for every model


def test_the_page_begins_with_the_verdict_and_the_curve(whole_run: Path) -> None:
    page = Page(whole_run / "report" / "index.html")
    gain = next(r for r in page.data["figures"]["paired-avg"]["rows"] if r[0] == "dpo − base")
    said = f"dpo against base, on the same 20 personas: +{gain[1]:.2f} [{gain[2]:.2f}, {gain[3]:.2f}] points of AVG."
    assert said in page.text.replace("−", "-") and "beyond what chance explains" in page.text
    result = orjson.loads((whole_run / "bench" / "dpo" / "result.json").read_bytes())
    assert f"AVG, dpo {result['avg']:.2f}" in page.text
    order = [
        page.source.index(mark) for mark in ('class="verdict', 'class="leading', 'id="fig-al"', "<h2>Results</h2>")
    ]
    assert order == sorted(order)
    before = page.source[: page.source.index("<h2>Results</h2>")]
    assert "6 models talked with the same 20 people for 10 turns." in page.text
    assert "world:" not in before and "the simulated world" in before  # addresses are folded away


def test_a_difference_whose_interval_holds_zero_is_said_to_show_nothing(run: Path) -> None:
    for name in ("scores.jsonl", "result.json"):  # dpo gets the replies of generic
        shutil.copy(run / "bench" / "generic" / name, run / "bench" / "dpo" / name)
    for name in ("base", "sft", "sft-control"):
        shutil.rmtree(run / "bench" / name)
    page = Page(build_report(run))
    assert "dpo against generic" in page.text and "The interval holds zero: no difference was shown." in page.text
    assert 'class="verdict zero"' in page.source


def test_figures_as_files_have_colours_that_any_renderer_knows(whole_run: Path, tmp_path: Path) -> None:
    for path in write_figures(whole_run, tmp_path):
        text = path.read_text("utf-8")
        assert "var(" not in text and ".fig .s0 .curve,.fig .s0 .raw" in text and "stroke:#0072b2" in text


def test_long_logs_are_smoothed_and_keep_their_values() -> None:
    values = tuple(float(v) for v in np.random.default_rng(0).normal(size=200))
    series = logged_series("loss", values, 0)
    assert series.raw == values and np.std([v for v in series.y if v is not None]) < np.std(values) / 2
    assert logged_series("loss", values[:20], 0).raw == ()
    (chart,) = training_figures("dpo", [{"step": i, "loss": v} for i, v in enumerate(values)])
    assert chart.columns == ("step", "loss", "loss, smoothed") and chart.rows[3][1] == values[3]


def test_every_conversation_is_there_with_what_was_judged_and_revealed(whole_run: Path) -> None:
    page = Page(whole_run / "report" / "index.html")
    trees = [orjson.loads(line) for line in (whole_run / "trees" / "trees.jsonl").read_bytes().splitlines()]
    shown = {item["i"]: item for item in page.data["source-trees"]}
    assert set(shown) == {t["tree_id"] for t in trees}
    for tree in trees:
        item = shown[tree["tree_id"]]
        assert [n[4] for n in item["n"]] == [n["message"]["content"] for n in tree["nodes"]]
        assert len(item["e"]) == len(tree["errors"])
    labels = [orjson.loads(line) for line in (whole_run / "trees" / "labels.jsonl").read_bytes().splitlines()]
    assert sum(len(item["l"]) for item in shown.values()) == len(labels)
    one = shown[labels[0]["tree_id"]]
    places = {n["node_id"]: i for i, n in enumerate(next(t for t in trees if t["tree_id"] == one["i"])["nodes"])}
    assert one["l"][0][1] == places[labels[0]["chosen"]] if labels[0]["chosen"] else one["l"][0][1] == -1
    assert one["d"][0][4] in one["n"][one["d"][0][0]][4]  # the evidence stands in the message it points to
    assert all(len(item["s"]) == 10 for item in page.data["source-bench-dpo"])
    assert any(score[1] is None for item in page.data["source-bench-dpo"] for score in item["s"])
    assert set(page.data["personas"]) >= {item["p"] for item in shown.values()}


HOSTILE = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)><!--data--><!--",
    "\u202eevil\u202c {{ 7*7 }} ${7*7} 👩‍👩‍👧 \u2028\u2029 &lt;b&gt; ]]> ' \" `",
    "<svg/onload=alert(1)>" + "long " * 250_000,
)


@pytest.mark.parametrize("evil", HOSTILE, ids=["script", "attribute", "marks", "megabytes"])
def test_hostile_texts_are_only_text(whole_run: Path, tmp_path: Path, evil: str) -> None:
    """The page's structure is the same whatever the texts say, and the texts arrive unchanged."""
    safe = tmp_path / "safe"
    write_hostile(safe, re.sub(r"[^\w\s]", "x", evil))  # as many words of the same lengths
    write_hostile(tmp_path / "evil", evil)
    plain, attacked = Page(build_report(safe)), Page(build_report(tmp_path / "evil"))
    assert attacked.tags == plain.tags
    assert [(t, n) for t, n, _ in attacked.attributes] == [(t, n) for t, n, _ in plain.attributes]
    assert attacked.policy == plain.policy and attacked.scripts == plain.scripts
    item = attacked.data["source-trees"][0]
    assert all(node[4] == evil if len(evil) < 10_000 else node[4].startswith(evil[:1000]) for node in item["n"])
    assert attacked.data["personas"]["p"][0].startswith(evil[:1000])
    assert len(attacked.source) < 2_000_000
    if len(evil) < 10_000:
        assert evil.split()[0] in attacked.text


def write_hostile(run: Path, text: str) -> None:
    """A run in which everything that a model, a file or a name can hold is ``text``."""
    persona = Persona(persona_id="p", profile=text, personality=text, profile_id="a", personality_id="b")
    tree, disclosures, labels = made_tree(made_personas(1, "train")[0], np.random.default_rng(0), n_turns=2, fail_at=2)
    nodes = [n.model_copy(update={"message": n.message.model_copy(update={"content": text})}) for n in tree.nodes]
    errors = [e.model_copy(update={"error": text}) for e in tree.errors]
    write_jsonl(run / "personas" / "personas.jsonl", [persona])
    entry = {"entry_id": "a", "kind": "profile", "text": text, "round_index": 0}
    near = {**entry, "entry_id": "b", "nearest_id": "a", "max_similarity": 0.5, "round_index": 1}
    write_jsonl(run / "personas" / "pool.jsonl", [entry, near])
    write_jsonl(run / "personas" / "rejected.jsonl", [{**near, "reason": text}])
    changed = tree.model_copy(update={"nodes": tuple(nodes), "errors": tuple(errors), "persona_id": "p"})
    write_jsonl(run / "trees" / "trees.jsonl", [changed])
    write_jsonl(run / "trees" / "disclosures.jsonl", [{**d, "item": text, "evidence": text} for d in disclosures])
    judged = [label.model_dump(mode="json") for label in labels]
    for label in judged:
        label["labeler"] = label["judgements"][0]["reason"] = text
    write_jsonl(run / "trees" / "labels.jsonl", judged)
    points = [{"k": k, "al": 3.0 + k, "ci_low": 2.0, "ci_high": 5.0, "n_scored": 1, "n_unscored": 0} for k in (1, 2)]
    result = {
        "model": text,
        "uri": text,
        "points": points,
        "avg": 3.0,
        "ir": 0.1,
        "ir_ci": [0.0, 0.2],
        "truth": {text: 0.5},
    }
    write_json(run / "bench" / "<b>model&" / "result.json", {**result, "fact_use_by_lag": [0.5, 0.4]})
    stages = {"trees": {"seconds": 1.0, "summary": {"note": text[:50]}}}
    write_json(run / "manifest.json", {"recipe": text, "stages": stages, "failures": [{"stage": "x", "error": text}]})
    (run / "config.toml").write_text(f"[roles]\nuser = {orjson.dumps(text).decode()}\n", "utf-8")


def drop(*names: str) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        for name in names:
            path = run / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def keep_one_model(run: Path) -> None:
    for folder in (run / "bench").iterdir():
        if folder.name != "dpo":
            shutil.rmtree(folder)


def tear(run: Path) -> None:
    for path in run.rglob("*.jsonl"):
        data = path.read_bytes()
        path.write_bytes(data[: len(data) - 25])


def damage(run: Path) -> None:
    for path in run.rglob("*.jsonl"):
        lines = path.read_bytes().splitlines(keepends=True)
        lines[len(lines) // 2] = b'{"half": \n\xff\xfe\n[1, 2]\n"text"\n'
        path.write_bytes(b"".join(lines))
    (run / "manifest.json").write_bytes(b'{"stages": {"trees": 3, "bench"')
    (run / "config.toml").write_bytes(b"seed = = 1\n\xff")
    (run / "bench" / "dpo" / "result.json").write_bytes(b"[1]")


def still_growing(run: Path) -> None:
    shutil.rmtree(run / "bench")
    (run / "trees" / "trees.jsonl").rename(run / "trees" / "trees.partial.jsonl")


def odd_types(run: Path) -> None:
    """Every value is of a type that nobody writes."""
    write_json(
        run / "manifest.json", {"stages": [], "calls": 3, "failures": "x", "created": [], "recipe": None, "seed": {}}
    )
    write_jsonl(
        run / "trees" / "trees.jsonl", [{"nodes": [1, {"message": "x", "turn": "y", "kind": 3}], "errors": [2]}, {}]
    )
    write_jsonl(run / "trees" / "labels.jsonl", [{"judgements": [1], "node_ids": None, "margin": "x"}])
    write_jsonl(run / "trees" / "disclosures.jsonl", [{"item": 3}])
    points = [{"k": 1, "al": None}, {"k": "x"}, 3]
    write_json(run / "bench" / "dpo" / "result.json", {"points": points, "avg": "x", "ir": None, "truth": []})
    write_jsonl(run / "bench" / "dpo" / "scores.jsonl", [{"turn": 10**9, "score": 1.0, "persona_id": "bench-0030"}, {}])
    write_jsonl(run / "checkpoints" / "dpo" / "metrics.jsonl", [{"loss": 1.0}, {"step": 1, "loss": "nan"}])
    (run / "config.toml").write_text("roles = 3\npersonas = 'x'\n", "utf-8")


CASES: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "no benchmark": (drop("bench"), ("No model has been benchmarked",)),
    "no trees": (drop("trees", "rollout"), ("This run has no trees",)),
    "no training": (drop("checkpoints"), ("No model was trained",)),
    "imported data": (drop("personas", "bench", "checkpoints", "rollout"), ("This run has no persona files",)),
    "only personas": (drop("trees", "rollout", "bench", "checkpoints"), ("This run has no conversations yet",)),
    "no manifest": (drop("manifest.json", "config.toml", "log.jsonl"), ("lists no finished stage",)),
    "no labels": (drop("trees/labels.jsonl", "trees/disclosures.jsonl"), ("Preference trees",)),
    "no scores": (drop("bench/dpo/scores.jsonl", "bench/sft/result.json"), ("dpo",)),
    "one model": (keep_one_model, ("dpo averages", "Improvement rate")),
    "torn": (tear, ("dpo",)),
    "damaged": (damage, ("manifest.json is not valid JSON", "config.toml is not valid TOML", "not a JSON object")),
    "still growing": (still_growing, ("Preference trees",)),
    "odd types": (odd_types, ("no reply of this model could be scored",)),
}


@pytest.mark.parametrize("case", CASES)
def test_half_a_run_makes_a_sensible_page(run: Path, case: str) -> None:
    change, expected = CASES[case]
    change(run)
    page = Page(build_report(run))
    for words in expected:
        assert words in page.text
    assert "Traceback" not in page.source and "NaN" not in page.text and not re.search(r"\b(None|nan|inf)\b", page.text)
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    links = [value[1:] for tag, name, value in page.attributes if tag == "a" and name == "href"]
    assert set(links) <= set(ids)


def test_an_empty_directory_makes_a_page_and_a_missing_one_an_error(tmp_path: Path) -> None:
    assert "No model has been benchmarked" in Page(build_report(tmp_path)).text
    with pytest.raises(DataError, match="is not a directory"):
        build_report(tmp_path / "nowhere")


def test_the_same_run_gives_the_same_bytes_and_leaves_nothing_else(run: Path) -> None:
    first = build_report(run).read_bytes()
    assert build_report(run).read_bytes() == first
    assert [p.name for p in (run / "report").iterdir()] == ["index.html"]


FORBIDDEN = ("aloe.models", "aiohttp", "sqlite3", "torch", "transformers", "ray")
FRESH = f"""
import sys
from pathlib import Path
from aloe.report.build import build_report
build_report(Path(sys.argv[1]))
print(*sorted(m for m in sys.modules if m.startswith({FORBIDDEN})))
"""


def test_the_report_needs_no_model_journal_or_http_client(run: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FRESH, str(run)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_a_large_run_shows_a_sample_that_holds_the_failures(tmp_path: Path) -> None:
    write_trees(tmp_path, "trees", made_personas(60, "train"), np.random.default_rng(1))
    whole, stats = pack_trees(read_run(tmp_path), "trees", "Trees", 10**9)
    quota = sum(map(len, whole.items)) // 3
    part, same = pack_trees(read_run(tmp_path), "trees", "Trees", quota)
    again, _ = pack_trees(read_run(tmp_path), "trees", "Trees", quota)
    assert len(whole.items) == whole.n_total == part.n_total == 60
    assert 0 < len(part.items) < 60 and sum(map(len, part.items)) <= quota
    assert part.items == again.items == [item for item in whole.items if item in part.items]
    assert same == stats  # counts are of all trees, shown or not
    failed = [item for item in whole.items if orjson.loads(item)["e"]]
    assert failed and set(failed) <= set(part.items)


def test_lone_surrogates_and_not_a_number_are_survived(tmp_path: Path) -> None:
    (tmp_path / "trees").mkdir()
    node = '{"node_id": "a", "turn": 1, "kind": "user", "message": {"content": "half \\ud83d smile"}}'
    (tmp_path / "trees" / "trees.jsonl").write_text(f'{{"tree_id": "t", "seed": NaN, "nodes": [{node}]}}\n', "utf-8")
    page = Page(build_report(tmp_path))
    assert page.data["source-trees"][0]["n"][0][4] == "half ? smile"


def test_figures_for_a_readme_are_files_of_their_own(run: Path, tmp_path: Path) -> None:
    paths = write_figures(run, tmp_path / "figures")
    assert {p.stem for p in paths} >= {"al", "learning", "ir", "paired-avg", "recall"}
    for path in paths:
        root = ElementTree.fromstring(path.read_text("utf-8"))
        assert root.tag.endswith("svg") and root.find("{http://www.w3.org/2000/svg}style") is not None
    shutil.rmtree(run / "bench")
    with pytest.raises(DataError, match="no benchmark results"):
        write_figures(run, tmp_path / "figures")


def test_a_run_of_one_turn_and_two_personas_has_no_slope_but_a_page(tmp_path: Path) -> None:
    write_bench(tmp_path, "dpo", made_personas(2, "bench"), np.random.default_rng(0), n_turns=1)
    page = Page(build_report(tmp_path))
    assert "one turn cannot show a change" in page.text and "undefined" in page.text


def test_the_page_of_a_demo_sized_run_stays_small(tmp_path: Path) -> None:
    run = write_run(tmp_path / "big", n_train=300, n_bench=100)
    assert build_report(run).stat().st_size < 15_000_000
