"""Panels: agreement with published values, judges that favour their own family, and what the commands print of both."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from aloe.__main__ import main
from aloe.bench.families import family_notes, family_of
from aloe.bench.panels import agreement, agreement_of_panel, read_panel, self_preferences
from aloe.errors import DataError
from aloe.report.build import build_report
from aloe.stats.agreement import cohen_kappa, krippendorff_alpha, quadratic_kappa
from aloe.store.records import write_json, write_jsonl
from aloe.types import BenchmarkResult, BenchScore

#: Four observers, twelve units, of "Computing Krippendorff's alpha-reliability" (2011), section D.
OBSERVED = (
    (1, 2, 3, 3, 2, 1, 4, 1, 2, 0, 0, 0),
    (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, 0, 3),
    (0, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 0),
    (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, 0),
)
JUDGES = ("openai:qwen3-32b", "openai:gpt-4.1", "hf:meta-llama/Llama-3.3-70B-Instruct")


def observed() -> np.ndarray:
    table = np.array(OBSERVED, dtype=float).T
    table[table == 0] = np.nan
    return table


def test_alpha_has_its_published_values():
    assert krippendorff_alpha(observed(), of_categories=True) == pytest.approx(0.743, abs=5e-4)
    assert krippendorff_alpha(observed()) == pytest.approx(0.849, abs=5e-4)
    assert krippendorff_alpha(observed() + 1e6) == pytest.approx(0.849, abs=5e-4)
    assert krippendorff_alpha(np.ones((4, 2))) is None and krippendorff_alpha(np.full((3, 2), np.nan)) is None


def test_kappa_is_cohens_and_chance_is_zero():
    rng = np.random.default_rng(1)
    first, noise = rng.integers(1, 6, 300), rng.integers(-1, 2, 300)
    second = np.clip(first + noise, 1, 5)
    expected = cohen_kappa(first.tolist(), second.tolist(), "quadratic")
    assert quadratic_kappa(first, second) == pytest.approx(expected)
    units = [f"p{i // 10}" for i in range(300)]
    found = agreement(np.column_stack([first, second, rng.integers(1, 6, 300)]).astype(float), units)
    assert found.kappas[0, 1].value == pytest.approx(expected) and found.kappas[0, 1].low > 0.6
    assert found.kappas[0, 2].low < 0 < found.kappas[0, 2].high
    verdicts = agreement(np.column_stack([first, second]).astype(float), units, of_categories=True)
    assert verdicts.kappas[0, 1].value == pytest.approx(cohen_kappa(first.tolist(), second.tolist()))
    assert verdicts.kappas[0, 1].low < verdicts.kappas[0, 1].value < verdicts.kappas[0, 1].high


def bench(run: Path, name: str, uri: str, level: float, bonus: float = 0.0) -> None:
    """A model scored by three judges, of which the first adds ``bonus`` and is half a point stricter with everybody."""
    rng = np.random.default_rng([ord(c) for c in name])
    rows, folder = [], run / "bench" / name
    for person in range(30):
        for turn in (1, 2):
            each = (level + rng.normal(scale=0.15, size=3)) + [bonus - 0.5, 0, 0]
            parts = {f"judge {at}": float(value) for at, value in enumerate(each, 1)} | {"spread": 0.1}
            who = {"persona_id": f"p{person}", "profile_id": f"f{person}", "personality_id": f"c{person % 15}"}
            rows.append(BenchScore(tree_id=f"t{person}", turn=turn, score=float(each.mean()), parts=parts, **who))
    write_jsonl(folder / "scores.jsonl", rows)
    result = BenchmarkResult(
        model=name, uri=uri, judge_model=", ".join(JUDGES), user_model="openai:qwen3-4b", config_digest="",
        n_personas=30, points=(), avg=None, ir=None, ir_ci=None, n_ir=None, n_r2=None,
    )  # fmt: skip
    write_json(folder / "result.json", result.model_dump(mode="json"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("panel")
    bench(folder, "kin", "hf:Qwen/Qwen3-8B", 3.0, bonus=0.4)
    bench(folder, "better", "openai:mistral-large", 4.0)
    bench(folder, "worse", "openai:gemma-3-27b", 2.4)  # on average the others are better than kin
    return folder


def test_a_judge_that_favours_its_family_is_found_and_one_that_is_strict_is_not(run: Path):
    models = [read_panel(run / "bench" / name, name) for name in ("kin", "better", "worse")]
    assert models[0].judges == JUDGES and models[0].ratings.shape == (60, 3)
    (found,) = self_preferences(models)
    assert (found.judge, found.family, found.own) == (JUDGES[0], "Qwen", ("kin",))
    assert found.points.low < 0.4 < found.points.high and found.points.low > 0.2
    assert self_preferences(models[1:]) == []  # nobody is of a judge's family
    together = agreement_of_panel(models)
    assert together.n_items == 180 and together.alpha.low < together.alpha.value < together.alpha.high
    assert together.kappas[1, 2].value > together.kappas[0, 1].value  # the strict judge is further off


def test_the_command_and_the_report_name_what_is_of_one_family(run: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["judge", "agreement", str(run)]) == 0
    said = capsys.readouterr().out
    assert "180 replies of 3 models" in said and "Krippendorff's alpha" in said and "(Qwen, its own family) +0." in said
    assert main(["judge", "agreement", str(run), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert len(shown["agreement"]["kappas"]) == 3 and shown["self_preference"][0]["own"] == ["kin"]
    page = build_report(run).read_text("utf-8")
    assert "and kin are of one family (Qwen)" in page and "and the simulated user are of one family (Qwen)" in page


def test_results_of_one_judge_are_no_panel(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    row = {"tree_id": "t", "persona_id": "p", "profile_id": "f", "personality_id": "c", "turn": 1, "score": 3.0}
    write_jsonl(tmp_path / "bench" / "m" / "scores.jsonl", [BenchScore(**row)])
    with pytest.raises(DataError, match="not scored by several judges"):
        read_panel(tmp_path / "bench" / "m", "m")
    assert main(["judge", "agreement", str(tmp_path)]) == 3
    assert "panel mean" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("uri", "family"),
    [
        ("openai:gpt-4.1-mini", "GPT"), ("hf:meta-llama/Llama-3.2-1B", "Llama"), ("world:judge", None),
        ("hf:deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "Qwen"), ("openai:my-egpts", None), ("hf:smollm2", "SmolLM"),
        ("openai:o3", "GPT"), ("openai:model-o35", None), ("openai:qwen2.5:7b+persona", "Qwen"),
    ],
)  # fmt: skip
def test_families_are_known_by_name(uri: str, family: str | None):
    assert family_of(uri) == family


def test_a_checkpoint_is_of_the_family_that_it_started_from(tmp_path: Path):
    for name, config in (("sft", {"model": "hf:Qwen/Qwen3-0.6B"}), ("dpo", {})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "aloe.json").write_text(json.dumps({"config": config}), "utf-8")
    assert family_of(f"hf:{tmp_path / 'dpo'}") == family_of(f"hf:{tmp_path / 'sft'}") == "Qwen"
    assert family_of(f"hf:{tmp_path / 'dpo'}", look=False) is None
    assert family_notes(["openai:qwen-max"], [], [("mine", f"hf:{tmp_path / 'sft'}")])


def test_several_judges_are_each_checked_and_compared(capsys: pytest.CaptureFixture[str]):
    two = ("--judge", "world:judge", "--judge", "world:judge?weighing=tact")
    assert main(["judge", "check", "--n", "4", "--json", *two]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["judge"] for one in found["judges"]] == list(two[1::2])
    assert found["agreement"]["scores"]["n_items"] == 8 and found["agreement"]["scores"]["alpha"][0] > 0.5
    assert main(["judge", "check", "--n", "4", *two]) == 0
    assert "kappa, world:judge with world:judge?weighing=tact" in capsys.readouterr().out
