"""Stills of report and studio for README and docs, from a real run: ``python tools/stills.py RUN FOLDER``.

Writes ``report.png`` (the first screen) and ``studio.png`` (three turns with the model trained last; the user
simulator writes them) into FOLDER. Needs Debian's chromium, or CHROMIUM with the path of another one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, expect, sync_playwright

from aloe.report.build import build_report

SIZE = {"width": 1280, "height": 900}
N_TURNS = 3
PATIENCE_MS = 600_000  # a busy machine decodes slowly


@contextmanager
def studio(run: Path) -> Iterator[str]:
    """``aloe studio RUN`` on a free port; yields the address that it prints."""
    command = [sys.executable, "-m", "aloe", "studio", str(run), "--port", "0", "--patience", "600"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = next(line for line in process.stdout if "http://" in line)
        yield next(word for word in line.split() if word.startswith("http://"))
    finally:
        process.terminate()
        process.wait(timeout=20)


def report_still(browser: Browser, run: Path, out: Path) -> None:
    page = browser.new_page(viewport=SIZE, color_scheme="light")
    page.goto(build_report(run).as_uri())
    page.locator("#fig-al").wait_for()
    page.screenshot(path=out)


def studio_still(browser: Browser, address: str, out: Path) -> None:
    page = browser.new_page(viewport=SIZE, color_scheme="light")
    page.set_default_timeout(PATIENCE_MS)
    page.goto(f"{address}#chat")
    view = page.locator("[data-view=chat]")
    view.locator(".who-is").wait_for()
    view.get_by_role("button", name="Begin").click()
    for turn in range(1, N_TURNS + 1):
        view.get_by_role("button", name="Let the simulator write").click()
        expect(view.locator("textarea")).not_to_have_value("", timeout=PATIENCE_MS)
        view.get_by_role("button", name="Send").click()
        expect(view.locator(".reply .score")).to_have_count(turn, timeout=PATIENCE_MS)
        expect(view.get_by_role("button", name="Send")).to_be_enabled(timeout=PATIENCE_MS)
    page.screenshot(path=out)


def main() -> None:
    run, folder = Path(sys.argv[1]), Path(sys.argv[2])
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        report_still(browser, run, folder / "report.png")
        with studio(run) as address:
            studio_still(browser, address, folder / "studio.png")
        browser.close()


if __name__ == "__main__":
    main()
