"""The report in a real browser: fast, silent, offline, reachable by keyboard, readable for everyone.

Runs where Debian's chromium is installed; axe-core is looked for in AXE_PATH and in the project's node_modules.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from made_run import write_run
from test_build import HOSTILE, write_hostile
from test_report_extras import world_run

from aloe.report.build import build_report
from aloe.report.compared import build_comparison

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PROJECT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")
sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright: install the test extra")


def axe_source() -> str | None:
    places = [os.environ.get("AXE_PATH", ""), str(PROJECT / "node_modules" / "axe-core" / "axe.min.js")]
    return next((Path(p).read_text("utf-8") for p in places if p and Path(p).is_file()), None)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the world with a journal, benchmarked in full on a scale from 1 to 100; made before
    the browser starts, whose event loop then holds this thread."""
    return world_run(tmp_path_factory.mktemp("browser") / "full", "1-100") / "report" / "index.html"


@pytest.fixture(scope="module")
def browser(full: Path) -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(autouse=True)
def pages_end_with_their_test(browser: sync_api.Browser) -> Iterator[None]:
    """A page that stays open goes on working."""
    yield
    for context in browser.contexts:
        context.close()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As many conversations as `make run` makes."""
    return build_report(write_run(tmp_path_factory.mktemp("browser") / "demo", n_train=300, n_bench=100))


class Opened:
    """A page that notes everything that it should not do."""

    def __init__(self, browser: sync_api.Browser, path: Path, **options: object) -> None:
        self.noise: list[str] = []
        self.page = browser.new_context(viewport={"width": 1280, "height": 900}, **options).new_page()  # type: ignore[arg-type]
        self.page.on("console", lambda message: self.noise.append(message.text))
        self.page.on("pageerror", lambda error: self.noise.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.noise.append("dialog"), dialog.dismiss()))
        self.page.on("request", lambda request: self._request(request.url))
        start = time.perf_counter()
        self.page.goto(path.as_uri())
        self.seconds = time.perf_counter() - start

    def _request(self, url: str) -> None:
        if not url.startswith(("file:", "data:", "blob:")):
            self.noise.append(url)


def test_it_opens_fast_and_silent(browser: sync_api.Browser, large: Path) -> None:
    opened = Opened(browser, large)
    assert opened.seconds < 3.0
    assert opened.page.locator("#items button").count() > 10
    assert opened.noise == []


def milliseconds(page: sync_api.Page, change: str) -> float:
    """Time from a change in a filter until the list and the conversation are laid out again."""
    return float(
        page.evaluate(
            "(change) => { const start = performance.now(); (new Function(change))(); "
            "document.getElementById('items').getBoundingClientRect(); return performance.now() - start; }",
            change,
        )
    )


def test_search_and_filters_answer_at_once(browser: sync_api.Browser, large: Path) -> None:
    opened = Opened(browser, large, bypass_csp=True)
    page = opened.page
    field = "const f = document.getElementById('{}'); f.value = '{}'; f.dispatchEvent(new Event('{}'))"
    for name, value, event in (
        ("q", "finches", "input"),
        ("q", "", "input"),
        ("persona", "goat", "input"),
        ("persona", "", "input"),
        ("outcome", "disagreement", "change"),
        ("sort", "margin-", "change"),
        ("margin", "1", "input"),
        ("source", "bench-dpo", "change"),
        ("sort", "rise", "change"),
    ):
        assert milliseconds(page, field.format(name, value, event)) < 300, (name, value)
        assert page.locator("#thread .turn").count() > 0
    assert opened.noise == []


def test_filters_keep_what_they_say(browser: sync_api.Browser, large: Path) -> None:
    page = Opened(browser, large).page
    total = page.locator("#count").inner_text()
    assert total == "300 conversations"
    page.fill("#q", "finches")
    found = page.locator("#count").inner_text()
    assert found.endswith("of 300 conversations")
    for who in page.locator("#items .who").all_inner_texts():
        assert "finches" in who
    page.fill("#q", "Sunday")
    assert {m.lower() for m in page.locator("#thread mark.found").all_inner_texts()} == {"sunday"}
    page.fill("#q", "")
    page.select_option("#outcome", "failed")
    assert page.locator("#items .meta").all_inner_texts()
    assert all("failed" in meta for meta in page.locator("#items .meta").all_inner_texts())
    assert "failed here: HTTP 503" in page.locator("#thread").inner_text()
    page.select_option("#outcome", "")
    page.select_option("#sort", "margin")
    margins = [float(m.split("margin ")[1].split(" ")[0]) for m in page.locator("#items .meta").all_inner_texts()]
    assert margins == sorted(margins)
    page.fill("#q", "no such words anywhere")
    assert "Nothing matches" in page.locator("#thread").inner_text()


def test_a_tree_opens_turn_by_turn_with_both_replies_and_why(browser: sync_api.Browser, large: Path) -> None:
    opened = Opened(browser, large)
    page = opened.page
    page.locator("#items button").nth(2).click()
    turns = page.locator("#thread .turn")
    assert turns.count() == 10
    first = turns.nth(0)
    assert first.locator(".reply").count() == 2
    tags = first.locator(".tag").all_inner_texts()
    assert {"tailored", "generic", "continued", "stated"} <= set(tags)
    assert first.locator("mark.stated").inner_text() == "I work as a potter"
    assert "the judge prefers" in first.locator(".reasons").inner_text()
    page.select_option("#source", "bench-oracle")
    assert page.locator("#thread .turn").nth(0).locator("meter").count() == 1
    assert "a little stiff for her" in page.locator("#thread").inner_text()
    assert opened.noise == []


def test_the_other_branch_of_a_tree_can_be_followed(browser: sync_api.Browser, large: Path) -> None:
    page = Opened(browser, large).page
    page.locator("#items button").nth(3).click()
    before = page.locator("#thread .turn").nth(1).inner_text()
    page.locator("#thread .branch").first.click()
    assert page.locator("#thread .turn").count() == 10
    assert page.locator("#thread .turn").nth(1).inner_text() != before
    page.locator("#thread .branch").first.click()
    assert page.locator("#thread .turn").nth(1).inner_text() == before


def test_curves_can_be_read_switched_off_and_saved(browser: sync_api.Browser, large: Path) -> None:
    opened = Opened(browser, large)
    page, figure = opened.page, opened.page.locator("#fig-al")
    plot = figure.locator(".plot")
    plot.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    tip = figure.locator(".tip").inner_text()
    assert tip.startswith("turn 2") and "oracle" in tip and "[" in tip
    figure.locator(".key", has_text="oracle").click()
    assert figure.locator(".wide g[visibility=hidden]").count() == 2  # the curve and its name
    plot.focus()
    page.keyboard.press("ArrowRight")
    assert "oracle" not in figure.locator(".tip").inner_text()
    page.keyboard.press("Escape")
    assert not figure.locator(".tip").is_visible()
    figure.locator("summary").click()
    saved = {}
    for kind, words in (("csv", "turn k,base,"), ("svg", "<svg")):
        with page.expect_download() as waiting:
            figure.locator(f"[data-save={kind}]").click()
        saved[kind] = Path(waiting.value.path()).read_text("utf-8")
        assert words in saved[kind]
    with page.expect_download() as waiting:
        figure.locator("[data-save=png]").click()
    pixels = Path(waiting.value.path()).read_bytes()
    assert pixels.startswith(b"\x89PNG") and pixels[16:24] == (3 * 760).to_bytes(4) + (3 * 330).to_bytes(4)
    assert "var(" not in saved["svg"] and "<style" not in saved["svg"]  # every renderer knows attributes
    assert 'stroke="rgb(0, 114, 178)"' in saved["svg"] and "stroke-width" in saved["svg"]
    assert opened.noise == []


def test_everything_has_an_address_and_opens_by_it(browser: sync_api.Browser, large: Path) -> None:
    opened = Opened(browser, large)
    page = opened.page
    assert not page.locator("#fig-train-dpo-loss").is_visible()
    page.locator("nav a", has_text="Training").click()
    assert page.locator("#fig-train-dpo-loss").is_visible()
    page.goto(large.as_uri() + "#fig-train-dpo-loss")
    page.reload()
    assert page.locator("#fig-train-dpo-loss").is_visible()
    page.select_option("#source", "bench-dpo")
    page.locator("#items button").nth(4).click()
    name = page.locator("#thread h3").inner_text()
    link = page.locator("#thread .turn").nth(6).locator("h4 a").get_attribute("href")
    page.goto(large.as_uri() + link)
    page.reload()
    assert page.locator("#source").input_value() == "bench-dpo" and page.locator("#thread h3").inner_text() == name
    top = page.locator("#thread .turn").nth(6).evaluate("e => e.getBoundingClientRect().top")
    assert -5 <= top <= 400
    assert opened.noise == []


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
def test_the_first_screen_holds_verdict_figures_and_the_beginning_of_the_curve(
    browser: sync_api.Browser, large: Path, width: int, height: int
) -> None:
    page = Opened(browser, large).page
    page.set_viewport_size({"width": width, "height": height})
    bottom = "e => e.getBoundingClientRect().bottom"
    assert page.locator(".verdict").evaluate(bottom) < height and page.locator(".leading").evaluate(bottom) < height
    drawing = page.locator("#fig-al .wide" if width > 720 else "#fig-al .narrow")
    assert drawing.evaluate(bottom) <= height


@pytest.mark.parametrize("evil", HOSTILE[:3], ids=["script", "attribute", "marks"])
def test_hostile_texts_do_nothing_in_a_browser(browser: sync_api.Browser, tmp_path: Path, evil: str) -> None:
    write_hostile(tmp_path / "run", evil)
    opened = Opened(browser, build_report(tmp_path / "run"))
    page = opened.page
    assert page.locator("#thread .said").first.text_content() == evil
    assert page.locator("main img, main iframe, main script").count() == 0
    page.fill("#q", evil[:12])
    page.wait_for_timeout(100)
    assert opened.noise == []


def test_the_keyboard_alone_reaches_conversations_and_theme(browser: sync_api.Browser, large: Path) -> None:
    page = Opened(browser, large, color_scheme="light").page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.locator("#items button").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "thread"
    assert page.locator("#items button[aria-current=true]").count() == 1
    ink = page.evaluate("getComputedStyle(document.body).color")
    page.locator(".theme").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("getComputedStyle(document.body).color") != ink


@pytest.mark.parametrize("width", [390, 768, 1200, 1280])
@pytest.mark.parametrize("made", ["large", "full"])
def test_nothing_is_wider_than_the_page(
    browser: sync_api.Browser, request: pytest.FixtureRequest, made: str, width: int
) -> None:
    page = Opened(browser, request.getfixturevalue(made)).page
    page.set_viewport_size({"width": width, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    narrow = page.locator("#fig-al .narrow").is_visible()
    assert narrow == (width <= 720)


def test_the_headline_table_fits_a_wide_page_and_shows_on_a_phone_that_it_goes_on(
    browser: sync_api.Browser, large: Path
) -> None:
    page = Opened(browser, large).page
    table = page.get_by_role("region", name="The models side by side")
    hidden = "e => e.scrollWidth - e.clientWidth"
    page.set_viewport_size({"width": 1200, "height": 844})
    assert table.evaluate(hidden) == 0
    names = table.locator("thead th").all_inner_texts()
    cells = dict(zip(names, table.locator("tbody tr").first.locator("th, td").all_inner_texts(), strict=True))
    assert (cells["recall"], cells["style"], cells["style recall"]) == ("62%", "70%", "20%")
    page.get_by_role("heading", name="Ground truth").click()
    for title in ("The replies", "The simulated user"):
        assert page.get_by_role("region", name=f"{title}, ground truth").evaluate(hidden) == 0
    page.set_viewport_size({"width": 390, "height": 844})
    assert table.evaluate(hidden) > 0
    assert "scroll" in table.evaluate("e => getComputedStyle(e).backgroundAttachment")
    before = table.screenshot()
    table.evaluate("e => { e.style.background = 'none'; }")
    assert table.screenshot() != before  # the shadow at the side was seen


def test_meters_and_filters_follow_the_scale_of_the_scores(browser: sync_api.Browser, full: Path) -> None:
    opened = Opened(browser, full)
    page = opened.page
    page.select_option("#source", "bench-oracle")
    meter = page.locator("#thread meter").first
    assert meter.evaluate("e => [e.min, e.max]") == [1, 100]
    assert "for another persona" in page.locator("#thread .score").first.inner_text()
    assert "a reply scored below 25.75" in page.locator("#outcome").inner_text()
    for name in ("oracle", "swapped", "knows-all"):
        rows = (full.parents[1] / "bench" / name / "scores.jsonl").read_bytes().splitlines()
        scores = [(row["tree_id"], row["score"]) for row in map(orjson.loads, rows)]
        page.select_option("#source", f"bench-{name}")
        page.select_option("#outcome", "low")
        assert page.locator("#items button").count() == len({tree for tree, score in scores if score < 25.75})
        page.select_option("#outcome", "high")
        assert page.locator("#items button").count() == len({tree for tree, score in scores if score >= 87.625})
    assert opened.noise == []


def test_paper_leaves_out_what_cannot_be_clicked(browser: sync_api.Browser, large: Path) -> None:
    page = Opened(browser, large).page
    page.emulate_media(media="print")
    assert not page.locator(".filters").is_visible() and not page.locator("nav").is_visible()
    assert page.locator("#fig-al .wide").is_visible() and page.locator("#thread .turn").first.is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("made", "sources"), [("large", ("trees", "bench-dpo")), ("full", ("trees", "bench-oracle"))])
def test_axe_finds_nothing_serious(
    browser: sync_api.Browser, request: pytest.FixtureRequest, made: str, sources: tuple[str, ...], scheme: str
) -> None:
    source = axe_source()
    if source is None:
        pytest.skip("no axe-core: npm install axe-core, or set AXE_PATH")
    page = Opened(browser, request.getfixturevalue(made), color_scheme=scheme).page
    page.evaluate(source)
    page.evaluate("for (const part of document.querySelectorAll('details.part')) part.open = true")
    for name in sources:
        page.select_option("#source", name)
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        told = [(v["id"], v["impact"], [n["html"][:120] for n in v["nodes"][:3]]) for v in found["violations"]]
        assert [t for t in told if t[1] in ("serious", "critical", "moderate")] == []


def test_axe_finds_nothing_serious_on_the_page_that_compares_runs(browser: sync_api.Browser, tmp_path: Path) -> None:
    for name in ("spring", "autumn"):
        write_run(tmp_path / name)
    opened = Opened(browser, build_comparison([tmp_path / "spring", tmp_path / "autumn"], tmp_path / "both.html"))
    page = opened.page
    assert page.locator("#fig-paired-avg .wide").is_visible() and opened.noise == []
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    source = axe_source()
    if source is None:
        pytest.skip("no axe-core: npm install axe-core, or set AXE_PATH")
    page.evaluate(source)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    assert [(v["id"], v["nodes"][0]["html"]) for v in found if v["impact"] != "minor"] == []
