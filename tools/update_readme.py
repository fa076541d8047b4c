"""Fill the README's figures and code map from a finished run and from the sources: ``make readme``.

Figures stand between ``<!-- figures -->`` and ``<!-- /figures -->``, the map of the code between ``<!-- map -->``
and ``<!-- /map -->``; nothing else is touched.
"""

from __future__ import annotations

import ast
import io
import re
import shutil
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from aloe.cli.tables import load_results, results_table
from aloe.report.build import write_figures
from aloe.store.rundir import RunDir

ROOT = Path(__file__).resolve().parent.parent


def figures(run: Path) -> str:
    """The headline table of a run as text."""
    run_dir = RunDir(run)
    config = run_dir.load_config()
    console = Console(file=io.StringIO(), width=120, highlight=False, force_terminal=False)
    console.print(results_table(load_results(run_dir)))
    seconds = sum(s["seconds"] for s in run_dir.manifest()["stages"].values())
    text = console.file.getvalue()  # type: ignore[attr-defined]
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    head = f"$ make run          # seed {config.seed}, {seconds:.0f} s on two CPU cores after installation"
    return "\n".join(["```text", head, "", *lines, "```"])


def summary_of(path: Path) -> str:
    """First sentence of a module's docstring."""
    doc = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    first = re.split(r"(?<=\.)\s", " ".join(doc.split("\n\n")[0].split()), maxsplit=1)[0].replace("``", "").rstrip(".")
    return first if len(first) <= 105 else first[:102].rsplit(" ", 1)[0] + " ..."


def code_map() -> str:
    """One line per file, in the order of the layers."""
    package = ROOT / "src" / "aloe"
    order = [
        "",
        "prompts",
        "models",
        "world",
        "personas",
        "dialogue",
        "export",
        "training",
        "bench",
        "report",
        "studio",
    ]
    lines = ["```text"]
    for folder in order:
        files = sorted((package / folder).glob("*.py"))
        shown = [f for f in files if f.name != "__init__.py"]
        if shown and folder:
            lines.append(f"{folder}/")
        indent = "  " if folder else ""
        lines += [f"{indent}{f.name:<{24 - len(indent)}} {summary_of(f)}" for f in shown]
    return "\n".join([*lines, "```"])


def fill(text: str, mark: str, body: str) -> str:
    """``text`` with what stands between the marks replaced by ``body``."""
    pattern = re.compile(rf"<!-- {mark} -->.*?<!-- /{mark} -->", re.DOTALL)
    if not pattern.search(text):
        raise SystemExit(f"README.md has no <!-- {mark} --> ... <!-- /{mark} -->")
    return pattern.sub(lambda _: f"<!-- {mark} -->\n{body}\n<!-- /{mark} -->", text)


def example(name: str) -> str:
    """An example's code, without its docstring."""
    text = (ROOT / "examples" / f"{name}.py").read_text("utf-8")
    return f"```python\n{text.split(chr(34) * 3, 2)[2].strip()}\n```"


def main() -> None:
    readme = ROOT / "README.md"
    text = fill(readme.read_text("utf-8"), "map", code_map())
    for name in ("build_trees", "train_dpo"):
        text = fill(text, name, example(name))
    if len(sys.argv) > 1:
        with tempfile.TemporaryDirectory() as folder:  # of all the report's figures those that the docs show
            write_figures(Path(sys.argv[1]), Path(folder))
            for shown in (ROOT / "docs" / "figures").glob("*.svg"):
                shutil.copyfile(Path(folder) / shown.name, shown)
        text = fill(text, "figures", figures(Path(sys.argv[1])))
    readme.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
