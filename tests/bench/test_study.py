"""Studies with people: balance, blindness, power, planted effects that are recovered, and a page in a real browser."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aloe.__main__ import main
from aloe.bench.study.answers import RaterAnswers, analyse, read_answers, read_key, write_ratings
from aloe.bench.study.design import StudySize, StudyTalk, assign
from aloe.bench.study.page import write_study
from aloe.bench.study.power import effective_comparisons, power_of, raters_needed
from aloe.dialogue.state import content_id
from aloe.errors import DataError
from aloe.types import Persona

MODELS = ("zebra-large", "yak-mini", "xerus-pro")
PEOPLE = {
    f"p{n}": Persona(
        persona_id=f"p{n}", profile=f"Keeps {n} bees.", personality="Is calm.", profile_id=f"f{n}", personality_id="c"
    )
    for n in range(24)
}
EVIL = "</script><script>alert(1)</script> @@DATA@@ \u2028"


def talks(models: tuple[str, ...] = MODELS, n_people: int = 24) -> dict[tuple[str, str], StudyTalk]:
    """Two turns of every model with every person; the texts say nothing of the model but a number."""
    found = {}
    for number, model in enumerate(models):
        for person in list(PEOPLE)[:n_people]:
            said = [("user", f"Hello from {person}."), ("assistant", f"Reply {number}a {EVIL}")]
            said += [("user", "And then?"), ("assistant", f"Reply {number}b")]
            nodes = tuple((f"{model}-{person}-{at}", role, text) for at, (role, text) in enumerate(said))
            found[model, person] = StudyTalk(model, person, nodes)
    return found


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 9), st.integers(0, 12), st.integers(0, 12), st.integers(0, 3), st.integers(0, 9), st.integers(2, 3),
    st.integers(0, 5),
)  # fmt: skip
def test_whatever_its_size_a_study_is_balanced(raters, pairs, ratings, checks, shared, n_models, seed):
    if not pairs + ratings:
        return
    found = assign(talks(MODELS[:n_models]), StudySize(raters, pairs, ratings, checks, shared), seed)
    assert [Counter(i.kind for i in items) for items in found] == [
        Counter({"pair": pairs, "rating": ratings, "check": checks}) - Counter() for _ in found
    ]
    every = [item for items in found for item in items]
    compared = Counter(frozenset(i.models) for i in every if i.kind == "pair")
    assert max(compared.values(), default=0) - min(compared.values(), default=0) <= 1 or len(compared) < 1
    orders = Counter(i.models for i in every if i.kind == "pair")
    assert all(abs(orders[a, b] - orders[b, a]) <= 1 for a, b in itertools.combinations(MODELS, 2))
    rated = Counter(i.models[0] for i in every if i.kind == "rating")
    assert max(rated.values(), default=0) - min(rated.values(), default=0) <= 1
    for items in found:
        own = [(i.kind, frozenset(i.models), i.persona_id) for i in items if i.kind != "check"]
        assert len(set(own)) == len(own)  # nobody sees a thing twice


def test_what_is_more_than_there_is_is_refused():
    with pytest.raises(DataError, match="100 pairs per rater, but there are 72"):
        assign(talks(), StudySize(2, 100, 0, 0, 0), 0)
    with pytest.raises(DataError, match="something to rate"):
        assign(talks(), StudySize(2, 0, 0, 3, 0), 0)


def write(out: Path, size: StudySize, n_models: int = 2) -> None:
    held = talks(MODELS[:n_models])
    write_study(out, assign(held, size, 1), held, PEOPLE, seed=1)


def page_data(file: Path) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', file.read_text("utf-8"), re.S)
    assert found is not None
    return dict(json.loads(found.group(1)))


def test_a_page_holds_the_texts_and_no_model(tmp_path: Path):
    write(tmp_path / "s", StudySize(3, 4, 4, 2, 2), n_models=3)
    pages = sorted((tmp_path / "s" / "pages").iterdir())
    assert [page.name for page in pages] == ["rater-001.html", "rater-002.html", "rater-003.html"]
    for page in pages:
        source = page.read_text("utf-8")
        assert not any(model in source for model in MODELS) and "expected" not in source
        assert source.count("</script>") == 2  # the page's own: texts of models can't end one
        assert len(page_data(page)["items"]) == 10 and EVIL in json.dumps(page_data(page), ensure_ascii=False)
    with pytest.raises(DataError, match="already contains a study"):
        write(tmp_path / "s", StudySize(3, 4, 4, 2, 2))


def answer(out: Path, win_share: float, careless: int, seed: int = 0) -> list[RaterAnswers]:
    """Scripted raters: the first model wins a given share and is rated 4, the other 3; ``careless`` fails checks."""
    key, rng, found = read_key(out), Random(seed), []
    for number, (rater, items) in enumerate(key.raters.items()):
        given: dict[int, str] = {}
        for at, item in enumerate(items):
            if number == careless:
                given[at] = "right" if item.expected == "left" else "left" if item.kind != "rating" else "1"
            elif item.kind == "check":
                given[at] = item.expected
            elif item.kind == "pair":
                wins = rng.random() < win_share
                given[at] = "left" if wins == (item.models[0] == MODELS[0]) else "right"
            else:
                mean = 4 if item.models[0] == MODELS[0] else 3
                given[at] = str(min(5, max(1, mean + rng.choice((-1, 0, 0, 1)))))
        found.append(RaterAnswers(rater, given, (2.0,) * len(given)))
    return found


def test_thirty_raters_recover_a_planted_effect_and_one_who_did_not_read_is_found(tmp_path: Path):
    out = tmp_path / "s"
    write(out, StudySize(30, 10, 8, 3, 4))
    given_answers = answer(out, 0.7, careless=11)
    found = analyse(read_key(out), given_answers)
    assert [one.rater for one in found.raters if not one.is_counted] == ["rater-012"]
    ((couple, (n, wins)),) = found.wins.items()
    assert couple == tuple(sorted(MODELS[:2])) and n == 290
    wins_of_first = wins.value if couple[0] == MODELS[0] else 1 - wins.value
    assert abs(wins_of_first - 0.7) < 0.1 and (wins.high < 0.5 or wins.low > 0.5)
    low, high = sorted(v if couple[0] == MODELS[0] else 1 - v for v in (wins.low, wins.high))
    assert low < 0.7 < high and high - low < 0.25
    assert found.left.low < 0.5 < found.left.high
    means = {model: estimate for model, (_, estimate) in found.ratings.items()}
    assert means[MODELS[0]].low < 4 < means[MODELS[0]].high and means[MODELS[1]].low < 3 < means[MODELS[1]].high
    assert found.ratings_agreement.alpha.value > 0.1 and found.pairs_agreement.n_items >= 4
    everybody = {one.rater for one in given_answers}
    n_written = write_ratings(read_key(out), given_answers, tmp_path / "ratings.csv")
    rows = (tmp_path / "ratings.csv").read_text("utf-8").splitlines()[1:]
    assert n_written == len(rows) == 29 * 8 and {row.split(",")[0] for row in rows} == everybody - {"rater-012"}
    item = next(i for i in read_key(out).raters["rater-001"] if i.kind == "rating")
    assert any(content_id("sheet", item.models[0], item.node_id) in row for row in rows)


def test_answers_that_are_none_of_the_study_are_one_line(tmp_path: Path):
    out = tmp_path / "s"
    write(out, StudySize(2, 2, 0, 1, 0))
    key = read_key(out)
    good = {"study": key.study, "rater": "rater-001", "answers": [{"item": 0, "answer": "tie", "seconds": 1}]}
    file = tmp_path / "a.json"
    for change, message in (
        ({"study": "other"}, "another study"),
        ({"rater": "rater-9"}, "not of this study"),
        ({"answers": [{"item": 7, "answer": "tie"}]}, "answer 1: not an answer"),
        ({"answers": [{"item": 0, "answer": "A"}]}, "answer 1: not an answer"),
        ({"answers": good["answers"] * 2}, "answer 2: not an answer"),
        ({"answers": None}, "holds no answers"),
    ):
        file.write_text(json.dumps(good | change), "utf-8")
        with pytest.raises(DataError, match=message):
            read_answers([file], key)
    file.write_text(json.dumps(good), "utf-8")
    (tmp_path / "b.json").write_text(json.dumps(good), "utf-8")
    with pytest.raises(DataError, match="has answered already"):
        read_answers([file, tmp_path / "b.json"], key)
    assert read_answers([file], key)[0].answers == {0: "tie"}


def test_power_is_that_of_simulated_studies():
    rng = Random(5)
    n, found = 150, 0
    for _ in range(2000):
        won = sum(rng.random() < 0.6 for _ in range(n))
        found += abs(won / n - 0.5) > 1.959964 * (0.25 / n) ** 0.5
    assert power_of(0.6, n) == pytest.approx(found / 2000, abs=0.04)
    assert power_of(0.5, n) == pytest.approx(0.05, abs=1e-3)
    needed = raters_needed(0.6, 20, 0.05)
    powers = [power_of(0.6, effective_comparisons(raters, 20, 0.05)) for raters in (needed - 1, needed)]
    assert powers[0] < 0.8 <= powers[1] and raters_needed(0.5, 20, 0.05) is None
    assert effective_comparisons(10, 20, 0.0) == 200 and effective_comparisons(10, 20, 0.99) < 11


CHROMIUM = shutil.which("chromium")


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")
def test_a_rater_goes_through_the_page_and_may_come_back_to_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright: install the test extra")
    out = tmp_path / "s"
    write(out, StudySize(1, 2, 1, 1, 0))
    address, faults = (out / "pages" / "rater-001.html").as_uri(), []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        context = browser.new_context()
        for number in range(2):  # after two answers the page is closed and opened again
            page = context.new_page()
            page.on("console", lambda message: faults.append(message.text))
            page.on("pageerror", lambda error: faults.append(str(error)))
            page.goto(address)
            if number == 0:
                assert page.locator("#begin").is_disabled()
                page.check("#agree")
                page.click("#begin")
            for _ in range(2):
                wanted = page.locator("#question").inner_text()
                box = "2" if "last reply" in wanted else "right" if "choose B" in wanted else "left"
                page.check(f"input[value='{box}']")
                page.click("#next")
            if number == 0:
                assert page.locator("#place").inner_text() == "3 of 4"
                page.close()
        with page.expect_download() as download:
            page.click("#save")
        download.value.save_as(tmp_path / "back" / "rater-001.answers.json")
        browser.close()
    assert faults == []
    assert main(["study", "read", str(out), str(tmp_path / "back")]) == 0
    said = capsys.readouterr().out
    assert "1 raters, 0 left out" in said and "wins" in said and "mean rating" in said
