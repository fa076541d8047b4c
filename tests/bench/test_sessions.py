"""Several sessions in the benchmark, and what memories make of them."""

import asyncio
import json

import pytest

from aloe.bench.compare import compare_pair, read_scored
from aloe.config import ModelConfig, load_config
from aloe.dialogue.memory import cut_lines, make_memory
from aloe.dialogue.state import PathState, content_id
from aloe.errors import ConfigError
from aloe.models.caller import Caller
from aloe.models.journal.journal import Journal
from aloe.models.uri import plain_name, split_wrapper
from aloe.personas.lexical import LexicalEmbedder
from aloe.types import BenchmarkResult

NAMES = ["attentive", "attentive+history", "attentive+window:1", "attentive+memory:256", "attentive+recall:2", "oracle"]


@pytest.fixture(scope="module")
def sessions(bench, crossed_personas, tmp_path_factory):
    """Results and scores of two sessions of six turns, and the folder."""
    folder = tmp_path_factory.mktemp("sessions")
    results = bench(crossed_personas(5, 3, seed=9), [f"world:{n}" for n in NAMES], folder,
                    bench__n_turns=6, bench__sessions=2)  # fmt: skip
    return {n: (results[f"world:{n}"], read_scored(folder / n)) for n in NAMES}, folder


def test_who_remembers_nothing_loses_at_the_boundary_and_who_remembers_does_not(sessions):
    found, _ = sessions
    low, _ = found["attentive"][0].sessions.boundary_loss_ci
    assert low > 0.5
    for name in ("attentive+history", "attentive+memory:256", "oracle"):
        assert found[name][0].sessions.boundary_loss_ci[0] < 0.2
        assert compare_pair(found[name][1], found["attentive"][1]).avg.low > 0
    for better, worse in (("history", "recall:2"), ("recall:2", "window:1")):
        assert compare_pair(found[f"attentive+{better}"][1], found[f"attentive+{worse}"][1]).avg.low > 0


def test_use_of_facts_by_session_lag_and_tokens_say_what_a_memory_is_worth(sessions):
    found, _ = sessions
    figures = {name: result.sessions for name, (result, _) in found.items()}
    assert figures["oracle"].fact_use_by_session_lag == (1.0, 1.0)
    assert (
        figures["attentive"].fact_use_by_session_lag[0] == 1.0 > figures["attentive"].fact_use_by_session_lag[1] + 0.5
    )
    assert figures["attentive+history"].fact_use_by_session_lag[1] > 0.95
    assert figures["attentive"].prompt_tokens_per_turn < figures["attentive+history"].prompt_tokens_per_turn
    assert len(figures["attentive"].al) == 2 and len(found["attentive"][0].points) == 12


def test_files_say_where_sessions_begin_and_results_read_back(sessions):
    _, folder = sessions
    rows = [json.loads(line) for line in (folder / "attentive" / "conversations.jsonl").read_text().splitlines()]
    assert all(row["session_turns"] == 6 and len(row["nodes"]) == 24 for row in rows)
    text = (folder / "attentive+memory:256" / "result.json").read_text()
    assert BenchmarkResult.model_validate_json(text).sessions.n_turns == 6


def test_a_memory_is_journaled_and_replayed(bench, personas, tmp_path):
    journal = tmp_path / "journal.sqlite"
    uris = ["world:attentive+memory:64", "world:attentive+recall:2"]
    first = bench(personas[:3], uris, tmp_path / "a", journal=journal, bench__sessions=2, bench__n_turns=3)
    found = Journal.open(journal)
    n_calls = len(found.keys)
    found.close()
    assert first == bench(personas[:3], uris, tmp_path / "b", journal=journal, bench__sessions=2, bench__n_turns=3)
    again = Journal.open(journal)
    assert len(again.keys) == n_calls
    again.close()


SAID = [
    ("I keep a ferret as a pet. What should I cook tonight?", "You could try a slow stew."),
    ("I play the harp. What should I do this weekend?", "You could try a picnic in the park."),
    ("I had to give my ferret away. How should I unwind after today?", "You could try a hot bath."),
    ("What helps me relax this evening?", ""),
]


def path_so_far(sessions_at=()):
    state = PathState("tree")
    for number, (user, reply) in enumerate(SAID):
        if number in sessions_at:
            state = state.with_session()
        state = state.with_user(content_id(state.node_id, user), user)
        if reply:
            state = state.with_reply(content_id(state.node_id, reply), reply)
    return state


def remember(wrapper, state):
    async def work():
        caller = Caller.open(load_config(), None, seed=1)
        try:
            memory = make_memory(caller, ModelConfig(uri="world:attentive"), wrapper, LexicalEmbedder)
            return await memory.recall(state, f"bench/x/0/{state.node_id}/reply")
        finally:
            await caller.aclose()

    return asyncio.run(work())


def test_what_each_memory_gives():
    state = path_so_far(sessions_at=(2,))
    assert [m.content for m in state.present] == [SAID[2][0], SAID[2][1], SAID[3][0]]
    assert remember("history", state).history == state.history
    assert [m.content for m in remember("window:2", state).history] == [SAID[2][0], SAID[2][1], SAID[3][0]]
    assert [m.content for m in remember("window:1", state).history] == [SAID[3][0]]
    found = remember("recall:1", state)
    assert found.history == state.present
    assert found.notes.splitlines()[0] in [f"Turn {n + 1}, user: {SAID[n][0]}" for n in (0, 1)]
    assert len(found.notes.splitlines()) == 2


def test_a_running_memory_holds_what_is_true_now_within_its_limit_and_can_be_rebuilt():
    notes = remember("memory:64", path_so_far()).notes
    assert "harp" in notes and "ferret" not in notes
    assert len(notes) <= 64 * 4
    assert len(remember("memory:4", path_so_far()).notes) <= 16
    before = PathState("tree").with_user("n1", SAID[0][0])
    assert remember("memory:64", before).notes == "nothing yet"


def test_a_text_is_cut_between_lines_where_there_are_any():
    assert cut_lines("ab\ncd\nef", 5) == "ab\ncd"
    assert cut_lines("ab\ncd\nef", 7) == "ab\ncd"
    assert cut_lines("abcdef", 3) == "abc"
    assert cut_lines("ab", 3) == "ab"


@pytest.mark.parametrize("wrapper", ["memory", "memory:0", "memory:x", "recall:-1", "window:1.5", "history:3"])
def test_a_wrong_argument_is_one_line_that_says_what_to_write(wrapper):
    with pytest.raises(ConfigError) as error:
        remember(wrapper, path_so_far())
    assert f"+{wrapper}" in str(error.value) and "\n" not in error.value.message


def test_memories_are_suffixes_of_a_uri():
    assert split_wrapper("openai:x+memory:256") == ("openai:x", "memory:256")
    assert split_wrapper("openai:x+mem:256") == ("openai:x+mem:256", None)
    assert plain_name("hf:a/b/dpo+recall:8") == "dpo+recall-8"


PLUG_IN = """
from aloe.dialogue.memory import Remembered


class Told:
    def __init__(self, text):
        self.text = text

    async def recall(self, state, path):
        return Remembered(state.history[-1:], self.text)


def make(argument, caller, model):
    return Told(f"fact: She keeps a {argument} as a pet.")
"""


def test_a_plug_in_decides_what_a_model_is_given(bench, personas, tmp_path, monkeypatch):
    (tmp_path / "notebooks.py").write_text(PLUG_IN, "utf-8")
    about = tmp_path / "notebooks-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: notebooks\nVersion: 1.0\n", "utf-8")
    (about / "entry_points.txt").write_text("[aloe.memories]\ntold = notebooks:make\n", "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert split_wrapper("world:attentive+told:parrot") == ("world:attentive", "told:parrot")
    bench(personas[:2], ["world:attentive+told:parrot"], tmp_path, bench__n_turns=8)
    text = (tmp_path / "attentive+told:parrot" / "conversations.jsonl").read_text()
    assert "your parrot" in text
