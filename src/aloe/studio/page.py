"""The studio's page: the report's script and style plus its own, so that both look alike."""

from __future__ import annotations

from importlib import resources

from aloe.report.figures import DARK, LIGHT, STYLE

REPORT_SCRIPTS = ("figures.js", "thread.js", "explorer.js")
OWN_SCRIPTS = ("common.js", "panel.js", "talk.js", "browse.js")


def assets() -> dict[str, tuple[bytes, str]]:
    """Everything that the page consists of, by path: (content, media type)."""
    style = f":root{{{LIGHT}}}@media (prefers-color-scheme:dark){{:root{{{DARK}}}}}:root[data-theme=light]{{{LIGHT}}}"
    style += f":root[data-theme=dark]{{{DARK}}}{STYLE}{_read('aloe.report', 'style.css')}"
    style += _read("aloe.studio", "studio.css")
    parts = [_read("aloe.report", name) for name in REPORT_SCRIPTS]
    parts += [_read("aloe.studio", name) for name in OWN_SCRIPTS]
    return {
        "/": (_read("aloe.studio", "page.html").encode(), "text/html"),
        "/studio.css": (style.encode(), "text/css"),
        "/studio.js": ("\n".join(parts).encode(), "text/javascript"),
    }


def _read(package: str, name: str) -> str:
    return resources.files(package).joinpath("templates", name).read_text("utf-8")
