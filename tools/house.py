"""The house as text and as a picture, from the layers contract and the sources: for docs/architecture.md."""

from __future__ import annotations

import ast
import configparser
import re
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "aloe"
WIDTH, ROW, GAP, LEFT = 960, 46, 8, 20
SHADES = ("#dbe9f6", "#e4efe2", "#f5ecd9")  # what people touch, what is built, what it stands on


def layers() -> list[list[str]]:
    """The layers of ``.importlinter``, top first; siblings stand beside each other."""
    contract = configparser.ConfigParser()
    contract.read(ROOT / ".importlinter")
    lines = contract["importlinter:contract:layers"]["layers"].split("\n")
    return [[name.strip() for name in re.split(r"[|:]", line)] for line in lines if line.strip()]


def summary_of(path: Path) -> str:
    """First sentence of a module's docstring."""
    doc = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    first = re.split(r"(?<=\.)\s", " ".join(doc.split("\n\n")[0].split()), maxsplit=1)[0].replace("``", "").rstrip(".")
    return first if len(first) <= 105 else first[:102].rsplit(" ", 1)[0] + " ..."


def code_map() -> str:
    """One line a file, packages in the order of the layers."""
    lines = ["```text"]
    for name in (name for layer in layers() for name in layer):
        if (file := PACKAGE / f"{name}.py").is_file():
            lines.append(f"{file.name:<26} {summary_of(file)}")
        elif (PACKAGE / name).is_dir():
            lines += _folder(PACKAGE / name, "")
    return "\n".join([*lines, "```"])


def _folder(folder: Path, indent: str) -> list[str]:
    lines = [f"{indent}{folder.name + '/':<{26 - len(indent)}} {summary_of(folder / '__init__.py')}".rstrip()]
    indent += "  "
    for file in sorted(folder.glob("*.py")):
        if file.name != "__init__.py":
            lines.append(f"{indent}{file.name:<{26 - len(indent)}} {summary_of(file)}")
    for inner in sorted(p for p in folder.iterdir() if (p / "__init__.py").is_file()):
        if any(f.name != "__init__.py" for f in inner.glob("*.py")):
            lines += _folder(inner, indent)
    return lines


def _n_lines(name: str) -> int:
    files = [PACKAGE / f"{name}.py"] if (PACKAGE / f"{name}.py").is_file() else (PACKAGE / name).rglob("*.py")
    return sum(len(f.read_text("utf-8").splitlines()) for f in files)


def picture() -> str:
    """The layers as an SVG: a box a package, an arrow for the one direction of imports."""
    rows = layers()
    height = len(rows) * (ROW + GAP) + 2 * LEFT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="system-ui, sans-serif" role="img" aria-label="The layers of aloe; imports point down">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        '<defs><marker id="head" viewBox="0 0 10 10" refX="5" refY="10" markerWidth="7" markerHeight="7" '
        'orient="0"><path d="M0 0 L5 10 L10 0 z" fill="#555555"/></marker></defs>',
        f'<line x1="{WIDTH - 30}" y1="{LEFT}" x2="{WIDTH - 30}" y2="{height - LEFT - 8}" stroke="#555555" '
        'stroke-width="2" marker-end="url(#head)"/>',
        f'<text x="{WIDTH - 14}" y="{height / 2}" font-size="13" fill="#555555" text-anchor="middle" '
        f'transform="rotate(90 {WIDTH - 14} {height / 2})">imports point down</text>',
    ]
    for place, names in enumerate(rows):
        y = LEFT + place * (ROW + GAP)
        shade = SHADES[0 if place < 4 else 1 if place < 10 else 2]
        room = (WIDTH - 2 * LEFT - 40 - GAP * (len(names) - 1)) / len(names)
        for at, name in enumerate(names):
            x = LEFT + at * (room + GAP)
            parts.append(
                f'<rect x="{x:.1f}" y="{y}" width="{room:.1f}" height="{ROW}" rx="5" fill="{shade}" stroke="#8899aa"/>'
            )
            parts.append(
                f'<text x="{x + 12:.1f}" y="{y + 19}" font-size="14" font-weight="600" fill="#1d2733">{name}</text>'
            )
            place_of = PACKAGE / f"{name}.py" if (PACKAGE / f"{name}.py").is_file() else PACKAGE / name / "__init__.py"
            text = _fitted(summary_of(place_of), room)
            parts.append(f'<text x="{x + 12:.1f}" y="{y + 36}" font-size="11" fill="#44505c">{escape(text)}</text>')
            if room > 200:
                size = f"{_n_lines(name):,} lines"
                parts.append(
                    f'<text x="{x + room - 10:.1f}" y="{y + 19}" font-size="11" fill="#66737f" '
                    f'text-anchor="end">{size}</text>'
                )
    return "\n".join([*parts, "</svg>", ""])


def _fitted(text: str, room: float) -> str:
    """As much of a sentence as a box has room for."""
    n = int((room - 20) / 5.6)
    return text if len(text) <= n else text[: max(0, n - 1)].rsplit(" ", 1)[0] + " …"
