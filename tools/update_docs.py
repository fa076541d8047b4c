"""Fill README and docs from a finished run and from the sources: ``make readme``.

In the README figures stand between ``<!-- figures -->`` and ``<!-- /figures -->``, examples between their names; in
docs/architecture.md the map of the code stands between ``<!-- map -->`` and ``<!-- /map -->``, and its picture of the
layers is drawn anew; in docs/configuration.md the options stand between ``<!-- reference -->`` and
``<!-- /reference -->``; in docs/experiments.md the index of the questions stands between ``<!-- index -->`` and
``<!-- /index -->``. Nothing else is touched. Without a run (``python update_docs.py``) the README's figures stay.
"""

from __future__ import annotations

import io
import re
import shutil
import sys
import tempfile
from pathlib import Path

from house import code_map, picture
from reference import reference
from rich.console import Console

from aloe.bench.compare import tabled
from aloe.cli.tables import load_results, results_table
from aloe.report.build import write_figures
from aloe.store.rundir import RunDir

ROOT = Path(__file__).resolve().parent.parent


def figures(run: Path) -> str:
    """The headline table of a run as text."""
    run_dir = RunDir(run)
    config = run_dir.load_config()
    console = Console(file=io.StringIO(), width=120, highlight=False, force_terminal=False)
    found = [(run_dir.stage_dir("bench") / r.model, r) for r in load_results(run_dir)]
    plain, guarded, _ = tabled(found)
    console.print(results_table(plain, guarded))
    seconds = sum(s["seconds"] for s in run_dir.manifest()["stages"].values())
    text = console.file.getvalue()  # type: ignore[attr-defined]
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    head = f"$ make run          # seed {config.seed}, {seconds:.0f} s on two CPU cores after installation"
    return "\n".join(["```text", head, "", *lines, "```"])


def fill(text: str, mark: str, body: str) -> str:
    """``text`` with what stands between the marks replaced by ``body``."""
    pattern = re.compile(rf"<!-- {mark} -->.*?<!-- /{mark} -->", re.DOTALL)
    if not pattern.search(text):
        raise SystemExit(f"there is no <!-- {mark} --> ... <!-- /{mark} -->")
    return pattern.sub(lambda _: f"<!-- {mark} -->\n{body}\n<!-- /{mark} -->", text)


def example(name: str) -> str:
    """An example's code, without its docstring."""
    text = (ROOT / "examples" / f"{name}.py").read_text("utf-8")
    return f"```python\n{text.split(chr(34) * 3, 2)[2].strip()}\n```"


def anchor(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def question_index(text: str) -> str:
    """Links to the third-level headings of a page, below the second-level heading that each stands under."""
    lines = [""]
    for mark, heading in re.findall(r"^(###?) (.+)$", text, re.MULTILINE):
        lines.append(heading if mark == "##" else f"- [{heading}](#{anchor(heading)})")
    kept = []  # headings without a question are not listed
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith("- "):
            kept.append(line)
        elif following.startswith("- "):
            kept += ["", f"**{line}**", ""]
    return "\n".join([*kept, ""])


def main() -> None:
    readme, house, log = ROOT / "README.md", ROOT / "docs" / "architecture.md", ROOT / "docs" / "experiments.md"
    house.write_text(fill(house.read_text("utf-8"), "map", code_map()), "utf-8")
    options = ROOT / "docs" / "configuration.md"
    options.write_text(fill(options.read_text("utf-8"), "reference", reference()), "utf-8")
    entries = log.read_text("utf-8")
    log.write_text(fill(entries, "index", question_index(entries)), "utf-8")
    (ROOT / "docs" / "figures" / "layers.svg").write_text(picture(), "utf-8")
    text = readme.read_text("utf-8")
    for name in ("build_trees", "train_dpo"):
        text = fill(text, name, example(name))
    if len(sys.argv) > 1:
        with tempfile.TemporaryDirectory() as folder:  # of all the report's figures those that the docs show
            write_figures(Path(sys.argv[1]), Path(folder))
            for shown in (ROOT / "docs" / "figures").glob("*.svg"):
                if (Path(folder) / shown.name).is_file():  # the picture of the layers is no run's
                    shutil.copyfile(Path(folder) / shown.name, shown)
        text = fill(text, "figures", figures(Path(sys.argv[1])))
    readme.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
