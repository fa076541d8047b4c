"""The table of commands and their help: held against the modules, grouped, short by default and light to load."""

from __future__ import annotations

import subprocess
import sys
from argparse import SUPPRESS
from pathlib import Path

import pytest

import aloe.cli
from aloe.__main__ import main
from aloe.cli.commands import GROUPS, ROWS, Row, load
from aloe.cli.main import command_parser, main_help, parse
from aloe.config import Config, fields
from aloe.errors import ConfigError
from aloe.stages.table import STAGES, stage_help


def help_of(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    capsys.readouterr()
    assert main(list(argv)) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_says_what_its_module_says(row: Row) -> None:
    command = load(row)
    assert (row.name, row.group, row.help) == (command.NAME, command.GROUP, command.HELP)
    assert command.GROUP in GROUPS and callable(command.run)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_argument_is_explained(row: Row) -> None:
    pending = [command_parser(load(row))]
    for parser in pending:
        for action in parser._actions:
            assert action.help is not SUPPRESS
            if isinstance(action.choices, dict):  # verbs
                pending += action.choices.values()
            else:
                assert action.help, f"{parser.prog}: {action.option_strings or action.dest}"
        assert parser.format_help()


def test_every_module_of_a_command_has_a_row() -> None:
    folder = Path(aloe.cli.__file__).parent
    commands = {path.stem for path in folder.glob("*.py") if "\nNAME = " in path.read_text("utf-8")}
    assert commands <= {row.module for row in ROWS}
    assert [row.name for row in ROWS if row.name in stage_help()] != [] and len({r.name for r in ROWS}) == len(ROWS)
    assert {stage.name for stage in STAGES} < {row.name for row in ROWS}


def test_help_lists_every_command_once_below_its_group() -> None:
    blocks = {block.partition(":")[0]: block for block in main_help().split("\n\n")}
    assert list(GROUPS) == [name for name in blocks if name in GROUPS]
    for row in ROWS:
        holding = [name for name, block in blocks.items() if f"\n  {row.name} " in block and row.help in block]
        assert holding == [row.group]


@pytest.mark.parametrize("stage", ["run", *stage_help()])
def test_help_of_a_stage_is_short_and_help_all_is_whole(stage: str, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"--{name} " for name, _ in fields(Config)]
    short, whole = help_of(capsys, stage, "--help"), help_of(capsys, stage, "--help-all")
    short = "\n".join(line for line in short.splitlines() if not line.startswith("example: "))
    assert "--out DIR" in short and f"aloe {stage} --help-all" in short
    assert len(short.splitlines()) < 60
    assert [name for name in names if "." in name and name in short] == []
    assert [name for name in names if name not in whole] == []
    own = [name for name in names if name.startswith(f"--{stage}.")]
    assert all(f"[{stage}]" in short and whole.index(name) < whole.index("--seed int") for name in own)


def test_bench_shows_its_own_flags_first(capsys: pytest.CaptureFixture[str]) -> None:
    text = help_of(capsys, "bench", "--help-all")
    order = [text.index(f"  {flag}") for flag in ("--model", "--judge", "--out", "--bench.models", "--sft.model")]
    assert order == sorted(order)


def test_help_and_version_import_nothing_that_takes_time() -> None:
    code = (
        "import sys, aloe.__main__ as m; m.main(['--help']); m.main(['--version']);"
        "print(sorted({n.partition('.')[0] for n in sys.modules} & {'pydantic', 'numpy', 'aiohttp', 'rich', 'jinja2',"
        "'pyarrow', 'asyncio', 'argcomplete', 'torch'}), [n for n in sys.modules if n.startswith('aloe.cli.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    own = ["aloe.cli." + name for name in ("main", "commands", "parser", "options_help", "screen")]
    heavy, _, modules = done.stdout.strip().splitlines()[-1].partition("] ")
    assert heavy == "[" and set(eval(modules)) == set(own)


def test_options_of_the_config_stand_anywhere() -> None:
    for argv in (
        ["--seed", "1", "demo", "--out", "o", "--trees.n-turns=3"],
        ["demo", "--trees.n_turns", "3", "--seed=1", "--out=o"],
    ):
        _, options, overrides = parse(["trees", *argv])
        assert (options.recipe, options.out) == ("demo", "o")
        assert overrides == {"seed": 1, "trees": {"n_turns": 3}}
    _, options, overrides = parse(["pool", "calibrate", "--keep", "0.5", "--roles.writer", "openai:x", __file__])
    assert (str(options.file), options.keep, overrides) == (__file__, 0.5, {"roles": {"writer": "openai:x"}})


def test_an_abbreviated_option_keeps_its_value() -> None:
    _, options, _ = parse(["import", __file__, "--ou", "somewhere"])
    assert str(options.out) == "somewhere"
    with pytest.raises(ConfigError, match=r"unknown option --ou \(did you mean '--out'\?\)"):
        parse(["run", "demo", "--ou", "somewhere"])  # where the config's options count, names are written in full
