"""The studio as somebody uses it: a real server, a real browser, a checkpoint of random weights, real files.

Runs where Debian's chromium is installed; axe-core is looked for in AXE_PATH and in the project's node_modules.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aloe.__main__ import main
from conftest import studio

if TYPE_CHECKING:
    from conftest import Endpoint

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
PROJECT = Path(__file__).resolve().parents[2]
EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)> \u202eevil\u202c {{7*7}} 🌵 &amp; ]]>"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")
sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright: install the test extra")
Serve = Callable[..., AbstractContextManager[str]]


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
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
def address(whole_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One studio for the tests that change nothing of the run but its talks and ratings."""
    with studio(Path(shutil.copytree(whole_run, tmp_path_factory.mktemp("shared") / "spring"))) as url:
        yield url


class Opened:
    """A page of the studio that notes everything that it should not do."""

    def __init__(self, browser: sync_api.Browser, address: str, **options: object) -> None:
        self.address = address
        self.noise: list[str] = []
        options.setdefault("viewport", {"width": 1280, "height": 900})
        self.page = browser.new_context(**options).new_page()  # type: ignore[arg-type]
        self.page.set_default_timeout(180_000)
        self.page.on("console", lambda message: self._said(message))
        self.page.on("pageerror", lambda error: self.noise.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.noise.append("dialog"), dialog.dismiss()))
        self.page.on("request", lambda request: self._request(request.url))
        self.page.goto(address)

    def _said(self, message: sync_api.ConsoleMessage) -> None:
        if not message.text.startswith("Failed to load resource"):  # an answer with an error, shown in the page
            self.noise.append(message.text)

    def _request(self, url: str) -> None:
        if not url.startswith((self.address, "data:", "blob:")):
            self.noise.append(url)

    def view(self, name: str) -> sync_api.Locator:
        """The view of a tab, opened."""
        self.page.goto(f"{self.address}#{name}")
        return self.page.locator(f"[data-view={name}]")

    def begin(self, name: str, models: list[str], persona: int | None = 0) -> sync_api.Locator:
        """Choose models and a persona, and begin."""
        view = self.view(name)
        for i, model in enumerate(models):
            view.locator("select").nth(i).select_option(model)
        if persona is not None:
            view.locator(".people button").nth(persona).click()
        else:
            view.get_by_role("button", name="Speak as myself").click()
        view.get_by_role("button", name="Begin").click()
        view.locator("textarea").wait_for()
        return view


def ready(view: sync_api.Locator) -> None:
    """Wait until nothing is being done."""
    sync_api.expect(view.get_by_role("button", name="Send")).to_be_enabled(timeout=180_000)


def simulate(view: sync_api.Locator) -> str:
    """One turn whose message the user simulator writes."""
    n = view.locator(".turn").count()
    view.get_by_role("button", name="Let the simulator write").click()
    sync_api.expect(view.locator("textarea")).not_to_have_value("", timeout=180_000)
    ready(view)
    text = view.locator("textarea").input_value()
    view.get_by_role("button", name="Send").click()
    sync_api.expect(view.locator(".turn")).to_have_count(n + 1, timeout=180_000)
    ready(view)
    return text


def say(view: sync_api.Locator, text: str) -> None:
    view.locator("textarea").fill(text)
    view.locator("textarea").press("Enter")
    sync_api.expect(view.locator(".busy")).to_have_count(0)
    view.page.wait_for_timeout(100)
    ready(view)


def ratings(run: Path) -> list[dict[str, Any]]:
    path = run / "studio" / "ratings.jsonl"
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []


def test_a_session_beliefs_curve_and_a_blind_rating(
    browser: sync_api.Browser, run: Path, serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*") if p.is_file()}
    with serve(run) as address:
        opened = Opened(browser, address)
        view = opened.begin("chat", ["dpo"])
        said = [simulate(view) for _ in range(3)]
        sync_api.expect(view.locator(".curve-box g.s0")).to_have_attribute("data-points", "3")
        sync_api.expect(view.locator(".curve-box .mark")).to_have_count(3)
        believed = view.locator(".beliefs li")
        assert believed.count() >= 3
        for i in range(believed.count()):
            evidence = re.search(r"turn (\d): “(.*)”", believed.nth(i).inner_text(), re.DOTALL)
            assert evidence and evidence[2] in said[int(evidence[1]) - 1]
        assert view.locator(".user-says mark").count() >= 3
        assert view.locator("meter").count() == 3

        view = opened.begin("compare", ["dpo", "oracle"], persona=1)
        for choice in ("A is better", "B is better", "Tie"):
            simulate(view)
            last = view.locator(".turn").last
            sync_api.expect(last.locator(".reply")).to_have_count(2)
            assert last.locator("meter").count() == 0
            assert not re.search(r"\b(dpo|oracle)\b", view.inner_text())  # blind
            last.get_by_label("Rate A from 1 to 5").select_option("4")
            view.get_by_role("button", name=choice).click()
            sync_api.expect(last.locator("meter")).to_have_count(2)
        assert [r["choice"] for r in ratings(run)] == ["first", "second", "tie"]
        view.get_by_role("button", name="Name the models").click()
        sync_api.expect(view.locator("h1")).to_contain_text("oracle")
        assert opened.noise == []
    rows = ratings(run)
    assert all(r["blind"] and sorted(r["models"]) == ["dpo", "oracle"] and r["stars"] == [4, None] for r in rows)
    assert all(r["profile"] and r["messages"][-1]["role"] == "user" and len(r["replies"]) == 2 for r in rows)
    assert rows[1]["messages"][1]["content"] == rows[0]["replies"][0]  # it went on from the better one
    after = {p: p.stat().st_mtime_ns for p in run.rglob("*") if p.is_file() and "studio" not in p.parts}
    assert after == before  # nothing else of the run is touched
    capsys.readouterr()
    assert main(["judge", "calibrate", str(run)]) == 0
    told = capsys.readouterr().out
    assert "3" in told and "oracle" in told and "dpo" in told


def test_an_endpoint_that_fails_is_said_and_the_session_goes_on(
    browser: sync_api.Browser, run: Path, serve: Serve, endpoint: Endpoint
) -> None:
    with serve(run, endpoint.option("good", "other")) as address:
        opened = Opened(browser, address)
        view = opened.begin("chat", ["good"])
        endpoint.status, endpoint.fault = 500, "out of order"
        simulate(view)
        alert = view.locator(".reply [role=alert]")
        assert "out of order" in alert.inner_text() and "500" in alert.inner_text()
        assert view.locator(".curve-box .mark").count() == 0
        endpoint.status, endpoint.text = 200, "Here again."
        view.get_by_role("button", name="Try again").click()
        sync_api.expect(view.locator(".reply .said")).to_have_text("Here again.")
        sync_api.expect(view.locator(".curve-box .mark")).to_have_count(1)
        simulate(view)
        sync_api.expect(view.locator(".curve-box .mark")).to_have_count(2)

        assert opened.noise == []
    assert ratings(run) == []


def test_a_studio_that_is_gone_is_said(browser: sync_api.Browser, run: Path, serve: Serve) -> None:
    with serve(run) as address:
        opened = Opened(browser, address)
        view = opened.begin("chat", ["generic"])
        simulate(view)
    say(view, "are you there?")
    assert "does not answer" in view.get_by_role("alert").first.inner_text()
    assert view.locator("textarea").input_value() == "are you there?"


def make_hostile(run: Path, evil: str) -> None:
    """``evil`` in every text of the first tree, its persona and its labels."""
    for name in ("personas/personas.jsonl", "trees/trees.jsonl", "trees/labels.jsonl", "trees/disclosures.jsonl"):
        path = run / name
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        for row in rows:
            for key in ("profile", "personality", "evidence", "item"):
                if key in row:
                    row[key] = evil
            for node in row.get("nodes", ()):
                node["message"]["content"] = evil
            for judgement in row.get("judgements", ()):
                judgement["reason"] = evil
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    (run / "log.jsonl").write_text(json.dumps({"event": "stage_failed", "stage": evil, "error": evil}) + "\n")


def test_hostile_texts_are_text(browser: sync_api.Browser, run: Path, serve: Serve, endpoint: Endpoint) -> None:
    make_hostile(run, EVIL)
    endpoint.text = EVIL
    with serve(run, endpoint.option("good", "other")) as address:
        opened = Opened(browser, address)
        page = opened.page
        view = opened.begin("chat", ["good"], persona=None)
        say(view, EVIL)
        assert view.locator(".user-says").first.text_content() == EVIL
        assert view.locator(".reply .said").first.text_content() == EVIL
        endpoint.status, endpoint.fault = 400, EVIL
        say(view, "again")
        assert "<script>alert(1)" in view.locator(".reply [role=alert]").inner_text()
        view = opened.view("conversations")
        page.locator("#thread .turn").first.wait_for()
        assert page.locator("#thread .said").first.text_content() == EVIL
        assert EVIL in page.locator("#items .who").first.inner_text()
        page.fill("#q", EVIL)
        page.wait_for_timeout(500)
        assert page.locator("#items button").count() > 0
        view = opened.view("run")
        sync_api.expect(page.locator("#events")).to_contain_text("<script>alert(1)")
        assert page.locator("main img, main iframe, main script").count() == 0
        assert opened.noise == []


def test_a_message_of_a_megabyte(browser: sync_api.Browser, run: Path, serve: Serve, endpoint: Endpoint) -> None:
    endpoint.text = "word " * 200_000
    with serve(run, endpoint.option("good", "other")) as address:
        opened = Opened(browser, address)
        view = opened.begin("chat", ["good"], persona=None)
        view.locator("textarea").fill("m" * 1_000_000)
        view.get_by_role("button", name="Send").click()
        sync_api.expect(view.get_by_role("alert")).to_contain_text("write 1 to 20,000")
        assert len(view.locator("textarea").input_value()) == 1_000_000  # not lost
        say(view, "hello")
        sync_api.expect(view.locator(".reply .said")).to_have_count(1)
        assert len(view.locator(".reply .said").text_content() or "") > 15_000
        assert page_width(opened) <= 1280
        assert opened.noise == []


def page_width(opened: Opened) -> int:
    return int(opened.page.evaluate("document.documentElement.scrollWidth"))


def test_the_explorer_searches_and_opens_by_keyboard(browser: sync_api.Browser, address: str) -> None:
    opened = Opened(browser, address)
    page = opened.page
    opened.view("conversations")
    page.locator("#thread .turn").first.wait_for()
    total = page.locator("#count").inner_text()
    assert total == "12 conversations"
    page.fill("#q", "no such words anywhere")
    sync_api.expect(page.locator("#thread")).to_contain_text("Nothing matches")
    page.fill("#q", "")
    sync_api.expect(page.locator("#count")).to_have_text(total)
    page.select_option("#source", "bench-oracle")
    sync_api.expect(page.locator("#count")).to_have_text("4 conversations")
    sync_api.expect(page.locator("#thread meter").first).to_be_visible()
    page.locator("#items button").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    sync_api.expect(page.locator("#thread")).to_be_focused()
    assert page.locator("#items button[aria-current=true]").count() == 1
    assert opened.noise == []


def test_the_report_opens_in_a_sandbox_of_its_own(browser: sync_api.Browser, address: str) -> None:
    opened = Opened(browser, address)
    with opened.page.expect_popup() as waiting:
        opened.page.get_by_role("link", name="Report").click()
    report = waiting.value
    report.locator("#items button").first.wait_for()
    assert report.locator("#fig-al").count() == 1
    reached = report.evaluate("fetch('/api/run').then(() => 'reached', () => 'refused')")
    assert reached == "refused"


def test_it_opens_on_the_best_model_with_a_persona(browser: sync_api.Browser, address: str) -> None:
    opened = Opened(browser, address)
    view = opened.view("chat")
    view.locator(".who-is").wait_for()
    assert view.locator("select").input_value() == "dpo"
    assert "As persona" in view.locator(".picker").inner_text()
    view.get_by_role("button", name="Speak as myself").click()
    view.locator(".people button").first.wait_for()
    assert view.locator(".who-is").count() == 0
    assert opened.noise == []


def test_a_reload_keeps_the_talk(browser: sync_api.Browser, address: str) -> None:
    opened = Opened(browser, address)
    view = opened.begin("chat", ["generic"])
    simulate(view)
    opened.page.reload()
    sync_api.expect(view.locator(".turn")).to_have_count(1)
    view.get_by_role("button", name="New talk").click()
    sync_api.expect(view.get_by_role("button", name="Begin")).to_be_visible()
    assert opened.noise == []


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_nothing_is_wider_than_the_page(browser: sync_api.Browser, address: str, width: int) -> None:
    opened = Opened(browser, address, viewport={"width": width, "height": 844})
    for name in ("chat", "compare", "conversations", "run"):
        opened.view(name)
        opened.page.wait_for_timeout(300)
        assert page_width(opened) <= width, name
    simulate(opened.begin("compare", ["generic", "oracle"]))
    assert page_width(opened) <= width


def axe_source() -> str | None:
    places = [os.environ.get("AXE_PATH", ""), str(PROJECT / "node_modules" / "axe-core" / "axe.min.js")]
    return next((Path(p).read_text("utf-8") for p in places if p and Path(p).is_file()), None)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: sync_api.Browser, address: str, scheme: str) -> None:
    source = axe_source()
    if source is None:
        pytest.skip("no axe-core: npm install axe-core, or set AXE_PATH")

    def check(opened: Opened, what: str) -> None:
        opened.page.evaluate(source)
        found = opened.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        told = [(v["id"], v["impact"], [n["html"][:160] for n in v["nodes"][:3]]) for v in found["violations"]]
        assert [t for t in told if t[1] in ("serious", "critical", "moderate")] == [], what

    opened = Opened(browser, address, color_scheme=scheme, bypass_csp=True)
    opened.view("chat").locator(".people button").first.wait_for()
    check(opened, "setup")
    simulate(opened.begin("chat", ["dpo"]))
    check(opened, "chat")
    view = opened.begin("compare", ["dpo", "oracle"])
    simulate(view)
    check(opened, "compare")
    view.get_by_role("button", name="A is better").click()
    view.locator("meter").first.wait_for()
    check(opened, "rated")
    opened.view("conversations")
    opened.page.locator("#thread .turn").first.wait_for()
    check(opened, "conversations")
    opened.view("run")
    opened.page.wait_for_timeout(300)
    check(opened, "run")


def test_a_page_of_answers_comes_at_once(browser: sync_api.Browser, address: str) -> None:
    start = time.perf_counter()
    opened = Opened(browser, address)
    opened.page.locator(".people button").first.wait_for()
    assert time.perf_counter() - start < 3.0
