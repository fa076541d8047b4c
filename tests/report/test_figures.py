"""Drawing: whole numbers where whole numbers belong, nothing outside the frame, no gap filled in."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aloe.report.figures import ForestRow, LineChart, Series, forest_plot, histogram, line_chart, shown, ticks

finite = st.floats(-1e6, 1e6)


@given(finite, finite)
def test_ticks_cover_the_range_in_even_round_steps(a: float, b: float) -> None:
    low, high = min(a, b), max(a, b)
    found = ticks(low, high)
    span = found[-1] - found[0]
    assert found[0] <= low + 1e-6 * max(1, span) and found[-1] >= high - 1e-6 * max(1, span)
    assert 2 <= len(found) <= 12
    steps = [y - x for x, y in pairwise(found)]
    assert max(steps) == pytest.approx(min(steps), rel=1e-5)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.0, "0.000"), (-0.0001, "0.000"), (-1.5, "−1.500"), (1234.5, "1,234"), (2e-9, "2.0e−09")],
)
def test_numbers_for_people(value: float | None, text: str) -> None:
    assert shown(value) == text


curve = st.lists(st.none() | st.floats(-5, 5), min_size=1, max_size=12)


@given(curve)
def test_a_line_chart_is_well_formed_stays_inside_and_breaks_at_gaps(values: list[float | None]) -> None:
    x = tuple(float(k) for k in range(1, len(values) + 1))
    low = tuple(None if v is None else v - 0.1 for v in values)
    high = tuple(None if v is None else v + 0.1 for v in values)
    chart = LineChart("c", "<&>", x, (Series('"name"', tuple(values), low, high),), "turn", "AL")
    for narrow in (False, True):
        svg = line_chart(chart, narrow)
        root = ElementTree.fromstring(svg)
        width, height = float(root.get("width", "0")), float(root.get("height", "0"))
        path = next(e.get("d") or "" for e in root.iter() if e.get("class") == "curve")
        stretches = "".join("x" if v is not None else " " for v in values).split()
        assert path.count("M") == len(stretches)
        places = [tuple(map(float, p.split())) for p in re.split("[ML]", path) if p]
        assert len(places) == sum(v is not None for v in values)
        assert all(0 <= px <= width and 0 <= py <= height for px, py in places)
        assert "nan" not in svg.lower()


@pytest.mark.parametrize("values", [(0.0, 150_000.0), (-0.0081, -0.0021), (1.0, 2.0)])
def test_the_numbers_of_an_axis_have_room_beside_it(values: tuple[float, float]) -> None:
    for narrow in (False, True):
        root = ElementTree.fromstring(
            line_chart(LineChart("c", "c", (1.0, 2.0), (Series("s", values),), "t", ""), narrow)
        )
        left = [e for e in root.iter() if e.get("text-anchor") == "end"]
        assert len(left) >= 2
        assert all(float(e.get("x", "0")) >= 6.9 * len(e.text or "") for e in left)


def test_few_turns_are_all_named_and_many_steps_get_whole_ticks() -> None:
    def labels(n: int) -> list[str]:
        chart = LineChart("c", "t", tuple(map(float, range(1, n + 1))), (Series("a", (1.0,) * n),), "", "")
        root = ElementTree.fromstring(line_chart(chart, narrow=True))
        found = [e.text or "" for e in root.iter() if e.tag.endswith("text") and e.get("text-anchor") == "middle"]
        return [t.replace(",", "") for t in found if t]

    assert labels(10) == [str(k) for k in range(1, 11)]
    assert all(float(t) == math.floor(float(t)) for t in labels(247)) and 3 <= len(labels(247)) <= 10


def test_an_axis_keeps_to_the_scale_even_where_a_band_passes_it() -> None:
    series = Series("a", (1.2, 4.99), (1.0, 4.9), (1.4, 5.08))
    root = ElementTree.fromstring(line_chart(LineChart("c", "t", (1.0, 2.0), (series,), "", "", limits=(1.0, 5.0))))
    found = [e.text for e in root.iter() if e.tag.endswith("text") and e.get("text-anchor") == "end"]
    assert found == ["1", "2", "3", "4", "5"]
    band = next(e.get("d") or "" for e in root.iter() if e.get("class") == "band")
    assert all(12 <= float(p.split()[1]) <= 288 for p in band.strip("Mz").split("L"))


def test_names_at_the_end_of_curves_do_not_overlap_or_leave_the_frame() -> None:
    series = tuple(Series(f"m{i}", (2.0, 2.0 + i * 1e-3), style=i) for i in range(8))
    root = ElementTree.fromstring(line_chart(LineChart("c", "t", (1.0, 2.0), series, "turn", "")))
    heights = sorted(float(e.get("y", 0)) for e in root.iter() if e.tag.endswith("text") and e.get("class") == "name")
    assert len(heights) == 8 and min(b - a for a, b in pairwise(heights)) >= 14.9
    assert heights[0] > 0 and heights[-1] < 330


def test_a_forest_plot_says_undefined_and_never_draws_what_is_missing() -> None:
    rows = [ForestRow("a <b>", 0.1, 0.0, 0.2), ForestRow("b", None, None, None), ForestRow("c", -0.3, None, None)]
    svg = forest_plot(rows, "t", "x")
    root = ElementTree.fromstring(svg)
    assert svg.count("whisker") == 1 and svg.count('class="mark"') == 2 and "undefined" in svg
    assert "a <b>" in [e.text for e in root.iter()]


def test_a_histogram_draws_every_count() -> None:
    root = ElementTree.fromstring(histogram([0.0, 0.5, 1.0], [3, 0], "t", "x", marker=0.6))
    bars = [float(e.get("height", 0)) for e in root.iter() if e.get("class") == "bar"]
    assert len(bars) == 2 and bars[0] > 50 and bars[1] == 0
