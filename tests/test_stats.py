"""Lines, intervals and agreement: known answers, invariants, and small versions of the coverage study."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from aloe.seeding import derive_rng
from aloe.stats import (
    Clusters,
    bootstrap_interval,
    cohen_kappa,
    fit_line,
    is_flat,
    mean_interval,
    pearson,
    proportion_interval,
    rank,
    ratio_difference,
    ratio_interval,
    share_interval,
    spearman,
    t_quantile,
    t_tail,
)
from aloe.stats.clusters import SizeGrid

CROSSED = Clusters([i // 5 for i in range(100)], [i % 5 for i in range(100)])


def test_line_through_points():
    line = fit_line([1.0, 3.0, 2.0, 5.0, 4.0])
    assert line is not None
    assert (line.slope, line.intercept) == (pytest.approx(0.8), pytest.approx(0.6))
    assert line.r2 == pytest.approx(0.64)


def test_line_leaves_unscored_out_with_their_place():
    line = fit_line([1.0, np.nan, 3.0, 4.0])
    assert line is not None
    assert (line.slope, line.intercept, line.r2) == pytest.approx((1.0, 0.0, 1.0))


def test_line_undefined():
    assert fit_line([]) is None
    assert fit_line([2.0]) is None
    assert fit_line([1.0, 2.0], x=[3.0, 3.0]) is None
    flat = fit_line([0.1 + 0.2, 0.3, 0.3])
    assert flat is not None
    assert flat.slope == 0.0
    assert flat.r2 is None


def test_line_refuses_other_shapes():
    with pytest.raises(ValueError, match="one length"):
        fit_line([1.0, 2.0], x=[1.0])


@given(st.floats(-1e6, 1e6), st.integers(1, 12))
def test_a_repeated_value_is_flat(value, n):
    assert is_flat([value] * n)


# quantiles as printed in any table of Student's t
@pytest.mark.parametrize(
    ("level", "df", "expected"),
    [(0.95, 1, 12.706), (0.95, 4, 2.776), (0.95, 19, 2.093), (0.99, 10, 3.169), (0.90, 30, 1.697), (0.95, 1e7, 1.960)],
)
def test_t_quantiles(level, df, expected):
    assert t_quantile(level, df) == pytest.approx(expected, abs=6e-4)


@given(st.floats(0.05, 0.999), st.floats(1.0, 500.0))
def test_t_quantile_inverts_the_tail(level, df):
    assert t_tail(t_quantile(level, df), df) == pytest.approx(1.0 - level, abs=1e-9)


def test_textbook_interval():
    # mean 5, s = 2 over 9 values: 5 +- 2.306 * 2 / 3
    found = mean_interval([3, 3, 3, 5, 5, 5, 7, 7, 7])
    assert found is not None
    s = np.std([3, 3, 3, 5, 5, 5, 7, 7, 7], ddof=1)
    assert found.high - 5 == pytest.approx(2.306 * s / 3, abs=1e-3)


def test_personas_that_share_nothing_are_the_textbook_case():
    values = derive_rng(0, "x").normal(size=40)
    own = Clusters([f"p{i}" for i in range(40)], [f"t{i}" for i in range(40)])
    assert own.shared == ()
    assert mean_interval(values, own) == mean_interval(values)


def mean_squares(z):
    """Of a balanced table of profiles x personalities: profile, personality, rest."""
    rows, columns = z.shape
    rest = z - z.mean(1, keepdims=True) - z.mean(0) + z.mean()
    between = [columns * np.var(z.mean(1)) * rows / (rows - 1), rows * np.var(z.mean(0)) * columns / (columns - 1)]
    return [*between, np.sum(rest**2) / (rows - 1) / (columns - 1)]


def with_personality_f(f, seed=5):
    """A 20 x 5 table whose profiles differ as chance has it (F = 1) and whose personalities have this F."""
    z = derive_rng(seed, "pool").normal(size=(20, 5))
    z -= z.mean(1, keepdims=True)
    z -= z.mean(0)
    rest = mean_squares(z)[2]
    z += np.sqrt(rest * 19 / 100) * np.repeat([[-1.0], [1.0]], 10, axis=0)
    z += np.sqrt(f * rest / 20) * np.array([-2, -1, 0, 1, 2]) / np.sqrt(2.5)
    assert mean_squares(z)[1] / mean_squares(z)[2] == pytest.approx(f)
    return z.ravel()


def width(values, clusters):
    found = mean_interval(values, clusters)
    assert found is not None
    return found.high - found.low


def test_no_test_decides_whether_an_effect_is_there():
    """Around the quarter point of F, 1.38, where a test would begin to see the effect, the width hardly changes."""
    below, above = (width(with_personality_f(f), CROSSED) for f in (1.36, 1.40))
    assert 1.0 < above / below < 1.02
    widths = [width(with_personality_f(f), CROSSED) for f in (0.0, 0.3, 1.0, 1.5, 3.0, 10.0)]
    assert widths == sorted(widths)
    assert widths[2] / widths[0] < 1.35
    # five personalities whose means are equal as by chance: one can't be sure that there is no effect
    assert widths[0] > 1.2 * width(with_personality_f(0.0), Clusters.independent(100))


def test_an_effect_that_is_plain_to_see_counts_in_full():
    """Where one effect is nearly all there is, its groups are the data: t of their means with J - 2 degrees, and as
    many more as the prior's exponent falls (0.3 for five groups)."""
    means = derive_rng(4, "plain").normal(size=5)
    z = 8 * means + derive_rng(4, "plain rest").normal(size=(20, 5))
    z -= z.mean(1, keepdims=True)  # no profiles
    expected = t_quantile(0.95, 3.3) * np.std(z.mean(0), ddof=1) / np.sqrt(5) * np.sqrt(4 / 3.3)
    assert width(z.ravel(), CROSSED) / 2 == pytest.approx(expected, rel=0.03)


def test_many_groups_are_the_analysis_of_variance():
    """With forty of each, (MS_profile + MS_personality - MS_rest) / n is as good as known."""
    rng = derive_rng(3, "anova")
    z = rng.normal(size=(40, 40)) + rng.normal(size=40) + 2 * rng.normal(size=(40, 1))
    ms = mean_squares(z)
    clusters = Clusters([i // 40 for i in range(1600)], [i % 40 for i in range(1600)])
    assert width(z.ravel(), clusters) / 2 == pytest.approx(2.02 * np.sqrt((ms[0] + ms[1] - ms[2]) / 1600), rel=0.04)


def test_a_bayesian_by_other_means_has_the_same_interval():
    """The posterior of a balanced one-way design in closed form: four groups of 25, sizes integrated numerically."""
    rng = derive_rng(2, "one way")
    z = rng.normal(size=(25, 4)) + 0.4 * rng.normal(size=4)
    between = 25 * np.var(z.mean(0), ddof=1)
    within = np.sum((z - z.mean(0)) ** 2)
    tau = np.linspace(1e-4, 60, 400_000)
    inflation = 1 + 25 * tau**2
    rest = 3 * between / inflation + within
    log_p = np.log(tau / (tau + 0.3)) - 0.3 * np.log(0.09 + tau**2) - 1.5 * np.log(inflation) - 49.5 * np.log(rest)
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    found = mean_interval(z.ravel(), Clusters(range(100), [i % 4 for i in range(100)]))
    half = (found.high - found.low) / 2
    order = np.argsort(rest * inflation)
    spread = np.sqrt(rest * inflation / 99 / 100)[order][200::400]
    weights = np.add.reduceat(p[order], np.arange(0, tau.size, 400))
    assert sum(w * t_tail(half / s, 99) for s, w in zip(spread, weights, strict=True)) == pytest.approx(0.05, abs=1e-3)


def test_effects_of_an_unbalanced_design_are_those_of_dense_matrices():
    rng = derive_rng(5, "dense")
    labels = rng.integers(0, 7, 30), rng.integers(0, 4, 30)
    values = rng.normal(size=30) + rng.normal(size=7)[labels[0]]
    clusters = Clusters(*(names.tolist() for names in labels))
    assert clusters.n_groups == (7, 4)
    values = clusters.cell_values(values)
    codes = [codes[np.unique(clusters.cells, return_index=True)[1]] for codes in clusters.shared]
    shared = [(c[:, None] == c).astype(float) for c in codes]
    grids = [SizeGrid.of(c, most) for c, most in zip(codes, (128, 48), strict=True)]
    n, centred = values.size, (values - values.mean()) / np.sqrt(np.sum((values - values.mean()) ** 2))
    spreads, logs = [], []
    for i, first in enumerate(grids[0].ratios):
        for j, second in enumerate(grids[1].ratios):
            v = np.eye(n) + first * shared[0] + second * shared[1]
            inverse = np.linalg.inv(v)
            rest = centred @ inverse @ centred - (inverse.sum(0) @ centred) ** 2 / inverse.sum() + 1e-3
            prior = grids[0].log_weights[i] + grids[1].log_weights[j]
            logs.append(prior - (np.linalg.slogdet(v)[1] + np.log(inverse.sum()) + (n - 1) * np.log(rest)) / 2)
            spreads.append(np.sqrt(rest / (n - 1) * v.sum()) / n)
    chances = np.exp(np.array(logs) - max(logs))
    found, weights = clusters.effects.spreads(values)
    length = np.sqrt(np.sum((values - values.mean()) ** 2))
    assert weights @ found == pytest.approx(length * (chances @ spreads) / chances.sum(), rel=1e-5)
    assert weights @ found**2 == pytest.approx(length**2 * (chances @ np.square(spreads)) / chances.sum(), rel=1e-3)


def test_sums_of_effects_without_any_rest():
    z = derive_rng(6, "additive").normal(size=(20, 1)) + derive_rng(7, "additive").normal(size=5)
    ms = mean_squares(z)
    assert width(z.ravel(), CROSSED) / 2 == pytest.approx(3.1 * np.sqrt((ms[0] + ms[1]) / 100), rel=0.1)


@pytest.mark.parametrize(
    ("profiles", "personalities"),
    [([0] * 12, list(range(12))), (list(range(12)), [0] * 12), ([0] * 12, [0] * 12), (["a"] * 6 + ["b"] * 6, [0] * 12)],
    ids=["one profile", "one personality", "one of both", "two profiles"],
)
def test_small_designs_have_a_finite_interval(profiles, personalities):
    values = derive_rng(8, "small").normal(size=12)
    found = mean_interval(values, Clusters(profiles, personalities))
    assert found is not None
    assert 0 < found.se < np.inf
    if len({*profiles}) in (1, 12):  # nothing can be shared that varies
        assert found == mean_interval(values)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.floats(0.05, 0.9), st.sampled_from([0.0, 0.3, 3.0]))
def test_variance_is_never_negative_whatever_is_missing(seed, missing, effect):
    rng = derive_rng(seed, "gaps")
    values = rng.normal(size=100) + effect * np.tile(rng.normal(size=5), 20)
    values[rng.random(100) < missing] = np.nan
    found = mean_interval(values, CROSSED)
    n = int(np.isfinite(values).sum())
    if n < 2:
        assert found is None
        return
    assert found is not None
    assert np.isfinite([found.low, found.high]).all()
    assert found.se > 0


def test_scale_does_not_matter():
    values = derive_rng(9, "scale").normal(size=100) + np.tile(derive_rng(10, "scale").normal(size=5), 20)
    one, million = mean_interval(values, CROSSED), mean_interval(1e6 * values, CROSSED)
    tiny = mean_interval(1e-9 * values, CROSSED)
    assert one is not None and million is not None and tiny is not None
    assert million.se == pytest.approx(1e6 * one.se)
    assert tiny.se == pytest.approx(1e-9 * one.se)


@settings(deadline=None)
@given(arrays(float, 30, elements=st.floats(-5, 5, width=32)), st.randoms(use_true_random=False))
def test_interval_does_not_depend_on_names_or_order(values, random):
    profiles, personalities = [i // 5 for i in range(30)], [i % 5 for i in range(30)]
    order = list(range(30))
    random.shuffle(order)
    first = mean_interval(values, Clusters(profiles, personalities))
    second = mean_interval(
        values[order], Clusters([f"p{profiles[i]}" for i in order], [f"t{personalities[i]}" for i in order])
    )
    assert first is not None
    assert second is not None
    assert first.value == pytest.approx(second.value, abs=1e-9)
    assert first.se == pytest.approx(second.se, abs=1e-6)
    assert first.low <= first.value <= first.high


def test_equal_values_have_an_interval_without_width():
    found = mean_interval([2.5] * 100, CROSSED)
    assert found is not None
    assert (found.low, found.high, found.se) == (2.5, 2.5, 0.0)


def test_too_few_values():
    assert mean_interval([]) is None
    assert mean_interval([1.0]) is None
    assert mean_interval([1.0, np.nan]) is None


@pytest.mark.parametrize(
    ("profiles", "personalities", "groups"),
    [
        ([1, 1, 2, 2, 3, 3], [0] * 6, (3,)),  # one personality tells nothing about personalities
        ([1, 1, 2, 2, 3, 3], [7, 7, 8, 8, 9, 9], (3,)),  # each profile has its own personality
        (list(range(6)), [0, 0, 0, 1, 1, 1], (2,)),  # own profiles, shared personalities
        ([0, 0, 1, 1, 2, 2], [0, 1, 0, 1, 0, 1], (3, 2)),
        ([0, 1, 0, 1, 0, 1], [0, 0, 1, 1, 2, 2], (3, 2)),
        ([0] * 6, [0] * 6, ()),
    ],
)
def test_only_partitions_that_group_remain(profiles, personalities, groups):
    assert Clusters(profiles, personalities).n_groups == groups


def test_several_personas_of_one_cell_count_as_one():
    rng = derive_rng(1, "twins")
    values = rng.normal(size=50)
    profiles, personalities = [i // 5 for i in range(50)], [i % 5 for i in range(50)]
    once = mean_interval(values, Clusters(profiles, personalities))
    twice = mean_interval(np.tile(values, 2), Clusters(profiles * 2, personalities * 2))
    assert (twice.low, twice.high) == pytest.approx((once.low, once.high))
    more = Clusters([*profiles, 0, 0], [*personalities, 0, 0])  # one cell three times
    found = mean_interval(np.append(values, [values[0]] * 2), more)
    assert found.value == pytest.approx(np.mean([*values, values[0], values[0]]))
    assert found.se == pytest.approx(once.se, rel=0.2)


def test_clusters_refuse_labels_of_different_length():
    with pytest.raises(ValueError, match="same length"):
        Clusters([1, 2], [1])
    with pytest.raises(ValueError, match="one or two"):
        Clusters([1], [2], [3])


def share_covered(draw, clusters, n_runs, name):
    hits = 0
    for run in range(n_runs):
        found = mean_interval(draw(derive_rng(1, name, run)), clusters)
        hits += found is not None and found.low <= 0.0 <= found.high
    return hits / n_runs


def crossed_draw(profile_share, personality_share):
    def draw(rng):
        own = np.sqrt(1 - profile_share - personality_share)
        profile = np.sqrt(profile_share) * rng.normal(size=20).repeat(5)
        personality = np.tile(np.sqrt(personality_share) * rng.normal(size=5), 20)
        return profile + personality + own * rng.normal(size=100)

    return draw


def nested_draw(personality_share):
    def draw(rng):
        own = np.sqrt(1 - personality_share)
        return np.tile(np.sqrt(personality_share) * rng.normal(size=4), 25) + own * rng.normal(size=100)

    return draw


NESTED = Clusters(range(100), [i % 4 for i in range(100)])


# benchmarks/coverage.py says more, and what the narrow third would cover if a test decided which effects there are
@pytest.mark.parametrize(
    ("draw", "clusters"),
    [
        (crossed_draw(0.25, 0.25), CROSSED),
        (crossed_draw(0.0, 0.1), CROSSED),
        (crossed_draw(0.1, 0.05), CROSSED),
        (nested_draw(0.1), NESTED),
        (nested_draw(0.25), NESTED),
        (lambda rng: rng.normal(size=100), Clusters.independent(100)),
    ],
    ids=["a quarter each", "a tenth", "a twentieth", "100 x 4, a tenth", "100 x 4, a quarter", "independent"],
)
def test_intervals_cover_whatever_width_the_reader_sees(draw, clusters):
    found = [mean_interval(draw(derive_rng(1, "width", run)), clusters) for run in range(450)]
    found.sort(key=lambda e: e.se)
    hits = [e.low <= 0.0 <= e.high for e in found]
    assert 0.93 <= np.mean(hits) <= 0.995
    assert np.mean(hits[:150]) >= 0.88  # of the narrowest third; 0.92 or more with many runs
    assert np.mean(hits[150:]) >= 0.93


def test_intervals_are_not_absurdly_wide_where_nothing_is_shared():
    widths = [width(crossed_draw(0.0, 0.0)(derive_rng(1, "none", run)), CROSSED) for run in range(60)]
    assert 1.3 < np.median(widths) / (2 * 1.96 / 10) < 2.3


def test_ignoring_the_personalities_does_not_cover():
    covered = share_covered(crossed_draw(0.25, 0.25), Clusters.independent(100), 300, "ignored")
    assert covered < 0.75


def test_intervals_cover_with_gaps():
    draw = crossed_draw(0.25, 0.25)

    def with_gaps(rng):
        values = draw(rng)
        values[rng.random(100) < 0.2] = np.nan
        return values

    assert 0.94 <= share_covered(with_gaps, CROSSED, 300, "gaps") <= 0.995


def test_unequal_precision_widens_the_interval():
    values = derive_rng(0, "precision").normal(size=50)
    assert width(values, None) < mean_interval(values, df=5).se * 2 * 1.96 * 1.0001
    assert mean_interval(values, df=500) == mean_interval(values)


def test_shares_have_intervals_that_are_never_a_point():
    whole = share_interval([1.0] * 40)
    assert (whole.value, whole.high) == (1.0, 1.0)
    assert whole.low == pytest.approx(0.9119, abs=1e-4)  # 0.025 ** (1 / 40)
    none = share_interval([0.0] * 40)
    assert (none.low, none.high) == (0.0, pytest.approx(1 - 0.9119, abs=1e-4))
    # 8 of 10, as in any table of Clopper and Pearson's
    assert share_interval([1] * 8 + [0] * 2 + [np.nan]) == share_interval([1] * 8 + [0] * 2)
    found = share_interval([1] * 8 + [0] * 2)
    assert (found.low, found.high) == (pytest.approx(0.4439, abs=1e-4), pytest.approx(0.9748, abs=1e-4))
    assert share_interval([]) is None
    assert share_interval([1.0]).low == pytest.approx(0.025)
    with pytest.raises(ValueError, match="in \\[0, 1\\]"):
        share_interval([1.2])


def test_shares_of_groups_that_agree_say_less():
    alone = share_interval([1, 1, 1, 0] * 25)
    groups = share_interval([1] * 75 + [0] * 25, Clusters([i // 5 for i in range(100)]))
    assert alone.value == groups.value == 0.75
    assert groups.low < alone.low < alone.high < groups.high
    # two orders of each item that disagree: of 30, an item in nine may be of another kind without having been seen
    halves = share_interval([0.5] * 30)
    assert (halves.low, halves.high) == pytest.approx((0.5 * 0.025 ** (1 / 30), 1 - 0.5 * 0.025 ** (1 / 30)))
    wide = share_interval([0.2, 0.9] * 20)
    assert wide == mean_interval([0.2, 0.9] * 20)


def test_ratios_of_counts():
    assert ratio_interval([3, 0, 5], [3, 0, 5]).low == pytest.approx(0.025 ** (1 / 2))  # two units had anything
    assert ratio_interval([0], [0]) is None
    lumpy = ratio_interval([0, 2] * 25, [2] * 50)  # all or nothing of each unit: 50 draws, not 100
    assert lumpy.high - lumpy.low == pytest.approx(
        proportion_interval(25, 50).high - proportion_interval(25, 50).low, rel=0.05
    )


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_shares_stay_inside_the_unit_interval(values):
    found = share_interval(values)
    assert 0.0 <= found.low <= found.value + 1e-9
    assert found.value - 1e-9 <= found.high <= 1.0
    assert found.low < found.high


def test_bootstrap_counts_keep_groups_together():
    weights = CROSSED.draw_weights(derive_rng(0, "w"), 50).reshape(50, 20, 5)
    for draw in weights:
        assert np.linalg.matrix_rank(draw) == 1  # profile count x personality count
    assert np.all(Clusters.independent(7).draw_weights(derive_rng(0, "w"), 20).sum(axis=1) == 7)


def test_bootstrap_interval():
    draws = derive_rng(0, "draws").normal(7, 2, 20_000)
    assert bootstrap_interval(5.0, draws) == pytest.approx((5 - 1.96 * 2, 5 + 1.96 * 2), abs=0.1)
    assert bootstrap_interval(1.0, [np.nan, np.nan, 1.0]) is None
    assert bootstrap_interval(1.0, []) is None


def test_kappa_known_answer():
    # 2 x 2 table 20, 5 / 10, 15: observed 0.7, expected 0.5
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert cohen_kappa(first, second) == pytest.approx(0.4)


def test_kappa_weights_and_edges():
    assert cohen_kappa([1, 2, 3], [1, 2, 3], "quadratic") == 1.0
    near = cohen_kappa([1, 2, 3, 4, 5], [2, 3, 4, 5, 5], "quadratic")
    plain = cohen_kappa([1, 2, 3, 4, 5], [2, 3, 4, 5, 5])
    assert near is not None
    assert plain is not None
    assert near > 0.7 > plain
    assert cohen_kappa([], []) is None
    assert cohen_kappa([1, 1], [1, 1]) is None
    with pytest.raises(ValueError, match="same items"):
        cohen_kappa([1], [1, 2])


def test_spearman_and_ranks():
    assert rank([10, 20, 20, 5]).tolist() == [2.0, 3.5, 3.5, 1.0]
    assert spearman([1, 2, 3, 4], [1, 8, 27, 64]) == pytest.approx(1.0)
    assert spearman([1, 2, 3, 4, 5], [5, 6, 7, 8, 7]) == pytest.approx(0.8208, abs=1e-4)
    assert spearman([1, 1, 1], [1, 2, 3]) is None
    assert pearson([1, 2, np.nan], [2, 4, 9]) == pytest.approx(1.0)


def test_the_difference_of_two_shares_is_paired_and_units_without_a_whole_say_nothing():
    first, second = [1, 0, 1, 1, 0, 1], [0, 0, 1, 0, 0, 1]
    ones = [1] * 6
    found = ratio_difference((first, ones), (second, ones))
    plain = mean_interval([a - b for a, b in zip(first, second, strict=True)])
    assert found is not None and plain is not None
    assert (found.value, found.low, found.high) == pytest.approx((plain.value, plain.low, plain.high))
    same = ratio_difference(([2, 0, 3], [4, 0, 5]), ([2, 0, 3], [4, 0, 5]))
    assert same is not None and same.low == same.value == same.high == 0
    assert ratio_difference(([0, 0], [0, 0]), ([1, 0], [1, 1])) is None
