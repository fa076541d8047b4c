"""``aloe pool forget``: after it, nothing of a person is left in any file of the run, and the rest is as it was."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from aloe.cli.main import dispatch
from aloe.errors import ConfigError, DataError
from aloe.models.journal.forget import forget_calls
from aloe.models.journal.journal import Journal
from aloe.privacy.chats import hash_user, open_salt
from aloe.privacy.forget import forget_user
from aloe.stages.report import write_report
from aloe.store.records import to_line, write_jsonl
from aloe.store.rundir import RunDir

PEOPLE = [
    (
        "She works as a baker. She lives in Thornleigh. She plays the harmonica.",
        "She is blunt and says it. She loves lists.",
    ),
    (
        "She keeps a canary as a pet. She studied agriculture. She rows at dawn.",
        "She is shy with strangers. She jokes a lot.",
    ),
    (
        "She repairs clocks for money. She lives on a barge. She has twin boys.",
        "She is formal with all. She worries at night.",
    ),
    (
        "She drives a tram in the city. She sings alto. She eats no meat at all.",
        "She is warm to everyone. She plans nothing.",
    ),
    (
        "She teaches chess in schools. She owns a hen. She trains for a regatta.",
        "She is sceptical of claims. She talks a lot.",
    ),
    (
        "She welds bridges all year. She has a husband. She brews her own cider.",
        "She is patient and slow. She hates small talk.",
    ),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on personas from chats (without training), with ratings and a checkpoint."""
    folder = tmp_path_factory.mktemp("forget")
    run = folder / "run"
    salt = open_salt(folder)
    rows = [
        {"profile": a, "personality": b, "source": "chats", "user_hash": hash_user(f"user-{n}", salt), "split": split}
        for n, (a, b) in enumerate(PEOPLE)
        for split in ["train" if n < 3 else "bench"]
    ]
    write_jsonl(folder / "p.jsonl", rows)
    argv = [
        "run",
        "demo",
        "--out",
        str(run),
        "--skip",
        "base,sft,rollout,dpo",
        "--personas.file",
        str(folder / "p.jsonl"),
    ]
    counts = {
        "personas.n_personas": 3,
        "personas.n_bench": 3,
        "trees.n_turns": 2,
        "trees.n_trees": 0,
        "bench.n_turns": 2,
    }
    assert dispatch([*argv, "--quiet", *(x for k, v in counts.items() for x in (f"--{k}", str(v)))]) == 0
    for name in ("base", "sft", "dpo"):
        (run / "checkpoints" / name).mkdir(parents=True)
    ratings = [{"choice": "first", "profile": p, "personality": q, "messages": []} for p, q in PEOPLE]
    write_jsonl(run / "studio" / "ratings.jsonl", ratings)
    return folder


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    """A fresh copy of that run, its config pointing to the copied persona file."""
    shutil.copytree(made, tmp_path / "copy")
    config = tmp_path / "copy" / "run" / "config.toml"
    config.write_text(config.read_text().replace(str(made), str(tmp_path / "copy")))
    return tmp_path / "copy"


def everything(folder: Path) -> str:
    """All that the run's files say, packed ones included."""
    said = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        said.append(path.read_bytes().decode("utf-8", "replace"))
        if path.suffix == ".parquet":
            said.append(json.dumps(pq.read_table(path).to_pylist()))
        if path.suffix == ".sqlite":
            said += [str(row) for row in sqlite3.connect(path).execute("SELECT body FROM texts")]
    return "\n".join(said)


def test_what_reinforcement_learning_has_kept_of_a_person_goes(copy: Path) -> None:
    run = copy / "run"
    tree = json.loads((run / "trees" / "trees.jsonl").read_text("utf-8").splitlines()[0])
    row = {"step": 1, "prompt": [n["message"] for n in tree["nodes"]], "info": {"persona_id": tree["persona_id"]}}
    other = {"step": 1, "prompt": [{"role": "user", "content": "Soup?"}], "info": {"persona_id": "somebody"}}
    (run / "checkpoints" / "rl" / "replay").mkdir(parents=True)
    for name in ("replay/rollouts", "samples"):
        write_jsonl(run / "checkpoints" / "rl" / f"{name}.jsonl", [row, other])
    for n in range(3):  # one of them is whom the tree is of
        forget_user(RunDir(run), f"user-{n}")
    for name in ("replay/rollouts", "samples"):
        left = (run / "checkpoints" / "rl" / f"{name}.jsonl").read_text("utf-8").splitlines()
        assert [json.loads(line) for line in left] == [other]


def n_calls(run: Path) -> int:
    return int(sqlite3.connect(run / "journal.sqlite").execute("SELECT COUNT(*) FROM calls").fetchone()[0])


def test_a_training_person_leaves_no_trace(copy: Path) -> None:
    run = copy / "run"
    before, calls = everything(copy), n_calls(run)
    assert all(text in before for text in PEOPLE[0])
    done = forget_user(RunDir(run), "user-0")
    after = everything(copy)
    assert not [text for text in PEOPLE[0] if text in after] and "harmonica" not in after.lower()
    assert done.user_hashes[0] not in after
    assert done.leftovers == [] and done.n_personas == 1
    touched = {"datasets/sft.parquet", "datasets/dpo.parquet", "trees/trees.jsonl", "trees/labels.jsonl"}
    assert touched | {"personas/personas.jsonl", "personas/pool.jsonl", "studio/ratings.jsonl"} <= set(done.rows)
    assert done.rows["trees/trees.jsonl"] == 1 and done.rows["personas/pool.jsonl"] == 2
    assert done.calls.n_calls == calls - n_calls(run) > 0 and done.calls.n_texts > 0
    assert done.checkpoints == ["dpo", "sft"]  # the base model has not seen it
    assert not (run / "report").exists() and (run / "bench" / "oracle" / "result.json").is_file()


def test_the_others_stay(copy: Path) -> None:
    run = copy / "run"
    kept = (run / "trees" / "trees.jsonl").read_bytes().splitlines()
    forget_user(RunDir(run), "user-0")
    left = (run / "trees" / "trees.jsonl").read_bytes().splitlines()
    assert len(left) == 2 and set(left) < set(kept)
    after = everything(copy)
    assert all(text in after for person in PEOPLE[1:] for text in person)
    assert dispatch(["validate", str(run)]) == 0
    Journal.open(run / "journal.sqlite").close()


def test_a_benchmark_person_and_the_controls_that_mimicked_it(copy: Path) -> None:
    run = copy / "run"
    done = forget_user(RunDir(run), "user-4")
    assert not [text for text in PEOPLE[4] if text in everything(copy)]
    assert "bench/swapped" in done.deleted and "bench/oracle/result.json" in done.deleted
    assert done.checkpoints == [] and done.leftovers == []
    rows = (run / "bench" / "oracle" / "conversations.jsonl").read_bytes().splitlines()
    assert len(rows) == 2
    manifest = json.loads((run / "manifest.json").read_text())
    assert "bench" not in manifest["stages"] and "oracle" not in manifest["bench"] and "trees" in manifest["stages"]


def test_once_more_and_unknown_people(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(copy / "run")
    by_hash = hash_user("user-1", open_salt(copy))
    assert dispatch(["pool", "forget", "--hash", by_hash, "--run", run]) == 0
    assert "must be retrained: checkpoints/sft" in capsys.readouterr().out
    before = everything(copy / "run" / "trees")
    for user in ("user-1", "nobody", "user-", "", "*", "' OR 1=1 --"):
        assert dispatch(["pool", "forget", user, "--run", run]) == 0
        assert "nothing in" in capsys.readouterr().out
    assert everything(copy / "run" / "trees") == before


def test_what_two_people_share_stays_for_the_other(copy: Path) -> None:
    salt = open_salt(copy)
    one, two = hash_user("user-0", salt), hash_user("user-1", salt)
    pool = copy / "run" / "personas" / "pool.jsonl"
    rows = [json.loads(line) for line in pool.read_bytes().splitlines()]
    shared = next(r for r in rows if r["text"] == PEOPLE[0][1])
    shared["provenance"]["user_hash"] = " ".join(sorted((one, two)))
    pool.write_bytes(b"".join(map(to_line, rows)))
    forget_user(RunDir(copy / "run"), "user-0")
    after = [json.loads(line) for line in pool.read_bytes().splitlines()]
    assert next(r for r in after if r["text"] == PEOPLE[0][1])["provenance"]["user_hash"] == two
    assert PEOPLE[0][0] not in everything(copy / "run")


def test_seeds_and_what_was_written_after_them(copy: Path) -> None:
    """A description that entered a grown pool as a seed has no hash there; references to it are cut."""
    pool = copy / "run" / "personas" / "pool.jsonl"
    rows = [json.loads(line) for line in pool.read_bytes().splitlines()]
    mine = next(r for r in rows if r["text"] == PEOPLE[0][0])
    mine["provenance"] = {"source": "p.jsonl"}
    other = next(r for r in rows if r["text"] == PEOPLE[1][0])
    other.update(example_ids=[mine["entry_id"]], nearest_id=mine["entry_id"], max_similarity=0.4)
    pool.write_bytes(b"".join(map(to_line, rows)))
    done = forget_user(RunDir(copy / "run"), "user-0")
    after = pool.read_text()
    assert PEOPLE[0][0] not in after and mine["entry_id"] not in after and PEOPLE[1][0] in after
    assert done.n_shown == 1


def test_torn_lines_and_leftovers_elsewhere(copy: Path) -> None:
    run = copy / "run"
    torn = run / "trees" / "trees.partial.jsonl"
    torn.write_bytes(b'{"tree_id": "x", "text": "' + PEOPLE[0][0].encode())
    (run / "notes.txt").write_text(f"I liked this one: {PEOPLE[0][0]}")
    done = forget_user(RunDir(run), "user-0")
    assert torn.read_bytes() == b""
    assert len(done.leftovers) == 1 and "notes.txt" in done.leftovers[0]


def test_errors_say_what_to_do(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a user or --hash"):
        forget_user(RunDir(copy / "run"), None)
    with pytest.raises(DataError, match="not a run directory"):
        forget_user(RunDir(tmp_path), "user-0")
    (copy / ".chats-salt").unlink()
    with pytest.raises(DataError, match="chats-salt"):
        forget_user(RunDir(copy / "run"), "user-0")
    other = tmp_path / "other.sqlite"
    sqlite3.connect(other).execute("CREATE TABLE t (x)")
    with pytest.raises(DataError, match="not a journal"):
        forget_calls(other, {"x"}, {"y"})
    assert forget_calls(tmp_path / "none.sqlite", {"x"}, {"y"}).n_calls == 0


def test_a_journal_kept_elsewhere_is_found(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunDir(copy / "run")
    config = run.load_config()
    folder = copy / "elsewhere"
    folder.mkdir()
    run.save_config(
        config.model_copy(update={"execution": config.execution.model_copy(update={"journal_dir": str(folder)})})
    )
    (run.path / "journal.sqlite").rename(run.journal_path)
    assert run.journal_path.parent == folder
    assert dispatch(["journal", "stats", str(run.path)]) == 0 and "world:user" in capsys.readouterr().out
    assert "Everything in the journal" in write_report(run.path).read_text("utf-8")
    done = forget_user(run, "user-0")
    assert done.calls.n_calls > 0 and done.leftovers == []
    assert not [text for text in PEOPLE[0] if text in everything(copy)]


def interrupted(copy: Path) -> RunDir:
    """A run in which a removal of user-0 ended half-way, in front of the journal."""
    run = RunDir(copy / "run")
    stray = run.path / "a.sqlite"
    sqlite3.connect(stray).execute("CREATE TABLE t (x)")
    with pytest.raises(DataError, match="not a journal"):
        forget_user(run, None, hash_user("user-0", open_salt(copy)))
    stray.unlink()
    return run


def test_a_removal_that_ended_half_way_is_ended_by_the_same_command(copy: Path, tmp_path: Path) -> None:
    untouched = RunDir(shutil.copytree(copy, tmp_path / "untouched") / "run")
    at_once = forget_user(untouched, "user-0")
    (copy / "p.jsonl").rename(tmp_path / "elsewhere.jsonl")  # what the run holds must do
    run = interrupted(copy)
    done = forget_user(run, None, hash_user("user-0", open_salt(copy)))
    assert done.leftovers == [] and done.calls.n_calls == at_once.calls.n_calls > 0
    assert not [text for text in PEOPLE[0] if text in everything(run.path)]
    ours, theirs = run.manifest(), untouched.manifest()
    noted = ("inputs", "outputs")
    for name, state in theirs["stages"].items():
        for kind in noted:
            digests = [
                {f: d[2] if kind == "outputs" else d for f, d in m[kind].items()} for m in (state, ours["stages"][name])
            ]
            assert digests[0] == digests[1]
    assert ours["stages"].keys() == theirs["stages"].keys() and "forgetting" not in ours


def test_a_removal_that_ended_half_way_is_said_and_ended_with_the_next(
    made: Path, copy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = interrupted(copy)
    config = run.config_path.read_text()
    run.config_path.write_text(config.replace(str(copy), str(made)))  # as it was run
    assert dispatch(["run", str(run.path), "--quiet", "--trust-run"]) == 0
    run.config_path.write_text(config)
    lines = [r.getMessage() for r in caplog.records if "aloe pool forget" in r.getMessage()]
    assert len(lines) == 1 and hash_user("user-0", open_salt(copy)) in lines[0]
    forget_user(run, "user-1")
    assert not [text for n in (0, 1) for text in PEOPLE[n] if text in everything(copy)]


def test_rights_of_files_stay_as_they_were(copy: Path) -> None:
    ratings = copy / "run" / "studio" / "ratings.jsonl"
    ratings.chmod(0o600)
    (copy / "p.jsonl").chmod(0o640)
    forget_user(RunDir(copy / "run"), "user-0")
    assert [f.stat().st_mode & 0o777 for f in (ratings, copy / "p.jsonl")] == [0o600, 0o640]
