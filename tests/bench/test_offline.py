"""Logged conversations: read tolerantly, scored as in the benchmark, counted honestly."""

import asyncio
import json

import pytest

from aloe.__main__ import main
from aloe.bench.logged import UNKNOWN, read_conversations, tidy
from aloe.bench.offline import score_conversations
from aloe.cli.bench_flags import bench_overrides
from aloe.cli.main import parse
from aloe.config import load_config
from aloe.errors import ConfigError, DataError
from aloe.models.caller import Caller
from aloe.store.records import read_jsonl
from aloe.types import BenchmarkResult, BenchScore, ConversationTree

HELLO = [{"role": "user", "content": "Hi, any idea for dinner?"}, {"role": "assistant", "content": "Soup."}]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def rescore(path, out, personas=(), **bench):
    config = load_config(overrides={"bench": {"n_bootstrap": 100, **bench}})
    talks = read_conversations(path, personas)

    async def work():
        caller = Caller.open(config, None, seed=0)
        try:
            return await score_conversations(caller, talks, config=config, out_dir=out, name="logged")
        finally:
            await caller.aclose()

    return asyncio.run(work())


def test_scores_of_a_log_are_those_of_the_benchmark(personas, bench, tmp_path):
    live = bench(personas, ["world:oracle"], tmp_path)["world:oracle"]
    trees = list(read_jsonl(tmp_path / "oracle/conversations.jsonl", ConversationTree))
    log = write(
        tmp_path / "log.jsonl",
        [{"persona_id": t.persona_id, "messages": [n.message.model_dump() for n in t.nodes]} for t in trees],
    )
    result = rescore(log, tmp_path / "again", personas)
    assert result.points == live.points
    assert (result.avg_ci, result.ir_ci, result.n_ir_ci) == (live.avg_ci, live.ir_ci, live.n_ir_ci)
    assert result.truth == live.truth
    assert result.parts == live.parts
    assert BenchmarkResult.model_validate_json((tmp_path / "again/result.json").read_bytes()) == result


def test_with_and_without_personas(personas, tmp_path):
    own = {"profile": personas[0].profile, "personality": personas[0].personality}
    rows = [
        {"messages": HELLO},
        {"messages": HELLO, "persona": own},
        {"messages": HELLO, **own},
        {"messages": HELLO, "persona": "A quiet baker who likes short answers."},
        {"messages": HELLO, "persona_id": personas[1].persona_id},
    ]
    talks = read_conversations(write(tmp_path / "log.jsonl", rows), personas)
    assert [t.is_known for t in talks] == [False, True, True, True, True]
    assert talks[0].persona.profile == UNKNOWN
    assert talks[1].persona == talks[2].persona
    assert (talks[1].sample, talks[2].sample) == (0, 1)
    result = rescore(tmp_path / "log.jsonl", tmp_path / "out", personas)
    assert (result.n_personas, result.n_samples) == (4, 2)
    assert result.points[0].n_scored == 5
    assert len(list(read_jsonl(tmp_path / "out/scores.jsonl", BenchScore))) == 5


def test_a_shorter_conversation_has_no_unscored_turns(tmp_path):
    rows = [{"messages": HELLO}, {"messages": [*HELLO, *HELLO, *HELLO]}]
    result = rescore(write(tmp_path / "log.jsonl", rows), tmp_path / "out")
    assert [(p.n_scored, p.n_unscored) for p in result.points] == [(2, 0), (1, 0), (1, 0)]
    assert result.n_failed == 0


@pytest.mark.parametrize("empty", ["", "  \n", "\u200b", None])
def test_an_empty_reply_of_a_log_scores_the_lowest(tmp_path, empty):
    silence = [{"role": "user", "content": "Well?"}, {"role": "assistant", "content": empty}]
    result = rescore(write(tmp_path / "log.jsonl", [{"messages": [*HELLO, *silence, *HELLO]}]), tmp_path / "out")
    assert (result.n_empty, result.n_failed) == (1, 0)
    assert [(p.n_scored, p.n_unscored) for p in result.points] == [(1, 0)] * 3
    rows = list(read_jsonl(tmp_path / "out/scores.jsonl", BenchScore))
    assert [r.outcome for r in rows] == ["scored", "empty", "scored"]
    assert (rows[1].score, rows[1].generation) == (1.0, None)
    assert rows[0].score > 1.0


def test_a_call_of_a_tool_is_not_an_empty_reply():
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}
    raw = [{"role": "user", "content": "Hi."}, call, {"role": "tool", "content": "42"}, *HELLO]
    assert [m.content for m in tidy(raw, "here")][1:] == [HELLO[1]["content"]]


def test_messages_are_put_in_order():
    raw = [
        {"role": "assistant", "content": "Welcome!"},
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "Hi."}, {"type": "image_url"}]},
        {"role": "user", "content": "Anybody?"},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "tool", "content": "42"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "Bye."},
    ]
    assert [(m.role, m.content) for m in tidy(raw, "here")] == [("user", "Hi.\n\nAnybody?"), ("assistant", "Yes.")]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[1]\n", "messages"),
        ('{"messages": "hi"}\n', "messages"),
        ('{"messages": ["hi"]}\n', "role and content"),
        ('{"messages": []}\n', "no reply"),
        ("", "no reply"),
        ('{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "persona_id": "x"}\n',
         "--personas"),
        (json.dumps({"messages": HELLO, "persona_id": ["x"]}), "--personas"),
        (json.dumps({"messages": HELLO, "persona": 5}), "persona is '5'"),
        ('{"messages": [{"role": "user", "cont', "line 1: not valid JSON"),
    ],
)  # fmt: skip
def test_what_is_no_conversation(text, reason, tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text(text)
    with pytest.raises(DataError, match=reason):
        read_conversations(path)


def test_one_id_is_one_persona(tmp_path):
    rows = [{"messages": HELLO, "persona_id": "a", "profile": text} for text in ("A baker.", "A nurse.")]
    with pytest.raises(DataError, match="line 2: persona_id 'a' is used for two"):
        read_conversations(write(tmp_path / "log.jsonl", rows))


def test_short_options_become_options_of_the_config():
    argv = ["--model", "a:b", "--model=c:d+persona", "--judge", "e:f", "--user", "g:h", "--personas", "my.jsonl"]
    argv += ["--turns", "3", "--samples=2", "--full", "--gain=false", "--bench.scope", "persona", "--out", "y"]
    _, options, overrides = parse(["bench", "--seed=4", *argv, "runs/x"])
    assert (options.recipe, options.out) == ("runs/x", "y")
    assert bench_overrides(options, overrides) == {
        "seed": 4,
        "bench": {
            "models": ["a:b", "c:d+persona"],
            "judge": ["e:f"],
            "user": ["g:h"],
            "personas": "my.jsonl",
            "n_turns": 3,
            "samples": 2,
            "full": True,
            "scope": "persona",
        },
    }


@pytest.mark.parametrize("argv", [["--model"], ["--judge", "--turns", "3"]])
def test_a_short_option_needs_its_value(argv):
    with pytest.raises(ConfigError, match="expected one argument"):
        parse(["bench", *argv])


def test_bench_alone_by_command_line(tmp_path, capsys):
    run = tmp_path / "run"
    options = ["--turns", "2", "--bench.n_personas", "5", "--bench.n_bootstrap", "100", "--out", str(run)]
    assert main(["bench", "--model", "world:assistant+persona", "--judge", "world:judge?bias=first", *options]) == 0
    assert "assistant+persona" in capsys.readouterr().out
    result = BenchmarkResult.model_validate_json((run / "bench/assistant+persona/result.json").read_bytes())
    assert (result.judge_model, result.n_personas, len(result.points)) == ("world:judge?bias=first", 5, 2)
    assert not (run / "personas").exists()
    assert main(["bench", str(run), "--model", "world:generic"]) == 0
    assert sorted(p.name for p in (run / "bench").iterdir()) == ["assistant+persona", "generic"]


def test_a_run_with_another_out_is_its_recipe(tmp_path, capsys):
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    small = ["--turns", "1", "--bench.n_personas", "2", "--bench.n_bootstrap", "100"]
    assert main(["bench", "--model", "world:generic", *small, "--out", first]) == 0
    assert main(["bench", first, "--model", "world:generic", "--scale", "binary", "--out", second]) == 0
    found = BenchmarkResult.model_validate_json((tmp_path / "second/bench/generic/result.json").read_bytes())
    assert (found.scale, found.n_personas, len(found.points)) == ("binary", 2, 1)
    assert main(["bench", first, "--model", "world:assistant", "--out", first]) == 0
    assert sorted(p.name for p in (tmp_path / "first/bench").iterdir()) == ["assistant", "generic"]
    assert main(["bench", first, "--model", "world:assistant", "--turns", "2", "--from", "bench"]) == 0
    assert "note: different numbers of turns: 1, 2" in capsys.readouterr().out


def test_a_model_of_the_same_plain_name_does_not_replace_another(tmp_path, capsys):
    run = str(tmp_path / "run")
    one, other = "world:generic", "world:generic?phrasings=1"
    small = ["--turns", "1", "--bench.n_personas", "2", "--bench.n_bootstrap", "100"]
    assert main(["bench", "--model", one, *small, "--out", run]) == 0
    for uri in (other, one, other):
        assert main(["bench", run, "--model", uri]) == 0
    found = {
        folder.name: BenchmarkResult.model_validate_json((folder / "result.json").read_bytes()).uri
        for folder in (tmp_path / "run/bench").iterdir()
    }
    assert found == {"generic": one, "generic-2": other}


def test_lines_of_a_persona_file_that_are_left_out_are_said(tmp_path, capsys):
    people = tmp_path / "people.jsonl"
    write(people, [{"profile": f"{name} is a baker.", "personality": "Quiet."} for name in ("Ann", "Bo")])
    options = ["--model", "world:generic", "--turns", "1", "--bench.n_bootstrap", "100", "--personas", str(people)]
    assert main(["bench", *options, "--out", str(tmp_path / "whole")]) == 0
    assert "personas: " not in capsys.readouterr().out
    people.write_text(people.read_text() + '{"profile": "Cy\n')
    assert main(["bench", *options, "--out", str(tmp_path / "torn")]) == 0
    assert f"personas: {people}, line 3: not valid JSON" in capsys.readouterr().out


def test_offline_by_command_line(tmp_path, capsys):
    log = write(tmp_path / "log.jsonl", [{"messages": [*HELLO, *HELLO]}, {"messages": HELLO}])
    out = tmp_path / "run"
    assert main(["bench", "--conversations", str(log), "--out", str(out), "--scale", "1-100"]) == 0
    assert "2 conversations (0 with a persona), 3 replies, 0 unscored" in capsys.readouterr().out
    first = (out / "bench/log/result.json").read_bytes()
    assert main(["bench", str(out), "--conversations", str(log), "-q"]) == 0
    assert (out / "bench/log/result.json").read_bytes() == first


def test_offline_needs_its_file(tmp_path, capsys):
    assert main(["bench", "--conversations", str(tmp_path / "none.jsonl")]) != 0
    assert "does not exist" in capsys.readouterr().err


def test_models_of_a_log_are_scored_apart(tmp_path, capsys):
    """Two models that talked to one persona are not two conversations of one model; each pays for its own calls."""
    own = {"profile": "A baker.", "personality": "Quiet."}
    rows = [{"messages": HELLO, "persona": own, "model": model} for model in ("org/one", "two", "two")]
    out = tmp_path / "run"
    assert main(["bench", "--conversations", str(write(tmp_path / "log.jsonl", rows)), "--out", str(out)]) == 0
    assert "log-org-one" in capsys.readouterr().out
    found = [
        BenchmarkResult.model_validate_json((out / f"bench/log-{name}/result.json").read_bytes())
        for name in ("org-one", "two")
    ]
    assert [r.n_samples for r in found] == [1, 2]
    assert [r.points[0].n_scored for r in found] == [1, 2]
    assert found[0].usage["judge"].prompt_tokens > 0
    assert found[1].usage["judge"].prompt_tokens <= 2 * found[0].usage["judge"].prompt_tokens


def test_a_persona_file_is_found_by_its_own_ids(tmp_path, capsys):
    people = write(tmp_path / "people.jsonl", [{"persona_id": "ann", "profile": "A baker.", "personality": "Quiet."}])
    log = write(tmp_path / "log.jsonl", [{"messages": HELLO, "persona_id": "ann"}])
    options = ["--personas", str(people), "--out", str(tmp_path / "run")]
    assert main(["bench", "--conversations", str(log), *options]) == 0
    assert "1 conversations (1 with a persona)" in capsys.readouterr().out


def test_offline_dry_sends_nothing(tmp_path, capsys):
    log = write(tmp_path / "log.jsonl", [{"messages": [*HELLO, *HELLO]}])
    assert main(["bench", "--conversations", str(log), "--out", str(tmp_path / "run"), "--dry"]) == 0
    assert "2 calls of world:judge; nothing was sent" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "option", ["--gain", "--full", "--model=world:generic", "--turns=3", "--bench.samples=2", "--name=../x"]
)
def test_options_without_meaning_for_a_log_are_refused(option, tmp_path, capsys):
    log = write(tmp_path / "log.jsonl", [{"messages": HELLO}])
    assert main(["bench", "--conversations", str(log), "--out", str(tmp_path / "run"), option]) == 2
    assert option.partition("=")[0] in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_log_does_not_take_the_place_of_a_benchmark(tmp_path, capsys):
    run = str(tmp_path / "run")
    small = ["--turns", "1", "--bench.n_personas", "2", "--bench.n_bootstrap", "100"]
    assert main(["bench", "--model", "world:generic", *small, "--out", run]) == 0
    before = (tmp_path / "run/bench/generic/result.json").read_bytes()
    log = write(tmp_path / "log.jsonl", [{"messages": HELLO}])
    assert main(["bench", run, "--conversations", str(log), "--name", "generic"]) == 2
    assert "is the result of a benchmark" in capsys.readouterr().err
    assert (tmp_path / "run/bench/generic/result.json").read_bytes() == before
    assert main(["bench", run, "--conversations", str(log)]) == 0
    assert main(["bench", run, "--model", "world:generic"]) == 0
    assert "note: different users: logged, world:user" in capsys.readouterr().out
