"""Statistics for the benchmark: lines, intervals over personas that share groups, agreement. Numpy only.

Invariants: nothing here draws unless a generator is passed in; an interval that can't be had is ``None``, never NaN.
Imports no other aloe module.
"""

from aloe.stats.agreement import cohen_kappa, pearson, rank, spearman
from aloe.stats.clusters import Clusters
from aloe.stats.intervals import (
    Estimate,
    bootstrap_interval,
    mean_interval,
    proportion_interval,
    ratio_difference,
    ratio_interval,
    share_interval,
)
from aloe.stats.lines import FittedLine, fit_line, is_flat
from aloe.stats.students import Floats, Ints, t_quantile, t_tail

__all__ = [
    "Clusters",
    "Estimate",
    "Floats",
    "Ints",
    "FittedLine",
    "bootstrap_interval",
    "cohen_kappa",
    "fit_line",
    "is_flat",
    "mean_interval",
    "pearson",
    "proportion_interval",
    "rank",
    "ratio_difference",
    "ratio_interval",
    "share_interval",
    "spearman",
    "t_quantile",
    "t_tail",
]
