"""What newcomers get wrong: one clear line, an exit code, and nothing of a run is harmed."""

from __future__ import annotations

from pathlib import Path

import pytest

from aloe.__main__ import main
from aloe.training.data import find_files
from helpers import aloe

PEOPLE = ("--personas.n_profiles=30", "--personas.n_personas=16", "--personas.n_bench_profiles=6")
SMALL = (*PEOPLE, "--personas.n_bench=6", "--trees.n_turns=3", "--trees.n_trees=4", "--execution.outage_minutes=0.01")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("mistakes") / "run"
    assert main(["export", "demo", "--out", str(out), "-q", *SMALL]) == 0
    return out


def said(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str]:
    """Exit code and the one line on stderr."""
    capsys.readouterr()
    code = main([str(a) for a in arguments])
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1, errors
    return code, errors[0]


def test_a_stage_that_is_none_never_gets_into_a_run(run: Path, tmp_path: Path, capsys) -> None:
    before = (run / "config.toml").read_bytes()
    code, line = said(capsys, "export", run, "--skip", "base,sf")
    assert code == 2 and "no stage named 'sf' (did you mean 'sft'?)" in line
    assert (run / "config.toml").read_bytes() == before
    assert main(["export", str(run), "-q"]) == 0
    said(capsys, "run", "demo", "--skip", "base,sf", "--out", tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["report", "demo", "--out", "{tmp}/none"], 3, "is not a run directory"),
        (["run", "{tmp}/runs/none"], 2, "is not a run directory"),
        (["run", "{tmp}"], 2, "is not a run directory"),
        (["run", "demo", "--out", "{tmp}/new", "--roles.user", '{uri = "openai:x", base_url='], 2, "not a valid TOML"),
        (["validate", "{tmp}"], 3, "contains no files of a run"),
        (["pool", "calibrate", "{run}/personas/pool.jsonl", "--keep", "3"], 2, "'3' is not a valid share"),
        (["journal", "export", "{run}", "--out", "{tmp}/no/where.jsonl"], 3, "No such file or directory"),
        (["journal", "export", "{run}", "--out", "{tmp}"], 3, "Is a directory"),
        (["prompts", "eject", "{run}/manifest.json"], 3, "File exists"),
        (["export", "{run}", "--format", "hub", "--to", "{run}/manifest.json"], 3, "cannot be written"),
        (["export", "{run}", "--format", "published", "--evidenced", "--stage", "rollout"], 2, "--evidenced, --stage"),
        (["serve", "hf:runs/none/checkpoints/dpo"], 2, "runs/none/checkpoints/dpo does not exist"),
        (["serve", "world:user", "--port", "99999"], 2, "'99999' is not a valid port"),
        (["studio", "{run}", "--port", "99999"], 2, "'99999' is not a valid port"),
        (["studio", "{run}", "--model", "dpo"], 2, "'dpo' is not a valid model URI"),
        (["chat", "--model", "dpo"], 2, "no model 'dpo'; add --run RUN"),
        (["chat", "--model", "orcle", "--run", "{run}"], 2, "no model 'orcle' (did you mean 'oracle'?)"),
        (["chat", "--model", "hf:runs/none/checkpoints/dpo"], 2, "does not exist"),
        (["run", "demo", "--ou", "{tmp}/new"], 2, "unknown option --ou (did you mean '--out'?)"),
        (["run", "demo", "{run}"], 2, "unexpected argument '{run}'"),
        (["run", "demo", "--trees.n_turns"], 2, "option --trees.n_turns has no value"),
        (["personas", "demo", "--out", "{tmp}/new", "--json"], 2, "--json does not go with personas without --dry"),
        (["trees", "--seed", "--out", "{tmp}/new", "demo"], 2, "option --seed has no value"),
        (["metrics", "{run}/manifest.json", "--jsn"], 2, "unknown option --jsn (did you mean '--json'?)"),
        (["journal", "stat", "{run}"], 2, "invalid choice: 'stat' (did you mean 'stats'?)"),
        (["pool"], 2, "required: stats|validate|calibrate|from-chats|forget"),
        (["completion", "tcsh"], 2, "invalid choice: 'tcsh', choose from bash, zsh, fish"),
        (["config", "{tmp}"], 2, "is not a run directory"),
        (["plan", "{tmp}"], 2, "is not a run directory"),
        (["judge", "check", "{tmp}"], 2, "is not a run directory"),
        (["judge", "check", "--turns", "3"], 2, "unknown key 'turns'"),
        (["export", "{run}", "--to", "{tmp}/new", "--evidenced"], 2, "--to, --evidenced do not go with export without"),
        (["export", "{run}", "--format", "trl", "--out", "{tmp}/new"], 2, "--out does not go with --format"),
        (["export", "{run}", "--format", "trl", "--seed", "1"], 2, "options of the config do not go with --format"),
        (["export", "--format", "trl"], 2, "no run given"),
        (["export", "{tmp}/none", "--format", "trl"], 2, "none does not exist"),
        (["sft", "demo", "--data", "{run}", "--out", "{tmp}/new"], 2, "demo does not go with --data"),
        (["sft", "--data", "{run}"], 2, "no --out"),
        (["dpo", "demo", "--model", "x", "--out", "{tmp}/new"], 2, "--model does not go with dpo without --data"),
        (["bench", "demo", "--name", "x", "--out", "{tmp}/new"], 2, "--name does not go with bench without"),
        (["bench", "--conversations", "{run}/log.jsonl", "--turns", "3"], 2, "--turns does not go with --conv"),
        (["bench", "--conversations", "{run}/log.jsonl", "--bench.gain", "true"], 2, "--bench.gain does not go with"),
        (["bench", "--conversations", "{run}/log.jsonl", "--from", "bench"], 2, "--from does not go with"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, says: str
) -> None:
    def filled(text: str) -> str:
        return text.replace("{tmp}", str(tmp_path)).replace("{run}", str(run))

    got, line = said(capsys, *map(filled, arguments))
    assert got == code and filled(says) in line
    assert not (tmp_path / "new").exists()


def test_a_recipe_in_another_encoding_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.toml").write_bytes("# é\n".encode("utf-16"))
    code, line = said(capsys, "run", tmp_path / "mine.toml")
    assert code == 2 and "mine.toml is not valid UTF-8 text" in line


def test_a_fault_of_the_program_is_no_place_error() -> None:
    from aloe.errors import is_place_error

    assert is_place_error(PermissionError(13, "Permission denied", "here"))
    assert not is_place_error(OSError(9, "Bad file descriptor"))


def test_a_judge_out_of_reach_is_named_and_labels_stay(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (run / "trees" / "labels.jsonl").read_bytes()
    capsys.readouterr()
    code = main(["relabel", str(run), "--judge", "openai:x", "--base-url", "http://127.0.0.1:9/v1"])
    assert code == 4 and "openai:x at http://127.0.0.1:9/v1 is down" in capsys.readouterr().err
    assert (run / "trees" / "labels.jsonl").read_bytes() == before


@pytest.mark.parametrize("form", ["trl", "openai", "sharegpt", "hub"])
def test_trainers_find_every_export_and_no_old_split(run: Path, tmp_path: Path, form: str) -> None:
    command = ["export", str(run), "--format", form, "--to", str(tmp_path)]
    assert main([*command, "--validation", "0.3"]) == 0
    assert list(tmp_path.rglob("*validation*"))
    for kind in ("sft", "dpo"):  # what aloe sft and aloe dpo will read of it
        assert find_files(tmp_path, kind) and find_files(tmp_path, kind, "test")
    assert main(command) == 0
    assert not find_files(tmp_path, "dpo", "test")
    assert not list(tmp_path.rglob("*validation*")) and list(tmp_path.rglob("*train*"))


def test_pruning_a_place_that_is_none_says_what_places_are_called(run: Path, capsys) -> None:
    assert main(["journal", "prune", str(run), "--path", "trees/", "--dry"]) == 0
    assert "no path begins with 'trees/'; paths begin with personas/" in capsys.readouterr().out
    assert main(["journal", "prune", str(run), "--path", "personas/", "--dry"]) == 0
    assert "no path" not in capsys.readouterr().out


def test_chat_says_that_a_command_is_none() -> None:
    done = aloe("chat", "--model", "world:assistant", said="/agin\n/quit\n")
    assert done.returncode == 0 and "unknown command /agin (did you mean '/again'?)" in done.stdout
    assert "assistant>" not in done.stdout


@pytest.mark.parametrize("command", ["sft", "dpo", "export"])
def test_help_of_a_stage_names_its_form_without_a_recipe(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert f"aloe {command} {'RUN --format' if command == 'export' else '--data exported/'}" in capsys.readouterr().out


def test_pairs_of_plain_texts_are_told_how_to_be_written() -> None:
    from aloe.errors import DataError
    from aloe.training.data import tokenize_replies

    with pytest.raises(DataError, match="not a list of messages"):
        tokenize_replies(None, [[*"x", *"a"]])  # prompt and chosen of a row of plain texts
