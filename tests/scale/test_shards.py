"""Shards of a stage: joined they are what the stage itself writes, and nothing that was paid for is paid for again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aloe.errors import DataError
from aloe.store.merging import merge_sorted
from aloe.store.records import SortedJsonlWriter
from aloe.store.rundir import RunDir
from aloe.store.shards import Shard, ShardDir
from models.faulty import Fault, answer, faulty_world, refusal
from scale.sharded_runs import aloe, at, begin, committed, copy, in_shards, read, start, wait_for


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run with its personas, and the same run with its trees too; the server is gone."""
    folder = tmp_path_factory.mktemp("whole")
    with faulty_world(lambda body, n: None) as server:
        begin(server, folder / "begun", trees={"n_turns": 2, "n_trees": 12, "replicates": 2})
        grown = copy(folder / "begun", folder / "grown")
        assert aloe("trees", grown, "-q").returncode == 0
    return folder / "begun", grown


@settings(max_examples=25)
@given(st.sets(st.text("abcé", max_size=5), max_size=20), st.integers(1, 9))
def test_every_item_is_in_exactly_one_shard(ids: set[str], of: int) -> None:
    shards = [Shard(of, number) for number in range(1, of + 1)]
    assert all(sum(shard.holds(item) for shard in shards) == 1 for item in ids)


@settings(max_examples=25)
@given(st.dictionaries(st.text("abc", min_size=1, max_size=4), st.lists(st.booleans(), max_size=3)), st.integers(1, 4))
def test_merged_shards_are_the_file_that_one_writer_leaves(
    tmp_path_factory: pytest.TempPathFactory, groups: dict[str, list[bool]], of: int
) -> None:
    folder = tmp_path_factory.mktemp("merge")
    shards = [Shard(of, number) for number in range(1, of + 1)]
    writers = [SortedJsonlWriter(folder / f"{shard.number}.jsonl") for shard in shards]
    one = SortedJsonlWriter(folder / "one.jsonl")
    for key, values in groups.items():
        rows = [{"key": key, "value": value} for value in values]
        one.add(key, rows)
        next(w for s, w in zip(shards, writers, strict=True) if s.holds(key)).add(key, rows)
    for writer in (one, *writers):
        writer.close()
    merge_sorted([writer.path for writer in writers], folder / "merged.jsonl", "key")
    assert (folder / "merged.jsonl").read_bytes() == (folder / "one.jsonl").read_bytes()


def test_seven_shards_in_any_order_give_the_files_of_the_stage(whole: tuple[Path, Path], tmp_path: Path) -> None:
    begun, grown = whole
    with faulty_world(lambda body, n: None) as server:
        run = at(copy(begun, tmp_path / "run"), server.base_url)
        in_shards("trees", run, 7, reversed)
        assert len(server.requests) == committed(run) - committed(begun)
    assert read(run) == read(grown)
    states = [json.loads((r / "manifest.json").read_text("utf-8")) for r in (run, grown)]
    assert states[0]["stages"]["trees"]["summary"] == states[1]["stages"]["trees"]["summary"]
    assert states[0]["calls"]["trees"] == states[1]["calls"]["trees"]
    assert states[0]["stages"]["trees"]["digest"] == states[1]["stages"]["trees"]["digest"]
    assert not (run / "shards").exists()
    before = read(run)
    done = aloe("trees", run, "--from", "trees", "-q")  # the run's journal has taken all in: nobody is there to ask
    assert done.returncode == 0 and read(run) == before, done.stderr
    assert aloe("journal", "check", run).returncode == 0


BENCH = tuple(
    f"bench/{name}/{file}"
    for name in ("generic", "knows-all")
    for file in ("conversations.jsonl", "scores.jsonl", "result.json")
)


def test_a_benchmark_in_shards_gives_the_same_conversations_scores_and_figures(tmp_path: Path) -> None:
    def mute(body: dict, n: int) -> Fault | None:  # one of the models gives no reply to some
        return Fault(body=answer("")) if "knows-all" in body["model"] and body["seed"] % 5 == 0 else None

    with faulty_world(mute) as server:
        where = {"base_url": server.base_url, "max_attempts": 1}
        models = [{"uri": "world:generic", **where}, {"uri": "world:knows-all", **where}]
        people = {"personas": "packaged", "n_personas": 6, "gain": True}
        begin(server, tmp_path / "whole", bench={"n_turns": 3, "samples": 2, "models": models, **people})
        shards = copy(tmp_path / "whole", tmp_path / "shards")
        done = aloe("bench", tmp_path / "whole", "-q")
        assert done.returncode == 0, done.stderr
        in_shards("bench", shards, 4)
    assert read(shards, BENCH) == read(tmp_path / "whole", BENCH)
    manifests = [json.loads((tmp_path / name / "manifest.json").read_text("utf-8")) for name in ("whole", "shards")]
    assert manifests[0]["bench"] == manifests[1]["bench"]
    assert manifests[0]["stages"]["bench"]["summary"] == manifests[1]["stages"]["bench"]["summary"]
    assert b'"outcome":"empty"' in read(shards, BENCH)["bench/knows-all/scores.jsonl"]


def test_labels_given_in_shards_are_those_given_at_once(whole: tuple[Path, Path], tmp_path: Path) -> None:
    with faulty_world(lambda body, n: None) as server:
        runs = [at(copy(whole[1], tmp_path / name), server.base_url) for name in ("once", "shards")]
        options = ("--label", "score", "--labeler", "mine")
        with ShardDir(runs[1], "relabel", Shard(5, 1)).locked():  # of somebody else's labels: stays
            pass
        done = aloe("relabel", runs[0], *options)
        assert done.returncode == 0, done.stderr
        n = len(server.requests)
        said = [aloe("relabel", runs[1], *options, "--shard", f"{number}/3").stdout for number in (2, 1, 3)]
        assert len(server.requests) == 2 * n and committed(runs[0]) == committed(runs[1])
        assert said[2].replace("/shards", "/once") == done.stdout and "written once all are" in said[0]
    assert read(runs[0]) == read(runs[1]) != read(whole[1])
    assert [path.name for path in (runs[1] / "shards" / "relabel").iterdir()] == ["1-of-5"]


def test_a_shard_that_is_killed_sends_no_committed_call_again(whole: tuple[Path, Path], tmp_path: Path) -> None:
    begun, grown = whole
    with faulty_world(lambda body, n: None) as server:
        server.delay = 0.02
        run = at(copy(begun, tmp_path / "run"), server.base_url)
        before = committed(run)
        process = start("trees", run, "--shard", "1/2", "--execution.concurrency", 2)
        wait_for(lambda: len(server.requests) > 20, process)
        process.kill()
        process.communicate(timeout=20)
        kept, sent = committed(run) - before, len(server.requests)
        assert 0 < kept <= sent
        server.delay = 0.0
        done = aloe("merge", run)
        assert done.returncode == 3 and "lacks 2 of 2 shards: 1/2, 2/2" in done.stderr
        in_shards("trees", run, 2)
        assert len(server.requests) - sent == committed(run) - before - kept  # each call that was not kept, once
    assert read(run) == read(grown)


def test_shards_that_were_begun_are_not_paid_for_again_by_the_whole_stage(
    whole: tuple[Path, Path], tmp_path: Path
) -> None:
    begun, grown = whole
    with faulty_world(lambda body, n: None) as server:
        run = at(copy(begun, tmp_path / "run"), server.base_url)
        for shard in ("2/3", "1/5"):
            assert aloe("trees", run, "--shard", shard, "-q").returncode == 0
        n = len(server.requests)
        assert aloe("trees", run, "-q").returncode == 0
        assert len({json.dumps(body, sort_keys=True) for body in server.requests}) == committed(run) - committed(begun)
        assert 0 < n < len(server.requests)
    assert read(run) == read(grown) and not (run / "shards").exists()


def test_a_stage_that_fails_once_it_has_taken_shards_in_leaves_no_call_twice(
    whole: tuple[Path, Path], tmp_path: Path
) -> None:
    begun, _ = whole
    with faulty_world(lambda body, n: None) as server:
        run = at(copy(begun, tmp_path / "run"), server.base_url)
        assert aloe("trees", run, "--shard", "1/3", "-q").returncode == 0
        n = committed(run)
        assert aloe("trees", run, "--budget.tokens", "1", "-q").returncode == 6
    assert committed(run) == n  # else the budget would count them twice


def test_a_shard_knows_what_the_run_has_paid_for(whole: tuple[Path, Path], tmp_path: Path) -> None:
    _, grown = whole
    run = copy(grown, tmp_path / "run")
    manifest = json.loads((run / "manifest.json").read_text("utf-8"))
    del manifest["stages"]["trees"]
    (run / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    in_shards("trees", run, 3)  # nobody is there to ask
    assert read(run) == read(grown)


def test_failed_calls_leave_the_shard_undone_and_are_all_that_is_sent_again(
    whole: tuple[Path, Path], tmp_path: Path
) -> None:
    begun, grown = whole
    with faulty_world(lambda body, n: None) as server:

        def script(body: dict, n: int) -> Fault | None:
            judge = body["model"].startswith("world:judge")
            return refusal("content policy", 400) if judge and body["seed"] % 3 == 0 else None

        server.world_script = script
        run = at(copy(begun, tmp_path / "run"), server.base_url)
        done = [aloe("trees", run, "--shard", f"{number}/2", "-q") for number in (1, 2)]
        assert {d.returncode for d in done} == {4} and "content policy" in done[0].stderr
        done = [aloe("merge", run)]
        assert done[0].returncode == 3 and "calls failed in shards 1/2, 2/2" in done[0].stderr
        server.world_script = lambda body, n: None
        n, kept = len(server.requests), committed(run)
        in_shards("trees", run, 2)
        assert len(server.requests) - n == committed(run) - kept
    assert read(run) == read(grown)


def test_what_can_not_be_a_shard_is_one_line(whole: tuple[Path, Path], tmp_path: Path) -> None:
    run = copy(whole[0], tmp_path / "run")
    for wrong in ("0/3", "4/3", "x", "1/0", "-1/3", "1/2/3", "١/٣"):
        done = aloe("trees", run, f"--shard={wrong}")
        assert done.returncode == 2 and "not a valid shard" in done.stderr
    done = aloe("trees", "demo", "--out", tmp_path / "new", "--shard", "1/3")
    assert done.returncode == 2 and "not a run yet" in done.stderr and not (tmp_path / "new").exists()
    done = aloe("trees", run, "--shard", "1/3", "--trees.n_turns", "3")
    assert done.returncode == 2 and "another config of stage trees" in done.stderr
    assert aloe("merge", run).returncode == 3
    folder = ShardDir(run, "trees", Shard(2, 1))
    with folder.locked(), pytest.raises(DataError, match="another process is working on shard 1/2"), folder.locked():
        pass


@pytest.fixture(scope="module")
def unjoined(whole: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose trees lie in two finished shards."""
    run = copy(whole[0], tmp_path_factory.mktemp("unjoined") / "run")
    state = ShardDir(run, "trees", Shard(2, 1)).path / "shard.json"
    with faulty_world(lambda body, n: None) as server:
        at(run, server.base_url)
        assert aloe("trees", run, "--shard", "1/2", "-q").returncode == 0
        finished = state.read_bytes()
        state.unlink()
        assert aloe("trees", run, "--shard", "2/2", "-q").returncode == 0
    state.write_bytes(finished)
    return run


def damage(shard: Path, how: str) -> None:
    """What disks, other versions and other configs leave behind."""
    state = shard / "shard.json"
    table = json.loads(state.read_bytes())
    if how == "missing":
        state.unlink()
    elif how == "torn":
        state.write_bytes(state.read_bytes()[:-20])
    elif how == "half-written":
        (shard / "trees.jsonl").write_bytes((shard / "trees.jsonl").read_bytes()[:-20])
    elif how == "other version":
        state.write_text(json.dumps(table | {"aloe_version": "0.0.1"}), "utf-8")
    elif how == "other config":
        state.write_text(json.dumps(table | {"made_by": table["made_by"] | {"config": "x"}}), "utf-8")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("missing", "lacks 1 of 2 shards: 1/2"),
        ("torn", "shard.json is damaged"),
        ("half-written", "bytes instead of"),
        ("other version", "made by aloe 0.0.1, this is"),
        ("other config", "made with another config"),
    ],
)
def test_a_shard_that_can_not_be_joined_is_one_line_and_mends_itself(
    whole: tuple[Path, Path], unjoined: Path, tmp_path: Path, how: str, said: str
) -> None:
    run = copy(unjoined, tmp_path / "run")
    damage(ShardDir(run, "trees", Shard(2, 1)).path, how)
    done = aloe("merge", run)
    assert done.returncode == 3 and said in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    done = aloe("trees", run, "--shard", "1/2", "-q")  # nobody is there to ask: all is in its journal
    assert done.returncode == 0, done.stderr
    assert read(run) == read(whole[1]) and not (run / "shards").exists()


def test_the_last_shard_says_where_it_can_not_join_them(unjoined: Path, tmp_path: Path) -> None:
    run = RunDir(copy(unjoined, tmp_path / "run"))
    run.share()  # somebody works on a shard of another stage
    done = aloe("trees", run.path, "--shard", "1/2")
    assert done.returncode == 0 and f"is in use: aloe merge {run.path} joins them" in done.stdout + done.stderr
    run.close()
    assert aloe("merge", run.path).returncode == 0 and not (run.path / "shards").exists()


def test_a_driver_and_a_shard_keep_out_of_each_others_way(whole: tuple[Path, Path], tmp_path: Path) -> None:
    begun, grown = whole
    with faulty_world(lambda body, n: None) as server:
        server.delay = 0.02
        run = at(copy(begun, tmp_path / "run"), server.base_url)
        shard = start("trees", run, "--shard", "1/2", "-q")
        wait_for(lambda: len(server.requests) > 3, shard)
        done = aloe("trees", run)
        assert done.returncode == 2 and "another process is working in" in done.stderr
        assert aloe("trees", run, "--shard", "1/2").returncode == 3
        assert aloe("trees", run, "--shard", "2/2", "-q").returncode == 0  # beside it
        assert shard.wait(60) == 0
        if (run / "shards").exists():  # both were still there when the other one ended
            assert aloe("merge", run).returncode == 0
    assert read(run) == read(grown)
