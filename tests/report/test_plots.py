"""Figures as files from the command line: SVG without anything, PDF and PNG by matplotlib, bad input in one line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from helpers import aloe


def test_svg_needs_no_extra_and_what_cant_be_written_is_one_line(whole_run: Path, tmp_path: Path) -> None:
    done = aloe("report", whole_run, "--figures", tmp_path / "svg")
    paths = [Path(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0 and {"al.svg", "paired-avg.svg", "levels.svg"} <= {p.name for p in paths}
    assert all(p.read_text("utf-8").startswith("<svg") for p in paths)
    (tmp_path / "empty").mkdir()
    for arguments, says in (
        ((whole_run, "--format", "svg,tiff"), "use of: svg, pdf, png"),
        ((tmp_path / "empty",), "contains no benchmark results"),
        ((), "--figures needs a run directory"),
        ((whole_run, whole_run), "several runs"),
        ((whole_run, "--out", "x"), "--out does not go with --figures"),
    ):
        done = aloe("report", *arguments, "--figures", tmp_path / "none")
        assert done.returncode in (2, 3) and says in done.stderr and len(done.stderr.splitlines()) == 1, arguments
    assert not (tmp_path / "none").exists()


def test_pdf_and_png_are_drawn_one_column_wide_and_the_same_again(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra plots is not installed")
    for name in ("base", "sft", "sft-control", "oracle"):
        shutil.rmtree(run / "bench" / name)
    for name, form in (("one", "pdf,png"), ("two", "pdf")):
        assert aloe("report", run, "--figures", tmp_path / name, "--format", form).returncode == 0
    drawn = {p.name: p.read_bytes() for p in (tmp_path / "one").iterdir()}
    assert {"al.pdf", "al.png", "paired-avg.pdf"} <= set(drawn)
    assert drawn["al.pdf"].startswith(b"%PDF") and b"/Type /Page" in drawn["al.pdf"]
    assert int.from_bytes(drawn["al.png"][16:20]) == 1020  # 3.4 inches of 300 pixels
    again = {p.name: p.read_bytes() for p in (tmp_path / "two").iterdir()}
    assert again == {name: content for name, content in drawn.items() if name.endswith(".pdf")}
