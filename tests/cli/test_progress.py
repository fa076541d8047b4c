"""What a stage shows while it works: lines where there is no terminal, nothing at all where quiet is asked for."""

from __future__ import annotations

import io

import pytest

from aloe.progress import StageProgress, stage_progress


@pytest.mark.parametrize(("quiet", "n_lines"), [(False, 2), (True, 0)])
def test_lines_come_now_and_then_unless_quiet(
    quiet: bool, n_lines: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(StageProgress, "quiet_every", 0.0)
    with stage_progress("trees", quiet=quiet) as progress:
        progress.update(3, 10, "trees", "5k tokens")
        progress.update(10, 10, "trees")
    shown = capfd.readouterr()
    assert not shown.out and len(shown.err.splitlines()) == n_lines
    if not quiet:
        assert "trees: 3 of 10 trees 5k tokens" in shown.err


def test_lines_go_to_the_stream_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StageProgress, "quiet_every", 0.0)
    out = io.StringIO()
    with stage_progress("base", out) as progress:
        progress.update(0.5, None, "steps", "loss 1.2")
    assert out.getvalue().startswith("  base: 0 steps loss 1.2")


def test_time_left_counts_from_the_first_update(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StageProgress, "quiet_every", 0.0)
    out, now = io.StringIO(), iter([0.0, 100.0, 110.0, 120.0, 200.0, 205.0])  # 100 s of loading
    monkeypatch.setattr("aloe.progress.time.monotonic", lambda: next(now))
    progress = StageProgress("bench", out, None)
    for done in (0, 2, 4, 1, 3):  # the last two are a second model's
        progress.update(done, 10, "turns")
    lines = out.getvalue().splitlines()
    assert "left" not in lines[0]  # nothing is known yet
    assert lines[1].endswith("2 of 10 turns, 40 s left") and lines[2].endswith("4 of 10 turns, 30 s left")
    assert "left" not in lines[3] and lines[4].endswith("3 of 10 turns, 18 s left")
