"""Figures of sessions and changes on the page: drawn from what a result says, absent where it says nothing."""

from pathlib import Path

from aloe.report.charts import style_map
from aloe.report.data import BenchModel
from aloe.report.sessions import time_figures


def model(name, **result):
    return BenchModel(name, Path(name), result)


def test_sessions_and_changes_are_drawn_where_results_have_them():
    models = [
        model("dpo", sessions={"al": [3.0, 2.5], "boundary_loss": 0.7, "boundary_loss_ci": [0.4, 1.0],
                               "fact_use_by_session_lag": [0.9, 0.1]},
              truth={"stale_use": 0.25, "turns_to_update": 2.5, "contradiction_rate": 0.125},
              truth_ci={"stale_use": [0.1, 0.4]}),
        model("generic", truth={"stale_use": None}),
    ]  # fmt: skip
    figures = {f.figure_id: f for f in time_figures(models, style_map(m.name for m in models))}
    assert set(figures) == {
        "boundary",
        "al-session",
        "recall-session",
        "stale-use",
        "turns-to-update",
        "contradiction-rate",
    }
    assert figures["boundary"].rows == (("dpo", 0.7, 0.4, 1.0),)
    assert figures["stale-use"].rows == (("dpo", 0.25, 0.1, 0.4),)
    assert figures["contradiction-rate"].rows == (("dpo", 0.125, None, None),)
    assert figures["turns-to-update"].rows == (("dpo", 2.5, None, None),)


def test_results_of_one_session_in_which_nobody_changes_have_none():
    models = [model("dpo", truth={"fact_use": 0.5}, sessions=None), model("old")]
    assert time_figures(models, {}) == []
