"""``rl`` as a stage of a run and as a command: off unless asked for, planned, and shown in the report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aloe.config import load_config
from aloe.errors import ConfigError
from aloe.prompts import PromptSet
from aloe.report.build import build_report
from aloe.stages.pipeline import stage_digests, wanted_stages
from aloe.stages.table import stage_by_name, stages_of
from helpers import aloe


def test_the_stage_is_off_unless_it_has_iterations() -> None:
    without, prompts = load_config("demo"), PromptSet(None, "1")
    on = load_config("demo", {"rl": {"iterations": 3}})
    before = stage_digests(without, prompts)
    after = stage_digests(on, prompts)
    assert "rl" not in before and "rl" not in {s.name for s in stages_of(without)}
    assert {name: d for name, d in after.items() if name not in ("rl", "report")} == {
        name: d for name, d in before.items() if name != "report"
    }
    with pytest.raises(ConfigError, match=r"rl.iterations is 0"):
        wanted_stages(without, "rl")
    assert [s.name for s in stages_of(on)][-3:] == ["rl", "bench", "report"]


def test_it_stands_in_place_of_dpo_or_after_it() -> None:
    place = load_config("demo", {"rl": {"iterations": 3}})
    after = load_config("demo", {"rl": {"iterations": 3, "start": "dpo"}})
    assert "dpo" not in {s.name for s in wanted_stages(place, "rl")}
    assert "dpo" in {s.name for s in wanted_stages(after, "rl")}
    assert stage_by_name("rl", stages_of(after)).needs == ("personas", "dpo")


def test_the_command_trains_without_a_run(start: Path, people: Path, tmp_path: Path) -> None:
    out = tmp_path / "rl"
    done = aloe(
        "rl", "--data", people, "--model", start, "--out", out, "--rl.iterations", "1", "--rl.conversations", "2",
        "--rl.n_turns", "2", "--rl.max_new_tokens", "6", "--rl.eval_personas", "2", "--rl.rewards", "judge,brevity=0.5",
        "--rl.credit", "return", "--rl.kl", "0.1", "--rl.kl_in", "reward",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout[: done.stdout.rindex("}") + 1])
    assert summary["n_iterations"] == 1 and set(summary["after"]) >= {"judge", "truth", "brevity"}
    assert (out / "model.safetensors").is_file() and (out / "aloe.json").is_file()
    row = json.loads((out / "metrics.jsonl").read_text("utf-8"))
    assert row["reward"] == pytest.approx(row["reward/judge"] + 0.5 * row["reward/brevity"], abs=1e-4)


def test_the_report_shows_every_reward_and_replies_before_and_after(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints" / "rl"
    folder.mkdir(parents=True)
    (tmp_path / "manifest.json").write_text("{}", "utf-8")
    metrics = [{"step": n, "reward": 2 + n / 10, "kl": n / 100, "entropy": 1.0, "clipped": 0.1} for n in (1, 2)]
    evaluations = [
        {"step": n, "rewards": {
            name: {"mean": 1.0 + n, "low": 0.5, "high": 3.0, "curve": [1.0, 2.0]} for name in ("judge", "truth")
        }} for n in (0, 2)
    ]  # fmt: skip
    samples = [
        {"step": n, "conversation": 0, "turn": 1, "user": "Hello", "reply": f"reply <b>{n}</b>", "rewards": {}}
        for n in (0, 2)
    ]
    for name, rows in (("metrics", metrics), ("evaluations", evaluations), ("samples", samples)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    page = build_report(tmp_path).read_text("utf-8")
    for shown in ("Held-out personas: truth", "Judge&#39;s score by turn", "KL divergence", "before: user"):
        assert shown in page, shown
    assert "Hello → reply &lt;b&gt;2&lt;/b&gt;" in page and "<b>2</b>" not in page
