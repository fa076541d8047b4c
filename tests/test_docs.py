"""README and docs name only what exists: files, modules, commands, options, sections of the config, links."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import aloe
from aloe.bench import suites
from aloe.cli.commands import NAMES, find, load
from aloe.cli.main import command_parser
from aloe.cli.parser import Parser
from aloe.config import Config, fields
from aloe.models import registry
from aloe.models.uri import MEMORY_PLUG_INS
from aloe.rl import rewards
from aloe.training import methods

PACKAGE = Path(aloe.__file__).parent
ROOT = PACKAGE.parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
OPTIONS = {name for name, _ in fields(Config)}
SECTIONS = {name.partition(".")[0] for name in OPTIONS if "." in name}
OPTION = re.compile(r"(?<![\w-])--([A-Za-z][\w.-]*)")
FILE = re.compile(
    r"(?<![\w/.:-])(?:[\w-]+/)*[\w-]+\.(?:py|jinja|js|css)\b|(?<![\w/.:-])(?:[\w-]+/)+[\w-]+\.(?:md|txt)\b"
)
NO_MODULES = {"aloe.json", MEMORY_PLUG_INS, registry.ENTRY_POINTS, methods.ENTRY_POINTS, suites.ENTRY_POINTS}
NO_MODULES |= {rewards.ENTRY_POINTS}
GENERATED = {"json", "jsonl", "parquet", "toml", "txt", "html", "sqlite", "summary"}  # after a stage's name: no option

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def codes(page: Path) -> list[str]:
    """What stands in code type on a page: inline, or a line of a block (those that a backslash continues in one)."""
    text = page.read_text("utf-8").replace("\\\n", " ").replace("\\|", "|")
    fenced = "\n".join(re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
    plain = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    indented = re.findall(r"(?:^|\n\n)((?: {4}.+\n?)+)", plain)
    lines = [line.split("  #")[0].strip() for block in (fenced, *indented) for line in block.splitlines()]
    inline = [" ".join(code.split()) for code in re.findall(r"`([^`\n]+(?:\n[^`\n]+)?)`", plain)]
    return [*inline, *filter(None, lines)]


@cache
def own_options(command: str) -> dict[str, set[str]]:
    """The options of a command by its verb ('' = those without one)."""
    parser = command_parser(load(find(command)))
    found = {"": set(parser._option_string_actions)}
    for action in parser._actions:
        if isinstance(action.choices, dict):
            found |= {
                verb: set(p._option_string_actions) for verb, p in action.choices.items() if isinstance(p, Parser)
            }
    return found


@cache
def all_own_options() -> set[str]:
    scripts = "".join(f.read_text("utf-8") for f in sorted((ROOT / "benchmarks").glob("*.py")))
    benchmarks = set(re.findall(r'add_argument\(\s*"(--[\w-]+)"', scripts))
    return {option for name in NAMES for options in own_options(name).values() for option in options} | benchmarks


def is_option_of_the_config(name: str) -> bool:
    section, dot, field = name.partition(".")
    return name in OPTIONS or (not dot and name in SECTIONS) or (section == "roles" and f"roles.{field}" in OPTIONS)


def unknown_in_command(words: list[str]) -> Iterator[str]:
    """What a line that calls aloe names in vain: the command, its verb, options."""
    command, rest = words[1], words[2:]
    if command.isupper() or command.startswith("-"):
        return
    if command not in NAMES:
        yield f"command {command}"
        return
    options = own_options(command)
    verbs = set(options) - {""}
    named = [word for word in (rest[0].split("|") if verbs and rest else []) if word not in ("...", "--help")]
    yield from (f"verb {verb} of aloe {command}" for verb in named if verb not in verbs)
    known = options[""].union(*(options[verb] for verb in named if verb in verbs))
    for option in OPTION.findall(" ".join(rest)):
        if not option.isupper() and f"--{option}" not in known and not is_option_of_the_config(option):
            yield f"option --{option} of aloe {command}"


@each_page
def test_commands_and_their_options_exist(page: Path) -> None:
    unknown = []
    for code in codes(page):
        words = code.removeprefix("$ ").removeprefix(".venv/bin/").split()
        if words[0] == "aloe" and len(words) > 1:
            unknown += unknown_in_command(words)
        elif match := re.search(r"python (benchmarks/\w+\.py)", code):
            script = (ROOT / match.group(1)).read_text("utf-8")
            unknown += [f"{code}: --{option}" for option in OPTION.findall(code) if f'"--{option}"' not in script]
        elif code.startswith("--"):
            unknown += [
                f"option --{option}"
                for option in OPTION.findall(code)
                if f"--{option}" not in all_own_options() and not is_option_of_the_config(option)
                if option != "SECTION.OPTION"
            ]
    assert not unknown


@each_page
def test_options_of_the_config_exist(page: Path) -> None:
    named = {match for code in codes(page) for match in re.findall(r"(?<![\w./:-])([a-z]+\.[a-z_]+)\b(?![/.(*])", code)}
    found = {name for name in named if name.partition(".")[0] in SECTIONS}
    assert not {n for n in found if n not in OPTIONS and n.partition(".")[2] not in {*GENERATED, "py", "md"}}


def missing(texts: Iterable[str], beside: Path) -> set[str]:
    """The files that ``texts`` name in vain; a bare name may stand for a file anywhere. NAME.py is a placeholder."""
    named = {path for text in texts for path in FILE.findall(text) if not re.search(r"\b[A-Z]{3,}\b", path)}
    return {
        path
        for path in named
        if not any((place / path).exists() for place in (ROOT, PACKAGE, beside))
        if "/" in path or path not in all_names()
    }


@cache
def all_names() -> set[str]:
    folders = ("src", "tests", "benchmarks", "tools", "examples")
    return {file.name for folder in folders for file in (ROOT / folder).rglob("*") if file.is_file()}


@each_page
def test_files_exist(page: Path) -> None:
    assert not missing(codes(page), page.parent)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "SECURITY.md"], ids=lambda page: page.name)
def test_tests_that_a_page_names_exist(page: Path) -> None:
    named = re.findall(r"(tests/[\w/]+\.py)::(\w+)", page.read_text("utf-8"))
    assert not [f"{file}::{name}" for file, name in named if name not in functions(ROOT / file)]


@cache
def functions(file: Path) -> set[str]:
    body = ast.parse(file.read_text("utf-8")).body if file.is_file() else []
    return {node.name for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_the_reference_of_options_is_that_of_the_config() -> None:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "tools" / "reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = re.search(
        r"<!-- reference -->\n(.*)\n<!-- /reference -->", (ROOT / "docs" / "configuration.md").read_text(), re.S
    )
    assert found is not None and found.group(1) == module.reference(), "'make readme' renews it"


def test_every_line_of_the_faults_names_a_test() -> None:
    lines = [line for line in (ROOT / "docs" / "faults.md").read_text("utf-8").splitlines() if line.startswith("| ")]
    rows = [line for line in lines if not line.startswith("| seen ")]
    assert len(rows) > 50 and not [row for row in rows if "::test_" not in row]


def test_floors_of_dependencies_exclude_known_weaknesses() -> None:
    """Each of these was weak in what a hostile endpoint, prompt or folder can reach."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["embed"]]
    floors = {(r := Requirement(line)).name: r.specifier for line in wanted}
    for name, weak in (("aiohttp", "3.13.2"), ("jinja2", "3.1.5"), ("sentence-transformers", "5.9")):
        assert not floors[name].contains(weak), name


def test_files_that_the_sources_name_exist() -> None:
    texts = {file: file.read_text("utf-8") for file in sorted(PACKAGE.rglob("*.py"))}
    found = {file.name: missing(re.findall(r"``([^`\n]+)``", text), file.parent) for file, text in texts.items()}
    assert not {name: paths for name, paths in found.items() if paths}


@each_page
def test_modules_exist(page: Path) -> None:
    named = {match for code in codes(page) for match in re.findall(r"(?<![\w./-])aloe(?:\.\w+)+\b(?!/)", code)}
    assert not {name for name in named if name not in NO_MODULES and not exists(name)}


def exists(name: str) -> bool:
    """Whether a dotted name is a module, or a name at the top of one; nothing is imported."""
    above, _, last = name.rpartition(".")
    if source(name):
        return True
    file = source(above)
    body = ast.parse(file.read_text("utf-8")).body if file else []
    imported = {a.asname or a.name for node in body if isinstance(node, ast.ImportFrom) for a in node.names}
    defined = {getattr(node, "name", None) for node in body}
    return last in imported | defined | set(getattr(sys.modules.get(above), "__all__", ()))


def source(name: str) -> Path | None:
    """The file of a module or package."""
    place = PACKAGE.parent.joinpath(*name.split("."))
    return next((f for f in (place.with_suffix(".py"), place / "__init__.py") if f.is_file()), None)


def anchors(page: Path) -> set[str]:
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not link.startswith("http") and (not target.exists() or (anchor and anchor not in anchors(target))):
            broken.append(link)
    assert not broken


def test_the_log_of_experiments_has_every_question_in_its_index() -> None:
    text = (ROOT / "docs" / "experiments.md").read_text("utf-8")
    listed = re.findall(r"^- \[(.+)\]\(#", text.split("<!-- /index -->")[0], re.MULTILINE)
    questions = re.findall(r"^### (.+)$", text, re.MULTILINE)
    assert questions and listed == questions, "'make readme' (tools/update_docs.py) renews the index"


def test_every_page_has_its_place_in_the_sites_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text("utf-8")
    listed = set(re.findall(r"^ +- [^:\n]+: ([\w-]+\.md)$", text, re.MULTILINE))
    assert {page.name for page in (ROOT / "docs").rglob("*.md")} <= listed


def test_the_version_is_the_same_wherever_it_is_written() -> None:
    cited = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text("utf-8"), re.MULTILINE)
    released = re.search(r"^## (\S+)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert cited is not None and released is not None
    assert aloe.__version__ == cited.group(1) == released.group(1)


def test_extras_are_what_a_user_needs_and_groups_what_a_developer_needs() -> None:
    """An extra stands on the package's page for ever; whoever works on aloe installs a group from a clone."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert set(project["project"]["optional-dependencies"]) == {"train", "smollm2", "embed", "pii", "plots", "ray"}
    assert {"test", "docs", "build", "peers", "dev"} <= set(project["dependency-groups"])
    elsewhere = [
        p for p in (*PAGES, ROOT / "CITATION.cff", ROOT / "mkdocs.yml") if "example.org" in p.read_text("utf-8")
    ]
    assert not elsewhere  # the project's addresses stand in one place
