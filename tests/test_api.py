"""``import aloe``: what it offers, run as the docs print it, typed, and equal to the command line's figures."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import aloe
from aloe.config import TinyConfig
from aloe.dialogue.pairs import as_row
from aloe.errors import ConfigError, DataError
from aloe.store.records import read_jsonl
from aloe.training.data import read_rows
from aloe.types import BenchScore, ConversationTree
from helpers import aloe as command

ROOT = Path(aloe.__file__).parents[2]
PAGE = (ROOT / "docs" / "library.md").read_text("utf-8")
BLOCKS = re.findall(r"^## (.*?)$.*?^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
WORLD = {"user": "world:user", "judge": "world:judge"}


@pytest.fixture(scope="module")
def people() -> list[aloe.Persona]:
    return aloe.read_personas(n=5)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model in ``checkpoints/base``."""
    from aloe.models.local.checkpoint import save_checkpoint
    from aloe.training.tiny.model import create_model
    from aloe.training.tiny.tokenizer import build_tokenizer

    folder = tmp_path_factory.mktemp("library")
    tokenizer = build_tokenizer(["I keep bees. What should I read? A book on bees. Any book."])
    model = create_model(TinyConfig(d_model=16, n_layers=1, n_heads=2, d_ffn=16), tokenizer, 0)
    save_checkpoint(model, tokenizer, folder / "checkpoints" / "base", "", {})
    return folder


@pytest.mark.parametrize("title", [title for title, _ in BLOCKS])
def test_each_example_runs_as_printed_while_an_event_loop_runs(
    title: str, workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = dict(BLOCKS)[title]
    assert len([line for line in code.splitlines() if line and not line.startswith("import")]) <= 10
    monkeypatch.chdir(workplace)

    async def as_in_jupyter() -> None:
        exec(compile(code, title, "exec"), {"__name__": "__main__"})

    asyncio.run(as_in_jupyter())
    assert capsys.readouterr().out.strip()


def test_the_docs_show_all_that_is_offered_and_the_notebook_has_the_same_cells() -> None:
    assert len(BLOCKS) == 9
    shown = {name for _, code in BLOCKS for name in re.findall(r"aloe\.(\w+)", code)} | set(
        re.findall(r"aloe\.(\w+)", PAGE)
    )
    functions = {name for name in aloe.__all__ if inspect.isfunction(getattr(aloe, name))}
    assert functions | {"UserSimulator", "Persona", "ModelConfig"} <= shown
    book = json.loads((ROOT / "examples" / "library.ipynb").read_text("utf-8"))
    cells = ["".join(cell["source"]) for cell in book["cells"] if cell["cell_type"] == "code"]
    assert cells == [code.rstrip() for _, code in BLOCKS]


def test_types_name_what_is_there() -> None:
    stub = ast.parse((ROOT / "src" / "aloe" / "__init__.pyi").read_text("utf-8"))
    typed = {
        alias.asname: f"{node.module}" for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert typed == {name: f"aloe.{home}" for name, home in aloe._HOMES.items()}
    assert all(getattr(aloe, name) is not None for name in aloe.__all__) and set(aloe.__all__) <= set(dir(aloe))
    with pytest.raises(AttributeError, match="no attribute 'benchmrk'"):
        aloe.benchmrk  # noqa: B018


def test_importing_is_light() -> None:
    code = "import sys, aloe; print(*[m for m in sys.modules if m.partition('.')[0] in ('aloe', 'numpy', 'pydantic')])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert found.stdout.split() == ["aloe"]


def test_steps_are_those_of_the_benchmark(people: list[aloe.Persona], tmp_path: Path) -> None:
    options = {"bench": {"cards": 1, "drift": 1, "sessions": 2}}
    result = aloe.benchmark("world:assistant", people, n_turns=3, out=tmp_path, seed=3, options=options, **WORLD)
    folder = tmp_path / "bench" / "assistant"
    trees = {t.persona_id: t for t in read_jsonl(folder / "conversations.jsonl", ConversationTree)}
    rows = list(read_jsonl(folder / "scores.jsonl", BenchScore))
    first = aloe.UserSimulator(people[0], n_turns=3, seed=3, options=options, **WORLD)
    for persona in people:
        simulator = first.another(persona)
        said = [node.message.content for node in trees[persona.persona_id].nodes]
        heard, rewards = [simulator.reset()], []
        for reply in said[1::2]:
            message, reward, done, info = simulator.step(reply)
            heard.append(message)
            rewards.append(reward)
        assert done and info["ended"] == "turns" and info["session"] == 2
        assert heard == [*said[0::2], ""]
        assert rewards == [r.score for r in rows if r.persona_id == persona.persona_id] == list(simulator.scores)
        assert [m.content for m in simulator.messages] == said
    first.close()
    assert result.n_personas == len(people) and result.points[0].n_scored == len(people)


def test_an_empty_reply_ends_it_as_in_the_benchmark(people: list[aloe.Persona]) -> None:
    async def talk() -> None:
        async with aloe.UserSimulator(
            people[0], n_turns=4, options={"bench": {"scale": "1-100"}}, **WORLD
        ) as simulator:
            with pytest.raises(DataError, match="has not begun; call reset first"):
                await simulator.astep("Hello.")
            await simulator.areset()
            await simulator.astep("Hello, tell me more.")
            message, reward, done, info = await simulator.astep(" ")
            assert (message, reward, done, info["outcome"], info["forfeited"]) == ("", 1.0, True, "empty", [1.0, 1.0])
            assert len(simulator.scores) == 4
            with pytest.raises(DataError, match="is over"):
                simulator.step("And now?")  # both kinds of calls may be mixed
            assert await simulator.areset() == simulator.messages[0].content

    asyncio.run(talk())


def test_the_benchmark_is_that_of_the_command_line(people: list[aloe.Persona], tmp_path: Path) -> None:
    file = tmp_path / "people.jsonl"
    file.write_text("".join(p.model_dump_json(include={"profile", "personality"}) + "\n" for p in people))
    done = command(
        "bench", "--model", "world:oracle", "--personas", file, "--turns", "3", "--out", tmp_path / "run", "--judge",
        "world:judge", "--user", "world:user", "--quiet",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = aloe.BenchmarkResult.model_validate_json((tmp_path / "run/bench/oracle/result.json").read_bytes())
    assert aloe.benchmark("world:oracle", file, n_turns=3, **WORLD) == told


class Parrot:
    """A model of somebody's own."""

    def __init__(self, name: str) -> None:
        self.name, self.revision, self.n_calls, self.n_closed = name, "1", 0, 0

    async def complete(self, request: aloe.ChatRequest) -> aloe.Completion:
        self.n_calls += 1
        return aloe.Completion(f"{self.name} heard: {request.messages[-1].content[:30]}")

    async def aclose(self) -> None:
        self.n_closed += 1


def test_models_of_ones_own(people: list[aloe.Persona], tmp_path: Path) -> None:
    parrot, other = Parrot("parrot"), Parrot("parrot")
    for _ in range(2):  # the journal has the second time's answers
        result = aloe.benchmark(parrot, people[:2], n_turns=2, out=tmp_path, **WORLD)
        assert result.model == "parrot" and parrot.n_calls == 4 and parrot.n_closed == 0
    grown = aloe.grow_trees(people[:2], {"generic": parrot, **WORLD}, n_turns=1)
    assert any(n.message.content.startswith("parrot heard") for tree in grown.trees for n in tree.nodes)
    with pytest.raises(ConfigError, match="two models are called 'parrot'; give each its own name"):
        aloe.grow_trees(people, {"judge": [parrot, other]})
    with pytest.raises(ConfigError, match="is not a model; give a URI"):
        aloe.benchmark(3)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="was a model object of the Python API, which is gone"):
        aloe.benchmark("own:nobody", people[:1])


def test_trees_are_those_of_the_command_line(tmp_path: Path) -> None:
    sizes = {
        "n_profiles": 6,
        "n_personalities": 4,
        "n_personas": 3,
        "n_bench_profiles": 2,
        "n_bench_personalities": 2,
        "n_bench": 2,
    }
    few = [f"--personas.{name}={n}" for name, n in sizes.items()]
    done = command("export", "demo", "--out", tmp_path / "run", "--trees.n_trees=3", "--trees.n_turns=2", *few)
    assert done.returncode == 0, done.stderr
    personas = list(read_jsonl(tmp_path / "run/personas/personas.jsonl", aloe.Persona))
    people = [p for p in personas if p.split == "train"]
    grown = aloe.grow_trees(people, recipe=tmp_path / "run/config.toml", out=tmp_path / "again")
    for name in ("trees", "labels", "disclosures"):
        assert (tmp_path / f"again/trees/{name}.jsonl").read_bytes() == (
            tmp_path / f"run/trees/{name}.jsonl"
        ).read_bytes()
    assert [as_row(p) for p in grown.pairs] == read_rows(tmp_path / "run/datasets/dpo.parquet", ["prompt"])
    assert [as_row(e) for e in grown.examples] == read_rows(tmp_path / "run/datasets/sft.parquet", ["messages"])
    assert len(grown.trees) == 3 and grown.pairs
    with pytest.raises(ConfigError, match=r"no role 'jugde'.*did you mean 'judge'"):
        aloe.grow_trees(people, {"jugde": "world:judge"})


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: aloe.measure([["a"]]), "scores are not a table of numbers"),
        (lambda: aloe.measure([1.0, 2.0]), r"scores have shape \(2,\)"),
        (lambda: aloe.measure([[1.0], [2.0]], ["a"]), "1 labels for 2 rows"),
        (lambda: aloe.novel("a text"), "takes a list of texts"),
        (lambda: aloe.novel(["a", " "]), "text 2 of 2 is empty"),
        (lambda: aloe.make_persona("A nurse.", ""), "needs a profile and a personality"),
        (lambda: aloe.grow_trees([]), "no personas to grow trees with"),
        (lambda: aloe.benchmark("world:generic", ["Ann"]), "persona 1 is 'Ann'"),
        (lambda: aloe.benchmark("world:generic", options={"bench": {"n_trns": 3}}), "n_trns"),
        (lambda: aloe.score_conversations([{"message": []}]), "row 1: no object with a list 'messages'"),
        (lambda: aloe.score_conversations(["Hello"]), "row 1: no object with a list 'messages'"),  # type: ignore[list-item]
        (lambda: aloe.benchmark("world:generic", name="../other"), "'../other' is not a valid name for a result"),
        (lambda: aloe.measure([[1.0, float("inf")]]), "scores hold infinity"),
        (lambda: aloe.train_dpo(["wrong"], "m", "out"), "row 1 is 'wrong'"),
    ],
)
def test_mistakes_are_told_in_one_line(call: object, said: str) -> None:
    with pytest.raises((DataError, ConfigError), match=said) as caught:
        call()  # type: ignore[operator]
    assert "\n" not in str(caught.value) and caught.value.hint


def test_conversations_of_one_user_are_one_cluster() -> None:
    def row(text: str, user: str) -> dict[str, object]:
        said = [{"role": "user", "content": text}, {"role": "assistant", "content": "Soup."}]
        return {"messages": said, "user": user}

    same = aloe.score_conversations([row(f"Dinner, number {n}?", "ann") for n in range(10)], "world:judge")["logged"]
    apart = aloe.score_conversations([row(f"Dinner, number {n}?", f"u{n}") for n in range(10)], "world:judge")["logged"]
    assert (same.n_personas, same.n_samples, same.avg_ci) == (1, 10, None)
    assert (apart.n_personas, apart.n_samples) == (10, 1) and apart.avg_ci is not None


TYPED = """
import aloe
from aloe.training import train_dpo as inner

class Mine:
    name, revision = "mine", "1"
    async def complete(self, request: aloe.ChatRequest) -> aloe.Completion:
        return aloe.Completion(request.messages[-1].content)
    async def aclose(self) -> None: ...

persona: aloe.Persona = aloe.make_persona("A nurse.", "Brisk.")
low: float | None = aloe.benchmark(Mine(), [persona], judge=[Mine(), "world:judge"]).avg
grown = aloe.grow_trees([persona], {"judge": Mine()}, options={"trees": {"n_turns": 2}})
loss: object = aloe.train_dpo(grown.pairs, "base", "out", settings=aloe.DPOConfig(beta=0.2))["margin"]
aloe.train_sft([{"messages": []}], "base", "out", seed=1)
turn: int = aloe.UserSimulator(persona).step("Hello.")[3]["turn"]
figure: float | None = aloe.measure([[1.0, 2.0]], {"profile": ["a"]}).figures.ir
new: list[bool] = [not entry.reason for entry in aloe.novel(["a"])]
people: int = aloe.score_conversations([{"messages": []}], Mine())["logged"].n_personas
"""
WRONG = """
aloe.train_dpo("wrong", 3)
inner("wrong", 3)
aloe.train_sft(grown.pairs, "base", "out")
aloe.train_dpo(grown.pairs, "base", "out", settings={"beta": 0.2})
aloe.benchmark(persona)
aloe.UserSimulator("Ann")
aloe.novel([1])
aloe.UserSimulator(persona).step("Hello.")[3]["trun"]
aloe.measure("scores.csv", clusters=3)
aloe.benchmrk
"""


@pytest.mark.slow
def test_type_checkers_accept_right_uses_and_reject_wrong_ones(tmp_path: Path) -> None:
    script = tmp_path / "user_script.py"
    script.write_text(TYPED + WRONG, "utf-8")
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(script)],
        cwd=ROOT,  # its settings and its cache
        capture_output=True,
        text=True,
        timeout=300,
    )
    wrong = {int(line.split(":")[1]) for line in checked.stdout.splitlines() if ": error:" in line}
    first = len(TYPED.splitlines()) + 2  # an empty one between
    assert wrong == set(range(first, first + len(WRONG.split("\n")) - 2)), checked.stdout + checked.stderr
