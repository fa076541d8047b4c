"""The Inspect task gives the benchmark's scores; skipped where inspect-ai is not installed (``make test-peers``)."""

from __future__ import annotations

import runpy
import time
from pathlib import Path

import pytest

pytest.importorskip("inspect_ai", exc_type=ImportError)

from inspect_ai import eval as run_eval
from inspect_ai.log import read_eval_log
from inspect_ai.model import ModelAPI, ModelOutput, get_model, modelapi

import aloe
from aloe.store.records import read_jsonl
from aloe.types import BenchScore

ROOT = Path(aloe.__file__).parents[2]
TASK = runpy.run_path(str(ROOT / "examples" / "inspect" / "alignment.py"))["alignment"]
WORLD = {"user": "world:user", "judge": "world:judge"}


def answer(said: list[str]) -> str:
    """A model of no skill, the same in both harnesses: it takes words of the user up."""
    return f"About {' '.join(said[-1].split()[:6])}: I would start small. {' '.join(said[0].split()[2:9])}"


class Taker:
    name, revision = "taker", "1"

    async def complete(self, request: aloe.ChatRequest) -> aloe.Completion:
        return aloe.Completion(answer([m.content for m in request.messages if m.role == "user"]))

    async def aclose(self) -> None: ...


@modelapi("taker")
class TakerAPI(ModelAPI):
    async def generate(self, input, tools, tool_choice, config):
        return ModelOutput.from_content("taker", answer([m.text for m in input if m.role == "user"]))


@pytest.mark.parametrize(("n_personas", "n_turns"), [(6, 4)])
def test_scores_are_those_of_the_benchmark(n_personas: int, n_turns: int, tmp_path: Path) -> None:
    people = aloe.read_personas(n=n_personas)
    started = time.process_time()
    result = aloe.benchmark(Taker(), people, n_turns=n_turns, out=tmp_path / "run", **WORLD)
    alone = time.process_time() - started
    wanted: dict[str, list[float | None]] = {}
    for row in read_jsonl(tmp_path / "run" / "bench" / "taker" / "scores.jsonl", BenchScore):
        wanted.setdefault(row.persona_id, []).append(row.score)
    started = time.process_time()
    task = TASK(n_personas=n_personas, n_turns=n_turns)
    (log,) = run_eval(task, model=get_model("taker/taker"), log_dir=str(tmp_path / "logs"), display="none")
    inside = time.process_time() - started
    each = 1e3 / n_personas / n_turns
    print(f"\nCPU ms a turn: {each * alone:.2f} by aloe.benchmark, {each * inside:.2f} in Inspect")
    assert log.status == "success", log.error
    stored = read_eval_log(log.location)
    found = {s.id: s.scores["alignment_level"].metadata["turns"] for s in stored.samples}
    assert found == wanted
    metrics = {name: value.value for name, value in stored.results.scores[0].metrics.items()}
    assert metrics["mean"] == pytest.approx(result.avg) and metrics["improvement_rate"] == pytest.approx(result.ir)
    assert metrics["half_width"] == pytest.approx((result.avg_ci[1] - result.avg_ci[0]) / 2)
    assert metrics["stderr"] > 0
