"""Lays out the pages of the docs site in a folder: README as its front page, docs, policies, the library's reference.

``python tools/site_pages.py FOLDER``; `make docs` then builds the site from them. Links between pages are kept as they
are in the repository, so that both places work; links to sources become code, since the site has no sources.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOP = {
    "README.md": "index.md",
    "SECURITY.md": "security.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "CODE_OF_CONDUCT.md": "code-of-conduct.md",
}
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
#: Modules whose public names the site's reference shows, by what they are for.
REFERENCE: dict[str, tuple[str, ...]] = {
    "Functions": (
        "aloe.api.measuring",
        "aloe.api.simulator",
        "aloe.api.trees",
        "aloe.api.training",
        "aloe.api.personas",
    ),
    "Types and protocols": ("aloe.types", "aloe.protocols", "aloe.errors"),
    "Configuration and runs": ("aloe.config", "aloe.store.rundir", "aloe.store.records", "aloe.stages.pipeline"),
    "Models and calls": ("aloe.models.registry", "aloe.models.caller", "aloe.models.server"),
    "Benchmark and metrics": ("aloe.bench.metrics", "aloe.bench.compare", "aloe.bench.offline"),
    "Training": ("aloe.training",),
    "Report": ("aloe.report.build",),
}


def rewritten(text: str, page: Path) -> str:
    """The page with its links as the site lays them out.

    Args:
        page: where the text stands in the repository.
    """

    def link(match: re.Match[str]) -> str:
        mark, label, target = match.groups()
        path, hash_, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target) or not path:
            return match[0]
        found = (page.parent / path).resolve()
        if found.parent == ROOT and found.name in TOP:
            return f"{mark}[{label}]({TOP[found.name]}{hash_}{anchor})"
        if found.is_relative_to(ROOT / "docs"):
            return f"{mark}[{label}]({found.relative_to(ROOT / 'docs')}{hash_}{anchor})"
        return label if "`" in label else f"`{label}`"

    # Blocks of code hold no links; a `[^` in them would be taken for one.
    parts = re.split(r"(^```.*?^```)", text, flags=re.DOTALL | re.MULTILINE)
    return "".join(part if part.startswith("```") else LINK.sub(link, part) for part in parts)


def reference() -> str:
    """The page that mkdocstrings fills in."""
    lines = [
        "# Library reference",
        "",
        "From the docstrings of the sources; names that begin with `_` are not public.",
        "",
    ]
    for title, modules in REFERENCE.items():
        lines += [f"## {title}", ""]
        lines += [f"::: {name}\n" for name in modules]
    return "\n".join(lines)


def write_pages(folder: Path) -> list[Path]:
    """Write all pages into an empty ``folder``; returns them."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    sources = {ROOT / name: folder / to for name, to in TOP.items()}
    sources |= {page: folder / page.relative_to(ROOT / "docs") for page in sorted((ROOT / "docs").rglob("*.md"))}
    for page, to in sources.items():
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_text(rewritten(page.read_text("utf-8"), page), "utf-8")
    shutil.copytree(ROOT / "docs" / "figures", folder / "figures")
    (folder / "library-reference.md").write_text(reference(), "utf-8")
    return [*sources.values(), folder / "library-reference.md"]


if __name__ == "__main__":
    print(f"{len(write_pages(Path(sys.argv[1])))} pages")
