"""The house: imports point down only, and the contract that says so can go red."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from statistics import median

import grimp
import pytest

import aloe
from aloe.stages.table import STAGES, stage_by_name
from aloe.training.methods import CHECKPOINTS, METHODS

ROOT = Path(aloe.__file__).parents[2]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """The import contracts, held against the copy of the sources in ``folder``."""
    shutil.copytree(ROOT / "src" / "aloe", folder / "aloe", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".importlinter", folder)
    return run_linter(folder)


def run_linter(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "import sys; from importlinter.cli import lint_imports_command as c; c()"]
    return subprocess.run(
        [*command, "--no-cache"],
        cwd=folder,
        env={"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("house")
    found = lint(folder)
    assert found.returncode == 0, found.stdout + found.stderr
    return folder


@pytest.mark.parametrize(
    ("file", "line", "said"),
    [
        ("stages/context.py", "from aloe.cli import parser", "aloe.stages is not allowed to import aloe.cli"),
        ("bench/metrics.py", "from aloe.export import select", "aloe.bench is not allowed to import aloe.export"),
        ("loose.py", "import json", "aloe.loose"),  # a module at the top that no layer names
    ],
)
def test_a_forbidden_import_turns_the_contract_red(copy: Path, file: str, line: str, said: str) -> None:
    place = copy / "aloe" / file
    before = place.read_text("utf-8") if place.is_file() else None
    place.write_text((before or "") + f"\n{line}\n", "utf-8")
    try:
        found = run_linter(copy)
    finally:
        if before is None:
            place.unlink()
        else:
            place.write_text(before, "utf-8")
    assert found.returncode != 0
    assert said in found.stdout + found.stderr


def test_every_stage_of_the_table_can_be_loaded() -> None:
    for stage in STAGES:
        assert callable(stage.load())
        assert all(stage_by_name(name) for name in stage.needs)


def test_every_training_method_is_a_stage_and_names_its_checkpoints() -> None:
    for method in METHODS:
        assert stage_by_name(method.name).needs == method.needs
        assert callable(method.load()) and method.section_type().model_fields
        assert set(method.leaves) <= set(CHECKPOINTS)
        assert method.start in CHECKPOINTS


def test_no_module_is_in_a_circle_of_imports() -> None:
    graph = grimp.build_graph("aloe", cache_dir=None)
    above: dict[str, set[str]] = {m: graph.find_modules_directly_imported_by(m) & graph.modules for m in graph.modules}
    while free := [module for module, needed in above.items() if not needed]:  # take away what stands on nothing more
        for module in free:
            del above[module]
        for needed in above.values():
            needed -= set(free)
    assert not above, f"these import each other, directly or not: {sorted(above)}"


DATA = {"traits.py", "slots.py", "topics.py", "values.py"}  # of the world's lexicon: words, no code


def test_files_and_functions_keep_their_size() -> None:
    files = sorted((ROOT / "src" / "aloe").rglob("*.py"))
    sizes = {f: len(f.read_text("utf-8").splitlines()) for f in files if f.name != "__init__.py"}
    assert median(sizes.values()) <= 170
    assert not {f.name: n for f, n in sizes.items() if n > 450 and f.name not in DATA}
    long = [
        f"{file.name}:{node.name}"
        for file in files
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (node.end_lineno or 0) - node.lineno >= 80
    ]
    assert not long


def test_the_top_of_the_package_holds_packages_and_leaves_only() -> None:
    loose = {f.stem for f in (ROOT / "src" / "aloe").glob("*.py")}
    assert loose == {"__init__", "__main__", "types", "errors", "seeding", "progress", "protocols"}


def test_a_class_has_a_name_of_its_own() -> None:
    trees = (ast.parse(f.read_text("utf-8")) for f in sorted((ROOT / "src" / "aloe").rglob("*.py")))
    names = Counter(node.name for tree in trees for node in tree.body if isinstance(node, ast.ClassDef))
    assert not [name for name, n in names.items() if n > 1]
