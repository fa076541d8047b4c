"""An installed package adds a model scheme, a training method and a benchmark, and aloe is not touched."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from helpers import Done

PACKAGE = '''
from pathlib import Path

from pydantic import Field

from aloe.bench.suites import SuiteFigure, mean_figure
from aloe.config import TrainingSection
from aloe.errors import EndpointError
from aloe.prompts.catalog import RESPONDER
from aloe.protocols import Completion, PromptMessage
from aloe.training.data import read_rows
from aloe.training.methods import Method
from aloe.types import Usage


class Parrot:
    """Says the last message back."""

    revision = "1"

    def __init__(self, config):
        self.name = config.uri

    async def complete(self, request):
        text = request.messages[-1].content
        return Completion(text, "stop", Usage(prompt_tokens=len(text), completion_tokens=len(text)))

    async def aclose(self):
        return None


class CountSection(TrainingSection):
    column: str = Field("messages", description="what is counted")


def count(section, data, model, out, *, seed, progress, profiles):
    """A method that learns one number."""
    rows = read_rows(data, [section.column])
    Path(out).mkdir(parents=True, exist_ok=True)
    (Path(out) / "count.txt").write_text(str(len(rows)))
    return {"n_rows": len(rows), "seed": seed}


COUNT = Method("count", "count the rows", count, CountSection, needs=("export",))


class Mute(Parrot):
    async def complete(self, request):
        raise EndpointError("the line is dead", "mend the line")


BENCH = Method("bench", "takes a stage's name", count, CountSection)


class Greetings:
    """How often is a greeting answered with a greeting?"""

    name, help = "greetings", "are greetings returned?"

    def __init__(self, options):
        self.words = list(options.get("words", ["hello", "good evening", "hey"]))

    def items(self, config):
        return self.words

    def item_id(self, item):
        return item.replace(" ", "-")

    async def run(self, caller, model, item, path):
        reply, _ = await caller.ask(RESPONDER, path, history=[PromptMessage("user", (item,))], model=model)
        return {"score": None if reply is None else float(item in reply.lower())}

    def figures(self, records):
        return {"returned": mean_figure([r["score"] for r in records])}
'''
ENTRY_POINTS = """
[aloe.models]
parrot = birds:Parrot
mute = birds:Mute
lost = nowhere:Thing
[aloe.methods]
count = birds:COUNT
bench = birds:BENCH
[aloe.suites]
greetings = birds:Greetings
farewells = birds:Farewells
"""
RECIPE = """
skip = ["base", "sft", "rollout", "dpo"]
[world]
values = 8
phrasings = 2
[personas]
seeds = "world"
embedder = "world"
n_profiles = 12
n_personalities = 6
n_personas = 8
n_bench_profiles = 4
n_bench_personalities = 2
n_bench = 4
[trees]
n_trees = 4
n_turns = 2
[bench]
models = ["parrot:", "world:generic"]
n_turns = 2
n_bootstrap = 100
[methods.count]
column = "messages"
[suites.greetings]
words = ["hello", "hey"]
"""


Aloe = Callable[..., Done]
COMMANDS = """
import json, sys
from helpers import aloe
for line in sys.stdin:
    done = aloe(*json.loads(line))
    print(json.dumps([done.returncode, done.stdout, done.stderr]), flush=True)
"""


@pytest.fixture(scope="module")
def aloe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aloe]:
    """Commands of one process that finds the package ``birds`` installed."""
    folder = tmp_path_factory.mktemp("plugins")
    (folder / "birds.py").write_text(PACKAGE, "utf-8")
    about = folder / "birds-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: birds\nVersion: 1.0\n", "utf-8")
    (about / "entry_points.txt").write_text(ENTRY_POINTS, "utf-8")
    paths = [str(folder), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, "-c", COMMANDS]
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None

        def run(*arguments: str | Path) -> Done:
            process.stdin.write(json.dumps([str(a) for a in arguments]) + "\n")
            process.stdin.flush()
            return Done(arguments, *json.loads(process.stdout.readline()))

        yield run
        process.stdin.close()


@pytest.fixture(scope="module")
def run(aloe: Aloe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    recipe = folder / "mine.toml"
    recipe.write_text(RECIPE.replace("parrot:", "parrot:green"), "utf-8")
    done = aloe("run", recipe, "--out", folder / "run")
    assert done.returncode == 0, done.stderr
    assert "count" in done.stdout and "suites" in done.stdout
    assert re.search(r"greetings *\nmodel +returned *\ngreen +1\.00", done.stdout)
    return folder / "run"


def test_a_model_scheme_is_benchmarked(run: Path) -> None:
    result = json.loads((run / "bench" / "green" / "result.json").read_text("utf-8"))
    assert result["uri"] == "parrot:green" and result["n_failed"] == 0


def test_a_training_method_is_a_stage_of_a_run_that_names_it(run: Path) -> None:
    n_rows = int((run / "checkpoints" / "count" / "count.txt").read_text("utf-8"))
    stages = json.loads((run / "manifest.json").read_text("utf-8"))["stages"]
    assert n_rows > 0 and stages["count"]["summary"]["n_rows"] == n_rows
    assert stages["export"]["summary"]["n_sft"] == n_rows


def test_a_benchmark_is_run_with_every_model(run: Path) -> None:
    found = {}
    for name in ("green", "generic"):
        found[name] = json.loads((run / "suites" / "greetings" / name / "result.json").read_text("utf-8"))
        assert found[name]["n_items"] == 2 and found[name]["n_failed"] == 0
        records = (run / "suites" / "greetings" / name / "records.jsonl").read_text("utf-8").splitlines()
        assert [json.loads(line)["item_id"] for line in records] == ["hello", "hey"]
    assert found["green"]["figures"]["returned"]["value"] == 1.0
    assert found["generic"]["figures"]["returned"]["value"] < 1.0
    page = (run / "report" / "index.html").read_text("utf-8")
    assert "<h4><bdi>greetings</bdi></h4>" in page and "<td>1.00 [1.00, 1.00]</td>" in page


def test_what_is_done_is_not_done_again(aloe: Aloe, run: Path) -> None:
    again = aloe("run", run)
    assert again.returncode == 0, again.stderr
    assert "already done: personas, trees, export, count" in again.stdout.replace("\n", " ")


def test_the_method_is_a_command_of_its_own(aloe: Aloe, run: Path, tmp_path: Path) -> None:
    done = aloe("count", "--data", run / "datasets" / "sft.parquet", "--model", "none", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert '"n_rows"' in done.stdout and (tmp_path / "out" / "count.txt").is_file()


def test_the_command_of_a_method_knows_its_options_and_runs_its_stage(aloe: Aloe, run: Path) -> None:
    shown = aloe("count", "--help-all").stdout
    assert shown.index("--methods.count.column str") < shown.index("--seed int")
    assert "what is counted [messages]" in shown and "[--methods.count.OPTION VALUE ...]" in shown
    done = aloe("count", run, "--from", "count")
    assert done.returncode == 0 and "count " in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--methods.count.colum", "x"), "methods.count.colum"),
        (("--methods.cuont.column", "x"), "no training method 'cuont' (did you mean 'count'?)"),
        (("--suites.greeting.words", '["a"]'), "no benchmark suite 'greeting' (did you mean 'greetings'?)"),
        (("--methods.sft.epochs", "1"), "[methods.sft] is built in"),
        (("--methods.bench.column", "x"), "plug-in method 'bench' has the name of a stage"),
        (
            ("--suites.farewells.words", '["a"]'),
            "'farewells' of aloe.suites (birds:Farewells) cannot be loaded",
        ),
        (("--roles.judge", "lost:x"), "plug-in 'lost' of aloe.models (nowhere:Thing) cannot be loaded: ModuleNotFound"),
    ],
)
def test_a_wrong_section_is_one_line(aloe: Aloe, run: Path, tmp_path: Path, option: tuple[str, str], said: str) -> None:
    done = aloe("run", run.parent / "mine.toml", "--out", tmp_path / "run", *option)
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert said in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run" / "trees").exists()


def test_suites_in_which_every_call_failed_are_no_success(aloe: Aloe, run: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "mute.toml"
    text = (run.parent / "mine.toml").read_text("utf-8").replace('["parrot:green", "world:generic"]', '["mute:x"]')
    recipe.write_text(text.replace('skip = ["base"', 'skip = ["bench", "base"'), "utf-8")
    done = aloe("run", recipe, "--out", tmp_path / "run")
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert "in stage suites" in done.stderr and "the line is dead" in done.stderr
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text("utf-8"))
    assert "suites" not in manifest["stages"]
